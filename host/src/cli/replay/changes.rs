//! What a candidate would have done otherwise.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::past::Past;
use crate::{
    cli::{exit::Failure, output::Output},
    delivery::{Digest, Outcome, Verdict, view::HostCall},
    runtime::RunReport,
};

/// Calls that only look: they change nothing outside and are no difference.
const LOOKS: [&str; 3] = ["config.document", "config.get", "kv.get"];

/// A past run beside its repetition.
#[derive(Debug)]
pub(super) struct Comparison {
    head: String,
    delivery_id: String,
    was: Ending,
    would_be: Ending,
    was_digest: String,
    digest: String,
    calls: Vec<Change>,
    unanswered: usize,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Ending {
    outcome: String,
    detail: String,
    retry_after_ms: Option<u64>,
}

/// A call that acts, in one of the two runs or in both.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Kept(HostCall),
    Removed(HostCall),
    Added(HostCall),
}

impl Comparison {
    /// Compares a past run with its repetition by the version `digest`.
    pub(super) fn of(past: &Past, report: &RunReport, digest: Digest) -> Self {
        let attempt = &past.attempt;
        let was = Ending { outcome: attempt.outcome.clone(), detail: attempt.detail.clone(), retry_after_ms: attempt.retry_after_ms };
        let retry_after_ms = match &report.outcome {
            Outcome::Verdict(Verdict::Retry { after: Some(after), .. }) => u64::try_from(after.as_millis()).ok(),
            _ => None,
        };
        let would_be = Ending { outcome: report.outcome.slug().to_owned(), detail: report.outcome.detail().to_owned(), retry_after_ms };
        let delivery = &past.delivery;
        let event = delivery.action.as_ref().map_or_else(|| delivery.event.clone(), |action| format!("{}.{action}", delivery.event));
        Self {
            head: format!("{event}  {}  {}  {}", delivery.repository.as_deref().unwrap_or("-"), delivery.received_at, delivery.id),
            delivery_id: delivery.id.to_string(),
            was,
            would_be,
            was_digest: attempt.digest.clone().unwrap_or_default(),
            digest: digest.to_string(),
            calls: aligned(&acting(&attempt.host_calls), &acting(&report.host_calls)),
            unanswered: report.host_calls.iter().filter(|call| call.answer.contains("the recording has no answer")).count(),
        }
    }

    /// Whether verdict and calls are the same.
    pub(super) fn is_same(&self) -> bool {
        !self.has_other_verdict() && self.calls.iter().all(|change| matches!(change, Change::Kept(_)))
    }

    /// Whether the verdict is another one, to the byte.
    pub(super) fn has_other_verdict(&self) -> bool {
        self.was != self.would_be
    }

    /// Whether the candidate is the version that ran.
    pub(super) fn is_same_version(&self) -> bool {
        self.was_digest == self.digest
    }

    /// For people: the verdict and the calls that differ, as a diff.
    pub(super) fn print(&self, output: Output) -> Result<(), Failure> {
        output.line(&self.head)?;
        if self.has_other_verdict() {
            output.line(&format!("  - {}", self.was.words()))?;
            output.line(&format!("  + {}", self.would_be.words()))?;
        } else {
            output.line(&format!("    {}", self.was.words()))?;
        }
        for change in &self.calls {
            let (mark, call) = match change {
                Change::Kept(call) => (' ', call),
                Change::Removed(call) => ('-', call),
                Change::Added(call) => ('+', call),
            };
            output.line(&format!("  {mark} {} {} → {}", call.call, call.input, call.answer))?;
        }
        if self.unanswered > 0 {
            output.line(&format!("    {} of its requests have no recorded answer; what follows them is a guess", self.unanswered))?;
        }
        if self.is_same() {
            let version = if self.is_same_version() { "the same version" } else { "another version" };
            output.line(&format!("    {version}, and the same to the byte"))?;
        }
        Ok(())
    }

    /// For scripts.
    pub(super) fn object(&self) -> Value {
        let calls: Vec<Value> = self
            .calls
            .iter()
            .map(|change| {
                let (kind, call) = match change {
                    Change::Kept(call) => ("kept", call),
                    Change::Removed(call) => ("removed", call),
                    Change::Added(call) => ("added", call),
                };
                json!({ "change": kind, "call": call.call, "input": call.input, "answer": call.answer })
            })
            .collect();
        json!({
            "delivery_id": self.delivery_id, "same": self.is_same(), "same_version": self.is_same_version(), "was": self.was,
            "would_be": self.would_be, "was_digest": self.was_digest, "digest": self.digest, "calls": calls, "unanswered": self.unanswered,
        })
    }
}

impl Ending {
    fn words(&self) -> String {
        let after = self.retry_after_ms.map_or_else(String::new, |after| format!(" after {after} ms"));
        let detail = if self.detail.is_empty() { String::new() } else { format!(": {}", self.detail) };
        format!("{}{after}{detail}", self.outcome)
    }
}

/// How often each verdict would turn into which, the most frequent first.
pub(super) fn turns(changed: &[Comparison]) -> Vec<(String, usize)> {
    let mut turns: BTreeMap<String, usize> = BTreeMap::new();
    for comparison in changed.iter().filter(|comparison| comparison.has_other_verdict()) {
        *turns.entry(format!("{} → {}", comparison.was.outcome, comparison.would_be.outcome)).or_default() += 1;
    }
    let mut turns: Vec<_> = turns.into_iter().collect();
    turns.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    turns
}

fn acting(calls: &[HostCall]) -> Vec<&HostCall> {
    calls.iter().filter(|call| !LOOKS.contains(&call.call.as_str())).collect()
}

fn is_same(a: &HostCall, b: &HostCall) -> bool {
    a.call == b.call
        && if a.input_digest.is_empty() || b.input_digest.is_empty() { a.input == b.input } else { a.input_digest == b.input_digest }
}

/// The longest common subsequence, with what is in one list only between its parts. A run keeps at most 200 calls, so the square is small.
fn aligned(was: &[&HostCall], would_be: &[&HostCall]) -> Vec<Change> {
    let mut longest = vec![vec![0_u32; would_be.len() + 1]; was.len() + 1];
    for i in (0..was.len()).rev() {
        for j in (0..would_be.len()).rev() {
            longest[i][j] = if is_same(was[i], would_be[j]) { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut changes) = (0, 0, Vec::new());
    while i < was.len() || j < would_be.len() {
        if i < was.len() && j < would_be.len() && is_same(was[i], would_be[j]) {
            changes.push(Change::Kept(would_be[j].clone()));
            (i, j) = (i + 1, j + 1);
        } else if j == would_be.len() || (i < was.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            changes.push(Change::Removed(was[i].clone()));
            i += 1;
        } else {
            changes.push(Change::Added(would_be[j].clone()));
            j += 1;
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, input: &str) -> HostCall {
        HostCall { call: name.to_owned(), input: input.to_owned(), input_digest: input.to_owned(), ..HostCall::default() }
    }

    fn marks(was: &[HostCall], would_be: &[HostCall]) -> String {
        let changes = aligned(&acting(was), &acting(would_be));
        let mark = |change: &Change| match change {
            Change::Kept(call) => format!(" {}", call.input),
            Change::Removed(call) => format!("-{}", call.input),
            Change::Added(call) => format!("+{}", call.input),
        };
        changes.iter().map(mark).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn calls_are_aligned_like_the_lines_of_a_diff() {
        let http = |input: &str| call("http.send", input);
        assert_eq!(marks(&[http("a"), http("b"), http("c")], &[http("a"), http("x"), http("c")]), " a -b +x  c");
        assert_eq!(marks(&[], &[http("a")]), "+a");
        assert_eq!(marks(&[http("a"), http("a")], &[http("a")]), " a -a");
        assert_eq!(marks(&[http("a"), call("kv.get", "k")], &[call("config.get", "c"), http("a")]), " a", "looking is no difference");
        assert_eq!(marks(&[http("a")], &[call("emit.publish", "a")]), "-a +a");
    }

    #[test]
    fn a_call_of_a_time_before_digests_is_compared_by_its_words() {
        let old = HostCall { input_digest: String::new(), ..call("emit.publish", "done (3 bytes)") };
        assert_eq!(marks(&[old], &[call("emit.publish", "done (3 bytes)")]), " done (3 bytes)");
    }
}
