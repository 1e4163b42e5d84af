//! The routes, and what stands before and behind each of them.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};

use super::{
    Parts, deliveries,
    guard::{self, Guard, Reads},
    host, metrics,
    metrics::Scraper,
    plugins,
    problem::Problem,
    query, replay, streams,
};
use crate::tasks::Tasks;

/// On every answer: nothing in it is markup, nobody frames it, nobody keeps it.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// All routes behind all checks.
pub(super) fn routes(parts: Parts, guard: Guard, tasks: Tasks) -> Router {
    guarded(api().layer(Extension(Arc::<Scraper>::default())).layer(Extension(tasks)).with_state(parts), guard)
}

fn api() -> Router<Parts> {
    let reads = Reads::new();
    let bounded = || middleware::from_fn_with_state(reads.clone(), guard::read);
    let plain = plain().merge(single().route_layer(bounded())).route_layer(middleware::from_fn(without_parameters));
    Router::new()
        .route("/api/v1/plugins", get(plugins::plugins))
        .route("/api/v1/plugins/{tenant}/{name}/rollback", post(plugins::roll_back))
        .merge(filtered().route_layer(bounded()))
        .merge(plain)
}

/// The routes that read the ledger by what their parameters say.
fn filtered() -> Router<Parts> {
    Router::new()
        .route("/api/v1/deliveries", get(deliveries::deliveries))
        .route("/api/v1/deliveries/{id}/replay", post(deliveries::replay_delivery))
        .route("/api/v1/deliveries/replay", post(replay::replay_by_filter))
        .route("/api/v1/dead-letters", get(deliveries::dead_letters))
        .route("/api/v1/dead-letters/replay", post(deliveries::replay_many))
        .route("/api/v1/dead-letters/discard", post(deliveries::discard_many))
        .route("/api/v1/emits", get(deliveries::emits))
}

/// The routes that read the ledger and take no parameter.
fn single() -> Router<Parts> {
    Router::new()
        .route("/api/v1/deliveries/{id}", get(deliveries::delivery))
        .route("/api/v1/legs/{id}/run-now", post(deliveries::run_now))
        .route("/api/v1/dead-letters/{id}", get(deliveries::dead_letter))
        .route("/api/v1/dead-letters/{id}/replay", post(deliveries::replay))
        .route("/api/v1/dead-letters/{id}/discard", post(deliveries::discard))
        .route("/api/v1/books", get(host::books))
}

/// Before the routes that read no parameter; the others refuse what they do not know by themselves.
async fn without_parameters(request: Request, next: Next) -> Response {
    match query::refuse_any(request.uri()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The other routes that take no parameter.
fn plain() -> Router<Parts> {
    Router::new()
        .route("/livez", get(host::livez))
        .route("/readyz", get(host::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/plugins/{tenant}/{name}", get(plugins::plugin))
        .route("/api/v1/plugins/{tenant}/{name}/pause", post(plugins::pause))
        .route("/api/v1/plugins/{tenant}/{name}/resume", post(plugins::resume))
        .route("/api/v1/plugins/{tenant}/{name}/approve", post(plugins::approve))
        .route("/api/v1/tenants", get(host::tenants))
        .route("/api/v1/queues", get(host::queues))
        .route("/api/v1/streams", get(streams::streams))
        .route("/api/v1/events", get(host::events))
        .route("/api/v1/reload", post(host::reload))
}

/// Puts the checks before `routes`, unknown paths included, and the headers behind them, refusals included.
pub(super) fn guarded(routes: Router, guard: Guard) -> Router {
    routes
        .fallback(|request: Request| async move { Problem::not_found("route", request.uri().path()) })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the route exists, but not for this method; see `Allow`")
        })
        .layer(middleware::from_fn_with_state(Arc::new(guard), guard::check))
        .layer(middleware::map_response(harden))
}

async fn harden(mut response: Response) -> Response {
    response.headers_mut().extend(HEADERS);
    response
}

#[cfg(test)]
mod tests;
