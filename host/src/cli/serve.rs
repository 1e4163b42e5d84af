//! `serve`: reads the configuration, starts the host, says where it is, and waits for it to end.

use std::{collections::BTreeSet, path::PathBuf};

use super::{
    check::print_problems,
    environment,
    exit::{Exit, Failure},
    output::say,
};
use crate::{
    app::{Ended, Host, Options},
    clock::Clock,
    config::{self, Problem},
    observe::logging,
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

/// Runs the host until it ends.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    all_roles(&args.roles)?;
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
    config.ledger.accept_loss = args.accept_loss;
    logging::start(logging::Format::choose(config.log_format.as_deref())?, &config.log_filter)?;
    let token_file = config.data_dir.join("admin.token");
    let token_is_given = env.get("HOOKYARD_ADMIN_TOKEN").is_some_and(|token| !token.is_empty());
    let executable = std::env::current_exe()?;
    let options = Options { clock: Clock::system(), compiler: Compiler::Child(executable), env, config_file: args.config };
    let host =
        Host::start(config, options).await.map_err(|error| Failure::new(Exit::Failed, format!("the host did not start: {error:#}")))?;
    say(&format!("deliveries: http://{}/webhooks/{{source}}", host.ingest_address()));
    say(&format!("admin:      http://{}/api/v1", host.admin_address()));
    if !token_is_given && token_file.exists() {
        say(&format!("token:      in {}", token_file.display()));
    }
    ended(&host.run().await?)
}

fn invalid(problems: &[Problem]) -> Failure {
    Failure::new(Exit::ConfigInvalid, format!("{} problem(s) in the configuration", problems.len()))
        .hint("`hookyard check` shows them again, without starting")
}

fn all_roles(roles: &[Role]) -> Result<(), Failure> {
    let asked: BTreeSet<Role> = roles.iter().copied().collect();
    if asked.len() == 3 {
        return Ok(());
    }
    let message = "this set of roles needs a broker between processes; with the embedded one, ingest, work and admin share one process";
    Err(Failure::new(Exit::ConfigInvalid, message).hint("leave --roles out, or give all three: ingest,work,admin"))
}

fn ended(how: &Ended) -> Result<(), Failure> {
    match how {
        Ended::Stopped { orphans: 0 } => Ok(()),
        Ended::Stopped { orphans } => {
            say(&format!("stopped with {orphans} tasks still running; what they held runs again at the next start"));
            Ok(())
        }
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
    fn only_all_three_roles_can_be_served_and_anything_else_is_a_configuration_error() {
        assert!(all_roles(&[Role::Admin, Role::Work, Role::Ingest, Role::Work]).is_ok());
        for some in [vec![], vec![Role::Ingest], vec![Role::Work, Role::Admin]] {
            assert_eq!(all_roles(&some).unwrap_err().exit, Exit::ConfigInvalid, "{some:?}");
        }
    }

    #[test]
    fn only_an_orderly_end_is_a_success() {
        assert!(ended(&Ended::Stopped { orphans: 0 }).is_ok() && ended(&Ended::Stopped { orphans: 2 }).is_ok());
        assert_eq!(ended(&Ended::TaskFailed).unwrap_err().exit, Exit::Failed);
        assert!(ended(&Ended::Poisoned("disk gone".to_owned())).unwrap_err().message.contains("disk gone"));
    }
}
