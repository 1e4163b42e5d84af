//! `dead-letters`: what was given up on, and what to do with it. An id is `<delivery_id>.<plugin>`.

use serde_json::{Value, json};

use super::{
    api::{self, Api, encoded, query},
    deliveries::{self, done, history},
    exit::Failure,
    listing::{Columns, Row, time},
    output::{field, next, say, short},
    page::Page,
    progress::Progress,
};

const COLUMNS: Columns<'_> = Columns { heads: &["died (utc)", "id", "tenant", "event", "reason", "tries", "gen"], soft: &[3, 2, 1] };

/// Dead letters of one call of `replay --all`: few enough that it is answered well within the client's patience.
const REPLAYED_AT_ONCE: &str = "200";

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
        #[command(flatten)]
        page: Page,
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
        /// All of them, of --tenant and --plugin where given, else of every tenant
        #[arg(long, conflicts_with = "id")]
        all: bool,
        #[command(flatten)]
        filter: ReplayFilter,
    },
    /// Give it up for good
    Discard {
        /// Which
        id: String,
    },
}

/// A filter beside an id would narrow nothing, so it is refused there.
#[derive(Clone, Debug, clap::Args)]
struct ReplayFilter {
    /// Of this tenant only
    #[arg(long, requires = "all")]
    tenant: Option<String>,
    /// Of this plugin only
    #[arg(long, requires = "all")]
    plugin: Option<String>,
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
        Verb::List { filter, page: Page { cursor, limit } } => {
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
            list(output, &page)
        }
        Verb::Show { id } => show(output, &api.get(&format!("dead-letters/{}", encoded(&id))).await?),
        Verb::Replay { id: Some(id), .. } => {
            done(output, &api.post(&format!("dead-letters/{}/replay", encoded(&id))).await?, &format!("{id} runs again"))
        }
        Verb::Replay { filter, .. } => {
            let changed = replay_all(&mut api, &filter).await?;
            done(output, &json!({ "changed": changed }), &format!("{changed} dead letters run again"))
        }
        Verb::Discard { id } => {
            done(output, &api.post(&format!("dead-letters/{}/discard", encoded(&id))).await?, &format!("{id} is discarded"))
        }
    }
}

fn list(output: super::Output, page: &Value) -> Result<(), Failure> {
    let letters: Vec<&Value> = page["items"].as_array().into_iter().flatten().collect();
    let row = |letter: &&Value| Row {
        cells: vec![
            time(letter, "died_at"),
            short_id(letter),
            field(letter, "tenant"),
            deliveries::event(letter),
            field(letter, "reason"),
            field(letter, "attempts"),
            field(letter, "generation"),
        ],
        notes: letter["detail"].as_str().filter(|detail| !detail.is_empty()).map(str::to_owned).into_iter().collect(),
    };
    COLUMNS.print(output, &letters.iter().map(row).collect::<Vec<_>>())?;
    if let Some(cursor) = page["next_cursor"].as_str() {
        say(&format!("more: --cursor {cursor}"));
    }
    match letters.first() {
        Some(letter) => say(&next(&format!("hookyard dead-letters show {}", short_id(letter)))),
        None => say("nothing was given up on"),
    }
    Ok(())
}

/// The first digits of the delivery's id with the plugin: every command takes it.
fn short_id(letter: &Value) -> String {
    format!("{}.{}", short(&field(letter, "delivery_id")), field(letter, "plugin"))
}

/// Page after page to the end: the answer tells where the next one begins. What dies again meanwhile is newer than that.
async fn replay_all(api: &mut Api, filter: &ReplayFilter) -> Result<u64, Failure> {
    let (mut changed, mut cursor) = (0, None::<String>);
    let progress = Progress::counting("running dead letters again");
    loop {
        let pairs = [
            ("tenant", filter.tenant.as_deref()),
            ("plugin", filter.plugin.as_deref()),
            ("cursor", cursor.as_deref()),
            ("limit", Some(REPLAYED_AT_ONCE)),
        ];
        let answer = api.post(&format!("dead-letters/replay{}", query(&pairs))).await.map_err(|failure| after(failure, changed))?;
        let more = answer["changed"].as_u64().unwrap_or(0);
        changed += more;
        progress.advance(more);
        match answer["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(changed),
        }
    }
}

/// A failure in the middle tells what was done before it.
fn after(failure: Failure, changed: u64) -> Failure {
    if changed == 0 {
        return failure;
    }
    Failure { message: format!("{changed} dead letters run again, and then: {}", failure.message), ..failure }
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
