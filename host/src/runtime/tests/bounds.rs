//! Runs against their bounds.

use super::*;
use crate::delivery::FaultKind;

fn fault(report: &RunReport) -> (FaultKind, &str) {
    match &report.outcome {
        Outcome::Fault(fault) => (fault.kind, &fault.detail),
        Outcome::Verdict(verdict) => panic!("a verdict: {verdict:?}"),
    }
}

fn generous() -> Budget {
    Budget { fuel: u64::MAX / 2, wall: Duration::from_millis(200), ..budget() }
}

#[tokio::test]
async fn the_three_bounds_are_proven() {
    runtime().prove_bounds().await.unwrap();
}

#[tokio::test]
async fn an_endless_loop_ends_by_its_deadline_while_a_neighbour_on_the_same_thread_finishes() {
    let (endless, neighbour) = (admit("loop").await, admit("ack").await);
    let began = Clock::system().instant();
    let endless_run = Run { budget: generous(), ..run() };
    let runtime = runtime();
    let neighbours = async {
        for _ in 0..20 {
            assert_eq!(runtime.invoke(&neighbour, run()).await.outcome, Outcome::Verdict(Verdict::Ack));
        }
        Clock::system().instant() - began
    };
    let (report, neighbours_took) = tokio::join!(runtime.invoke(&endless, endless_run), neighbours);
    assert_eq!(fault(&report).0, FaultKind::DeadlineExceeded);
    assert!(report.duration <= 2 * generous().wall, "{:?}", report.duration);
    assert!(neighbours_took < report.duration, "twenty short runs took {neighbours_took:?} beside it");
}

#[tokio::test]
async fn a_start_function_is_under_the_same_deadline() {
    let report = play("start-loop", Run { budget: generous(), ..run() }).await;
    assert_eq!(fault(&report).0, FaultKind::DeadlineExceeded);
    assert!(report.duration <= 2 * generous().wall, "{:?}", report.duration);
}

#[tokio::test]
async fn a_trap_costs_the_whole_budget_and_a_verdict_what_it_used() {
    let trapped = play("burn-then-trap", run()).await;
    assert_eq!((fault(&trapped).0, trapped.fuel), (FaultKind::Trapped, trapped.fuel_max));
    let acked = play("ack", run()).await;
    assert!(acked.fuel > 0 && acked.fuel < 1_000, "{}", acked.fuel);
}

#[tokio::test]
async fn a_trap_is_told_with_the_functions_it_happened_in() {
    let report = play("burn-then-trap", run()).await;
    let (_, detail) = fault(&report);
    assert!(detail.contains("unreachable") && detail.ends_with(", in burn"), "{detail}");
    assert!(fault(&play("trap", run()).await).1.ends_with("executed"), "a number is no name");
    assert_eq!(fault(&play("exit", run()).await).1.split(':').next(), Some("called exit(0)"));
}

#[tokio::test]
async fn the_budget_grows_with_the_document() {
    let small = play("ack", run()).await;
    let large = play("ack", Run { delivery: Arc::new(delivery(&[b' '; 1_000])), ..run() }).await;
    assert_eq!(large.fuel_max - small.fuel_max, 998 * budget().fuel_per_body_byte);
    assert_eq!(large.memory_bytes_max - small.memory_bytes_max, 998 * budget().memory_per_body_byte);
}

#[tokio::test]
async fn two_memories_share_one_limit_and_the_refusal_is_told() {
    for name in ["memory-bomb", "memory-bombs", "table-bomb", "start-grow"] {
        let report = play(name, run()).await;
        let (kind, detail) = fault(&report);
        assert_eq!(kind, FaultKind::OutOfMemory, "{name}");
        assert!(detail.contains("would grow"), "{name}: {detail}");
        assert!(report.memory_peak_bytes <= report.memory_bytes_max, "{name}");
    }
}

#[tokio::test]
async fn a_memory_too_large_to_begin_with_is_out_of_memory() {
    let report = play("ack", Run { budget: Budget { memory_bytes_max: 65_535, memory_per_body_byte: 0, ..budget() }, ..run() }).await;
    assert_eq!(fault(&report).0, FaultKind::OutOfMemory);
    let exact = play("ack", Run { budget: Budget { memory_bytes_max: 65_536, memory_per_body_byte: 0, ..budget() }, ..run() }).await;
    assert_eq!((exact.outcome.slug(), exact.memory_peak_bytes), ("ack", 65_536));
}

#[tokio::test]
async fn a_string_of_32_mib_is_stopped_by_what_may_cross_the_boundary() {
    let budget = Budget { memory_bytes_max: 64 * MIB, ..budget() };
    let report = play("fat-string", Run { budget, ..run() }).await;
    let (kind, detail) = fault(&report);
    assert_eq!(kind, FaultKind::AbiLimit);
    assert!(detail.contains("too much data"), "{detail}");
    // With a document of the same size the same string is within four times the body.
    let delivery = Arc::new(delivery(&vec![b' '; 9 * 1024 * 1024]));
    let budget = Budget { memory_bytes_max: 128 * MIB, ..budget };
    let report = play("fat-string", Run { delivery, budget, ..run() }).await;
    assert_eq!(report.outcome.slug(), "skip", "{:?}", report.outcome);
}

#[tokio::test]
async fn what_a_guest_says_before_it_traps_is_the_reason_of_the_fault() {
    let report = play("last-words", run()).await;
    let (kind, detail) = fault(&report);
    assert_eq!(kind.slug(), "trapped");
    assert!(
        detail.starts_with("panicked at src/lib.rs:7:5: no such label (wasm trap: wasm `unreachable` instruction executed)"),
        "{detail}"
    );
}

#[tokio::test]
async fn host_calls_and_log_lines_are_counted_and_cut() {
    let calls = play("call-flood", run()).await;
    assert!(fault(&calls).1.contains("more than 1000 host calls"), "{}", fault(&calls).1);
    assert_eq!(calls.host_calls.len(), 201);
    assert_eq!(calls.host_calls[200].input, "800 calls cut");
    let lines = play("log-flood", run()).await;
    assert!(fault(&lines).1.contains("more than 10000 log calls"), "{}", fault(&lines).1);
    let some = play("log-some", run()).await;
    assert_eq!(some.logs.len(), 201);
    assert!(some.logs[200].message.starts_with("… 100 lines cut"), "{}", some.logs[200].message);
}

#[tokio::test]
async fn no_more_runs_at_once_than_there_are_places_and_those_that_wait_are_not_failed() {
    let runtime = Runtime::new(Settings { concurrency_max: 2, ..settings() }).unwrap();
    let component = runtime.admit(guests::component("loop").into(), &[]).await.unwrap();
    let brief = Budget { fuel: 50_000_000, wall: Duration::from_secs(20), ..budget() };
    let runs = (0..8).map(|_| {
        let (runtime, component) = (runtime.clone(), component.clone());
        async move { runtime.invoke(&component, Run { budget: brief, ..run() }).await.outcome.slug() }
    });
    let mut all: Vec<std::pin::Pin<Box<dyn Future<Output = &'static str>>>> = runs.map(|run| Box::pin(run) as _).collect();
    let slugs = std::future::poll_fn(|context| {
        let mut slugs = Vec::new();
        all.retain_mut(|run| match run.as_mut().poll(context) {
            std::task::Poll::Ready(slug) => {
                slugs.push(slug);
                false
            }
            std::task::Poll::Pending => true,
        });
        assert!(slugs.iter().all(|slug| *slug == "out_of_fuel"), "{slugs:?}");
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    slugs.await;
}

#[tokio::test]
async fn where_the_address_space_does_not_hold_the_pool_runs_go_on_without_it() {
    assert_eq!(runtime().allocator(), "pooling");
    // 100,000 runs at once would reserve more than the 128 TiB a process has.
    let runtime = Runtime::new(Settings { concurrency_max: 100_000, ..settings() }).unwrap();
    assert_eq!(runtime.allocator(), "on_demand");
    let component = runtime.admit(guests::component("ack").into(), &[]).await.unwrap();
    assert_eq!(runtime.invoke(&component, run()).await.outcome.slug(), "ack");
}
