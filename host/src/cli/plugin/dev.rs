//! `plugin dev`: at every change of the folder, build, run the last event, and hold the fixtures against it.
//!
//! The last event is the fixture whose file was changed last: who edits a fixture wants to see that one. The folder is looked at rather than
//! watched: looking works on every file system, and a plugin has few files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    super::{
        exit::{Exit, Failure},
        output::{Output, say},
    },
    build,
    fixture::Fixture,
    project::Project,
    report, testing,
    trial::Sandbox,
};

/// How often the folder is looked at; a change is taken once it stays the same for as long.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Most files that are looked at; a larger folder is no plugin's.
const FILES_MAX: usize = 20_000;
/// Folders of by-products, which are no sources.
const BY_PRODUCTS: [&str; 6] = ["target", "node_modules", ".git", ".venv", "venv", "__pycache__"];

/// The arguments of `plugin dev`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The plugin's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Run this event's built-in document each time, instead of the fixture that was changed last
    #[arg(long)]
    event: Option<String>,
}

/// What the folder looks like: each source with its size and the time it was changed.
type Look = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// Repeats until it is interrupted, which is its good end.
pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    Project::open(&args.dir)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let ended = tokio::select! {
        ended = repeat(args) => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    say("stopped");
    ended
}

async fn repeat(args: &Args) -> Result<(), Failure> {
    let sandbox = Sandbox::open()?;
    loop {
        let before = look(&args.dir)?;
        if let Err(failure) = once(args, &sandbox).await {
            say(&format!("error: {failure}"));
            if let Some(hint) = &failure.hint {
                say(&format!("hint: {hint}"));
            }
        }
        say(&format!("watching {}; Ctrl-C ends", args.dir.display()));
        let changed = changed(&args.dir, &before).await?;
        say(&format!("\n{changed} changed"));
    }
}

/// One round: build, the last event in full, the fixtures in short.
async fn once(args: &Args, sandbox: &Sandbox) -> Result<(), Failure> {
    let project = Project::open(&args.dir)?;
    build::build(&project, &project.component()).await?;
    let trial = sandbox.admit(&project.component()).await?;
    let last = match &args.event {
        Some(event) => Fixture::sample(event)?,
        None => last_touched(&project)?,
    };
    let output = Output::new(false);
    let (run, _) = trial.fixture(&last).await?;
    output.line(&format!("{} of {}", last.event, last.name))?;
    report::print(output, &run)?;
    testing::summary(&trial, &testing::fixtures(&project, false)?, output).await
}

/// The fixture whose file was changed last; the first one where there is no file.
fn last_touched(project: &Project) -> Result<Fixture, Failure> {
    let files = testing::files(&project.dir.join("fixtures"))?;
    let touched = |file: &PathBuf| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    match files.into_iter().max_by_key(touched) {
        Some(file) => Fixture::read(&file),
        None => testing::fixtures(project, false)?.into_iter().next().ok_or_else(|| Failure::new(Exit::Failed, "there is nothing to run")),
    }
}

/// Waits until the folder looks different, and then the same twice; gives the name of what changed.
async fn changed(dir: &Path, before: &Look) -> Result<String, Failure> {
    let mut last = look(dir)?;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = look(dir)?;
        if now == last && now != *before {
            return Ok(difference(before, &now));
        }
        last = now;
    }
}

/// The first file that is new, gone or another.
fn difference(before: &Look, now: &Look) -> String {
    let another = now.iter().find(|(file, state)| before.get(*file) != Some(state)).map(|(file, _)| file);
    let gone = before.keys().find(|file| !now.contains_key(*file));
    another.or(gone).map_or_else(String::new, |file| file.display().to_string())
}

fn look(dir: &Path) -> Result<Look, Failure> {
    let mut found = Look::new();
    look_into(dir, &mut found).map_err(|error| Failure::new(Exit::Failed, format!("cannot look at {}: {error}", dir.display())))?;
    Ok(found)
}

fn look_into(dir: &Path, found: &mut Look) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        // A file can be gone between the two calls: editors write beside and rename.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() && !BY_PRODUCTS.iter().any(|by_product| name == *by_product) {
            look_into(&path, found)?;
        } else if metadata.is_file() && is_source(&path) {
            found.insert(path, (metadata.len(), metadata.modified().ok()));
        }
        if found.len() > FILES_MAX {
            return Err(std::io::Error::other(format!("it has more than {FILES_MAX} files")));
        }
    }
    Ok(())
}

/// What building writes is no change.
fn is_source(file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    file.extension().is_none_or(|extension| extension != "wasm")
        && !name.starts_with(".tmp")
        && !name.ends_with('~')
        && name != "Cargo.lock"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["src/lib.rs", "target/x/lib.rs", "node_modules/a/b.js", "sizes.wasm", "sizes.toml", "Cargo.lock", "src/lib.rs~"] {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        let found = look(dir.path()).unwrap();
        let names: Vec<_> = found.keys().map(|file| file.strip_prefix(dir.path()).unwrap().display().to_string()).collect();
        assert_eq!(names, ["sizes.toml", "src/lib.rs"]);
    }

    #[test]
    fn what_changed_is_named_whether_it_is_new_gone_or_another() {
        let look = |files: &[(&str, u64)]| files.iter().map(|(file, len)| (PathBuf::from(file), (*len, None))).collect::<Look>();
        assert_eq!(difference(&look(&[("a", 1)]), &look(&[("a", 2)])), "a");
        assert_eq!(difference(&look(&[("a", 1)]), &look(&[("a", 1), ("b", 1)])), "b");
        assert_eq!(difference(&look(&[("a", 1), ("b", 1)]), &look(&[("a", 1)])), "b");
    }
}
