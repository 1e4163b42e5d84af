//! The sandbox against every guest of `tests/guests`.

mod admission;
mod bounds;
mod compiling;
mod determinism;
mod effects;
#[expect(unreachable_pub, reason = "the system tests' own module, public there")]
#[path = "../../../tests/src/guests.rs"]
pub(crate) mod guests;
mod live;
mod memory;
mod recording;
mod validating;

use std::time::Duration;

use super::*;
use crate::{
    delivery::{BodyEncoding, DeliveryId, Header, TenantId, Verdict},
    tenants::Budget,
};

const MIB: u64 = 1024 * 1024;

fn settings() -> Settings {
    Settings {
        concurrency_max: 4,
        cache_dir: None,
        compiler: Compiler::InProcess,
        component_bytes_max: 32 * MIB,
        compile_timeout: Duration::from_mins(1),
        compile_memory_bytes_max: 1024 * MIB,
        shares: Shares::default(),
    }
}

fn runtime() -> Runtime {
    static RUNTIME: std::sync::OnceLock<Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new(settings()).unwrap()).clone()
}

fn budget() -> Budget {
    Budget {
        fuel: 20_000_000,
        fuel_per_body_byte: 1_000,
        memory_bytes_max: 64 * MIB,
        memory_per_body_byte: 8,
        wall: Duration::from_secs(5),
    }
}

fn delivery(document: &[u8]) -> Delivery {
    Delivery {
        id: DeliveryId::from_bytes([7; 16]),
        tenant: TenantId::default_tenant(),
        source: "github".parse().unwrap(),
        provider_id: "72d3162e-cc78-11e3-81ab-4c9367dc0958".to_owned(),
        hook_id: None,
        event: "pull_request".to_owned(),
        action: Some("opened".to_owned()),
        repository: None,
        installation_id: None,
        received_at: Timestamp::from_unix_ms(1_700_000_000_000),
        sequence: 1,
        encoding: BodyEncoding::Json,
        headers: vec![Header { name: "x-github-event".to_owned(), value: "pull_request".to_owned() }],
        document: Bytes::copy_from_slice(document),
        raw: None,
        body_sha256: [0; 32],
    }
}

fn run() -> Run {
    Run {
        delivery: Arc::new(delivery(b"{}")),
        plugin: "guest".parse().unwrap(),
        attempt: 1,
        generation: 0,
        started_at: Timestamp::from_unix_ms(1_700_000_001_000),
        digest: Digest::of(&[b"guest"]),
        config: Arc::new(serde_json::json!({ "labels": { "small": 10 } })),
        budget: budget(),
        gate: Gate::Dry,
    }
}

/// The digest of a request as the recording knows it.
pub(crate) fn question(method: &str, url: &str, credential: Option<&str>) -> String {
    let (headers, body) = (Vec::new(), Vec::new());
    let request =
        crate::egress::Request { method: method.into(), url: url.into(), headers, body, credential: credential.map(str::to_owned) };
    reach::question(&request).digest
}

async fn admit(name: &str) -> Component {
    runtime().admit(guests::component(name).into(), &[]).await.unwrap_or_else(|error| panic!("{name}: {error}"))
}

async fn play(name: &str, run: Run) -> RunReport {
    runtime().invoke(&admit(name).await, run).await
}

async fn refusal(wasm: impl Into<Bytes>, granted: &[&str]) -> AdmissionError {
    runtime().admit(wasm.into(), granted).await.unwrap_err()
}

/// What each guest must come to: the outcome's slug, or the slug of the refusal.
fn expected(name: &str) -> Result<&'static str, &'static str> {
    Ok(match name {
        "ack" | "count" | "emit-then-ack" | "kv-flood" | "log-some" | "noisy" | "once-flood" | "poison" | "publish-document"
        | "validate" => "ack",
        "config" | "echo" | "kv-own-writes" | "once-twice" | "random" | "remember" | "skip" | "sleep" | "wall-clock" => "skip",
        "retry" => "retry",
        "reject" | "emit-then-reject" => "reject",
        "bulk-fill" | "loop" | "start-loop" => "out_of_fuel",
        "memory-bomb" | "memory-bombs" | "table-bomb" | "start-grow" => "out_of_memory",
        "burn-then-trap" | "exit" | "last-words" | "stack-overflow" | "start-trap" | "trap" => "trapped",
        "bad-text" | "call-flood" | "fat-string" | "huge-string" | "invalid-discriminant" | "log-flood" => "abi_limit",
        "fetch" | "fetch-on" | "http-import" | "once-send" | "sign" => return Err("import_not_granted"),
        "unknown-import" => return Err("import_unknown"),
        "wrong-world" => return Err("world_mismatch"),
        other => panic!("`{other}` has no scenario: add it here"),
    })
}

#[tokio::test]
async fn every_guest_comes_to_its_end_and_the_same_one_each_time() {
    for (name, _) in guests::GUESTS {
        let admitted = runtime().admit(guests::component(name).into(), &[]).await;
        match (expected(name), admitted) {
            (Ok(slug), Ok(component)) => {
                let (first, second) = (runtime().invoke(&component, run()).await, runtime().invoke(&component, run()).await);
                assert_eq!(first.outcome.slug(), slug, "{name}: {:?}", first.outcome);
                assert_eq!((first.outcome, first.fuel, first.logs), (second.outcome, second.fuel, second.logs), "{name}");
            }
            (Err(slug), Err(error)) => assert_eq!(error.code, slug, "{name}: {error}"),
            (expected, admitted) => panic!("{name}: expected {expected:?}, found {admitted:?}"),
        }
    }
}
