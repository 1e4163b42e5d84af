//! `legs`: one leg of a delivery. An id is `<delivery_id>.<plugin>`.

use super::{
    api::{self, Api, encoded},
    deliveries::done,
    exit::Failure,
    output::field,
};

/// The arguments of `legs`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    host: api::Args,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Run a leg now that waits for its next attempt
    RunNow {
        /// Which: `<delivery_id>.<plugin>`
        id: String,
    },
}

/// Does what is asked.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let (output, mut api) = (args.host.output(), Api::new(&args.host)?);
    let Verb::RunNow { id } = args.verb;
    let answer = api.post(&format!("legs/{}/run-now", encoded(&id))).await?;
    let words = if field(&answer, "state") == "parked" {
        format!("{id} waits for no time any more, but its queue is held: `hookyard plugins show NAME` says why")
    } else {
        format!("{id} runs now")
    };
    done(output, &answer, &words)
}
