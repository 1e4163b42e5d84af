//! What recording costs a run: so little that nobody wants to turn it off.

use std::{collections::VecDeque, fs, path::Path, sync::mpsc};

use super::{
    super::{logbook::Journal, reach, recording::Question},
    *,
};
use crate::{
    egress::{Allowed, Asked, Credential, HttpGrant, Reach, Request, Response},
    signature::Secret,
};

/// A shipped handler that makes six requests.
const HANDLER: &str = "push-deploy";
const ROUNDS: usize = 9;
const RUNS: u32 = 200;
/// What the test holds recording to, as a share of the rest of a run. It is wider than the twentieth that is promised, because a test must not fail by
/// chance on a busy machine or without an optimiser; the promise is a figure that is printed.
const SHARE_MAX: f64 = 0.15;

/// What the handler's fixture answers to the sample of its event.
fn exchanges(repository: &Path) -> VecDeque<Exchange> {
    let fixture = fs::read_to_string(repository.join("plugins").join(HANDLER).join("fixtures/deploys.toml")).unwrap();
    let fixture: toml::Table = fixture.parse().unwrap();
    let exchange = |request: &toml::Value| {
        let (method, url) = request["request"].as_str().unwrap().split_once(' ').unwrap();
        let status = request.get("status").and_then(toml::Value::as_integer).map_or(200, |status| u16::try_from(status).unwrap());
        let body = serde_json::to_vec(&request["answer"]).unwrap();
        let answer = Response { status, headers: vec![("content-type".into(), "application/json".into())], body, truncated: false };
        Exchange { method: method.to_owned(), url: url.to_owned(), answer: Ok(answer) }
    };
    fixture["http"].as_array().unwrap().iter().map(exchange).collect()
}

/// A run of the handler that is answered like this, and what it sends.
fn scripted(exchanges: VecDeque<Exchange>) -> (Run, mpsc::Receiver<Request>) {
    let methods = ["GET", "POST", "PATCH"].map(str::to_owned).to_vec();
    let grant = HttpGrant {
        host: Some("api.github.com".into()),
        methods,
        path_prefix: None,
        credential: Some("github".into()),
        headers: Vec::new(),
        allow_http: false,
    };
    let credentials = [("github".to_owned(), Credential::bearer(&Secret::new(b"stand-in-token".to_vec()).unwrap()).unwrap())].into();
    let reach = Reach {
        tenant: TenantId::default_tenant(),
        asked: Arc::new(Asked { http: vec![grant.clone()], secrets: Vec::new() }),
        allowed: Arc::new(Allowed { http: vec![grant], credentials, ..Allowed::default() }),
        installation: None,
    };
    let (sent, requests) = mpsc::channel();
    let script = Script { kv: [].into(), steps: [].into(), reach, exchanges: Some(exchanges), sent };
    let delivery = Delivery { event: "push".into(), action: None, ..delivery(include_bytes!("../../cli/samples/push.json")) };
    let budget = Budget { fuel: 1_000_000_000, ..budget() };
    let config = Arc::new(serde_json::json!({}));
    (Run { delivery: Arc::new(delivery), config, budget, gate: Gate::Scripted(Box::new(script)), ..run() }, requests)
}

/// Keeps once more what a run has kept, by the same steps.
fn record(calls: &[HostCall], asked: &[Request], answers: &VecDeque<Exchange>) -> usize {
    let (mut journal, mut exchanged) = (Journal::default(), asked.iter().zip(answers));
    for HostCall { call, input, answer, recorded, .. } in calls {
        match call.as_str() {
            "http.send" => {
                let (request, exchange) = exchanged.next().unwrap();
                let (shown, recorded) = reach::answered(&exchange.answer);
                journal.record(reach::question(request), &shown, Some(recorded));
            }
            "config.document" => journal.record(Question::told("config.document", input.clone()), answer, None),
            "once.begin" => journal.record(Question::new("once.begin", input.clone(), &[input.as_bytes()]), answer, recorded.clone()),
            other => panic!("`{other}` has no steps here"),
        }
    }
    journal.into_calls().len()
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figure of the run, for who reads it")]
async fn recording_what_a_run_asks_costs_a_small_share_of_it() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let Ok(wasm) = fs::read(repository.join("target/plugins").join(HANDLER).with_extension("wasm")) else {
        println!("skipped: {HANDLER}, which `cargo xtask plugins` builds");
        return;
    };
    let component = runtime().admit(wasm.into(), &["http"]).await.unwrap();
    let answers = exchanges(repository);
    let (run, requests) = scripted(answers.clone());
    let report = runtime().invoke(&component, run).await;
    assert_eq!(report.outcome, Outcome::Verdict(Verdict::Ack), "{:#?}", report.host_calls);
    let (calls, asked) = (report.host_calls, requests.try_iter().collect::<Vec<_>>());
    assert_eq!(asked.len(), answers.len());
    let (clock, mut shares) = (Clock::system(), Vec::new());
    for _ in 0..ROUNDS {
        // What a run is made of is not its cost.
        let runs: Vec<_> = (0..RUNS).map(|_| scripted(answers.clone())).collect();
        let began = clock.instant();
        for (run, _requests) in runs {
            assert_eq!(runtime().invoke(&component, run).await.host_calls.len(), calls.len());
        }
        let runs_took = clock.instant() - began;
        let began = clock.instant();
        for _ in 0..RUNS {
            assert_eq!(std::hint::black_box(record(&calls, &asked, &answers)), calls.len());
        }
        let recording_took = clock.instant() - began;
        shares.push(recording_took.as_secs_f64() / runs_took.saturating_sub(recording_took).as_secs_f64());
    }
    shares.sort_by(f64::total_cmp);
    let share = shares[ROUNDS / 2];
    println!("recording {} calls adds {:.1} % to a run of {HANDLER} that waits for nothing", calls.len(), share * 100.0);
    assert!(share < SHARE_MAX, "{share}");
}
