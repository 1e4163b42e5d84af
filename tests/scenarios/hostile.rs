//! Guests that misbehave: each is stopped, named by its own slug, and nobody else notices.

use hookyard::delivery::LegState;
use system_tests::{guests, host::TestHost};

const ONE_ATTEMPT: &str = r#"
sources = ["github"]
events = ["*"]
[limits]
fuel = 10_000_000
memory_bytes_max = 16_777_216
wall_ms = 500
[retry]
attempts_max = 1
"#;

async fn ends_as(guest: &str, outcome: &str) {
    ends_as_under(guest, outcome, ONE_ATTEMPT).await;
}

async fn ends_as_under(guest: &str, outcome: &str, manifest: &str) {
    let host = TestHost::builder()
        .plugin_of("default", "hostile", guests::component(guest), manifest)
        .plugin("neighbour", guests::component("ack"))
        .start()
        .await;
    let id = host.sender().post("push", "{}").await.accepted();
    // While the hostile guest runs, the door answers and the neighbour's legs are handled.
    for n in 0..10 {
        let other = host.sender().post("star", format!("{{\"n\":{n}}}")).await.accepted();
        host.until("the neighbour's turn", || async { (host.leg(other, "neighbour").await.state == LegState::Acked).then_some(()) }).await;
    }
    host.drained().await;
    let leg = host.leg(id, "hostile").await;
    assert_eq!((leg.state, leg.outcome.as_deref()), (LegState::Dead, Some(outcome)), "{leg:?}");
    assert!(leg.reason.is_some_and(|reason| !reason.is_empty()), "the author is told why");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_runs_out_of_fuel() {
    ends_as("loop", "out_of_fuel").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_with_fuel_to_burn_passes_its_deadline() {
    let manifest = ONE_ATTEMPT.replace("fuel = 10_000_000", "fuel = 90_000_000_000").replace("wall_ms = 500", "wall_ms = 100");
    ends_as_under("loop", "deadline_exceeded", &manifest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_bomb_runs_out_of_memory() {
    ends_as("memory-bomb", "out_of_memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_a_trap() {
    ends_as("trap", "trapped").await;
}

/// Every other way to misbehave, each beside a neighbour whose legs are handled meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn each_hostile_guest_dies_by_its_own_name_beside_a_neighbour() {
    for (guest, outcome) in [
        ("burn-then-trap", "trapped"),
        ("stack-overflow", "trapped"),
        ("exit", "trapped"),
        ("memory-bombs", "out_of_memory"),
        ("table-bomb", "out_of_memory"),
        ("huge-string", "abi_limit"),
        ("bad-text", "abi_limit"),
        ("invalid-discriminant", "abi_limit"),
        ("log-flood", "abi_limit"),
        ("call-flood", "abi_limit"),
        ("bulk-fill", "out_of_fuel"),
        // It needs 32 MiB to make the string, and has 16 here.
        ("fat-string", "out_of_memory"),
        ("start-loop", "out_of_fuel"),
        ("start-grow", "out_of_memory"),
        ("start-trap", "trapped"),
    ] {
        ends_as(guest, outcome).await;
    }
}
