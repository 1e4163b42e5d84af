//! `streams`: where deliveries and emits are sent on to, and how far each stream has come.

use serde_json::Value;

use super::{
    api::{self, Api},
    exit::Failure,
    listing::{Columns, Row},
    output::{field, next, say},
};

const COLUMNS: Columns<'_> =
    Columns { heads: &["name", "kind", "follows", "connected", "position", "lag", "published", "gap"], soft: &[0] };

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
    if output.is_json() {
        return output.object(&page, false);
    }
    let row = |stream: &Value| Row {
        cells: COLUMNS.heads.iter().map(|head| field(stream, head)).collect(),
        notes: stream["failure"].as_str().map(|failure| format!("not connected: {failure}")).into_iter().collect(),
    };
    let rows: Vec<Row> = page["items"].as_array().into_iter().flatten().map(row).collect();
    COLUMNS.print(output, &rows)?;
    if rows.is_empty() {
        say("no stream is configured");
        say(&next("add [streams.NAME] to the host's file; docs/streams.md has an example"));
    }
    Ok(())
}
