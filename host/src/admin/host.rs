//! The host itself: health, metrics, tenants, queues, books.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Parts,
    events::{Events, Source},
    problem::Problem,
    streams,
};
use crate::{
    delivery::{
        LegState, Timestamp,
        view::{Page, PluginView, QueueView},
    },
    observe::Scrape,
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

/// A queue or ledger that does not answer is a metric, not a failed scrape.
pub(super) async fn metrics(State(parts): State<Parts>) -> Response {
    let (queues, books, parked) = tokio::join!(parts.broker.depth(), parts.ledger.books(), parts.ledger.oldest_parked());
    // Only those that are configured: the cursor of one that was removed stands still for good.
    let streams = streams::views(&parts).await.unwrap_or_default().into_iter().filter(|stream| stream.kind.is_some()).collect();
    let now = parts.clock.now();
    let age = |(tenant, plugin, received_at): (_, _, Timestamp)| (tenant, plugin, now.since(received_at));
    let is_broken = |view: &PluginView| view.breaker.as_ref().is_some_and(|breaker| breaker.state != "closed");
    let broken = parts.catalog.views(None).into_iter().filter(is_broken).map(|view| (view.tenant, view.name)).collect();
    let scrape = Scrape {
        queues: queues.ok(),
        books_gap: books.ok().map(|books| books.gap),
        ledger_log_bytes: parts.ledger.log_bytes(),
        streams,
        broken,
        relay_lag: parts.ledger.relay_lag(),
        shares: parts.shares.clone(),
        oldest_parked: parked.unwrap_or_default().into_iter().map(age).collect(),
    };
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], parts.observer.encode(&scrape)).into_response()
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

pub(super) fn whole<T>(items: Vec<T>) -> Page<T> {
    Page { items, next_cursor: None }
}
