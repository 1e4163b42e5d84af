//! The routes and their guard.

use std::{future::Future as _, task::Poll, time::Duration};

use axum::{body::Body, extract::ConnectInfo, http::Method};
use http_body_util::BodyExt as _;
use tower_service::Service as _;

use super::{
    super::{Settings, auth::Auth, listener::Peer},
    *,
};
use crate::{
    clock::Clock,
    delivery::Timestamp,
    observe::Observer,
    shares::{Resource, Shares},
    signature::Secret,
};

const HERE: &str = "127.0.0.1:50000";
const AWAY: &str = "10.9.9.9:50000";
const TOKEN: &str = "Bearer open-sesame";

/// The guard of every route, before some that need no parts.
fn router() -> Router {
    router_on("127.0.0.1:9090", (Observer::default(), Clock::manual(Timestamp::from_unix_ms(0))))
}

fn router_on(listen: &str, told: (Observer, Clock)) -> Router {
    let routes = Router::new()
        .route("/livez", get(|| async { "live" }))
        .route("/metrics", get(|| async { "counted" }))
        .route("/api/v1/secret", get(|| async { "seen" }));
    let (listen, shares) = (listen.parse().unwrap(), Shares::default());
    let requests = shares.pool(Resource::AdminRequests).clone();
    let settings = Settings { listen, token: Secret::new("open-sesame").unwrap(), hosts: vec![], shares };
    guarded(routes, Guard::new(Auth::new(&settings, listen), requests, told))
}

fn request(peer: &str, path: &str, headers: &[(HeaderName, &str)]) -> Request {
    let mut request = Request::builder().uri(path).header(header::HOST, "localhost:9090").body(Body::empty()).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    request.extensions_mut().insert(ConnectInfo(Peer { address: peer.parse().unwrap(), place: None }));
    request
}

async fn answer(request: Request) -> Response {
    router().call(request).await.unwrap()
}

async fn status(peer: &str, path: &str, headers: &[(HeaderName, &str)]) -> u16 {
    answer(request(peer, path, headers)).await.status().as_u16()
}

async fn code(response: Response) -> String {
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    problem["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_api_needs_the_token_even_from_this_machine() {
    assert_eq!(status(HERE, "/api/v1/secret", &[]).await, 401);
    assert_eq!(status(HERE, "/api/v1/secret", &[(header::AUTHORIZATION, "Bearer open-sesam")]).await, 401);
    assert_eq!(status(HERE, "/api/v1/secret", &[(header::AUTHORIZATION, TOKEN)]).await, 200);
    let refused = answer(request(HERE, "/api/v1/secret", &[])).await;
    assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"hookyard\"");
    assert_eq!(code(refused).await, "token_invalid");
}

#[tokio::test]
async fn health_is_open_to_this_machine_only() {
    assert_eq!(status(HERE, "/livez", &[]).await, 200);
    assert_eq!(status("[::1]:50000", "/livez", &[]).await, 200);
    assert_eq!(status("[::ffff:127.0.0.1]:50000", "/livez", &[]).await, 200);
    assert_eq!(status(AWAY, "/livez", &[]).await, 401);
    assert_eq!(status(AWAY, "/livez", &[(header::AUTHORIZATION, TOKEN)]).await, 200);
}

#[tokio::test]
async fn metrics_need_the_token_behind_a_proxy_and_where_others_reach_the_listener() {
    assert_eq!(status(HERE, "/metrics", &[]).await, 200);
    for name in ["forwarded", "x-forwarded-for", "x-forwarded-proto", "via"] {
        let proxied = [(HeaderName::from_static(name), "203.0.113.7")];
        for path in ["/metrics", "/livez"] {
            assert_eq!(status(HERE, path, &proxied).await, 401, "{name} {path}");
        }
    }
    let told = (Observer::default(), Clock::manual(Timestamp::from_unix_ms(0)));
    let mut on_every_address = router_on("0.0.0.0:9090", told);
    for (path, expected) in [("/metrics", 401), ("/livez", 200)] {
        assert_eq!(on_every_address.call(request(HERE, path, &[])).await.unwrap().status(), expected, "{path}");
    }
    let with_token = request(HERE, "/metrics", &[(header::AUTHORIZATION, TOKEN)]);
    assert_eq!(on_every_address.call(with_token).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_flood_of_wrong_tokens_waits_is_told_once_and_keeps_nobody_out() {
    let (observer, clock) = (Observer::default(), Clock::manual(Timestamp::from_unix_ms(0)));
    let mut onlooker = observer.subscribe();
    let router = router_on("127.0.0.1:9090", (observer, clock.clone()));
    let ask = |peer: &'static str, token: &'static str| {
        let mut router = router.clone();
        async move { router.call(request(peer, "/api/v1/secret", &[(header::AUTHORIZATION, token)])).await.unwrap() }
    };
    for _ in 0..10 {
        assert_eq!(ask(AWAY, "Bearer wrong").await.status(), 401);
    }
    let (slowed, ()) = tokio::join!(ask(AWAY, "Bearer wrong"), async {
        let mut next = Box::pin(ask(AWAY, "Bearer wrong"));
        let is_waiting = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
        assert!(is_waiting, "it is kept waiting");
        assert_eq!(ask(AWAY, TOKEN).await.status(), 200, "the right token is taken at once, from the same address, too");
        assert_eq!(ask(HERE, "Bearer wrong").await.status(), 401, "another address has its own ten");
        clock.advance(Duration::from_secs(2));
    });
    assert_eq!((slowed.status().as_u16(), &slowed.headers()[header::RETRY_AFTER]), (429, &HeaderValue::from_static("6")));
    assert_eq!(code(slowed).await, "too_many_failures");
    let told: Vec<_> = std::iter::from_fn(|| onlooker.try_recv().ok()).map(|event| event.fields["address"].clone()).collect();
    assert_eq!(told, ["10.9.9.9", "127.0.0.1"], "one line an address, not one a try");
}

#[tokio::test]
async fn a_rebound_name_is_refused_even_with_the_token() {
    let rebound = request(HERE, "/api/v1/secret", &[(header::HOST, "rebind.evil:9090"), (header::AUTHORIZATION, TOKEN)]);
    let response = answer(rebound).await;
    assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(code(response).await, "host_unknown");
}

#[tokio::test]
async fn a_path_without_a_route_tells_a_stranger_nothing_and_an_operator_what_is_wrong() {
    assert_eq!(status(HERE, "/api/v1/nothing", &[]).await, 401);
    let response = answer(request(HERE, "/", &[(header::AUTHORIZATION, TOKEN)])).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(code(response).await, "not_found");
}

#[tokio::test]
async fn a_wrong_method_is_told_which_are_right() {
    let mut wrong = request(HERE, "/api/v1/secret", &[(header::AUTHORIZATION, TOKEN)]);
    *wrong.method_mut() = Method::DELETE;
    let response = answer(wrong).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
    assert_eq!(code(response).await, "method_not_allowed");
}

#[tokio::test]
async fn a_body_is_refused_in_words_because_nobody_would_read_it() {
    for (body, expected) in [("", 200), ("{}", 400), (r#"{"tenant":"acme"}"#, 400)] {
        let mut request = request(HERE, "/api/v1/secret", &[(header::AUTHORIZATION, TOKEN)]);
        *request.body_mut() = Body::from(body);
        let response = answer(request).await;
        assert_eq!(response.status().as_u16(), expected, "{body}");
        if expected == 400 {
            assert_eq!(code(response).await, "body_unexpected");
        }
    }
}

#[tokio::test]
async fn a_route_that_reads_no_parameter_refuses_each_of_them() {
    let routes = Router::new().route("/api/v1/secret", get(|| async { "seen" })).route_layer(middleware::from_fn(without_parameters));
    for (path, expected) in [("/api/v1/secret", 200), ("/api/v1/secret?", 200), ("/api/v1/secret?tenant=acme", 400)] {
        let status = routes.clone().call(request(HERE, path, &[])).await.unwrap().status();
        assert_eq!(status.as_u16(), expected, "{path}");
    }
}

#[tokio::test]
async fn every_answer_is_hardened_refusals_too() {
    for (path, headers) in [("/livez", &[][..]), ("/api/v1/secret", &[]), ("/nothing", &[(header::AUTHORIZATION, TOKEN)])] {
        let response = answer(request(HERE, path, headers)).await;
        for (name, value) in HEADERS {
            assert_eq!(response.headers().get(&name), Some(&value), "{name} of {path}");
        }
    }
}

#[test]
fn the_routes_do_not_contradict_each_other() {
    // axum panics on overlapping routes when they are put together.
    drop(api());
}
