//! `streams`: where deliveries and emits are sent on to, and how far each stream has come.

use super::{
    api::{self, Api},
    exit::Failure,
    plugins::list,
};

/// The arguments of `streams`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    host: api::Args,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Every stream: connection, lag, gap
    List,
}

/// Does what is asked.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let (output, mut api) = (args.host.output(), Api::new(&args.host)?);
    let Verb::List = args.verb;
    let page = api.get("streams").await?;
    list(output, &page, &["name", "kind", "follows", "connected", "position", "lag", "published", "gap", "failure"])
}
