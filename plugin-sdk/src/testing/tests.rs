//! The stand-in behaves as the host does.

use serde_json::json;

use super::*;
use crate::{Step, config, emit, http::Request, kv, log, once, secrets};

#[expect(clippy::needless_pass_by_value, reason = "a handler takes its delivery: the contract hands it over")]
fn counting(delivery: Delivery) -> Result<Verdict, String> {
    let seen = kv::get("seen").map_err(|error| error.to_string())?.map_or(0, |value| value[0]);
    kv::set("seen", &[seen + 1]).map_err(|error| error.to_string())?;
    emit::json("seen", &json!({"times": seen + 1})).map_err(|error| error.to_string())?;
    log::info("counted", &[("event", delivery.event())]);
    if delivery.attempt() == 2 { Err("not now".into()) } else { Ok(Verdict::ack()) }
}

#[test]
fn effects_count_only_when_the_verdict_commits() {
    let mut host = Host::new();
    let acked = host.run(counting, Delivery::sample("push", b"{}"));
    assert_eq!(acked.verdict, Verdict::Ack);
    assert_eq!(acked.emits[0].json(), json!({"times": 1}));
    assert_eq!(acked.logs[0].fields, [("event".to_owned(), "push".to_owned())]);
    let failed = host.run(counting, Delivery::sample("push", b"{}").at_attempt(2));
    assert_eq!(failed.verdict, Verdict::retry("not now"));
    assert!(failed.emits.is_empty());
    assert_eq!(failed.kv["seen"], [1]);
}

fn stepping(_: Delivery) -> Result<Verdict, String> {
    match once("comment", || Ok::<_, String>(b"7".to_vec())).map_err(|error| error.to_string())? {
        Step::Done(answer) => Ok(Verdict::skip(String::from_utf8_lossy(&answer))),
        Step::Unknown => Ok(Verdict::reject("look first")),
    }
}

#[test]
fn a_step_is_made_once_and_an_interrupted_one_is_unknown() {
    let mut host = Host::new();
    assert_eq!(host.run(stepping, Delivery::sample("push", b"{}")).verdict, Verdict::skip("7"));
    host.once.insert("comment".into(), Some(b"8".to_vec()));
    assert_eq!(host.run(stepping, Delivery::sample("push", b"{}")).verdict, Verdict::skip("8"), "the remembered answer, not a new one");
    let report = Host::new().interrupted("comment").run(stepping, Delivery::sample("push", b"{}"));
    assert_eq!(report.verdict, Verdict::reject("look first"));
}

#[test]
fn a_failing_step_stays_unknown() {
    fn failing(_: Delivery) -> Verdict {
        match once("comment", || Err::<Vec<u8>, _>("refused")) {
            Err(error) => Verdict::retry(error.to_string()),
            Ok(step) => Verdict::skip(format!("{step:?}")),
        }
    }
    let mut host = Host::new();
    assert_eq!(host.run(failing, Delivery::sample("push", b"{}")).verdict, Verdict::retry("refused"));
    assert_eq!(host.run(failing, Delivery::sample("push", b"{}")).verdict, Verdict::skip("Unknown"));
}

#[test]
fn configuration_is_read_by_path_by_type_and_as_a_struct() {
    fn reading(_: Delivery) -> Result<Verdict, String> {
        assert_eq!(config::get("labels.small").as_deref(), Some("S"));
        assert_eq!(config::get("labels").as_deref(), Some(r#"{"small":"S"}"#));
        assert_eq!(config::get("labels.large"), None);
        assert_eq!(config::get_or("missing", 5u32)?, 5);
        let wrong = config::get_or("labels.small", 5u32);
        assert!(wrong.is_err_and(|error| error.contains("config `labels.small` is `S`")));
        config::parse::<BTreeMap<String, u32>>().map(|_| Verdict::ack())
    }
    let report = Host::new().config(json!({"labels": {"small": "S"}})).run(reading, Delivery::sample("push", b"{}"));
    assert!(matches!(report.verdict, Verdict::Retry { reason, .. } if reason.contains("[config]")));
}

#[test]
fn the_contracts_bounds_hold_in_tests_too() {
    fn bounds(_: Delivery) -> Verdict {
        assert!(emit::bytes("Upper", "text/plain", b"").is_err());
        assert!(emit::bytes(".dot", "text/plain", b"").is_err());
        assert!(emit::bytes("big", "text/plain", &vec![0; 256 * 1024 + 1]).is_err());
        assert!(kv::set(&"k".repeat(513), b"").is_err());
        assert!(kv::set("k", &vec![0; 64 * 1024 + 1]).is_err());
        for _ in 0..64 {
            emit::bytes("ok", "text/plain", b"").unwrap();
        }
        assert!(emit::bytes("ok", "text/plain", b"").is_err());
        Verdict::ack()
    }
    assert_eq!(run(bounds, Delivery::sample("push", b"{}")).emits.len(), 64);
}

#[test]
fn a_document_of_another_shape_is_an_error_that_names_the_event() {
    let delivery = Delivery::sample("push", br#"{"ref":7}"#);
    let error = delivery.json::<crate::github::Push>().unwrap_err();
    assert!(error.to_string().starts_with("the `push` document"), "{error}");
}

#[expect(clippy::needless_pass_by_value, reason = "a handler takes its delivery: the contract hands it over")]
fn labelling(delivery: Delivery) -> Result<Verdict, Verdict> {
    let url = format!("https://api.github.com/repos/acme/shop/issues/1/labels?by={}", delivery.id());
    let answer = Request::post(url).credential("github").json(&json!({"labels": ["bug"]})).send()?.success()?;
    let labels: Vec<String> = answer.json()?;
    Ok(Verdict::skip(labels.join(",")))
}

#[test]
fn a_request_reaches_what_answers_in_the_test_and_is_kept_in_the_report() {
    let mut host = Host::new().answering(|request| {
        assert_eq!((request.method.as_str(), request.credential.as_deref()), ("POST", Some("github")));
        Ok(Response::new(200).with_json(&request.json()["labels"]))
    });
    let report = host.run(labelling, Delivery::sample("issues", b"{}"));
    assert_eq!(report.verdict, Verdict::skip("bug"));
    assert_eq!(report.requests.len(), 1);
    assert_eq!(report.requests[0].headers, [("content-type".to_owned(), "application/json".to_owned())]);
    let unanswered = run(labelling, Delivery::sample("issues", b"{}"));
    assert!(matches!(unanswered.verdict, Verdict::Retry { .. }), "{:?}", unanswered.verdict);
}

#[test]
fn a_rate_limit_becomes_a_retry_at_the_time_asked_for() {
    let mut host = Host::new().answering(|_| Ok(Response::new(429).with_header("retry-after", "7")));
    let report = host.run(labelling, Delivery::sample("issues", b"{}"));
    assert!(matches!(report.verdict, Verdict::Retry { after: Some(after), .. } if after.as_secs() == 7), "{:?}", report.verdict);
}

fn reading(_: Delivery) -> Result<Verdict, Verdict> {
    let answer = Request::get("https://api.github.com/repos/acme/old").credential("github").send()?.success()?;
    Ok(Verdict::skip(String::from_utf8_lossy(&answer.body).into_owned()))
}

#[test]
fn a_get_follows_a_renamed_repository_with_its_credential() {
    let mut host = Host::new().answering(|request| match request.url.as_str() {
        "https://api.github.com/repos/acme/old" => Ok(Response::new(301).with_header("location", "https://api.github.com/repositories/7")),
        "https://api.github.com/repositories/7" => Ok(Response::new(302).with_header("location", "/repos/acme/new")),
        url => {
            assert_eq!((url, request.credential.as_deref()), ("https://api.github.com/repos/acme/new", Some("github")));
            Ok(Response { body: b"found".to_vec(), ..Response::new(200) })
        }
    });
    let report = host.run(reading, Delivery::sample("issues", b"{}"));
    assert_eq!((report.verdict, report.requests.len()), (Verdict::skip("found"), 3));
}

#[test]
fn a_place_that_is_not_granted_or_never_ends_is_told_and_what_changes_something_is_not_sent_again() {
    let mut host = Host::new().answering(|request| {
        if request.url.ends_with("/old") {
            return Ok(Response::new(301).with_header("location", "https://api.github.com/repositories/7"));
        }
        Err(HttpError::Denied("no grant for the path".into()))
    });
    let report = host.run(reading, Delivery::sample("issues", b"{}"));
    let Verdict::Reject(why) = report.verdict else { panic!("{:?}", report.verdict) };
    assert!(
        ["moved to https://api.github.com/repositories/7", "not granted", "no grant for the path"].iter().all(|part| why.contains(part)),
        "{why}"
    );

    let mut circle = Host::new().answering(|request| Ok(Response::new(302).with_header("location", request.url.clone())));
    let report = circle.run(reading, Delivery::sample("issues", b"{}"));
    assert_eq!(report.requests.len(), 6);
    assert!(matches!(&report.verdict, Verdict::Reject(why) if why.contains("five times")), "{:?}", report.verdict);

    let mut renamed =
        Host::new().answering(|_| Ok(Response::new(307).with_header("location", "https://api.github.com/repositories/7/labels")));
    let report = renamed.run(labelling, Delivery::sample("issues", b"{}"));
    assert_eq!(report.requests.len(), 1, "a POST is not sent a second time");
    assert!(
        matches!(&report.verdict, Verdict::Reject(why) if why.contains("moved to https://api.github.com/repositories/7/labels")),
        "{:?}",
        report.verdict
    );
}

#[test]
fn the_hosts_own_headers_are_refused_in_tests_too() {
    fn forging(_: Delivery) -> Result<Verdict, Verdict> {
        Request::get("https://api.github.com/user").header("Authorization", "token x").send()?.success()?;
        Ok(Verdict::ack())
    }
    let report = Host::new().answering(|_| Ok(Response::new(200))).run(forging, Delivery::sample("push", b"{}"));
    assert!(matches!(&report.verdict, Verdict::Reject(why) if why.contains("Authorization")), "{:?}", report.verdict);
    assert!(report.requests.is_empty());
}

#[test]
fn a_secret_signs_and_verifies_and_an_unknown_one_is_denied() {
    #[expect(clippy::needless_pass_by_value, reason = "a handler takes its delivery: the contract hands it over")]
    fn signing(delivery: Delivery) -> Result<Verdict, Verdict> {
        let tag = secrets::hmac_sha256("partner", delivery.document())?;
        assert!(secrets::verify_hmac_sha256("partner", delivery.document(), &tag)?);
        assert!(!secrets::verify_hmac_sha256("partner", b"other", &tag)?);
        secrets::hmac_sha256("stranger", b"")?;
        Ok(Verdict::ack())
    }
    let report = Host::new().secret("partner", b"key").run(signing, Delivery::sample("push", b"{}"));
    assert!(matches!(&report.verdict, Verdict::Reject(why) if why.contains("stranger")), "{:?}", report.verdict);
}
