//! The host itself: health, tenants, queues, books.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Parts,
    events::{Events, Source},
    json::Json,
    metrics::Scraper,
    problem::Problem,
    streams,
};
use crate::{
    delivery::{
        LegState,
        report::ReloadReport,
        view::{Page, QueueView},
    },
    shares::Holder,
    tasks::Tasks,
};

pub(super) type Answer<T> = Result<Json<T>, Problem>;

/// The process answers; that is all.
pub(super) async fn livez() -> Json<Value> {
    Json(json!({"status": "live"}))
}

/// 503 with the reasons while something speaks against sending deliveries here; notes either way.
pub(super) async fn readyz(State(parts): State<Parts>) -> Response {
    let (reasons, notes, streams) = (parts.readiness.reasons(), parts.readiness.notes(), streams::failures(&parts));
    let mut answer = serde_json::Map::new();
    answer.insert("status".to_owned(), json!(if reasons.is_empty() { "ready" } else { "not_ready" }));
    // A stream that is away is told of and takes nobody out of service: deliveries are safe here, and it goes on where it stood.
    for (name, what) in [("reasons", json!(reasons)), ("notes", json!(notes)), ("streams", json!(streams))] {
        if what.as_object().is_some_and(|what| !what.is_empty()) || what.as_array().is_some_and(|what| !what.is_empty()) {
            answer.insert(name.to_owned(), what);
        }
    }
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Value::Object(answer))).into_response()
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

/// Reads the files of settings again, and tells what was taken and what was not.
pub(super) async fn reload(State(parts): State<Parts>) -> Answer<ReloadReport> {
    // It reads files, and this listener has one thread.
    let (threads, reload) = (parts.shares.threads(Holder::Host), Arc::clone(&parts.reload));
    let report = threads.run(move || reload()).await;
    report.map(Json).map_err(|error| {
        tracing::error!(%error, "settings_not_read");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "settings_not_read", "the settings were not read; the host's log says why")
    })
}

pub(super) async fn queues(State(parts): State<Parts>) -> Answer<Page<QueueView>> {
    Ok(Json(whole(parts.broker.depth().await?)))
}

pub(super) async fn books(State(parts): State<Parts>, Extension(scraper): Extension<Arc<Scraper>>) -> Answer<Value> {
    let books = scraper.books(&parts).await?;
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

pub(super) async fn events(State(parts): State<Parts>, Extension(tasks): Extension<Tasks>) -> Response {
    let source = Source { live: parts.observer.subscribe(), clock: parts.clock.clone(), tasks };
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::new(Events::new(source))).into_response()
}

pub(super) fn whole<T>(items: Vec<T>) -> Page<T> {
    Page { items, next_cursor: None }
}
