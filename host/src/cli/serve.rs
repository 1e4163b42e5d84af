//! `serve`: reads the configuration, starts the host, says where it is, and waits for it to end.

use std::{collections::BTreeSet, path::PathBuf};

use super::{
    block_on,
    check::print_problems,
    environment,
    exit::{Exit, Failure},
};
use crate::{
    app::{Ended, Host, Options, Signals, WaitsElsewhere},
    broker::Kind,
    clock::Clock,
    config::{self, Config, Problem, Roles},
    confine,
    ledger::ClosedFolder,
    listen::{Listen, Sockets},
    observe::logging::{self, Log},
    runtime::Compiler,
    tenants::Directory,
};

/// The arguments of `serve`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The host's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What this process does
    #[arg(long, value_delimiter = ',', default_value = "ingest,work,admin")]
    roles: Vec<Role>,
    /// Start although the newest commits of the ledger are missing
    #[arg(long)]
    accept_loss: bool,
}

/// What a process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Role {
    /// Takes deliveries.
    Ingest,
    /// Runs plugins.
    Work,
    /// Answers operators.
    Admin,
}

/// Runs the host until it ends. What the process gives up it gives up here, before there is a second thread: threads that exist already would
/// keep it.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let signals = Signals::catch()?;
    let env = environment();
    let mut config = config::load(args.config.as_deref(), &env).map_err(|problems| {
        print_problems(&problems);
        invalid(&problems)
    })?;
    // One tenant's bad file must not keep the others from being served after a restart; without a sound one there is nothing to serve.
    let (directory, problems) = config::load_tenants(&config, &env, &Directory::default());
    print_problems(&problems);
    if directory.tenants.is_empty() && !problems.is_empty() {
        return Err(invalid(&problems));
    }
    config.roles = roles(&args.roles, &config.broker)?;
    if config.own_amqp_key.is_some() && !(config.roles.ingest && config.roles.work) {
        return Err(keyless());
    }
    config.ledger.accept_loss = args.accept_loss;
    let format = logging::Format::choose(config.log_format.as_deref())?;
    let sockets = Sockets::inherited()?;
    // Before the folders are given up in which they are.
    if config.roles.ingest {
        sockets.open("ingest", &config.ingest.listen).map_err(|error| not_started(&error))?;
    }
    let (unconfined, closed) = confine(&config)?;
    let log = logging::start(format, &config.log_filter)?;
    if let Some(closed) = closed {
        closed.tell();
    }
    for words in &unconfined {
        tracing::warn!(detail = words.as_str(), "not_confined");
    }
    let options = Options {
        clock: Clock::system(),
        compiler: Compiler::Child(confine::this_program()),
        env,
        config_file: args.config,
        unconfined,
        dropped_lines: log.dropped(),
        sockets,
    };
    block_on(serve(config, options, (signals, &log))).map_err(|failure| told(&failure, &log))
}

/// From here on words for people take the way of the log: whoever writes to standard error himself waits for its reader.
fn told(failure: &Failure, log: &Log) -> Failure {
    log.say(&format!("error: {failure}"));
    if let Some(hint) = &failure.hint {
        log.say(&format!("hint: {hint}"));
    }
    Failure::silent(failure.exit)
}

async fn serve(config: Config, options: Options, (signals, log): (Signals, &Log)) -> Result<(), Failure> {
    let token_file = config.data_dir.join("admin.token");
    let token_is_given = options.env.get("HOOKYARD_ADMIN_TOKEN").is_some_and(|token| !token.is_empty());
    let Some((host, signals)) = Host::start_unless_stopped(config, options, signals).await.map_err(|error| not_started(&error))? else {
        log.say("stopped while it started");
        return Ok(());
    };
    match host.ingest() {
        Some(Listen::Tcp(address)) => log.say(&format!("deliveries: http://{address}/webhooks/{{source}}")),
        Some(socket) => log.say(&format!("deliveries: {socket}, /webhooks/{{source}}")),
        None => {}
    }
    if let Some(address) = host.admin_address() {
        log.say(&format!("admin:      http://{address}/api/v1"));
    }
    if !token_is_given && token_file.exists() {
        log.say(&format!("token:      in {}", token_file.display()));
    }
    let how = host.run(signals).await;
    if let Ended::Stopped { orphans: orphans @ 1.. } = how {
        log.say(&format!("stopped with {orphans} tasks still running; what they held runs again at the next start"));
    }
    ended(&how)
}

/// Gives up every file that the configuration does not name; tells what this machine does not have for that, and for the compile child.
/// The data folder that was closed to others on the way is told when there is a log.
fn confine(config: &Config) -> Result<(Vec<String>, Option<ClosedFolder>), Failure> {
    let (mut missing, mut closed) = (confine::missing(), None);
    if config.landlock {
        // What is to be written to must be there before it can be named.
        closed = config::make_data_dir(config).map_err(|error| {
            Failure::new(Exit::Failed, format!("the host did not start: cannot make {}: {error}", config.data_dir.display()))
        })?;
        missing.extend(confine::host(&config.paths()).into_iter().filter(|words| !confine::missing().contains(words)));
    }
    Ok((missing, closed))
}

fn invalid(problems: &[Problem]) -> Failure {
    Failure::new(Exit::ConfigInvalid, format!("{} problem(s) in the configuration", problems.len()))
        .hint("`hookyard check` shows them again, without starting")
}

/// What is asked of this process, where its broker allows to share the work.
fn roles(asked: &[Role], broker: &Kind) -> Result<Roles, Failure> {
    let asked: BTreeSet<Role> = asked.iter().copied().collect();
    let roles = Roles { ingest: asked.contains(&Role::Ingest), work: asked.contains(&Role::Work), admin: asked.contains(&Role::Admin) };
    if asked.is_empty() || (matches!(broker, Kind::Embedded) && roles != Roles::ALL) {
        let message = "this set of roles needs a broker between processes; with the embedded one, ingest, work and admin share one process";
        return Err(Failure::new(Exit::ConfigInvalid, message).hint("leave --roles out, or set `broker.kind = \"rabbitmq\"`"));
    }
    Ok(roles)
}

/// A host that shares its work and has a key of its own: what it seals, no other host would take.
fn keyless() -> Failure {
    let message =
        "`--roles` shares the work between hosts, and `broker.rabbitmq.keys` is not set: what this host sealed, no other would take";
    Failure::new(Exit::ConfigInvalid, message)
        .hint("make a key (`openssl rand -hex 32`) and give it to every host, such as keys = [{ file = \"/etc/hookyard/amqp.key\" }]")
}

fn not_started(error: &anyhow::Error) -> Failure {
    let exit = if error.is::<WaitsElsewhere>() { Exit::ConfigInvalid } else { Exit::Failed };
    Failure::new(exit, format!("the host did not start: {error:#}"))
}

fn ended(how: &Ended) -> Result<(), Failure> {
    match how {
        Ended::Stopped { .. } => Ok(()),
        Ended::Poisoned(why) => Err(Failure::new(Exit::Failed, format!("the ledger cannot be trusted any more: {why}"))
            .hint("nothing that was accepted is lost; look at the disk, then start again")),
        Ended::TaskFailed => Err(Failure::new(Exit::Failed, "a part of the host failed; its log line `task_panicked` names it")
            .hint("start again; what was accepted is kept")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_split_only_where_a_broker_stands_between() {
        assert_eq!(roles(&[Role::Admin, Role::Work, Role::Ingest, Role::Work], &Kind::Embedded).unwrap(), Roles::ALL);
        for some in [vec![], vec![Role::Ingest], vec![Role::Work, Role::Admin]] {
            assert_eq!(roles(&some, &Kind::Embedded).unwrap_err().exit, Exit::ConfigInvalid, "{some:?}");
        }
        let env = [("HOOKYARD_AMQP_URL".to_owned(), "amqp://localhost".to_owned())].into();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hookyard.toml");
        std::fs::write(&file, "[broker]\nkind = \"rabbitmq\"\n").unwrap();
        let broker = config::load(Some(&file), &env).unwrap().broker;
        assert_eq!(roles(&[Role::Ingest], &broker).unwrap(), Roles { ingest: true, work: false, admin: false });
        assert_eq!(roles(&[], &broker).unwrap_err().exit, Exit::ConfigInvalid);
        assert!(keyless().message.contains("broker.rabbitmq.keys"));
    }

    #[test]
    fn legs_that_wait_elsewhere_are_a_configuration_error_that_names_the_way_out() {
        let failure = not_started(&WaitsElsewhere::AtRabbitMq { legs: 3 }.into());
        assert_eq!(failure.exit, Exit::ConfigInvalid);
        assert!(failure.message.contains("`hookyard queue migrate --to embedded`"), "{failure}");
        assert_eq!(not_started(&anyhow::anyhow!("no disk")).exit, Exit::Failed);
    }

    #[test]
    fn only_an_orderly_end_is_a_success() {
        assert!(ended(&Ended::Stopped { orphans: 0 }).is_ok() && ended(&Ended::Stopped { orphans: 2 }).is_ok());
        assert_eq!(ended(&Ended::TaskFailed).unwrap_err().exit, Exit::Failed);
        assert!(ended(&Ended::Poisoned("disk gone".to_owned())).unwrap_err().message.contains("disk gone"));
    }
}
