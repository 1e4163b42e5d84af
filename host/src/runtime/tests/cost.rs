use super::*;

/// Prints what one run costs: `cargo test -p hookyard --lib cost -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement, not a test"]
#[expect(clippy::print_stdout, reason = "its result is what it prints")]
async fn the_cost_of_one_run() {
    for (name, document_bytes) in [("ack", 2), ("ack", 6_900), ("log-some", 2)] {
        let component = admit(name).await;
        let template = Run { delivery: Arc::new(delivery(&vec![b' '; document_bytes])), ..run() };
        let runtime = runtime();
        let mut best = Duration::MAX;
        for _ in 0..10 {
            let began = Clock::system().instant();
            for _ in 0..1_000 {
                runtime.invoke(&component, template.clone()).await;
            }
            best = best.min((Clock::system().instant() - began) / 1_000);
        }
        println!("{name} with a document of {document_bytes} bytes: {best:?} a run ({})", runtime.allocator());
    }
}

/// Prints what the same engine needs for the bare call, without bounds' state, records or report, to compare with.
#[tokio::test]
#[ignore = "a measurement, not a test"]
#[expect(clippy::print_stdout, reason = "its result is what it prints")]
async fn the_cost_of_a_bare_call() {
    for document_bytes in [2, 6_900] {
        let component = admit("ack").await;
        let template = Run { delivery: Arc::new(delivery(&vec![b' '; document_bytes])), ..run() };
        let runtime = runtime();
        let mut best = Duration::MAX;
        for _ in 0..10 {
            let began = Clock::system().instant();
            for _ in 0..1_000 {
                invoke::bare(&runtime.0.sandbox.engine, &component, &template).await;
            }
            best = best.min((Clock::system().instant() - began) / 1_000);
        }
        println!("bare call with a document of {document_bytes} bytes: {best:?}");
    }
}
