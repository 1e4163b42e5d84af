//! What stands before the routes: who may ask, how often wrong, and how much at once.
//!
//! A wrong token costs its address time, and the host one line a minute. The right one is taken at once, whatever else comes from its address:
//! behind a proxy, or on this machine, an operator and a stranger may share one. Guessing is not what the wait is against (a token is far too
//! long for that), but what it costs everybody else.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::sync::Semaphore;

use super::{
    auth::{Auth, is_health, names_a_proxy},
    listener::Peer,
    problem::Problem,
    query,
};
use crate::{
    clock::Clock,
    meter::{Lately, Meter, Rate},
    observe::{Observer, facts::AdminTokenRefused},
    shares::{Holder, Pool},
};

/// Wrong tokens of one address that are answered at once: a person's mistakes.
const WRONG_PER_MIN: u32 = 10;
/// How long an answer to any more of them waits.
const WRONG_WAITS: Duration = Duration::from_secs(2);
/// How often a line is written about one address.
const TOLD_EVERY: Duration = Duration::from_mins(1);
/// How long a request waits for its turn.
const TURN_MAX: Duration = Duration::from_secs(30);
/// Requests that read the ledger at once; the other half of its readers is for the workers.
const READS_MAX: usize = 2;

/// The guard of all routes.
pub(super) struct Guard {
    auth: Auth,
    requests: Pool,
    wrong: Meter<Holder>,
    told: Lately<Holder>,
    observer: Observer,
    clock: Clock,
}

/// Requests that read the ledger, a few at a time.
#[derive(Clone, Debug)]
pub(super) struct Reads(Arc<Semaphore>);

impl Guard {
    pub(super) fn new(auth: Auth, requests: Pool, (observer, clock): (Observer, Clock)) -> Self {
        let (wrong, told) = (Meter::new(clock.clone()), Lately::new(clock.clone(), TOLD_EVERY));
        Self { auth, requests, wrong, told, observer, clock }
    }

    fn refusal(&self, peer: &Peer, request: &Request) -> Option<Problem> {
        let (headers, path) = (request.headers(), request.uri().path());
        if peer.is_reserved() && !is_health(path) {
            self.observer.admin_refused("connections_exhausted");
            let detail = "all connections of this listener are at work; this one is for `/livez` and `/readyz` only. Try again";
            return Some(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "connections_exhausted", detail));
        }
        if !self.auth.knows_host(headers) {
            let detail = "the `Host` header names no host of this listener; use its address, `localhost`, or add the name to `admin.hosts`";
            return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host_unknown", detail));
        }
        let is_open = peer.is_here() && !names_a_proxy(headers) && self.auth.is_open(path);
        if !is_open && !self.auth.knows_token(headers) {
            let detail = "expected `Authorization: Bearer <admin token>`; by default the token is in `admin.token` in the data folder";
            return Some(Problem::new(StatusCode::UNAUTHORIZED, "token_invalid", detail));
        }
        query::refuse_body(request.body()).err()
    }

    /// Tells of a wrong token, and lets its sender wait where there were many. What the answer is then.
    async fn wrong_token(&self, peer: &Peer, problem: Problem) -> Problem {
        let holder = peer.holder();
        self.observer.admin_refused("token_invalid");
        if !self.told.holds(&holder) {
            self.told.note(holder.clone());
            self.observer.record(&AdminTokenRefused { address: peer.address.ip().to_canonical() });
        }
        let Err(again) = self.wrong.charge(holder, Rate::per_minute(WRONG_PER_MIN)) else { return problem };
        // Who waits holds no place against others.
        let rests = peer.place.as_ref().map(|place| place.rest());
        self.clock.sleep(WRONG_WAITS).await;
        drop(rests);
        let detail = "too many requests with a wrong token came from this address lately; the right one is taken at any time";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", detail).retry_after(again)
    }
}

impl Reads {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(READS_MAX)))
    }
}

/// The check of every request, unknown paths included.
pub(super) async fn check(State(guard): State<Arc<Guard>>, ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    if let Some(problem) = guard.refusal(&peer, &request) {
        let problem = if problem.status() == StatusCode::UNAUTHORIZED { guard.wrong_token(&peer, problem).await } else { problem };
        let mut response = problem.into_response();
        if peer.is_reserved() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        return response;
    }
    if is_health(request.uri().path()) {
        return next.run(request).await;
    }
    let holder = peer.holder();
    let turn = tokio::select! {
        turn = guard.requests.take(&holder, 1) => turn,
        () = guard.clock.sleep(TURN_MAX) => {
            guard.observer.admin_refused("requests_exhausted");
            let detail = format!("no turn came in {} s: too many requests are under way", TURN_MAX.as_secs());
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "requests_exhausted", detail).into_response();
        }
    };
    let response = next.run(request).await;
    drop(turn);
    response
}

/// Before every route that reads the ledger.
pub(super) async fn read(State(reads): State<Reads>, request: Request, next: Next) -> Response {
    // The semaphore is never closed.
    let _permit = reads.0.acquire().await.ok();
    next.run(request).await
}
