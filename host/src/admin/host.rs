//! The host itself: health, metrics, plugins, tenants, queues, books.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Parts,
    events::{Events, Source},
    problem::Problem,
};
use crate::{
    delivery::{
        LegState, PluginName, TenantId,
        view::{Page, PluginView, QueueView},
    },
    observe::Scrape,
    tasks::Tasks,
};

type Answer<T> = Result<Json<T>, Problem>;

/// The process answers; that is all.
pub(super) async fn livez() -> Json<Value> {
    Json(json!({"status": "live"}))
}

/// 503 with the reasons while something speaks against sending deliveries here.
pub(super) async fn readyz(State(parts): State<Parts>) -> Response {
    let reasons = parts.readiness.reasons();
    if reasons.is_empty() {
        Json(json!({"status": "ready"})).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not_ready", "reasons": reasons}))).into_response()
    }
}

/// A queue or ledger that does not answer is a metric, not a failed scrape.
pub(super) async fn metrics(State(parts): State<Parts>) -> Response {
    let (queues, books) = tokio::join!(parts.broker.depth(), parts.ledger.books());
    let scrape = Scrape { queues: queues.ok(), books_gap: books.ok().map(|books| books.gap) };
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], parts.observer.encode(&scrape)).into_response()
}

pub(super) async fn plugins(State(parts): State<Parts>) -> Json<Page<PluginView>> {
    Json(whole(parts.catalog.views(None)))
}

pub(super) async fn plugin(State(parts): State<Parts>, Path((tenant, name)): Path<(String, String)>) -> Answer<PluginView> {
    let (tenant, name) = plugin_name(&tenant, &name)?;
    view(&parts, &tenant, &name).map(Json)
}

pub(super) async fn pause(State(parts): State<Parts>, Path((tenant, name)): Path<(String, String)>) -> Answer<PluginView> {
    set_paused(&parts, &tenant, &name, true)
}

pub(super) async fn resume(State(parts): State<Parts>, Path((tenant, name)): Path<(String, String)>) -> Answer<PluginView> {
    set_paused(&parts, &tenant, &name, false)
}

/// Tenants with their sources; of a secret only that there is one.
pub(super) async fn tenants(State(parts): State<Parts>) -> Json<Value> {
    let directory = parts.tenants.snapshot();
    let tenant = |tenant: &crate::tenants::Tenant| {
        let sources: Vec<_> = tenant
            .sources
            .values()
            .map(|source| json!({"source": source.id, "secrets": source.secrets.len(), "rate_per_s_max": source.rate_per_s_max}))
            .collect();
        json!({"tenant": tenant.id, "sources": sources, "waiting_bytes_max": tenant.waiting_bytes_max})
    };
    let items: Vec<_> = directory.tenants.values().map(|value| tenant(value)).collect();
    Json(json!({"items": items, "next_cursor": null}))
}

pub(super) async fn queues(State(parts): State<Parts>) -> Answer<Page<QueueView>> {
    Ok(Json(whole(parts.broker.depth().await?)))
}

pub(super) async fn books(State(parts): State<Parts>) -> Answer<Value> {
    let books = parts.ledger.books().await?;
    let by_state: serde_json::Map<_, _> =
        LegState::ALL.iter().zip(books.by_state).map(|(state, count)| (state.slug().to_owned(), json!(count))).collect();
    Ok(Json(json!({
        "accepted": books.accepted,
        "routed": books.routed,
        "unrouted": books.unrouted,
        "legs": books.legs,
        "by_state": by_state,
        "on_loan": books.leased,
        "gap": books.gap,
    })))
}

pub(super) async fn events(State(parts): State<Parts>, axum::Extension(tasks): axum::Extension<Tasks>) -> Response {
    let source = Source { live: parts.observer.subscribe(), clock: parts.clock.clone(), tasks };
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::new(Events::new(source))).into_response()
}

fn set_paused(parts: &Parts, tenant: &str, name: &str, paused: bool) -> Answer<PluginView> {
    let (tenant, name) = plugin_name(tenant, name)?;
    if !parts.catalog.pause(&tenant, &name, paused) {
        return Err(Problem::not_found("plugin", &format!("{tenant}/{name}")));
    }
    view(parts, &tenant, &name).map(Json)
}

fn view(parts: &Parts, tenant: &TenantId, name: &PluginName) -> Result<PluginView, Problem> {
    let found = parts.catalog.views(Some(tenant)).into_iter().find(|view| view.name == *name);
    found.ok_or_else(|| Problem::not_found("plugin", &format!("{tenant}/{name}")))
}

/// A name that cannot be a plugin's is one that does not exist.
fn plugin_name(tenant: &str, name: &str) -> Result<(TenantId, PluginName), Problem> {
    let missing = || Problem::not_found("plugin", &format!("{tenant}/{name}"));
    Ok((tenant.parse().map_err(|_| missing())?, name.parse().map_err(|_| missing())?))
}

fn whole<T>(items: Vec<T>) -> Page<T> {
    Page { items, next_cursor: None }
}
