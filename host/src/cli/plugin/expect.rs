//! What is expected of a run, held against what came of it. Pure; every difference is told, not only the first.
//!
//! What is not named is not compared: a fixture says what matters to it, and stays true when the rest changes.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    delivery::{FaultKind, Outcome, Verdict},
    runtime::RunReport,
};

/// The names of verdicts; any other ending is a fault.
const VERDICTS: [&str; 4] = ["ack", "skip", "retry", "reject"];
/// Calls that are no effect, and events, which are compared apart.
const NOT_COMPARED: [&str; 2] = ["config.", "emit."];

/// What is expected; what is not named is not compared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    verdict: Option<String>,
    /// A part of the reason, or of what befell the run.
    reason: Option<String>,
    /// The time a `retry` asks for.
    after_ms: Option<u64>,
    /// All events, in order.
    emits: Option<Vec<Emitted>>,
    /// All calls but those of `config`, `log` and `emit`, in order; each by its beginning, such as `kv.set seen`.
    calls: Option<Vec<String>>,
    /// Parts of log lines, in order; other lines may stand between them.
    logs: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Emitted {
    name: String,
    /// The fields that are compared.
    body: Option<Value>,
}

/// One thing that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Difference {
    /// Which: `verdict`, `emits[0].body.label`.
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) found: String,
}

impl Expect {
    /// Whether the ending it names is one.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_ending = |word: &str| VERDICTS.contains(&word) || FaultKind::ALL.iter().any(|kind| kind.slug() == word);
        match self.verdict.as_deref().filter(|word| !is_ending(word)) {
            None => Ok(()),
            Some(unknown) => {
                let faults: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.slug()).collect();
                let known = format!("{}, or a fault: {}", VERDICTS.join(", "), faults.join(", "));
                Err(format!("`expect.verdict` is `{unknown}`; expected one of {known}"))
            }
        }
    }

    /// Everything that is not as expected.
    pub(super) fn differences(&self, report: &RunReport) -> Vec<Difference> {
        let mut found = Vec::new();
        let outcome = &report.outcome;
        let told = format!("{}: {}", outcome.slug(), outcome.detail());
        match &self.verdict {
            Some(verdict) => note(&mut found, "verdict", verdict == outcome.slug(), verdict, told.trim_end_matches(": ")),
            None => note(&mut found, "verdict", matches!(outcome, Outcome::Verdict(_)), "a verdict", &told),
        }
        if let Some(reason) = &self.reason {
            note(&mut found, "reason", outcome.detail().contains(reason), &format!("…{reason}…"), outcome.detail());
        }
        if let Some(after_ms) = self.after_ms {
            let asked = if let Outcome::Verdict(Verdict::Retry { after, .. }) = outcome { *after } else { None };
            let shown = asked.map_or_else(|| "no time".to_owned(), |after| after.as_millis().to_string());
            note(&mut found, "after_ms", shown == after_ms.to_string(), &after_ms.to_string(), &shown);
        }
        if let Some(emits) = &self.emits {
            compare_emits(emits, report, &mut found);
        }
        if let Some(calls) = &self.calls {
            compare_calls(calls, report, &mut found);
        }
        compare_logs(self.logs.as_deref().unwrap_or_default(), report, &mut found);
        found
    }
}

/// Notes what is not the same.
pub(super) fn note(differences: &mut Vec<Difference>, what: &str, same: bool, expected: &str, found: &str) {
    if !same {
        differences.push(Difference { what: what.to_owned(), expected: expected.to_owned(), found: found.to_owned() });
    }
}

fn compare_emits(expected: &[Emitted], report: &RunReport, differences: &mut Vec<Difference>) {
    let found = &report.effects.emits;
    for at in 0..expected.len().max(found.len()) {
        let what = format!("emits[{at}]");
        match (expected.get(at), found.get(at)) {
            (Some(expected), None) => note(differences, &what, false, &expected.name, "nothing"),
            (None, Some(found)) => {
                note(differences, &what, false, "nothing", &format!("{} {}", found.name, String::from_utf8_lossy(&found.body)));
            }
            (Some(expected), Some(found)) if expected.name != found.name => note(differences, &what, false, &expected.name, &found.name),
            (Some(Emitted { body: Some(body), .. }), Some(found)) => {
                compare_body(&format!("{what}.body"), body, &found.body, differences);
            }
            _ => {}
        }
    }
}

/// The fields of `expected` in a body of JSON; of any other body, the whole text.
pub(super) fn compare_body(what: &str, expected: &Value, found: &[u8], differences: &mut Vec<Difference>) {
    match serde_json::from_slice(found) {
        Ok(value) => compare(what, expected, &value, differences),
        Err(_) => note(
            differences,
            what,
            expected.as_str().map(str::as_bytes) == Some(found),
            &expected.to_string(),
            &String::from_utf8_lossy(found),
        ),
    }
}

/// The fields of `expected` in `found`; further fields of `found` are of no interest.
fn compare(what: &str, expected: &Value, found: &Value, differences: &mut Vec<Difference>) {
    match (expected, found) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, value) in fields {
                compare(&format!("{what}.{name}"), value, &found[name], differences);
            }
        }
        _ => note(differences, what, expected == found, &expected.to_string(), &found.to_string()),
    }
}

fn compare_calls(expected: &[String], report: &RunReport, differences: &mut Vec<Difference>) {
    let found = report.host_calls.iter().map(|call| format!("{} {}", call.call, call.input));
    let found: Vec<String> = found.filter(|call| !NOT_COMPARED.iter().any(|prefix| call.starts_with(prefix))).collect();
    for at in 0..expected.len().max(found.len()) {
        let (expected, found) = (expected.get(at), found.get(at));
        let same = matches!((expected, found), (Some(expected), Some(found)) if found.starts_with(expected.as_str()));
        let shown = |call: Option<&String>| call.cloned().unwrap_or_else(|| "nothing".to_owned());
        note(differences, &format!("calls[{at}]"), same, &shown(expected), &shown(found));
    }
}

fn compare_logs(expected: &[String], report: &RunReport, differences: &mut Vec<Difference>) {
    let mut lines = report.logs.iter();
    for (at, part) in expected.iter().enumerate() {
        let same = lines.any(|line| line.message.contains(part.as_str()));
        note(differences, &format!("logs[{at}]"), same, &format!("…{part}…"), "no such line after the ones before");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::delivery::{
        Effects, Emit, Fault,
        view::{HostCall, LogLine},
    };

    fn report(outcome: Outcome) -> RunReport {
        let emit = Emit { name: "label".to_owned(), content_type: "application/json".to_owned(), body: br#"{"label":"S","n":7}"#.to_vec() };
        let call = |call: &str, input: &str| HostCall {
            call: call.to_owned(),
            input: input.to_owned(),
            answer: "ok".to_owned(),
            ..HostCall::default()
        };
        let line = |message: &str| LogLine { level: "info".to_owned(), message: message.to_owned(), fields: Vec::new() };
        RunReport {
            outcome,
            effects: Effects { emits: vec![emit], ..Effects::default() },
            duration: Duration::from_millis(1),
            fuel: 1,
            fuel_max: 2,
            memory_peak_bytes: 1,
            memory_bytes_max: 2,
            logs: vec![line("began"), line("counted 7 lines"), line("ended")],
            upstreams: Vec::new(),
            host_calls: vec![
                call("config.document", ""),
                call("kv.get", "seen"),
                call("kv.set", "seen (1 bytes)"),
                call("emit.publish", "label"),
            ],
        }
    }

    fn differences(expect: &str, outcome: Outcome) -> Vec<(String, String, String)> {
        let expect: Expect = toml::from_str(expect).unwrap();
        expect
            .differences(&report(outcome))
            .into_iter()
            .map(|difference| (difference.what, difference.expected, difference.found))
            .collect()
    }

    fn acked(expect: &str) -> Vec<String> {
        differences(expect, Outcome::Verdict(Verdict::Ack)).into_iter().map(|(what, ..)| what).collect()
    }

    #[test]
    fn what_is_not_named_is_not_compared_and_a_fault_is_never_expected_by_silence() {
        assert_eq!(acked(""), [""; 0]);
        let found = differences("", Outcome::Fault(Fault::new(FaultKind::OutOfFuel, "all of it")));
        assert_eq!(found, [("verdict".to_owned(), "a verdict".to_owned(), "out_of_fuel: all of it".to_owned())]);
        assert_eq!(differences("verdict = \"out_of_fuel\"", Outcome::Fault(Fault::new(FaultKind::OutOfFuel, ""))), []);
    }

    #[test]
    fn a_verdict_is_compared_by_its_name_and_its_reason_by_a_part() {
        let skipped = || Outcome::Verdict(Verdict::Skip("7 lines are few".to_owned()));
        assert_eq!(differences("verdict = \"skip\"\nreason = \"few\"", skipped()), []);
        let found = differences("verdict = \"ack\"\nreason = \"many\"", skipped());
        assert_eq!(found[0], ("verdict".to_owned(), "ack".to_owned(), "skip: 7 lines are few".to_owned()));
        assert_eq!(found[1], ("reason".to_owned(), "…many…".to_owned(), "7 lines are few".to_owned()));
    }

    #[test]
    fn a_retry_is_compared_by_the_time_it_asks_for() {
        let retry = |after| Outcome::Verdict(Verdict::Retry { after, reason: String::new() });
        assert_eq!(differences("after_ms = 7000", retry(Some(Duration::from_secs(7)))), []);
        let found = differences("after_ms = 7000", retry(None));
        assert_eq!(found, [("after_ms".to_owned(), "7000".to_owned(), "no time".to_owned())]);
    }

    #[test]
    fn events_are_compared_in_order_and_by_the_fields_that_are_named() {
        assert_eq!(acked("emits = [{ name = \"label\", body = { label = \"S\" } }]"), [""; 0]);
        assert_eq!(acked("emits = [{ name = \"label\", body = { label = \"M\", m = 1 } }]"), ["emits[0].body.label", "emits[0].body.m"]);
        assert_eq!(acked("emits = []"), ["emits[0]"]);
        assert_eq!(acked("emits = [{ name = \"close\" }, { name = \"label\" }]"), ["emits[0]", "emits[1]"]);
    }

    #[test]
    fn calls_are_compared_by_their_beginning_without_configuration_and_events() {
        assert_eq!(acked("calls = [\"kv.get seen\", \"kv.set seen\"]"), [""; 0]);
        assert_eq!(acked("calls = [\"kv.get seen\"]"), ["calls[1]"]);
        assert_eq!(acked("calls = [\"kv.get other\", \"kv.set\", \"once.begin\"]"), ["calls[0]", "calls[2]"]);
    }

    #[test]
    fn log_lines_are_looked_for_in_order() {
        assert_eq!(acked("logs = [\"began\", \"7 lines\"]"), [""; 0]);
        assert_eq!(acked("logs = [\"ended\", \"began\"]"), ["logs[1]"]);
    }

    #[test]
    fn a_list_is_compared_whole() {
        let mut found = Vec::new();
        compare("b", &json!({"a": [1, 2]}), &json!({"a": [1]}), &mut found);
        assert_eq!((found[0].expected.as_str(), found[0].found.as_str()), ("[1,2]", "[1]"));
    }
}
