//! `check`: every problem of all files at once, then the limits in force. Touches nothing.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{
    environment,
    exit::{Exit, Failure},
    output::{Output, say},
};
use crate::{
    config::{self, Config, Problem},
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
    let (problems, limits) = match config::load(args.config.as_deref(), &env) {
        Ok(config) => (config::load_tenants(&config, &env, &Directory::default()).1, limits(&config)),
        Err(problems) => (problems, json!({})),
    };
    let output = Output::new(args.json);
    if output.is_json() {
        output.object(&json!({ "problems": problems, "limits": limits }), false)?;
    } else {
        print_problems(&problems);
        let rows: Vec<Vec<String>> =
            limits.as_object().into_iter().flatten().map(|(name, value)| vec![name.clone(), value.to_string()]).collect();
        if !rows.is_empty() {
            output.table(&["limit", "value"], &rows)?;
        }
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
    let (door, ledger, runtime, ceiling) = (&config.ingest, &config.ledger, &config.runtime, &config.ceiling);
    json!({
        "ingest.accept_timeout_ms": door.accept_timeout.as_millis(),
        "ingest.address_failures_per_min_max": door.address_failures_per_min_max,
        "ingest.address_rate_per_s_max": door.address_rate_per_s_max,
        "ingest.body_budget_bytes_max": door.body_budget_bytes_max,
        "ingest.body_bytes_per_s_min": door.body_bytes_per_s_min,
        "ingest.body_timeout_ms": door.body_timeout.as_millis(),
        "ingest.connections_max": door.connections_max,
        "ingest.connections_per_address_max": door.connections_per_address_max,
        "ingest.form_bytes_max": door.form_bytes_max,
        "ingest.head_bytes_max": door.head_bytes_max,
        "ingest.head_timeout_ms": door.head_timeout.as_millis(),
        "ingest.json_bytes_max": door.json_bytes_max,
        "ledger.body_cache_bytes_max": ledger.body_cache_bytes_max,
        "ledger.free_bytes_min": ledger.free_bytes_min,
        "ledger.group_bytes_max": ledger.group_bytes_max,
        "ledger.group_items_max": ledger.group_items_max,
        "ledger.retain_dead_ms": ledger.retain_dead.as_millis(),
        "ledger.retain_dedup_ms": ledger.retain_dedup.as_millis(),
        "ledger.retain_settled_ms": ledger.retain_settled.as_millis(),
        "ledger.wal_bytes_max": ledger.wal_bytes_max,
        "limits.fuel": ceiling.fuel,
        "limits.fuel_per_body_byte": ceiling.fuel_per_body_byte,
        "limits.memory_bytes_max": ceiling.memory_bytes_max,
        "limits.memory_per_body_byte": ceiling.memory_per_body_byte,
        "limits.wall_ms": ceiling.wall.as_millis(),
        "plugins.component_bytes_max": runtime.component_bytes_max,
        "plugins.compile_memory_bytes_max": runtime.compile_memory_bytes_max,
        "plugins.compile_timeout_ms": runtime.compile_timeout.as_millis(),
        "plugins.plugins_max": config.catalog.plugins_max,
        "work.concurrency_max": config.work.concurrency_max,
        "work.threads": config.work.threads,
        "grace_ms": config.grace.as_millis(),
    })
}
