//! `backup` and `restore`: the ledger as one file.
//!
//! Both work on the data folder, not through the API: a path means something on one machine only. A backup is taken beside a running host
//! by SQLite's online backup; a restore needs the folder's lock, so a running host refuses it.

use std::path::PathBuf;

use super::{
    check::print_problems,
    environment,
    exit::{Exit, Failure},
    output::say,
    progress::Progress,
};
use crate::{config, ledger};

/// The arguments of `backup`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BackupArgs {
    /// The copy; it must not exist yet
    file: PathBuf,
    /// The host's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The arguments of `restore`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// A copy made by `backup`
    file: PathBuf,
    /// The host's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Copies the ledger.
pub(super) fn backup(args: &BackupArgs) -> Result<(), Failure> {
    if args.file.exists() {
        return Err(Failure::new(Exit::Failed, format!("{} exists already", args.file.display())).hint("name a file that does not"));
    }
    let data_dir = data_dir(args.config.as_ref())?;
    let progress = Progress::waiting("copying the ledger");
    ledger::backup_beside(&data_dir, &args.file).map_err(|error| Failure::new(Exit::Failed, format!("no backup was made: {error}")))?;
    drop(progress);
    say(&format!("copied the ledger of {} to {}", data_dir.display(), args.file.display()));
    Ok(())
}

/// Puts a copy in place.
pub(super) fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let data_dir = data_dir(args.config.as_ref())?;
    let progress = Progress::waiting("checking the copy, and putting it in place");
    ledger::restore(&args.file, &data_dir).map_err(|error| {
        Failure::new(Exit::Failed, format!("nothing was restored: {error}"))
            .hint("stop the host first, and give a file made by `hookyard backup`")
    })?;
    drop(progress);
    say(&format!("the ledger of {} is that of {} now", data_dir.display(), args.file.display()));
    Ok(())
}

fn data_dir(file: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    let loaded = config::load(file.map(PathBuf::as_path), &environment());
    loaded.map(|config| config.data_dir).map_err(|problems| {
        print_problems(&problems);
        Failure::new(Exit::ConfigInvalid, "the configuration does not tell where the ledger is")
    })
}
