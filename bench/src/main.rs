//! The bench: the figures Hookyard promises, measured beside what people run today, on this machine, in this run.
//!
//! `cargo xtask bench` builds the host and the plugins and calls this. Every figure is the median of several rounds, every server starts fresh
//! for its turn, and all load goes to 127.0.0.1. The text goes to standard output and, for a full run, to `bench/runs/DATE-MACHINE/README.md`,
//! which is what is committed. The exit code is 1 where a floor was missed.

mod accept;
mod bare;
mod bench;
mod books;
mod client;
mod deploys;
mod durable;
mod folders;
mod histogram;
mod host;
mod lengths;
mod load;
mod machine;
mod neighbours;
mod payload;
mod peers;
mod process;
mod rabbit;
mod reading;
mod report;
mod run_cost;
mod soak;
mod streams;

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use hookyard::clock::Clock;

use crate::{bench::Bench, folders::Folders, lengths::Lengths, machine::Machine, report::Report};

/// Measures Hookyard against its floors and against what people run today
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// What is measured
    #[command(subcommand)]
    what: Option<What>,
    /// Shorter and fewer rounds, a tenth of the queue; the report is kept in target/
    #[arg(long, global = true)]
    quick: bool,
    /// Where the report is written, instead of bench/runs/DATE-MACHINE
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
enum What {
    /// Everything below; what `cargo xtask bench` does
    All,
    /// Accepting: Hookyard, the bare loop, two common servers
    Accept,
    /// The same servers without Hookyard
    Peers,
    /// From the first accept to the last settlement
    EndToEnd,
    /// A run of a plugin against a bare wasmtime call
    RunCost,
    /// Swaps, a start with two hundred plugins, a run among them
    Deploys,
    /// A tenant beside another one's hostile plugins
    Neighbours,
    /// The second half of it: a tenant beside somebody who uses up a shared resource
    Shares,
    /// Accepting beside a stream to Redis, and without one
    Streams,
    /// Memory of a host that has nothing to do
    Idle,
    /// Start with a queue that was left behind
    Restart,
    /// An hour at half load with a deploy every minute; no part of `all`
    Soak {
        /// For how long, 8 or more
        #[arg(long, default_value_t = 60)]
        minutes: u32,
        /// Deliveries a second
        #[arg(long, default_value_t = 500)]
        per_s: u32,
    },
    /// Hookyard on RabbitMQ, beside bare loops on the same node
    Rabbitmq,
    /// Serves the bare loop until it is ended
    BareServer {
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Put every delivery into a queue of this broker, and answer once it has confirmed
        #[arg(long, value_name = "URL")]
        confirm: Option<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every floor was cleared.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let what = arguments.what.unwrap_or(What::All);
    if let What::BareServer { listen, confirm } = what {
        match confirm {
            Some(url) => rabbit::serve_confirming(listen, &url).await?,
            None => bare::serve(listen).await?,
        }
        return Ok(true);
    }
    let (folders, clock) = (Folders::find()?, Clock::system());
    let machine = Machine::look(&folders, &clock)?;
    let lengths = if arguments.quick { Lengths::QUICK } else { Lengths::FULL };
    let mut bench = Bench { folders, lengths, clock, report: Report::default() };
    measure(&mut bench, &what).await?;
    let command: Vec<_> = std::env::args().skip(1).collect();
    let text = bench.report.markdown(&machine, format!("cargo xtask bench {}", command.join(" ")).trim());
    write!(std::io::stdout(), "{text}")?;
    // A part of the figures must not take the place of the whole.
    let is_whole = what == What::All && !arguments.quick;
    let name = format!("{}-{}", machine.date, machine.slug());
    let out = arguments.out.unwrap_or_else(|| bench.folders.runs(is_whole).join(name));
    bench.say(&format!("written to {}", Report::write(&text, &out)?.display()));
    Ok(bench.report.is_cleared())
}

async fn measure(bench: &mut Bench, what: &What) -> anyhow::Result<()> {
    let has = |part| *what == part || *what == What::All;
    // On RabbitMQ too, accepting is measured against the embedded queue and the whole against the bare call.
    if has(What::Accept) || *what == What::Rabbitmq {
        durable::accept(bench).await?;
    }
    if has(What::Accept) || *what == What::Peers {
        accept::peers(bench).await?;
    }
    if has(What::EndToEnd) {
        durable::end_to_end(bench).await?;
    }
    if has(What::RunCost) || *what == What::Rabbitmq {
        run_cost::measure(bench).await?;
    }
    if has(What::Deploys) {
        deploys::measure(bench).await?;
    }
    if has(What::Neighbours) {
        neighbours::measure(bench).await?;
    }
    if *what == What::Shares {
        neighbours::shares::measure(bench).await?;
    }
    if has(What::Streams) {
        streams::measure(bench).await?;
    }
    if has(What::Rabbitmq) {
        rabbit::measure(bench).await?;
    }
    if has(What::Idle) {
        durable::idle(bench).await?;
    }
    if has(What::Restart) {
        durable::restart(bench).await?;
    }
    if let What::Soak { minutes, per_s } = what {
        soak::measure(bench, *minutes, *per_s).await?;
    }
    durable::compare(bench);
    Ok(())
}
