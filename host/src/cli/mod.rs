//! Arguments, exit codes, human output. Every command is one file; nothing here decides anything about a delivery.
//!
//! Data goes to stdout, words to stderr. An error ends with a `hint:` line where there is something to do.

mod api;
mod check;
mod client;
mod component;
mod dead_letters;
mod deliveries;
mod deploy;
mod exit;
mod init;
mod legs;
mod listing;
mod output;
mod page;
mod plugin;
mod plugins;
mod progress;
mod queue;
mod reload;
mod replay;
mod samples;
mod send;
mod serve;
mod store;
mod streams;
mod verify;

use std::{collections::BTreeMap, future::Future, io::Read as _, path::Path, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

pub use self::exit::{Exit, Failure};
use self::output::{Output, say};
use crate::runtime;

/// Largest file or standard input a command reads.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A WebAssembly plugin host for webhook handlers
#[derive(Debug, Parser)]
#[command(name = "hookyard", version, about, before_help = BEFORE_HELP, help_template = HELP, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What a newcomer types stands first: the list of commands tells where one could go, and not where one begins.
const BEFORE_HELP: &str = "From nothing to a handled delivery:
  hookyard init hooks        # makes a folder: configuration, a secret, a first plugin
  hookyard serve             # in that folder: runs the host, until Ctrl-C
  hookyard send --event push # there, in a second terminal: a signed delivery of your own";
const HELP: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

const AFTER_HELP: &str = "Exit codes: 0 done, 1 failed, 2 usage, 4 not authorised, 5 not found, 69 unreachable, 70 plugin trapped, 75 plugin hit a limit, 78 configuration invalid.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a folder in which a host runs at once
    Init(init::Args),
    /// Run the host; SIGTERM drains, SIGHUP reloads
    Serve(serve::Args),
    /// Show every problem of all files at once, then the limits in force
    Check(check::Args),
    /// Have a running host read its files of settings again, and say what it took
    Reload(reload::Args),
    /// Sign and send deliveries as the provider does
    Send(send::Args),
    /// Explain why a signature holds or does not
    Verify(verify::Args),
    /// The delivery log
    Deliveries(deliveries::Args),
    /// One leg of a delivery
    Legs(legs::Args),
    /// What was given up on
    DeadLetters(dead_letters::Args),
    /// What runs now
    Plugins(plugins::Args),
    /// The author's loop: make, build, test and try a plugin, without a host
    Plugin(plugin::Args),
    /// Events the plugins emitted
    Emits(plugins::EmitsArgs),
    /// Where deliveries and emits are sent on to
    Streams(streams::Args),
    /// Change the engine: move what is open to RabbitMQ or back
    Queue(queue::Args),
    /// Copy the ledger to a file, also while the host runs
    Backup(store::BackupArgs),
    /// Put a copy in place of the ledger, while no host runs
    Restore(store::RestoreArgs),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Compile one component from stdin to stdout, closed up; the host starts this
    #[command(hide = true)]
    Compile,
}

/// How a source signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Scheme {
    /// GitHub: HMAC-SHA256 in `X-Hub-Signature-256`
    Github,
}

/// Runs the command of the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    // Usage errors, `--help` and `--version` are clap's; it exits with 2 or 0 by itself.
    let Cli { command } = Cli::parse();
    match dispatch(command) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            if !failure.message.is_empty() {
                say(&format!("error: {failure}"));
            }
            if let Some(hint) = &failure.hint {
                say(&format!("hint: {hint}"));
            }
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    if let Command::Serve(_) | Command::Queue(_) | Command::Backup(_) | Command::Restore(_) | Command::Compile = &command {
        // What these write holds bodies, tokens or code, and libraries make files of their own. The author's commands keep the user's mask.
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    }
    match command {
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(&args),
        Command::Reload(args) => block_on(reload::run(args)),
        Command::Send(args) => block_on(send::run(args)),
        Command::Verify(args) => verify::run(&args),
        Command::Deliveries(args) => block_on(deliveries::run(args)),
        Command::Legs(args) => block_on(legs::run(args)),
        Command::DeadLetters(args) => block_on(dead_letters::run(args)),
        Command::Plugins(args) => block_on(plugins::run(args)),
        Command::Plugin(args) => plugin::run(args),
        Command::Emits(args) => block_on(plugins::emits(args)),
        Command::Streams(args) => block_on(streams::run(args)),
        Command::Queue(args) => block_on(queue::run(args)),
        Command::Backup(args) => store::backup(&args),
        Command::Restore(args) => store::restore(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hookyard", &mut script);
            Output::new(false).raw(&script)
        }
        // Without an async runtime: its limits are lowered first, and threads of ours would count.
        Command::Compile => runtime::compile_child().map_err(|error| Failure::new(Exit::Failed, format!("not compiled: {error:#}"))),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// The process's environment; what is not UTF-8 cannot be one of ours.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// A whole file, or standard input for `-`, of at most 64 MiB.
fn read_bounded(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| failed(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(&format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_begins_with_three_examples_that_are_commands() {
        let help = Cli::command().render_help().to_string();
        let examples: Vec<&str> = help.lines().skip_while(|line| !line.starts_with("From nothing")).skip(1).take(3).collect();
        for line in &examples {
            let typed = line.split('#').next().unwrap_or_default().split_whitespace();
            assert!(Cli::try_parse_from(typed).is_ok(), "{line}");
        }
        assert!(help.find("Usage:") > help.find(examples[2]), "{help}");
    }

    #[test]
    fn every_list_has_the_same_limit_and_the_same_grammar_of_time() {
        let parse = |list: &str, more: &[&str]| Cli::try_parse_from(["hookyard", list, "list"].iter().chain(more)).is_ok();
        for list in ["deliveries", "dead-letters", "emits"] {
            assert!(parse(list, &["--limit", "1000"]), "{list}");
            assert!(!parse(list, &["--limit", "1001"]) && !parse(list, &["--limit", "0"]), "{list}");
        }
        for time in ["24h", "30m", "7d", "2026-01-31T12:00:00Z"] {
            assert!(parse("deliveries", &["--since", time, "--until", time]), "{time}");
        }
        assert!(!parse("deliveries", &["--since", "yesterday"]));
    }

    #[test]
    fn nothing_takes_a_secret_as_an_argument() {
        for command in Cli::command().get_subcommands() {
            for name in ["secret", "token", "password"] {
                assert!(command.get_arguments().all(|argument| argument.get_long() != Some(name)), "{}", command.get_name());
            }
        }
    }

    #[test]
    fn a_file_that_is_not_there_fails_with_its_name() {
        let failure = read_bounded(Path::new("no/such/file")).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.message.contains("no/such/file"), "{failure}");
    }
}
