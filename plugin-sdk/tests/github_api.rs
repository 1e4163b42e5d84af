//! The calls of the GitHub client and the chat, against a stand-in: pages, absence, limits, and what is said once.

#![expect(clippy::needless_pass_by_value, reason = "a handler takes its delivery: the contract hands it over")]

use std::{cell::RefCell, rc::Rc, time::Duration};

use hookyard_sdk::{
    Delivery, Verdict,
    github::{API_URL, Marker, NewDeployment, Origin, PullRequestEvent, Repo},
    http::{HttpError, Response},
    notify,
    testing::Host,
};
use serde_json::{Value, json};

const ROOT: &str = "https://api.github.com/repos/acme/shop";

fn delivery() -> Delivery {
    let document = json!({
        "action": "opened", "number": 7, "repository": {"id": 1, "name": "shop", "full_name": "acme/shop"},
        "pull_request": {
            "id": 1, "number": 7, "title": "t", "state": "open",
            "head": {"ref": "a", "sha": "0", "repo": null}, "base": {"ref": "b", "sha": "0", "repo": null},
        },
    });
    Delivery::sample("pull_request", document.to_string().as_bytes())
}

fn repo(delivery: &Delivery) -> Result<Repo, Verdict> {
    Ok(Repo::new(API_URL, &delivery.json::<PullRequestEvent>()?.repository)?)
}

/// Counts the comments on an issue and says so.
fn counting(delivery: Delivery) -> Result<Verdict, Verdict> {
    let comments = repo(&delivery)?.comments_since(7, "2026-05-18T07:14:10Z")?;
    Ok(Verdict::skip(comments.len().to_string()))
}

#[test]
fn a_list_is_read_page_by_page_with_the_credential_and_no_more_than_ten_pages() {
    for (pages, expected) in [(1, "100"), (3, "300"), (50, "1000")] {
        let mut host = Host::new().answering(move |request| {
            assert_eq!((request.method.as_str(), request.credential.as_deref()), ("GET", Some("github")));
            let page = request.url.strip_prefix(&format!("{ROOT}/issues/7/comments?since=2026-05-18T07%3A14%3A10Z&per_page=100&page="));
            let page: u32 = page.expect("the query").parse().expect("a number");
            let comments: Vec<Value> = (0..100).map(|id| json!({"id": id})).collect();
            let answer = Response::new(200).with_json(&comments.into());
            let next = format!("<{ROOT}/issues/7/comments?page={}>; rel=\"next\"", page + 1);
            Ok(if page < pages { answer.with_header("link", next) } else { answer })
        });
        let report = host.run(counting, delivery());
        assert_eq!(report.verdict, Verdict::skip(expected));
        assert_eq!(report.logs.len(), usize::from(pages > 10), "a list that was cut is told of");
    }
}

#[test]
fn githubs_answers_become_verdicts() {
    let with = |answer: Response| Host::new().answering(move |_| Ok(answer.clone())).run(counting, delivery()).verdict;
    let after = |verdict: Verdict| if let Verdict::Retry { after, .. } = verdict { Some(after) } else { None };
    assert_eq!(after(with(Response::new(429).with_header("retry-after", "30"))), Some(Some(Duration::from_secs(30))));
    for status in [401, 403, 500, 502, 503] {
        assert_eq!(after(with(Response::new(status))), Some(None), "{status}");
    }
    for status in [404, 422] {
        assert!(matches!(with(Response::new(status)), Verdict::Reject(why) if why.contains(&status.to_string())), "{status}");
    }
    assert!(matches!(with(Response::new(200)), Verdict::Reject(_)), "no JSON");
}

#[test]
fn what_may_be_gone_is_no_error() {
    fn looking(delivery: Delivery) -> Result<Verdict, Verdict> {
        let repo = repo(&delivery)?;
        assert_eq!(repo.issue(1)?, None);
        assert_eq!(repo.pull_request(1)?, None);
        assert!(!repo.has_branch("feature/x")?);
        assert!(!repo.remove_label(1, "size/S")?);
        assert!(!repo.may_write("stranger")?);
        Ok(Verdict::ack())
    }
    let report = Host::new().answering(|_| Ok(Response::new(404))).run(looking, delivery());
    assert_eq!(report.verdict, Verdict::Ack);
    let paths: Vec<&str> = report.requests.iter().map(|request| request.url.strip_prefix(ROOT).expect("the repository")).collect();
    let expected = ["/issues/1", "/pulls/1", "/branches/feature%2Fx", "/issues/1/labels/size%2FS", "/collaborators/stranger/permission"];
    assert_eq!(paths, expected);
}

#[test]
fn a_deployment_is_known_by_its_origin_whether_github_gives_the_payload_back_as_object_or_text() {
    fn deploying(delivery: Delivery) -> Result<Verdict, Verdict> {
        let (repo, origin) = (repo(&delivery)?, Origin { hookyard: delivery.id() });
        if !repo.is_deployed(origin, "main", "production")? {
            let (environment, required_contexts) = ("production", &[][..]);
            let description = "a test".to_owned();
            repo.deploy(&NewDeployment {
                name: "main",
                environment,
                production_environment: true,
                description,
                auto_merge: false,
                required_contexts,
                payload: origin,
            })?;
        }
        Ok(Verdict::ack())
    }
    let id = delivery().id().to_owned();
    let as_text = Value::String(json!({"hookyard": id}).to_string());
    for (payload, posts) in
        [(json!({"hookyard": id}), 0), (as_text, 0), (json!({"hookyard": "another"}), 1), (json!(""), 1), (Value::Null, 1)]
    {
        let mut host = Host::new().answering({
            let payload = payload.clone();
            move |request| {
                let known = json!([{"id": 1, "payload": payload}]);
                let made = json!({"id": 2, "sha": "0", "ref": "main"});
                Ok(if request.method == "GET" { Response::new(200).with_json(&known) } else { Response::new(201).with_json(&made) })
            }
        });
        let report = host.run(deploying, delivery());
        assert_eq!(report.verdict, Verdict::Ack);
        assert_eq!(report.requests.iter().filter(|request| request.method == "POST").count(), posts, "{payload}");
    }
}

fn telling(delivery: Delivery) -> Result<Verdict, Verdict> {
    let said = notify::once("slack", "run:1", "It failed.")?;
    if delivery.attempt() == 9 { Err(Verdict::retry("not yet")) } else { Ok(Verdict::skip(said.to_string())) }
}

#[test]
fn a_notice_is_given_once_whatever_runs_again() {
    let answers = Rc::new(RefCell::new(vec![200, 500]));
    let mut host = Host::new().answering({
        let answers = Rc::clone(&answers);
        move |request| {
            assert_eq!((request.url.as_str(), request.credential.as_deref()), ("", Some("slack")));
            assert_eq!(request.json(), json!({"text": "It failed."}));
            Ok(Response::new(answers.borrow_mut().pop().expect("no third post")))
        }
    });
    assert!(matches!(host.run(telling, delivery()).verdict, Verdict::Retry { .. }), "the chat was out");
    assert!(matches!(host.run(telling, delivery().at_attempt(9)).verdict, Verdict::Retry { .. }), "told, and then something else failed");
    assert_eq!(host.run(telling, delivery()).verdict, Verdict::skip("true"), "the step is done, and this run commits it");
    assert_eq!(host.run(telling, delivery()).verdict, Verdict::skip("false"), "told before, by whichever delivery");
    assert!(answers.borrow().is_empty());
}

#[test]
fn a_name_that_climbs_is_refused_before_anything_is_sent() {
    fn climbing(delivery: Delivery) -> Result<Verdict, Verdict> {
        repo(&delivery)?.remove_label(1, "..")?;
        Ok(Verdict::ack())
    }
    let report = Host::new().answering(|_| Err(HttpError::Timeout)).run(climbing, delivery());
    assert!(matches!(report.verdict, Verdict::Reject(_)));
    assert!(report.requests.is_empty());
    assert!(Marker::is_any_in(&Marker::new("a", "b").on("text")));
}
