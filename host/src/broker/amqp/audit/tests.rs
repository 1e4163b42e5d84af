//! What the audit finds in a vhost as we make it, and in one where others had a hand.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{super::Names, *};
use crate::{clock::Clock, tasks::Tasks};

const QUEUE: &str = "hookyard.leg.default.triage";

fn plan() -> Plan {
    let names = Names::new("hookyard").unwrap();
    Plan::once(&names).and(Plan::of_plugin(&names, QUEUE, (1000, 1 << 20)))
}

/// What the management API would say of a vhost that was laid by the plan, changed before it is read.
fn there(plan: &Plan, change: impl FnOnce(&mut Value)) -> There {
    let arguments =
        |arguments: &Arguments| -> Value { arguments.iter().map(|(name, argument)| ((*name).to_owned(), value(argument))).collect() };
    let exchange = |planned: &ExchangePlan| json!({ "name": planned.name, "type": word(&planned.kind), "durable": true, "arguments": arguments(&planned.arguments) });
    let queue = |planned: &QueuePlan| json!({ "name": planned.name, "durable": true, "arguments": arguments(&planned.arguments) });
    let binding = |planned: &BindingPlan| json!({ "source": planned.exchange, "destination": planned.queue, "routing_key": planned.key });
    let mut all = json!({
        "exchanges": plan.exchanges.iter().map(exchange).collect::<Vec<_>>(),
        "queues": plan.queues.iter().map(queue).collect::<Vec<_>>(),
        "bindings": plan.bindings.iter().map(binding).collect::<Vec<_>>(),
        "policies": [],
        "operator_policies": [],
    });
    change(&mut all);
    let mut take = |what: &str| all[what].take();
    There {
        exchanges: serde_json::from_value(take("exchanges")).unwrap(),
        queues: serde_json::from_value(take("queues")).unwrap(),
        bindings: serde_json::from_value(take("bindings")).unwrap(),
        policies: serde_json::from_value(take("policies")).unwrap(),
        operator_policies: serde_json::from_value(take("operator_policies")).unwrap(),
    }
}

fn named<'a>(all: &'a mut Value, what: &str, name: &str) -> &'a mut Value {
    all[what].as_array_mut().unwrap().iter_mut().find(|item| item["name"] == name).unwrap()
}

fn only(findings: BTreeSet<Finding>) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.into_iter().next().unwrap()
}

#[test]
fn a_vhost_as_we_make_it_has_nothing_to_tell() {
    assert_eq!(compare(&plan(), &there(&plan(), |_| {}), true), BTreeSet::new());
}

fn policy(name: &str, pattern: &str, priority: i64, definition: &Value) -> Value {
    json!({ "name": name, "pattern": pattern, "apply-to": "queues", "priority": priority, "definition": definition })
}

#[test]
fn a_policy_that_drops_is_told_with_its_name_and_what_it_does() {
    for (definition, words) in
        [(json!({ "overflow": "drop-head" }), "drops the oldest"), (json!({ "expires": 60_000 }), "is deleted, with what is in it")]
    {
        let there = there(&plan(), |all| {
            named(all, "queues", QUEUE)["policy"] = json!("tidy-up");
            all["policies"] = json!([policy("tidy-up", "", 0, &definition), policy("another", ".*", 9, &json!({ "message-ttl": 1 }))]);
        });
        let finding = only(compare(&plan(), &there, false));
        assert_eq!(finding.drops.as_deref(), Some(QUEUE));
        assert!(finding.words.contains("the policy `tidy-up`") && finding.words.contains(words), "{}", finding.words);
    }
}

#[test]
fn of_the_operator_policies_that_match_the_one_with_the_highest_priority_holds() {
    let expires = json!({ "expires": 60_000 });
    let found = |policies: Value| compare(&plan(), &there(&plan(), |all| all["operator_policies"] = policies), false);
    let finding = only(found(json!([policy("all", "^hookyard[.]leg", 1, &json!({})), policy("ours", "triage$", 5, &expires)])));
    assert!(finding.words.contains("the operator policy `ours`"), "{}", finding.words);
    assert!(found(json!([policy("all", "^hookyard[.]leg", 9, &json!({})), policy("ours", "triage$", 5, &expires)])).is_empty());
    assert!(found(json!([policy("others", "^somebody", 5, &expires)])).is_empty());
    let unreadable = found(json!([policy("odd", "(?<=leg)[.]", 5, &expires)]));
    assert_eq!(unreadable.len(), plan().queues.len(), "what only RabbitMQ can read may be meant for any");
}

#[test]
fn a_limit_drops_from_a_queue_without_one_and_only_refuses_earlier_where_there_is_one() {
    for (queue, drops) in [("hookyard.due", true), (QUEUE, false), ("hookyard.retry.1s", false)] {
        let limit = policy("limit", &format!("^{queue}$"), 0, &json!({ "max-length": 5 }));
        let there = there(&plan(), |all| all["operator_policies"] = json!([limit]));
        assert_eq!(only(compare(&plan(), &there, false)).drops.is_some(), drops, "{queue}");
    }
}

#[test]
fn a_policy_that_changes_nothing_here_is_not_told() {
    let harmless = json!({ "overflow": "reject-publish", "ha-mode": "all", "dead-letter-exchange": "elsewhere", "queue-version": 2 });
    let there = there(&plan(), |all| all["operator_policies"] = json!([policy("harmless", "^hookyard[.]leg", 0, &harmless)]));
    assert_eq!(compare(&plan(), &there, false), BTreeSet::new());
}

#[test]
fn arguments_kinds_and_bindings_that_differ_are_told_with_what_must_be() {
    let there = there(&plan(), |all| {
        named(all, "queues", QUEUE)["arguments"]["x-max-length"] = json!(7);
        named(all, "queues", QUEUE)["arguments"]["x-expires"] = json!(7);
        named(all, "exchanges", "hookyard.legs")["arguments"] = json!({});
        named(all, "exchanges", "hookyard.retry")["type"] = json!("topic");
        all["bindings"].as_array_mut().unwrap().retain(|binding| binding["destination"] != "hookyard.dead");
        all["queues"].as_array_mut().unwrap().retain(|queue| queue["name"] != "hookyard.due");
    });
    let words: Vec<String> = compare(&plan(), &there, true).into_iter().map(|finding| finding.words).collect();
    for expected in [
        "`hookyard.leg.default.triage` has `x-max-length` = 7, and must have 1000",
        "`x-expires` = 7, and must have nothing",
        "`hookyard.legs` has `alternate-exchange` = nothing, and must have \"hookyard.unrouted\"",
        "`hookyard.retry` is topic and durable, and must be direct",
        "`hookyard.dead` is not bound to the exchange `hookyard.dead`",
        "`hookyard.due` is not there",
    ] {
        assert!(words.iter().any(|words| words.contains(expected)), "{expected}: {words:#?}");
    }
    assert_eq!(words.len(), 6, "{words:#?}");
}

/// A look may come between the declaration of a queue and its binding.
#[test]
fn what_drops_is_told_at_once_and_anything_else_when_it_is_found_twice() {
    let drops = Finding { drops: Some(QUEUE.to_owned()), words: "drops".to_owned() };
    let unbound = Finding::plain("is not bound".to_owned());
    let found = BTreeSet::from([drops.clone(), unbound.clone()]);
    assert_eq!(certain(&found, &BTreeSet::new()), BTreeSet::from([drops]));
    assert_eq!(certain(&found, &found), found);
    assert_eq!(certain(&BTreeSet::new(), &found), BTreeSet::new(), "what is mended is not told any more");
}

#[test]
fn a_queue_that_drops_by_its_own_arguments_is_one_that_drops() {
    for (queue, argument, value, drops) in [
        (QUEUE, "x-overflow", Some(json!("drop-head")), true),
        (QUEUE, "x-overflow", None, true),
        (QUEUE, "x-expires", Some(json!(60_000)), true),
        (QUEUE, "x-max-length", Some(json!(7)), false),
        (QUEUE, "x-max-length", None, false),
        ("hookyard.due", "x-max-length", Some(json!(7)), true),
        ("hookyard.retry.1s", "x-overflow", Some(json!("drop-head")), true),
    ] {
        let there = there(&plan(), |all| {
            let arguments = named(all, "queues", queue)["arguments"].as_object_mut().unwrap();
            match &value {
                Some(value) => _ = arguments.insert(argument.to_owned(), value.clone()),
                None => _ = arguments.remove(argument),
            }
        });
        let finding = only(compare(&plan(), &there, false));
        assert_eq!(finding.drops.as_deref(), drops.then_some(queue), "{argument} = {value:?}: {}", finding.words);
    }
}

#[test]
fn a_url_is_read_with_its_credentials_and_shown_without() {
    let management = Management::parse("http://adm:s%40cret@rabbit.example:15672/mq", None).unwrap();
    assert_eq!(format!("{management:?}"), "the management API at http://rabbit.example:15672/mq");
    for bad in ["", "rabbit:15672", "ftp://a:b@c", "http://nobody.example:1", "http://a:%zz@b", "http://a:b@c/?columns=x"] {
        let expected = Management::parse(bad, None).unwrap_err();
        assert!(expected.contains("http://user:password@host:15672") && !expected.contains("nobody"), "{expected}");
    }
}

/// Answers each connection with the same bytes, and ends it.
async fn answering(answer: Vec<u8>) -> (Management, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    tasks.spawn_brief(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    });
    (Management::parse(&format!("http://adm:hunter2@{address}"), None).unwrap(), tasks)
}

fn page(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn whatever_answers_instead_of_the_api_means_that_nothing_is_known() {
    let long = format!("HTTP/1.1 200 OK\r\n\r\n[{}", " ".repeat(33 << 20)).into_bytes();
    for (answer, expected) in [
        (page("200 OK", "{}"), "no list of exchanges"),
        (page("200 OK", "[{\"name\": 1}]"), "no list of exchanges"),
        (page("200 OK", &"[".repeat(100_000)), "no list of exchanges"),
        (page("401 Unauthorized", "{}"), "right password"),
        (page("500 Internal Server Error", ""), "500"),
        (b"SSH-2.0-nothing\r\n".to_vec(), "the management API at"),
        (Vec::new(), "the management API at"),
        (long, "length limit"),
    ] {
        let (management, _tasks) = answering(answer).await;
        let why = management.look("/").await.unwrap_err();
        assert!(why.contains(expected) && !why.contains("hunter2"), "{why}");
    }
    let (management, _tasks) = answering(page("200 OK", "[]")).await;
    let there = management.look("a/b").await.unwrap();
    assert!(!compare(&plan(), &there, true).is_empty() && compare(&plan(), &there, false).is_empty());
}

#[tokio::test]
async fn an_api_that_takes_its_time_is_given_ten_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let management = Management::parse(&format!("http://adm:hunter2@{}", listener.local_addr().unwrap()), None).unwrap();
    let clock = Clock::system();
    let began = clock.instant();
    let why = management.look("/").await.unwrap_err();
    assert!(why.contains("no answer within 10s") && clock.instant() - began < Duration::from_secs(20), "{why}");
}
