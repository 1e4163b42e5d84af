//! A manifest's memory against what the runs of one tenant may have.

use super::*;
use crate::shares::{Limit, Limits, Machine, Resource};

#[tokio::test]
async fn a_manifest_that_asks_for_more_memory_than_its_tenant_may_have_is_refused_and_one_that_does_not_ask_is_not() {
    let mut limits = Limits::of(Machine::here());
    limits.set(Resource::RunMemory, Limit::new(64 << 20, 32 << 20));
    let settings = runtime::Settings {
        concurrency_max: 1,
        cache_dir: None,
        compiler: Compiler::InProcess,
        component_bytes_max: 1 << 20,
        compile_timeout: Duration::from_mins(1),
        compile_memory_bytes_max: 1 << 30,
        shares: Shares::new(&limits),
    };
    let runtime = Runtime::new(settings).unwrap();
    let budget = Budget {
        fuel: 100_000_000,
        fuel_per_body_byte: 1000,
        memory_bytes_max: 64 << 20,
        memory_per_body_byte: 8,
        wall: Duration::from_secs(5),
    };
    let refusal = async |limits: &str| {
        let files = (guests::component("ack").into(), format!("{MANIFEST}{limits}").into());
        let ceiling = Budget { memory_bytes_max: 1 << 30, ..budget };
        inspect((runtime.clone(), Clock::system()), "p".parse().unwrap(), files, (budget, ceiling)).await.refusal
    };
    let (code, words) = refusal("[limits]\nmemory_bytes_max = 67108864\n").await.unwrap();
    assert_eq!(code, "needs_too_much");
    assert!(words.contains("64 MiB") && words.contains("at most 24 MiB"), "{words}");
    assert_eq!(refusal("[limits]\nmemory_bytes_max = 25165824\n").await, None);
    assert_eq!(refusal("").await, None, "the default is given as far as it is there");
}
