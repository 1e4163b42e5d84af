//! How a run is told: for people line by line, for programs as one object.

use serde_json::{Value, json};

use super::{
    super::{exit::Failure, output::Output},
    words,
};
use crate::runtime::RunReport;

/// Bytes of an emitted body on one line; the object has all of it.
const BODY_SHOWN_MAX: usize = 400;

/// Prints a run for people: what it decided, what it said, what it asked for, and what it cost of what it may.
pub(super) fn print(output: Output, report: &RunReport) -> Result<(), Failure> {
    output.line(format!("{:10}{}", report.outcome.slug(), report.outcome.detail()).trim_end())?;
    for line in &report.logs {
        let fields: Vec<String> = line.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        output.line(format!("log       {} {} {}", line.level, line.message, fields.join(" ")).trim_end())?;
    }
    for call in &report.host_calls {
        output.line(&format!("call      {}({}) -> {}", call.call, call.input, call.answer))?;
    }
    for emit in &report.effects.emits {
        output.line(&format!("emit      {} {}", emit.name, shown(&emit.body)))?;
    }
    let of = |used: String, most: String, share: String| format!("{used} of {most} ({share})");
    let fuel = of(words::number(report.fuel), words::number(report.fuel_max), words::share(report.fuel, report.fuel_max));
    let memory = of(
        words::bytes(report.memory_peak_bytes),
        words::bytes(report.memory_bytes_max),
        words::share(report.memory_peak_bytes, report.memory_bytes_max),
    );
    output.line(&format!("fuel      {fuel}"))?;
    output.line(&format!("memory    {memory}"))?;
    output.line(&format!("time      {:.3} ms", millis(report)))
}

/// A run in one line: what it cost.
pub(super) fn cost(report: &RunReport) -> String {
    format!(
        "fuel {} ({}) · memory {} ({}) · {:.1} ms",
        words::number(report.fuel),
        words::share(report.fuel, report.fuel_max),
        words::bytes(report.memory_peak_bytes),
        words::share(report.memory_peak_bytes, report.memory_bytes_max),
        millis(report)
    )
}

/// A run as one object.
pub(super) fn object(report: &RunReport) -> Value {
    let emits: Vec<Value> = report
        .effects
        .emits
        .iter()
        .map(|emit| json!({ "name": emit.name, "content_type": emit.content_type, "body": String::from_utf8_lossy(&emit.body) }))
        .collect();
    json!({
        "outcome": report.outcome.slug(), "detail": report.outcome.detail(), "logs": report.logs, "host_calls": report.host_calls,
        "emits": emits, "fuel": report.fuel, "fuel_max": report.fuel_max, "memory_peak_bytes": report.memory_peak_bytes,
        "memory_bytes_max": report.memory_bytes_max, "duration_ms": millis(report),
    })
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if text.len() <= BODY_SHOWN_MAX {
        return text.into_owned();
    }
    let end = (0..=BODY_SHOWN_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}… ({} bytes; --json shows all)", &text[..end], body.len())
}

fn millis(report: &RunReport) -> f64 {
    report.duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_body_is_cut_at_a_character_and_told_how_long_it_was() {
        assert_eq!(shown(b"{}"), "{}");
        let long = shown("ü".repeat(300).as_bytes());
        assert!(long.starts_with(&"ü".repeat(200)) && long.contains("600 bytes"), "{long}");
    }
}
