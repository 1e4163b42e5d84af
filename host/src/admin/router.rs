//! The routes, and what stands before and behind each of them.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};

use super::{
    Parts,
    auth::{Auth, is_open_to_loopback},
    deliveries, host,
    listener::Peer,
    plugins,
    problem::Problem,
    query, streams,
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
pub(super) fn routes(parts: Parts, auth: Auth, tasks: Tasks) -> Router {
    guarded(api().layer(Extension(tasks)).with_state(parts), auth)
}

fn api() -> Router<Parts> {
    let filtered = Router::new()
        .route("/api/v1/deliveries", get(deliveries::deliveries))
        .route("/api/v1/dead-letters", get(deliveries::dead_letters))
        .route("/api/v1/dead-letters/replay", post(deliveries::replay_many))
        .route("/api/v1/dead-letters/discard", post(deliveries::discard_many))
        .route("/api/v1/emits", get(deliveries::emits))
        .route("/api/v1/plugins", get(plugins::plugins))
        .route("/api/v1/plugins/{tenant}/{name}/rollback", post(plugins::roll_back));
    let plain = Router::new()
        .route("/livez", get(host::livez))
        .route("/readyz", get(host::readyz))
        .route("/metrics", get(host::metrics))
        .route("/api/v1/deliveries/{id}", get(deliveries::delivery))
        .route("/api/v1/deliveries/{id}/replay", post(deliveries::replay_delivery))
        .route("/api/v1/dead-letters/{id}", get(deliveries::dead_letter))
        .route("/api/v1/dead-letters/{id}/replay", post(deliveries::replay))
        .route("/api/v1/dead-letters/{id}/discard", post(deliveries::discard))
        .route("/api/v1/plugins/{tenant}/{name}", get(plugins::plugin))
        .route("/api/v1/plugins/{tenant}/{name}/pause", post(plugins::pause))
        .route("/api/v1/plugins/{tenant}/{name}/resume", post(plugins::resume))
        .route("/api/v1/plugins/{tenant}/{name}/approve", post(plugins::approve))
        .route("/api/v1/tenants", get(host::tenants))
        .route("/api/v1/queues", get(host::queues))
        .route("/api/v1/streams", get(streams::streams))
        .route("/api/v1/books", get(host::books))
        .route("/api/v1/events", get(host::events));
    plain.route_layer(middleware::from_fn(without_parameters)).merge(filtered)
}

/// Before the routes that read no parameter; the others refuse what they do not know by themselves.
async fn without_parameters(request: Request, next: Next) -> Response {
    match query::refuse_any(request.uri()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Puts the checks before `routes`, unknown paths included, and the headers behind them, refusals included.
pub(super) fn guarded(routes: Router, auth: Auth) -> Router {
    routes
        .fallback(|request: Request| async move { Problem::not_found("route", request.uri().path()) })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the route exists, but not for this method; see `Allow`")
        })
        .layer(middleware::from_fn_with_state(Arc::new(auth), check))
        .layer(middleware::map_response(harden))
}

async fn check(State(auth): State<Arc<Auth>>, ConnectInfo(Peer(peer)): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    match refusal(&auth, peer, &request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(auth: &Auth, peer: SocketAddr, request: &Request) -> Option<Problem> {
    let headers = request.headers();
    if !auth.knows_host(headers) {
        let detail = "the `Host` header names no host of this listener; use its address, `localhost`, or add the name to `admin.hosts`";
        return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host_unknown", detail));
    }
    let is_open = peer.ip().to_canonical().is_loopback() && is_open_to_loopback(request.uri().path());
    if !is_open && !auth.knows_token(headers) {
        let detail = "expected `Authorization: Bearer <admin token>`; by default the token is in `admin.token` in the data folder";
        return Some(Problem::new(StatusCode::UNAUTHORIZED, "token_invalid", detail));
    }
    query::refuse_body(request.body()).err()
}

async fn harden(mut response: Response) -> Response {
    response.headers_mut().extend(HEADERS);
    response
}

#[cfg(test)]
mod tests;
