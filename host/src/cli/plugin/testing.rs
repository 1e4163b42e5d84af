//! `plugin test`: every fixture of a plugin through its component, in the host's own sandbox.
//!
//! A plugin without fixtures is tried on the built-in documents of the events it subscribes to: no expectation is written yet, and still it
//! shows whether the plugin survives them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    super::{
        exit::{Exit, Failure},
        output::{Output, next, say},
        samples,
    },
    build,
    expect::Difference,
    fixture::Fixture,
    project::Project,
    report,
    trial::{Sandbox, Trial},
    try_out, words,
};
use crate::{delivery::Outcome, runtime::RunReport};

/// Most fixtures of one plugin.
const FIXTURES_MAX: usize = 1_000;

/// The arguments of `plugin test`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The plugin's folder; its fixtures are fixtures/*.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Only the fixtures with this in their name
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Also the built-in documents of all events it subscribes to; their runs must end with a verdict
    #[arg(long)]
    samples: bool,
    /// Take the component as it is, without building
    #[arg(long)]
    no_build: bool,
    /// Print objects
    #[arg(long)]
    json: bool,
}

/// One fixture, run.
struct Tried {
    name: String,
    report: RunReport,
    differences: Vec<Difference>,
}

/// Builds, runs every fixture, tells the differences; exit 1 where there is one, 70 where a run trapped instead, 75 where it hit a limit.
pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let project = Project::open(&args.dir)?;
    if !args.no_build {
        build::build(&project, &project.component()).await?;
    }
    let mut fixtures = fixtures(&project, args.samples)?;
    let wanted = |name: &str| args.only.as_ref().is_none_or(|part| name.contains(part.as_str()));
    fixtures.retain(|fixture| wanted(&fixture.name));
    if fixtures.is_empty() {
        return Err(Failure::new(Exit::Failed, "no fixture has that in its name").hint("`--only` takes a part of a name in fixtures/"));
    }
    let sandbox = Sandbox::open()?;
    let trial = sandbox.admit(&project.component()).await?;
    let mut tried = Vec::with_capacity(fixtures.len());
    let output = Output::new(args.json);
    for fixture in fixtures {
        let one = attempt(&trial, &fixture).await?;
        if !output.is_json() {
            one.tell(output)?;
        }
        tried.push(one);
    }
    conclude(output, &project, &tried)
}

/// The fixtures of a project, by name; the built-in documents where there are none, or where they are wanted too.
pub(super) fn fixtures(project: &Project, with_samples: bool) -> Result<Vec<Fixture>, Failure> {
    let mut fixtures = files(&project.dir.join("fixtures"))?.iter().map(|file| Fixture::read(file)).collect::<Result<Vec<_>, _>>()?;
    if with_samples || fixtures.is_empty() {
        if fixtures.is_empty() {
            say(&format!("{} has no fixtures/*.toml: trying the built-in documents of its events", project.dir.display()));
        }
        for (event, _) in samples::ALL.iter().filter(|(event, _)| subscribes(project, event)) {
            fixtures.push(Fixture::sample(event)?);
        }
    }
    if fixtures.is_empty() {
        let found =
            format!("there is nothing to try: no fixtures/*.toml, and no built-in document of {}", project.manifest.events.join(", "));
        return Err(Failure::new(Exit::Failed, found).hint("write fixtures/NAME.toml: `event`, `payload` and `[expect]`"));
    }
    Ok(fixtures)
}

/// The files of fixtures, in order; none where there is no folder.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    files.sort();
    if files.len() > FIXTURES_MAX {
        return Err(Failure::new(Exit::Failed, format!("{} has {} fixtures; at most {FIXTURES_MAX}", folder.display(), files.len())));
    }
    Ok(files)
}

fn subscribes(project: &Project, event: &str) -> bool {
    project.manifest.events.iter().any(|pattern| pattern == "*" || pattern.split('.').next() == Some(event))
}

async fn attempt(trial: &Trial<'_>, fixture: &Fixture) -> Result<Tried, Failure> {
    let (report, sent) = trial.fixture(fixture).await?;
    Ok(Tried { name: fixture.name.clone(), differences: fixture.differences(&report, &sent), report })
}

/// Runs all fixtures for `plugin dev`: the failures in full, the rest as a number.
pub(super) async fn summary(trial: &Trial<'_>, fixtures: &[Fixture], output: Output) -> Result<(), Failure> {
    let mut passed = 0;
    for fixture in fixtures {
        let one = attempt(trial, fixture).await?;
        if one.differences.is_empty() { passed += 1 } else { one.tell(output)? }
    }
    output.line(&format!("{passed} passed, {} failed", fixtures.len() - passed))
}

impl Tried {
    fn tell(&self, output: Output) -> Result<(), Failure> {
        if self.differences.is_empty() {
            return output.line(&format!("PASS  {}  {} · {}", self.name, self.report.outcome.slug(), report::cost(&self.report)));
        }
        output.line(&format!("FAIL  {}  {}", self.name, report::cost(&self.report)))?;
        for difference in &self.differences {
            output.line(&format!("      {}", difference.what))?;
            output.line(&format!("        expected  {}", difference.expected))?;
            output.line(&format!("        found     {}", difference.found))?;
        }
        for line in &self.report.logs {
            output.line(&format!("      log         {} {}", line.level, line.message))?;
        }
        Ok(())
    }

    fn object(&self) -> Value {
        json!({ "name": self.name, "passed": self.differences.is_empty(), "differences": self.differences, "run": report::object(&self.report) })
    }
}

fn conclude(output: Output, project: &Project, tried: &[Tried]) -> Result<(), Failure> {
    let failed: Vec<&Tried> = tried.iter().filter(|one| !one.differences.is_empty()).collect();
    let passed = tried.len() - failed.len();
    if output.is_json() {
        let fixtures: Vec<Value> = tried.iter().map(Tried::object).collect();
        output
            .object(&json!({ "plugin": project.name.as_str(), "passed": passed, "failed": failed.len(), "fixtures": fixtures }), false)?;
    } else {
        let fuel = tried.iter().map(|one| one.report.fuel).max().unwrap_or(0);
        let memory = tried.iter().map(|one| one.report.memory_peak_bytes).max().unwrap_or(0);
        output.line(&format!(
            "{passed} passed, {} failed · at most fuel {}, memory {}",
            failed.len(),
            words::number(fuel),
            words::bytes(memory)
        ))?;
    }
    let Some(exit) = failed.iter().map(|one| exit_of(&one.report.outcome)).max_by_key(|exit| severity(*exit)) else {
        let component = project.component();
        say(&next(&format!("cp {} {} tenants/default/plugins/", component.with_extension("toml").display(), component.display())));
        return Ok(());
    };
    say(&next("correct the plugin or the fixture; `hookyard plugin dev` repeats this at every change"));
    Err(Failure::silent(exit))
}

fn exit_of(outcome: &Outcome) -> Exit {
    match outcome {
        Outcome::Verdict(_) => Exit::Failed,
        Outcome::Fault(fault) => try_out::exit_of(fault.kind),
    }
}

/// A trap is told before a limit, a limit before another verdict.
fn severity(exit: Exit) -> u8 {
    match exit {
        Exit::Trapped => 2,
        Exit::LimitHit => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Fault, FaultKind, Verdict};

    fn project(events: &str) -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("package.json"), "{\"name\": \"sizes\"}").unwrap();
        std::fs::write(dir.path().join("sizes.toml"), format!("sources = [\"github\"]\nevents = {events}\n")).unwrap();
        let project = Project::open(dir.path()).unwrap();
        (dir, project)
    }

    #[test]
    fn a_plugin_without_fixtures_is_tried_on_the_documents_of_its_events() {
        let names = |events: &str| {
            let (_dir, project) = project(events);
            fixtures(&project, false).map(|found| found.iter().map(|fixture| fixture.event.clone()).collect::<Vec<_>>())
        };
        assert_eq!(names("[\"pull_request.opened\", \"push\"]").unwrap(), ["push", "pull_request"]);
        assert_eq!(names("[\"*\"]").unwrap().len(), samples::ALL.len());
        assert!(names("[\"milestone\"]").unwrap_err().message.contains("milestone"));
    }

    #[test]
    fn fixtures_come_by_name_and_the_documents_only_where_they_are_wanted_too() {
        let (dir, project) = project("[\"push\"]");
        std::fs::create_dir(dir.path().join("fixtures")).unwrap();
        for name in ["b.toml", "a.toml", "own.json"] {
            std::fs::write(dir.path().join("fixtures").join(name), "event = \"push\"\n[expect]\n").unwrap();
        }
        let names = |samples| fixtures(&project, samples).unwrap().into_iter().map(|fixture| fixture.name).collect::<Vec<_>>();
        assert_eq!(names(false), ["a", "b"]);
        assert_eq!(names(true), ["a", "b", "push (built in)"]);
    }

    #[test]
    fn the_gravest_ending_gives_the_exit_code() {
        let exit = |outcome| exit_of(&outcome);
        let fault = |kind| Outcome::Fault(Fault::new(kind, ""));
        let exits = [exit(Outcome::Verdict(Verdict::Ack)), exit(fault(FaultKind::OutOfFuel)), exit(fault(FaultKind::Trapped))];
        assert_eq!(exits, [Exit::Failed, Exit::LimitHit, Exit::Trapped]);
        assert!(exits.map(severity).is_sorted());
    }
}
