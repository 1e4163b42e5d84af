//! A plugin's manifest: what is taken keeps every bound, and asks for no more than the ceiling.

use std::time::Duration;

use hookyard::{catalog::parse_manifest, tenants::Budget};

pub(crate) fn run(bytes: &[u8]) {
    let Ok(manifest) = parse_manifest(bytes) else { return };
    assert!((1..=256).contains(&manifest.sources.len()));
    assert!((1..=256).contains(&manifest.events.len()));
    assert!((1..=1024).contains(&manifest.limits.concurrency()));
    assert!(manifest.config.to_string().len() <= 64 * 1024);
    assert!(manifest.asked.http.len() <= 64 && manifest.asked.secrets.len() <= 64);
    assert!(manifest.asked.http.iter().all(|grant| !grant.allow_http), "only the operator may allow plain HTTP");
    let one = Budget { fuel: 1, fuel_per_body_byte: 1, memory_bytes_max: 1, memory_per_body_byte: 1, wall: Duration::from_millis(1) };
    let budget = manifest.limits.budget(one, one);
    assert!(budget.fuel <= 1 && budget.memory_bytes_max <= 1 && budget.wall <= one.wall, "{budget:?} is above the ceiling");
}
