//! `send`: signs and sends as the provider does, so that a source can be tried without the provider.

mod document;
mod place;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{
    client::{Target, Wire},
    exit::{Exit, Failure},
    output::{Output, next, say, short},
    progress::Progress,
};
use crate::{clock::Clock, signature::sign};

const CONNECTIONS_MAX: usize = 32;

/// The arguments of `send`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: place::Args,
    #[command(flatten)]
    document: document::Args,
    /// How to sign
    #[arg(long, default_value = "github")]
    source: super::Scheme,
    /// The delivery's id; made up where absent
    #[arg(long, value_name = "ID")]
    delivery: Option<String>,
    /// How many; with more than one each has an id of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Deliveries a second; as fast as they are answered where absent
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// As a form with the document in the field `payload`
    #[arg(long)]
    form: bool,
    /// Print objects, one a line
    #[arg(long)]
    json: bool,
}

/// What every delivery of one command shares.
#[derive(Debug)]
struct Plan {
    target: Target,
    event: String,
    body: Bytes,
    content_type: &'static str,
    signature: String,
    delivery: Option<String>,
    count: usize,
    rate: Option<u32>,
    next: AtomicUsize,
    progress: Option<Progress>,
    accepted: AtomicUsize,
    clock: Clock,
    begun: Instant,
    output: Output,
}

/// Sends; succeeds only if every answer is a 2xx.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let plan = Arc::new(plan(args)?);
    let wires = plan.count.min(CONNECTIONS_MAX);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..wires {
        workers.spawn(work(Arc::clone(&plan)));
    }
    let mut first_failure = None;
    while let Some(ended) = workers.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(Failure::new(Exit::Failed, error.to_string())));
        first_failure = first_failure.or(ended.err());
    }
    if let Some(failure) = first_failure {
        return Err(failure);
    }
    let accepted = plan.accepted.load(Ordering::Relaxed);
    if plan.count > 1 {
        if let Some(progress) = &plan.progress {
            progress.end();
        }
        say(&format!("{accepted} of {} accepted in {:?}", plan.count, plan.clock.instant() - plan.begun));
    }
    if accepted == plan.count { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

fn plan(args: Args) -> Result<Plan, Failure> {
    let super::Scheme::Github = args.source;
    if args.count > 1 && args.delivery.is_some() {
        return Err(Failure::new(Exit::Usage, "--delivery with --count: the same id would be a duplicate").hint("leave one of them out"));
    }
    let (event, document) = args.document.read()?;
    let (target, secret) = args.place.find()?;
    let body: Bytes =
        if args.form { [b"payload=".as_slice(), form_encoded(&document).as_bytes()].concat().into() } else { document.into() };
    let clock = Clock::system();
    Ok(Plan {
        target,
        event,
        signature: sign(&secret, &body),
        content_type: if args.form { "application/x-www-form-urlencoded" } else { "application/json" },
        body,
        delivery: args.delivery,
        count: usize::try_from(args.count).unwrap_or(usize::MAX),
        rate: args.rate,
        next: AtomicUsize::new(0),
        progress: (args.count > 1).then(|| Progress::of(args.count.into(), "sending").unless_lines_show_it()),
        accepted: AtomicUsize::new(0),
        begun: clock.instant(),
        clock,
        output: Output::new(args.json),
    })
}

async fn work(plan: Arc<Plan>) -> Result<(), Failure> {
    let mut wire = Wire::new(plan.target.clone());
    loop {
        let index = plan.next.fetch_add(1, Ordering::Relaxed);
        if index >= plan.count {
            return Ok(());
        }
        if let Some(rate) = plan.rate {
            let offset = Duration::from_secs_f64(f64::from(u32::try_from(index).unwrap_or(u32::MAX)) / f64::from(rate));
            plan.clock.sleep_until(plan.begun + offset).await;
        }
        let id = plan.delivery.clone().unwrap_or_else(uuid);
        let started = plan.clock.instant();
        let answer = wire.call(request(&plan, &id)?).await?;
        if answer.status().is_success() {
            plan.accepted.fetch_add(1, Ordering::Relaxed);
        }
        report(&plan, &id, &answer, plan.clock.instant() - started)?;
        if let Some(progress) = &plan.progress {
            progress.advance(1);
        }
    }
}

fn request(plan: &Plan, id: &str) -> Result<Request<Full<Bytes>>, Failure> {
    Request::post(&plan.target.path)
        .header(header::CONTENT_TYPE, plan.content_type)
        .header(header::USER_AGENT, "GitHub-Hookshot/hookyard-send")
        .header("x-github-event", &plan.event)
        .header("x-github-delivery", id)
        .header("x-github-hook-id", "1")
        .header("x-hub-signature-256", &plan.signature)
        .body(Full::new(plan.body.clone()))
        .map_err(|error| Failure::new(Exit::Usage, format!("the event or delivery id is no header value: {error}")))
}

fn report(plan: &Plan, id: &str, answer: &http::Response<Bytes>, took: Duration) -> Result<(), Failure> {
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let (status, took_ms) = (answer.status().as_u16(), took.as_secs_f64() * 1000.0);
    if plan.output.is_json() {
        return plan.output.object(&json!({ "provider_delivery_id": id, "status": status, "took_ms": took_ms, "answer": body }), true);
    }
    let said = ["status", "code"].iter().find_map(|name| body[*name].as_str()).unwrap_or("-");
    let ours = body["delivery_id"].as_str().unwrap_or("-");
    plan.output.line(&format!("{status} {said} {id} {ours} {took_ms:.1} ms"))?;
    if let Some(id) = body["delivery_id"].as_str().filter(|_| plan.count == 1 && answer.status().is_success()) {
        say(&next(&format!("hookyard deliveries show {}", short(id))));
    }
    Ok(())
}

/// A random id of the form GitHub gives (RFC 9562, version 4). It need not be secret, only new.
fn uuid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A value of a form, as browsers and GitHub write it.
pub(super) fn form_encoded(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, &byte| {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'*' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            byte => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_have_the_form_of_version_4_and_differ() {
        let ids: BTreeSet<String> = (0..1000).map(|_| uuid()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.len(), 36);
            assert!(id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }

    #[test]
    fn a_form_value_is_encoded_as_browsers_do() {
        assert_eq!(form_encoded("{\"a b\": \"ü+&\"}".as_bytes()), "%7B%22a+b%22%3A+%22%C3%BC%2B%26%22%7D");
    }
}
