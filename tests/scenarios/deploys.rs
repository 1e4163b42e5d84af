//! A deploy is a transaction: examined before it serves, watched afterwards, undone where it does worse. Nothing is lost on the way.

use hookyard::{
    delivery::{
        LegState, TenantId,
        report::StepResult,
        view::{DeliveryView, PluginView},
    },
    ledger::{DeadLetterFilter, KvValue},
    observe::Scrape,
};
use system_tests::{
    guests,
    host::{Builder, TestHost},
};

/// One attempt, so that a failure is a dead letter at once.
const ONE_ATTEMPT: &str = "sources = [\"github\"]\nevents = [\"*\"]\n[retry]\nattempts_max = 1\n";

fn with(guest: &str) -> Builder {
    TestHost::builder().plugin_of("default", "p", guests::component(guest), ONE_ATTEMPT)
}

fn deploy(host: &TestHost, guest: &str, manifest: &str) {
    host.folder().deploy("default", "p", &guests::component(guest), manifest);
}

async fn plugin(host: &TestHost, wanted: impl Fn(&PluginView) -> bool) -> PluginView {
    host.plugin("default", "p", wanted).await
}

/// The plugin with everything that is shown of one.
async fn shown(host: &TestHost) -> PluginView {
    let name = "p".parse().expect("a name");
    let view = host.inner().catalog().view(&TenantId::default_tenant(), &name).await.expect("a readable ledger");
    view.expect("the plugin is known")
}

async fn handled(host: &TestHost, document: &str) -> DeliveryView {
    let view = host.settled(host.sender().post("push", document.to_owned()).await.accepted()).await;
    assert_eq!(view.legs[0].state, LegState::Acked, "{view:?}");
    view
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_does_worse_is_taken_back_and_what_it_failed_on_is_handled_by_the_version_before() {
    let host = with("ack").start().await;
    let good = plugin(&host, |plugin| plugin.status == "active").await.digest;
    handled(&host, r#"{"n":1}"#).await;
    deploy(&host, "poison", ONE_ATTEMPT);
    let bad = plugin(&host, |plugin| plugin.digest != good).await.digest;
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(host.sender().post("push", format!("{{\"poison\":{n}}}")).await.accepted());
    }
    let back = plugin(&host, |plugin| plugin.digest == good).await;
    let refusal = back.refusal.expect("the reason is stated");
    assert_eq!((refusal.code.as_str(), refusal.digest), ("rolled_back", bad));
    assert!(refusal.reason.contains("the version before did better"), "{}", refusal.reason);

    for id in ids {
        host.until("the settlement by the version before", || async {
            let leg = host.leg(id, "p").await;
            (leg.state == LegState::Acked && leg.digest == good).then_some(())
        })
        .await;
    }
    let dead = host.inner().ledger().dead_letters(DeadLetterFilter::default(), None, 100).await.unwrap();
    assert!(dead.items.is_empty(), "{dead:?}");
    let metrics = host.inner().observer().encode(&Scrape::default());
    assert!(metrics.contains("hookyard_plugin_swaps_total{result=\"rolled_back\"} 1"), "{metrics}");
    assert!(shown(&host).await.versions.iter().any(|version| version.held.is_some()));
}

/// Whoever can write an issue's title must be able neither to force a weaker version back nor to stop a queue.
#[tokio::test(flavor = "multi_thread")]
async fn poison_that_no_version_digests_neither_takes_a_deploy_back_nor_parks_the_queue() {
    let host = with("poison").start().await;
    let first = plugin(&host, |plugin| plugin.status == "active").await.digest;
    deploy(&host, "poison", &format!("{ONE_ATTEMPT}# the second\n"));
    let second = plugin(&host, |plugin| plugin.digest != first).await.digest;
    handled(&host, r#"{"n":1}"#).await;
    for n in 0..45 {
        host.sender().post("issues", format!("{{\"poison\":{n}}}")).await.accepted();
    }
    host.drained().await;
    // A trial states no fact that could be awaited; each delivery that is handled meanwhile is a reason to look again.
    let mut watch = shown(&host).await.watch.unwrap();
    for n in 100..10_000 {
        if watch.tried >= 20 {
            break;
        }
        handled(&host, &format!("{{\"n\":{n}}}")).await;
        watch = shown(&host).await.watch.unwrap();
    }
    // Two trials may be under way when the bound is met.
    assert!((20..=21).contains(&watch.tried) && watch.better_before == 0, "{watch:?}");
    handled(&host, r#"{"n":2}"#).await;
    let after = shown(&host).await;
    assert_eq!((after.digest, after.status.as_str(), after.refusal.is_none()), (second, "active", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_only_faults_is_parked_and_a_new_version_opens_its_queue_again() {
    let host = with("trap").hookyard_toml("[plugins]\nbreaker_faults_min = 3\nbreaker_parked_ms = 3600000\n").start().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        host.sender().post("push", format!("{{\"n\":{n}}}")).await.accepted();
    }
    let broken = plugin(&host, |plugin| plugin.status == "broken").await;
    assert!(broken.breaker.is_some_and(|breaker| breaker.state == "open" && breaker.faults == 3 && breaker.until.is_some()));
    for n in 10..15 {
        ids.push(host.sender().post("push", format!("{{\"n\":{n}}}")).await.accepted());
    }
    for &id in &ids {
        assert_eq!(host.leg(id, "p").await.state, LegState::Parked, "what comes meanwhile is taken and waits");
    }
    deploy(&host, "ack", ONE_ATTEMPT);
    for id in ids {
        assert_eq!(host.settled(id).await.legs[0].state, LegState::Acked);
    }
    assert_eq!(shown(&host).await.status, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_queue_is_tried_again_one_run_at_a_time_and_opens_where_that_goes_well() {
    let host = with("poison").hookyard_toml("[plugins]\nbreaker_faults_min = 3\nbreaker_parked_ms = 200\n").start().await;
    let mut facts = host.inner().observer().subscribe();
    for n in 0..3 {
        host.sender().post("push", format!("{{\"poison\":{n}}}")).await.accepted();
    }
    let mut states = Vec::new();
    while states.len() < 2 {
        let fact = facts.recv().await.unwrap();
        if fact.kind == "plugin_breaker" {
            states.push(fact.fields["state"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(states, ["open", "half_open"]);
    handled(&host, r#"{"n":1}"#).await;
    plugin(&host, |plugin| plugin.status == "active").await;
    handled(&host, r#"{"n":2}"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_a_broken_plugin_lets_it_run_at_once() {
    let host = with("trap").hookyard_toml("[plugins]\nbreaker_faults_min = 1\nbreaker_parked_ms = 3600000\n").start().await;
    host.sender().post("push", r#"{"n":1}"#).await.accepted();
    plugin(&host, |plugin| plugin.status == "broken").await;
    let waits = host.sender().post("push", r#"{"n":2}"#).await.accepted();
    let (tenant, name) = ("default".parse().unwrap(), "p".parse().unwrap());
    assert!(host.inner().catalog().pause(&tenant, &name, false).await.unwrap());
    assert_eq!(host.settled(waits).await.legs[0].state, LegState::Dead, "it has had its run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_on_what_the_one_that_serves_handles_is_not_even_swapped_in() {
    let host = with("ack").start().await;
    let good = plugin(&host, |plugin| plugin.status == "active").await.digest;
    let sample = handled(&host, r#"{"n":1}"#).await.delivery_id;
    deploy(&host, "trap", ONE_ATTEMPT);
    plugin(&host, |plugin| plugin.refusal.as_ref().is_some_and(|refusal| refusal.code == "sample_failed")).await;
    let view = shown(&host).await;
    assert_eq!(view.digest, good);
    let refusal = view.refusal.unwrap();
    assert!(refusal.reason.contains(&sample.to_string()) && refusal.reason.contains("ends in ack"), "{}", refusal.reason);
    let last = refusal.report.unwrap().steps.pop().unwrap();
    assert_eq!((last.step.as_str(), last.result), ("sample", StepResult::Refused));
    let serving = view.report.unwrap().steps;
    let steps: Vec<_> = serving.iter().map(|step| (step.step.as_str(), step.result)).collect();
    let ok = StepResult::Ok;
    assert_eq!(
        steps,
        [("manifest", ok), ("grants", ok), ("component", ok), ("compile", ok), ("config", StepResult::Skipped), ("sample", ok)]
    );
}

/// A first version that fails on the sample is taken: a failed delivery is kept and can be replayed, one nobody subscribed to cannot.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_version_that_fails_on_the_sample_serves_and_says_so() {
    let host = with("trap").start().await;
    let view = shown(&host).await;
    let sample = view.report.unwrap().steps.pop().unwrap();
    assert_eq!((view.status.as_str(), sample.step.as_str(), sample.result), ("active", "sample", StepResult::Noted));
    assert!(sample.detail.contains("trapped"), "{}", sample.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_asked_about_its_configuration_before_it_serves_and_that_has_no_effect() {
    let host = TestHost::builder().start().await;
    let mode = |mode: &str| format!("{ONE_ATTEMPT}[config]\nmode = \"{mode}\"\n");
    for (bad, words) in [("bad", "none of those it knows"), ("trap", "trapped"), ("loop", "out_of_fuel")] {
        deploy(&host, "validate", &mode(bad));
        let refused = plugin(&host, |plugin| {
            plugin.refusal.as_ref().is_some_and(|refusal| refusal.code == "config_invalid" && refusal.reason.contains(words))
        });
        assert_eq!(refused.await.digest, None);
    }
    deploy(&host, "validate", &mode("ok"));
    plugin(&host, |plugin| plugin.status == "active").await;
    handled(&host, "{}").await;
    let (tenant, name) = ("default".parse().unwrap(), "p".parse().unwrap());
    let written: Option<KvValue> = host.inner().ledger().kv_get(&tenant, &name, "mode").unwrap();
    assert_eq!(written, None, "the question wrote a value, and it must lead nowhere");
}

/// What a plugin does in its trial run stays there.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_run_emits_nothing() {
    let host = with("ack").start().await;
    handled(&host, r#"{"n":1}"#).await;
    deploy(&host, "publish-document", ONE_ATTEMPT);
    plugin(&host, |plugin| plugin.report.is_none() && plugin.watch.is_some()).await;
    assert!(host.emits().await.is_empty());
    handled(&host, r#"{"n":2}"#).await;
    assert_eq!(host.emits().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_asks_for_more_waits_for_the_operator_while_the_old_one_serves() {
    let grant = "[[grants.http]]\nhost = \"api.github.com\"\nmethods = [\"GET\"]\n";
    let host = with("ack").hookyard_toml("[plugins]\napprove_new_grants = true\n").start().await;
    let old = plugin(&host, |plugin| plugin.status == "active").await.digest;
    deploy(&host, "ack", &format!("{ONE_ATTEMPT}{grant}"));
    let waits = plugin(&host, |plugin| plugin.refusal.as_ref().is_some_and(|refusal| refusal.code == "approval_needed")).await;
    let first = waits.refusal.unwrap();
    assert_eq!(waits.digest, old);
    assert!(first.reason.contains("http GET api.github.com") && first.reason.contains("plugins approve"), "{}", first.reason);
    handled(&host, r#"{"n":1}"#).await;

    // What is approved is what was shown: other files wait anew.
    let (tenant, name) = (TenantId::default_tenant(), "p".parse().unwrap());
    deploy(&host, "ack", &format!("{ONE_ATTEMPT}{grant}# changed\n"));
    let changed = plugin(&host, |plugin| plugin.refusal.as_ref().is_some_and(|refusal| refusal.digest != first.digest)).await;
    host.inner().catalog().approve(&tenant, &name).await.unwrap();
    let view = shown(&host).await;
    assert_eq!((&view.digest, view.refusal.is_none()), (&changed.refusal.unwrap().digest, true));
    assert_eq!(view.report.unwrap().asks_more, ["http GET api.github.com"]);
    assert!(host.inner().catalog().approve(&tenant, &name).await.is_err(), "nothing waits any more");

    // The same again asks for nothing new.
    deploy(&host, "ack", &format!("{ONE_ATTEMPT}{grant}# changed again\n"));
    plugin(&host, |plugin| plugin.digest != view.digest).await;
}

/// What nobody works on piles up; it must be the tenant's own room that it fills.
#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_of_a_paused_plugin_fills_its_own_tenants_room_and_its_age_is_told() {
    let host = TestHost::builder()
        .plugin_of("red", "p", guests::component("ack"), ONE_ATTEMPT)
        .plugin_of("default", "p", guests::component("ack"), ONE_ATTEMPT)
        .tenant_toml("[limits]\nwaiting_bytes_max = 1048576\n")
        .start()
        .await;
    let (red, name): (TenantId, _) = ("red".parse().unwrap(), "p".parse().unwrap());
    assert!(host.inner().catalog().pause(&red, &name, true).await.unwrap());
    let large = |n: u32| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(300_000));
    let mut parked = Vec::new();
    for n in 0..3 {
        parked.push(host.sender_to("red").post("push", large(n)).await.accepted());
    }
    host.sender_to("red").post("push", large(3)).await.refused(503, "tenant_quota_exceeded");
    handled(&host, &large(4)).await;
    let oldest = host.inner().ledger().oldest_parked().await.unwrap();
    let received = host.delivery(parked[0]).await.received_at;
    assert_eq!(oldest, [(red.clone(), name.clone(), received)]);

    assert!(host.inner().catalog().pause(&red, &name, false).await.unwrap());
    for id in parked {
        assert_eq!(host.settled(id).await.legs[0].state, LegState::Acked);
    }
    host.sender_to("red").post("push", large(3)).await.accepted();
    host.drained().await;
    assert!(host.inner().ledger().oldest_parked().await.unwrap().is_empty());
}
