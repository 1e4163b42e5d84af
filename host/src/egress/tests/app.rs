//! A GitHub App against a server that hands out installation tokens.

use super::*;
use crate::delivery::Timestamp;

const KEY: &str = include_str!("../../../../tests/fixtures/github-app.pem");
const START_MS: i64 = 1_700_000_000_000;

/// Answers the request for a token with `made`, and any other with its `authorization`.
async fn github(made: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Server {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Server::start(move |request| {
        if request.line.contains("/access_tokens") {
            return made(count.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
        }
        let sent = request.header("authorization").unwrap_or_default();
        answer(if sent.contains("revoked") { 401 } else { 200 }, "", &format!("{{\"you_are\":\"{sent}\"}}"))
    })
    .await
}

fn token(name: &str, expires_ms: i64) -> Vec<u8> {
    let expires_at = Timestamp::from_unix_ms(expires_ms);
    answer(201, "", &serde_json::json!({"token": format!("ghs_{name}_0123456789"), "expires_at": expires_at}).to_string())
}

fn app_reach(server: &Server, installation: Option<u64>, installations: &[u64]) -> Reach {
    let mut reach = reach(&server.authority(), &["127.0.0.1"]);
    let app = GithubApp::new("12345", &secret(KEY), installations.to_vec(), &server.url("")).unwrap();
    let mut allowed = (*reach.allowed).clone();
    allowed.credentials.insert("app".to_owned(), Credential::GithubApp(Arc::new(app)));
    reach.allowed = Arc::new(allowed);
    reach.installation = installation;
    reach
}

fn manual() -> (Egress, Clock) {
    let clock = Clock::manual(Timestamp::from_unix_ms(START_MS));
    (Egress::new(Settings::default(), clock.clone()).unwrap(), clock)
}

fn asking(server: &Server) -> Request {
    Request { credential: Some("app".to_owned()), ..request("GET", &server.url("/user")) }
}

fn mints(server: &Server) -> usize {
    server.requests().iter().filter(|request| request.line.contains("/access_tokens")).count()
}

#[tokio::test]
async fn a_token_is_made_for_the_deliverys_installation_used_and_never_shown() {
    let server = github(|_| token("first", START_MS + 3_600_000)).await;
    let (egress, _) = manual();
    let reach = app_reach(&server, Some(678), &[678, 679]);
    let answer = send(&egress, &reach, asking(&server)).await.unwrap();
    assert_eq!(String::from_utf8(answer.body).unwrap(), "{\"you_are\":\"Bearer [scrubbed]\"}");
    let requests = server.requests();
    assert_eq!(requests[0].line, "POST /app/installations/678/access_tokens HTTP/1.1");
    assert_eq!(requests[1].header("authorization"), Some("Bearer ghs_first_0123456789"));
    let jwt = requests[0].header("authorization").unwrap().trim_start_matches("Bearer ").to_owned();
    let claims: serde_json::Value = {
        let encoded = jwt.split('.').nth(1).unwrap();
        serde_json::from_slice(&base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, encoded).unwrap()).unwrap()
    };
    assert_eq!(claims["iss"], "12345");
    let (issued, expires, now) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap(), START_MS / 1000);
    assert!(issued < now && expires > now && expires - issued <= 600, "{claims}");
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let signature = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature).unwrap();
    let rustls_pki_types::PrivateKeyDer::Pkcs1(der) = rustls_pki_types::pem::PemObject::from_pem_slice(KEY.as_bytes()).unwrap() else {
        panic!("the fixture is PKCS#1")
    };
    let pair = ::ring::signature::RsaKeyPair::from_der(der.secret_pkcs1_der()).unwrap();
    let public = ::ring::signature::UnparsedPublicKey::new(&::ring::signature::RSA_PKCS1_2048_8192_SHA256, pair.public());
    public.verify(signed.as_bytes(), &signature).unwrap();
}

#[tokio::test]
async fn many_at_once_wait_for_one_token_and_it_is_made_anew_before_it_expires() {
    let server = github(|_| token("shared", START_MS + 3_600_000)).await;
    let (egress, clock) = manual();
    let reach = app_reach(&server, Some(678), &[678]);
    let all = (0..10).map(|_| send(&egress, &reach, asking(&server)));
    for answer in futures_all(all).await {
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(mints(&server), 1);
    clock.advance(Duration::from_mins(54));
    send(&egress, &reach, asking(&server)).await.unwrap();
    assert_eq!(mints(&server), 1);
    clock.advance(Duration::from_mins(2));
    send(&egress, &reach, asking(&server)).await.unwrap();
    assert_eq!(mints(&server), 2, "five minutes before its end a token is made anew");
}

/// Polls all of them in turn on this task.
pub(super) async fn futures_all<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut open: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        for (future, done) in open.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        if open.iter().all(|(_, done)| done.is_some()) {
            return std::task::Poll::Ready(open.iter_mut().filter_map(|(_, done)| done.take()).collect());
        }
        std::task::Poll::Pending
    })
    .await
}

#[tokio::test]
async fn a_forged_installation_gets_no_token_and_github_is_not_even_asked() {
    let server = github(|_| token("never", START_MS + 3_600_000)).await;
    let (egress, _) = manual();
    for installation in [Some(999), Some(0), None] {
        let reach = app_reach(&server, installation, &[678, 679]);
        let error = send(&egress, &reach, asking(&server)).await.unwrap_err();
        assert!(matches!(error, SendError::Denied(_)), "{installation:?}: {error:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_repositorys_own_hook_uses_the_only_installation_there_is() {
    let server = github(|_| token("only", START_MS + 3_600_000)).await;
    let (egress, _) = manual();
    assert_eq!(send(&egress, &app_reach(&server, None, &[678]), asking(&server)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_token_github_no_longer_takes_is_forgotten() {
    let server = github(|made| token(if made == 0 { "revoked" } else { "fresh" }, START_MS + 3_600_000)).await;
    let (egress, _) = manual();
    let reach = app_reach(&server, Some(678), &[678]);
    assert_eq!(send(&egress, &reach, asking(&server)).await.unwrap().status, 401);
    assert_eq!(send(&egress, &reach, asking(&server)).await.unwrap().status, 200);
    assert_eq!(mints(&server), 2);
}

#[tokio::test]
async fn a_rate_limit_of_the_token_itself_reaches_the_guest_with_its_time_and_other_refusals_in_words() {
    let server = github(|_| answer(429, "retry-after: 17\r\n", "slow down")).await;
    let (egress, _) = manual();
    let limited = send(&egress, &app_reach(&server, Some(678), &[678]), asking(&server)).await.unwrap();
    assert_eq!(limited.status, 429);
    assert!(limited.headers.contains(&("retry-after".to_owned(), "17".to_owned())), "{:?}", limited.headers);
    let server = github(|_| answer(404, "", "not found")).await;
    let error = send(&egress, &app_reach(&server, Some(678), &[678]), asking(&server)).await.unwrap_err();
    assert!(matches!(&error, SendError::Unavailable(why) if why.contains("404") && why.contains("app_id")), "{error:?}");
}

#[tokio::test]
async fn an_assertion_that_its_endpoint_gives_back_reaches_nobody() {
    let jwts = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let seen = Arc::clone(&jwts);
    let server = Server::start(move |request| {
        let sent = request.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
        if request.line.contains("/access_tokens") {
            seen.lock().unwrap().push(sent.clone());
            return answer(403, &format!("x-echo: {sent}\r\n"), &format!("no token for {sent}"));
        }
        answer(200, "", &seen.lock().unwrap().concat())
    })
    .await;
    let (egress, clock) = manual();
    let reach = app_reach(&server, Some(678), &[678]);
    let refused = send(&egress, &reach, asking(&server)).await.unwrap();
    assert_eq!((refused.status, refused.body.as_slice()), (403, b"no token for [scrubbed]".as_slice()));
    assert!(refused.headers.contains(&("x-echo".to_owned(), "[scrubbed]".to_owned())), "{:?}", refused.headers);
    // A later call of the tenant, with another credential or none, brings it back: it is still good.
    for credential in [None, Some("other")] {
        let request = Request { credential: credential.map(str::to_owned), ..request("GET", &server.url("/")) };
        assert_eq!(send(&egress, &reach, request).await.unwrap().body, b"[scrubbed]");
    }
    // However often it is refused, one is used for some minutes.
    for _ in 0..5 {
        send(&egress, &reach, asking(&server)).await.unwrap();
    }
    assert_eq!(jwts.lock().unwrap().iter().collect::<std::collections::BTreeSet<_>>().len(), 1);
    clock.advance(Duration::from_mins(5));
    send(&egress, &reach, asking(&server)).await.unwrap();
    assert_eq!(jwts.lock().unwrap().iter().collect::<std::collections::BTreeSet<_>>().len(), 2);
}

#[tokio::test]
async fn a_live_token_of_another_installation_and_of_before_a_reload_is_gone_from_every_answer_until_it_expires() {
    let server = Server::start(|request| {
        if request.line.contains("/access_tokens") {
            return token("first", START_MS + 3_600_000);
        }
        answer(200, "", "once ghs_first_0123456789 was here")
    })
    .await;
    let (egress, clock) = manual();
    let reach = app_reach(&server, Some(678), &[678, 679]);
    send(&egress, &reach, asking(&server)).await.unwrap();
    // Read again, the operator's file makes new credentials, and GitHub still takes the old token.
    let reach = app_reach(&server, Some(679), &[679]);
    let plain = || send(&egress, &reach, request("GET", &server.url("/")));
    assert_eq!(plain().await.unwrap().body, b"once [scrubbed] was here");
    // It is this tenant's token, and nobody else's business.
    let blue = Reach { tenant: "blue".parse().unwrap(), ..reach.clone() };
    let theirs = send(&egress, &blue, request("GET", &server.url("/"))).await.unwrap();
    assert_eq!(theirs.body, b"once ghs_first_0123456789 was here");
    clock.advance(Duration::from_hours(2));
    assert_eq!(plain().await.unwrap().body, b"once ghs_first_0123456789 was here");
}

#[tokio::test]
async fn a_server_that_refuses_every_token_does_not_make_the_host_make_them_for_ever() {
    let server = github(|made| token(&format!("revoked{made}"), START_MS + 3_600_000)).await;
    let (egress, _) = manual();
    let reach = app_reach(&server, Some(678), &[678]);
    for n in 0..LIVE_MAX {
        let times = (Timestamp::from_unix_ms(START_MS + 3_600_000), Timestamp::from_unix_ms(START_MS));
        assert!(egress.0.known.note(&reach.tenant, format!("ghs_token_{n:04}").as_bytes(), times) || n > LIVE_MAX - 2);
    }
    let error = send(&egress, &reach, asking(&server)).await.unwrap_err();
    assert!(matches!(&error, SendError::Unavailable(why) if why.contains("live tokens")), "{error:?}");
}

#[test]
fn a_key_is_taken_in_the_shapes_that_one_line_makes_of_it() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let packed = STANDARD.encode(KEY);
    let wrapped = packed.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\n");
    let one_line = KEY.trim_end().replace('\n', "\\n");
    let shapes = [KEY.replace('\n', "\r\n"), one_line.clone(), one_line.replace("\\n", "\\r\\n"), KEY.replace('\n', " "), packed, wrapped];
    for shape in shapes {
        let app = GithubApp::new("Iv23liAbCdEf", &secret(&shape), vec![1], GITHUB_API_URL);
        assert!(app.is_ok(), "{:?}", app.err());
    }
}

#[test]
fn a_key_that_is_none_is_refused_in_words() {
    let labelled = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    for (bad, why) in [
        ("not a key at all".to_owned(), "no private key in PEM"),
        (labelled("EC PRIVATE KEY"), "elliptic curves"),
        (labelled("ENCRYPTED PRIVATE KEY"), "encrypted with a passphrase"),
        (KEY.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), "encrypted with a passphrase"),
        (labelled("OPENSSH PRIVATE KEY"), "OpenSSH"),
        (labelled("RSA PUBLIC KEY"), "the public half"),
        (labelled("RSA PRIVATE KEY"), "no usable RSA key"),
    ] {
        let error = GithubApp::new("1", &secret(&bad), vec![1], GITHUB_API_URL).unwrap_err();
        assert!(error.contains("BEGIN RSA PRIVATE KEY") && error.contains(why), "{why}: {error}");
    }
    assert!(GithubApp::new("1", &secret(KEY), vec![1], "api.github.com").is_err());
}
