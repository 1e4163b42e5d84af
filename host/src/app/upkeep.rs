//! What is done from time to time while a host runs: retention.

use std::time::Duration;

use crate::{
    catalog::{Catalog, Compiling},
    clock::Clock,
    delivery::view::PluginView,
    ledger::Ledger,
    observe::Readiness,
    tasks::Tasks,
};

/// How often retention looks for what may go. Each look is bounded, so a short period keeps each one small.
const RETENTION_PERIOD: Duration = Duration::from_mins(1);

pub(super) fn start(tasks: &Tasks, ledger: &Ledger, clock: &Clock) {
    let (ledger, clock, stop) = (ledger.clone(), clock.clone(), tasks.clone());
    tasks.spawn("retention", async move {
        loop {
            tokio::select! {
                () = stop.stopping() => return,
                () = clock.sleep(RETENTION_PERIOD) => {}
            }
            // A round may have much to delete, and a host that stops does not wait for its end: each step of it is a whole.
            let retained = tokio::select! {
                () = stop.stopping() => return,
                retained = ledger.retain() => retained,
            };
            if let Err(error) = retained {
                tracing::warn!(%error, "retention_failed");
            }
        }
    });
}

/// Looks once for damage on the disk that nobody has met yet, behind the start, and says what it finds.
pub(super) fn inspect(tasks: &Tasks, ledger: &Ledger, readiness: &Readiness) {
    let (ledger, readiness, stop) = (ledger.clone(), readiness.clone(), tasks.clone());
    tasks.spawn("inspection", async move {
        let found = tokio::select! {
            () = stop.stopping() => return,
            found = ledger.damaged_rows() => found,
        };
        match found {
            Ok(damage) if damage.is_empty() => tracing::debug!("ledger_inspected"),
            Ok(damage) => {
                let words: Vec<_> = damage.iter().map(|(table, rows)| format!("{rows} of {table}")).collect();
                let words = words.join(", ");
                tracing::error!(rows = words, "ledger_rows_damaged");
                let what = format!(
                    "rows that are not as they were written: {words}; suspect the disk, and restore a backup with `hookyard restore`"
                );
                readiness.note("ledger_rows_damaged", what);
            }
            Err(error) => tracing::warn!(%error, "inspection_failed"),
        }
    });
}

/// Notes for operators which plugins are parked because the host has died in their runs, for as long as they are.
pub(super) fn note_crashed(tasks: &Tasks, catalog: &Catalog, readiness: &Readiness) {
    let (catalog, readiness, stop) = (catalog.clone(), readiness.clone(), tasks.clone());
    tasks.spawn("crash_notes", async move {
        let mut queues = catalog.queues();
        loop {
            queues.borrow_and_update();
            let of_one = |view: PluginView| Some(format!("{}/{}: {}", view.tenant, view.name, view.crash?));
            let crashed: Vec<_> = catalog.views(None).into_iter().filter_map(of_one).collect();
            if crashed.is_empty() {
                readiness.clear_note("plugin_ends_host");
            } else {
                readiness.note("plugin_ends_host", crashed.join("; "));
            }
            tokio::select! {
                () = stop.stopping() => return,
                // A plugin that is parked, or lifted, has a queue less or more.
                changed = queues.changed() => if changed.is_err() { return },
            }
        }
    });
}

/// Notes how many plugins wait for their first version, for as long as any does: what is for them is accepted meanwhile, and waits.
pub(super) fn note_compiling(tasks: &Tasks, catalog: &Catalog, readiness: &Readiness) {
    let (mut told, readiness, stop) = (catalog.compiling(), readiness.clone(), tasks.clone());
    tasks.spawn("compiling_notes", async move {
        loop {
            let Compiling { plugins, of } = *told.borrow_and_update();
            if plugins == 0 {
                readiness.clear_note("plugins_compiling");
            } else {
                readiness.note(
                    "plugins_compiling",
                    format!("{plugins} of {of} plugins are being compiled; what is for them is accepted and waits"),
                );
            }
            tokio::select! {
                () = stop.stopping() => return,
                changed = told.changed() => if changed.is_err() { return },
            }
        }
    });
}

/// Says once when everything that was there at the start serves or was refused.
pub(super) fn tell_loaded(tasks: &Tasks, catalog: &Catalog, clock: &Clock) {
    let (catalog, clock, stop) = (catalog.clone(), clock.clone(), tasks.clone());
    tasks.spawn("loading", async move {
        let began = clock.instant();
        tokio::select! {
            () = stop.stopping() => return,
            () = catalog.loaded() => {}
        }
        let views = catalog.views(None);
        let serving = views.iter().filter(|view| view.digest.is_some()).count();
        let duration_ms = clock.instant().saturating_duration_since(began).as_millis();
        tracing::info!(plugins = views.len(), serving, duration_ms, "plugins_loaded");
    });
}
