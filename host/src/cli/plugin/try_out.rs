//! `plugin run`: one run of a component in the host's own sandbox, with the host's bounds and without any way out.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    super::{
        exit::{Exit, Failure},
        output::Output,
        read_bounded, replay, samples,
    },
    fixture::Fixture,
    report,
    trial::{self, Sandbox},
};
use crate::{
    delivery::{FaultKind, Outcome},
    runtime::{Gate, RunReport},
};

/// The arguments of `plugin run`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The component; limits and configuration are those of the manifest beside it, where there is one
    file: PathBuf,
    /// The event's name, such as `pull_request`
    #[arg(long, required_unless_present_any = ["replay", "fixture"])]
    event: Option<String>,
    /// The JSON document, or `-`; the built-in one of the event where absent
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// Run this fixture instead, in the outside it makes, and show all of it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["event", "payload", "config", "replay"])]
    fixture: Option<PathBuf>,
    /// Another `[config]` table: JSON, or TOML where the name ends in `.toml`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    past: replay::OneArgs,
    /// Run it so often, each in a fresh instance, and tell the fastest and the median time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    times: u32,
    /// Fail unless this is the verdict
    #[arg(long)]
    expect: Option<Word>,
    /// Print objects
    #[arg(long)]
    json: bool,
}

/// A verdict's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Word {
    Ack,
    Skip,
    Retry,
    Reject,
}

/// Runs; exit 1 where the verdict is another than expected, 70 where the plugin trapped, 75 where it hit a limit.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    if args.past.is_meant() {
        return replay::one(&args.past, &args.file, args.json).await;
    }
    let sandbox = Sandbox::open()?;
    let trial = sandbox.admit(&args.file).await?;
    if let Some(file) = &args.fixture {
        let (report, _) = trial.fixture(&Fixture::read(file)?).await?;
        print(Output::new(args.json), &report, trial.admitted_in, &[report.duration])?;
        return verdict_of(&report.outcome, args.expect);
    }
    let config = args.config.as_deref().map_or_else(|| Ok(trial.config()), read_table)?;
    let event = args.event.unwrap_or_default();
    let document = match &args.payload {
        Some(file) => read_bounded(file)?,
        None => samples::document(&event)?.as_bytes().to_vec(),
    };
    let delivery = trial::delivery(&event, document)?;
    let once = || trial.run((delivery.clone(), 1), config.clone(), Gate::Dry);
    let mut report = once().await;
    let mut took = vec![report.duration];
    for _ in 1..args.times {
        report = once().await;
        took.push(report.duration);
    }
    took.sort();
    print(Output::new(args.json), &report, trial.admitted_in, &took)?;
    verdict_of(&report.outcome, args.expect)
}

/// The last run, what the admission took before it, and what the runs took; `took` ascends.
fn print(output: Output, report: &RunReport, admitted_in: Duration, took: &[Duration]) -> Result<(), Failure> {
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let (fastest, median) = (took.first().copied().unwrap_or_default(), took.get(took.len() / 2).copied().unwrap_or_default());
    if output.is_json() {
        let mut object = report::object(report);
        object["admission_ms"] = ms(admitted_in).into();
        object["runs"] = json!({ "count": took.len(), "fastest_ms": ms(fastest), "median_ms": ms(median) });
        return output.object(&object, false);
    }
    report::print(output, report)?;
    if took.len() > 1 {
        output.line(&format!("times     {} runs: fastest {:.3} ms, median {:.3} ms", took.len(), ms(fastest), ms(median)))?;
    }
    output.line(&format!("admitted  in {:.0} ms, compiling included", ms(admitted_in)))
}

fn read_table(file: &Path) -> Result<Value, Failure> {
    let bytes = read_bounded(file)?;
    let table: Result<Value, String> = if file.extension().is_some_and(|extension| extension == "toml") {
        std::str::from_utf8(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|text| toml::from_str(text).map_err(|error| error.to_string()))
    } else {
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    };
    let invalid = |problem: &str| Failure::new(Exit::ConfigInvalid, format!("{}: {problem}", file.display()));
    table.map_err(|error| invalid(&error)).and_then(|table| if table.is_object() { Ok(table) } else { Err(invalid("it is no table")) })
}

/// The code of a run that ended by a fault: it trapped, or it hit a limit.
pub(super) fn exit_of(fault: FaultKind) -> Exit {
    match fault {
        FaultKind::OutOfFuel | FaultKind::OutOfMemory | FaultKind::DeadlineExceeded | FaultKind::AbiLimit => Exit::LimitHit,
        _ => Exit::Trapped,
    }
}

fn verdict_of(outcome: &Outcome, expected: Option<Word>) -> Result<(), Failure> {
    match outcome {
        Outcome::Verdict(verdict) => match expected.map(Word::slug).filter(|word| *word != verdict.slug()) {
            None => Ok(()),
            Some(word) => Err(Failure::new(Exit::Failed, format!("expected {word}, found {}", verdict.slug()))),
        },
        Outcome::Fault(fault) => Err(Failure::silent(exit_of(fault.kind))),
    }
}

impl Word {
    fn slug(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Skip => "skip",
            Self::Retry => "retry",
            Self::Reject => "reject",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Fault, Verdict};

    #[test]
    fn each_ending_has_its_exit_code() {
        let exit = |outcome: Outcome, expected| verdict_of(&outcome, expected).map_err(|failure| failure.exit);
        let fault = |kind| Outcome::Fault(Fault::new(kind, ""));
        assert_eq!(exit(Outcome::Verdict(Verdict::Ack), Some(Word::Ack)), Ok(()));
        assert_eq!(exit(Outcome::Verdict(Verdict::Reject(String::new())), None), Ok(()));
        assert_eq!(exit(Outcome::Verdict(Verdict::Skip(String::new())), Some(Word::Ack)), Err(Exit::Failed));
        assert_eq!(exit(fault(FaultKind::Trapped), Some(Word::Ack)), Err(Exit::Trapped));
        for kind in [FaultKind::OutOfFuel, FaultKind::OutOfMemory, FaultKind::DeadlineExceeded, FaultKind::AbiLimit] {
            assert_eq!(exit(fault(kind), None), Err(Exit::LimitHit), "{kind:?}");
        }
    }

    #[test]
    fn a_table_is_read_from_either_format_and_nothing_else_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            read_table(&dir.path().join(name)).map_err(|failure| failure.exit)
        };
        assert_eq!(read("a.toml", "small = 10\n"), Ok(json!({ "small": 10 })));
        assert_eq!(read("a.json", r#"{"small": 10}"#), Ok(json!({ "small": 10 })));
        assert_eq!(read("b.json", "[10]"), Err(Exit::ConfigInvalid));
        assert_eq!(read("b.toml", "small ="), Err(Exit::ConfigInvalid));
    }
}
