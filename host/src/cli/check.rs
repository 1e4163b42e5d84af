//! `check`: every problem of all files at once, then the limits in force and the table of shares. Touches nothing.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{
    environment,
    exit::{Exit, Failure},
    output::{Output, say},
};
use crate::{
    config::{self, Config, Problem},
    confine,
    shares::{Resource, Shares},
    tenants::Directory,
};

/// The arguments of `check`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The host's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print objects
    #[arg(long)]
    json: bool,
}

/// Checks; exit 78 where there is a problem.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let env = environment();
    let (problems, limits, shares) = match config::load(args.config.as_deref(), &env) {
        Ok(config) => (config::load_tenants(&config, &env, &Directory::default()).1, limits(&config), Some(config.shares)),
        Err(problems) => (problems, json!({}), None),
    };
    let output = Output::new(args.json);
    if output.is_json() {
        output.object(&json!({ "problems": problems, "limits": limits, "shares": shares.as_ref().map(objects) }), false)?;
    } else {
        print_problems(&problems);
        let rows: Vec<Vec<String>> = limits
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| vec![name.clone(), value.as_str().unwrap_or_default().to_owned()])
            .collect();
        if !rows.is_empty() {
            output.table(&["limit", "value"], &rows)?;
        }
        if let Some(shares) = shares {
            output.line("")?;
            output.table(&["resource", "for all", "share", "of each", "at the bound"], &rows_of(&shares))?;
        }
    }
    // No problem of a file, and yet to be known before the host is started here.
    for words in confine::missing() {
        say(&format!("note: {words}"));
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::silent(Exit::ConfigInvalid)) }
}

/// Says each problem, with what to do.
pub(super) fn print_problems(problems: &[Problem]) {
    for problem in problems {
        let key = if problem.key.is_empty() { String::new() } else { format!(": {}", problem.key) };
        say(&format!("{}{key}: found {}, expected {}", problem.file.display(), problem.found, problem.expected));
        if let Some(hint) = &problem.hint {
            say(&format!("  hint: {hint}"));
        }
    }
}

fn limits(config: &Config) -> Value {
    config.effective.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

/// The table of shares, for people.
fn rows_of(shares: &Shares) -> Vec<Vec<String>> {
    let row = |resource: Resource| {
        let (row, limit) = (resource.row(), shares.pool(resource).limit());
        let words = [row.name.to_owned(), row.unit.shown(limit.bound), row.unit.shown(limit.share), row.holder.to_owned()];
        words.into_iter().chain([row.at_bound.words().to_owned()]).collect()
    };
    Resource::ALL.into_iter().map(row).collect()
}

/// The same for programs: plain numbers, and the keys that change them.
fn objects(shares: &Shares) -> Vec<Value> {
    let object = |resource: Resource| {
        let (row, limit) = (resource.row(), shares.pool(resource).limit());
        json!({
            "resource": row.name, "bound": limit.bound, "share": limit.share, "holder": row.holder,
            "at_bound": row.at_bound.words(), "bound_key": row.bound_key, "share_key": row.share_key,
        })
    };
    Resource::ALL.into_iter().map(object).collect()
}
