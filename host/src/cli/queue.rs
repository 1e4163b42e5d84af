//! `queue migrate`: moving the open legs from one engine to the other. It works on the data folder, whose lock a running host holds.

use std::{path::PathBuf, sync::Mutex};

use serde_json::json;

use super::{
    check::print_problems,
    environment,
    exit::{Exit, Failure},
    output::{Output, say},
};
use crate::{
    app::{Engine, WaitsElsewhere, migrate},
    broker::{
        Kind,
        amqp::{Moved, Progress, Stopped},
    },
    config,
    ledger::Unaccounted,
};

/// The arguments of `queue`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Move what is open to RabbitMQ or back, while no host runs; it can be ended and begun again
    Migrate(MigrateArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct MigrateArgs {
    /// Where it is to be
    #[arg(long)]
    to: To,
    /// With `--to embedded`: legs that RabbitMQ should have and has not are run again, or given up
    #[arg(long, value_name = "WHAT")]
    unaccounted: Option<Word>,
    /// The configured RabbitMQ is the one that has this host's legs, though its address, vhost or prefix is another
    #[arg(long)]
    same_broker: bool,
    /// The host's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An object instead of words
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// The ledger
    Embedded,
    /// RabbitMQ
    Rabbitmq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Word {
    /// Those that another host has settled run once more
    Run,
    /// Those that nobody has settled never run
    Discard,
}

/// Does what is asked.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Verb::Migrate(args) = args.verb;
    let output = Output::new(args.json);
    let unaccounted = args.unaccounted.map(|word| match word {
        Word::Run => Unaccounted::Run,
        Word::Discard => Unaccounted::Discard,
    });
    if unaccounted.is_some() && args.to == To::Rabbitmq {
        return Err(Failure::new(Exit::Usage, "--unaccounted belongs to `--to embedded`"));
    }
    // Whichever engine the file names, RabbitMQ is at one end of the way.
    let mut env = environment();
    env.insert("HOOKYARD_BROKER__KIND".to_owned(), "rabbitmq".to_owned());
    let config = config::load(args.config.as_deref(), &env).map_err(|problems| {
        print_problems(&problems);
        Failure::new(Exit::ConfigInvalid, "the configuration does not tell where the ledger and RabbitMQ are")
    })?;
    let is_shared = matches!(&config.broker, Kind::RabbitMq(settings) if settings.shared_work);
    if is_shared && args.to == To::Embedded {
        return Err(Failure::new(Exit::Failed, "`broker.rabbitmq.shared_work` is true: other hosts hold and settle legs of this one")
            .hint(
                "drain and stop the other hosts, set `shared_work = false`, and migrate; what they have settled is then told by number",
            ));
    }
    let engine = if args.to == To::Embedded { Engine::Embedded } else { Engine::RabbitMq };
    let told = Mutex::new(None);
    let tell = |progress: Progress| {
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.replace(progress) != Some(progress) && progress.moved > 0 {
            say(&format!("{} moved, {} left", progress.moved, progress.left));
        }
    };
    let moved = migrate(config, engine, (unaccounted, args.same_broker), &tell).await.map_err(|error| failed(&error, args.to))?;
    show(output, args.to, moved)
}

fn show(output: Output, to: To, moved: Moved) -> Result<(), Failure> {
    let Moved { moved, kept, dropped, dead, rejected, unaccounted } = moved;
    let kind = if to == To::Embedded { "embedded" } else { "rabbitmq" };
    let next = format!("broker.kind = \"{kind}\"");
    if output.is_json() {
        let object = json!({
            "to": kind, "moved": moved, "kept": kept, "dropped": dropped, "dead": dead, "rejected": rejected, "unaccounted": unaccounted,
            "next": next,
        });
        return output.object(&object, false);
    }
    match to {
        To::Rabbitmq => output.line(&format!(
            "{moved} legs are in RabbitMQ's keeping now; {kept} stay here to be run by this host: too large for RabbitMQ, or damaged"
        ))?,
        To::Embedded => output.line(&format!(
            "{moved} legs wait in the ledger now, {dead} dead letters are in it; {dropped} copies were dropped, {rejected} messages put aside, \
             {unaccounted} missing legs settled by your word"
        ))?,
    }
    say(&format!("next: set `{next}` in the configuration and start the host"));
    Ok(())
}

fn failed(error: &anyhow::Error, to: To) -> Failure {
    if error.is::<WaitsElsewhere>() {
        return Failure::new(Exit::ConfigInvalid, format!("nothing has moved: {error}"));
    }
    let exit = match error.downcast_ref::<Stopped>() {
        Some(Stopped::Unreachable(..)) => Exit::Unreachable,
        _ => Exit::Failed,
    };
    let again = "nothing is lost, and what has moved has moved: mend what is said and type the same again";
    let hint = match error.downcast_ref::<Stopped>() {
        Some(Stopped::InUse { .. }) => "stop every host that works on this RabbitMQ, then type the same again",
        Some(Stopped::Refused { .. }) => {
            "make room and type the same again, or set `broker.kind = \"rabbitmq\"` now: the host goes on giving them by itself"
        }
        Some(Stopped::Newer(..)) => "migrate with the program that wrote it, or a newer one",
        Some(Stopped::Unaccounted { .. }) => {
            "look there; then type the same with `--unaccounted run` (what another host has settled runs once more) or `--unaccounted discard` \
             (what nobody has settled never runs)"
        }
        Some(Stopped::Unreachable(..) | Stopped::Ledger(_)) => again,
        None if to == To::Embedded => "stop the host on this folder first; until the legs are back, keep `broker.kind = \"rabbitmq\"`",
        None => "stop the host on this folder first",
    };
    Failure::new(exit, format!("not all has moved: {error:#}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stops_it_has_a_code_and_something_to_do() {
        let missing = Stopped::Unaccounted { legs: 3, queues: "q".to_owned(), rejected: "hookyard.rejected".to_owned(), put_aside: 1 };
        let failure = failed(&missing.into(), To::Embedded);
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.message.contains("3 legs") && failure.hint.unwrap().contains("--unaccounted run"));
        let in_use = failed(&Stopped::InUse { queue: "hookyard.due".to_owned(), consumers: 1 }.into(), To::Embedded);
        assert!(in_use.message.contains("`hookyard.due`") && in_use.hint.unwrap().contains("stop every host"));
        assert!(failed(&anyhow::anyhow!("in use"), To::Rabbitmq).hint.unwrap().contains("stop the host"));
    }
}
