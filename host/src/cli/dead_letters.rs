//! `dead-letters`: what was given up on, and what to do with it. An id is `<delivery_id>.<plugin>`.

use serde_json::{Value, json};

use super::{
    api::{self, Api, encoded, query},
    deliveries::{done, history},
    exit::Failure,
    output::{field, say},
};

/// The arguments of `dead-letters`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    host: api::Args,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Newest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// The `next_cursor` of the page before
        #[arg(long)]
        cursor: Option<String>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// One dead letter with its attempts
    Show {
        /// Which
        id: String,
    },
    /// Run it again
    Replay {
        /// Which
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All of them, of --tenant and --plugin where given
        #[arg(long, conflicts_with = "id")]
        all: bool,
        #[command(flatten)]
        filter: Filter,
    },
    /// Give it up for good
    Discard {
        /// Which
        id: String,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Filter {
    #[arg(long)]
    tenant: Option<String>,
    #[arg(long)]
    plugin: Option<String>,
}

/// Does what is asked.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let (output, mut api) = (args.host.output(), Api::new(&args.host)?);
    match args.verb {
        Verb::List { filter, cursor, limit } => {
            let limit = limit.to_string();
            let pairs = [
                ("tenant", filter.tenant.as_deref()),
                ("plugin", filter.plugin.as_deref()),
                ("cursor", cursor.as_deref()),
                ("limit", Some(limit.as_str())),
            ];
            let page = api.get(&format!("dead-letters{}", query(&pairs))).await?;
            if output.is_json() {
                return output.object(&page, false);
            }
            let names = ["died_at", "id", "event", "action", "reason", "attempts", "detail"];
            let rows: Vec<Vec<String>> =
                page["items"].as_array().into_iter().flatten().map(|item| names.map(|name| field(item, name)).to_vec()).collect();
            output.table(&names, &rows)?;
            if let Some(cursor) = page["next_cursor"].as_str() {
                say(&format!("more: --cursor {cursor}"));
            }
            Ok(())
        }
        Verb::Show { id } => show(output, &api.get(&format!("dead-letters/{}", encoded(&id))).await?),
        Verb::Replay { id: Some(id), .. } => {
            done(output, &api.post(&format!("dead-letters/{}/replay", encoded(&id)), &json!({})).await?, &format!("{id} runs again"))
        }
        Verb::Replay { filter, .. } => {
            let answer = api.post("dead-letters/replay", &json!({ "tenant": filter.tenant, "plugin": filter.plugin })).await?;
            done(output, &answer, &format!("dead letters run again: {answer}"))
        }
        Verb::Discard { id } => {
            done(output, &api.post(&format!("dead-letters/{}/discard", encoded(&id)), &json!({})).await?, &format!("{id} is discarded"))
        }
    }
}

fn show(output: super::Output, letter: &Value) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(letter, false);
    }
    for name in [
        "id",
        "provider_delivery_id",
        "tenant",
        "source",
        "event",
        "action",
        "plugin",
        "reason",
        "detail",
        "attempts",
        "generation",
        "died_at",
    ] {
        output.line(&format!("{name:22}{}", field(letter, name)))?;
    }
    history(output, &letter["history"])
}
