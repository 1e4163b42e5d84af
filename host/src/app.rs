//! Joins the parts; start and drain order.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use crate::{clock::Clock, config::Config, runtime::Compiler};

/// What the host is started with besides its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Dates and waits.
    pub clock: Clock,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// The environment secrets and overrides are read from.
    pub env: BTreeMap<String, String>,
    /// The file the configuration came from, read again on reload.
    pub config_file: Option<PathBuf>,
}

/// How a host ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop, and did.
    Stopped {
        /// Tasks that were still running when the grace was over.
        orphans: usize,
    },
    /// The ledger could not be trusted any more, and why.
    Poisoned(String),
    /// A background task panicked.
    TaskFailed,
}

/// A started host.
#[derive(Debug)]
pub struct Host(());

impl Host {
    /// Starts every part.
    #[expect(clippy::unused_async, reason = "the seam is written first")]
    pub async fn start(config: Config, options: Options) -> anyhow::Result<Self> {
        let _ = (config, options);
        todo!()
    }

    /// Where deliveries are taken.
    pub fn ingest_address(&self) -> SocketAddr {
        todo!()
    }

    /// Where the API listens.
    pub fn admin_address(&self) -> SocketAddr {
        todo!()
    }

    /// Runs until a signal or a failure.
    #[expect(clippy::unused_async, reason = "the seam is written first")]
    pub async fn run(self) -> Ended {
        todo!()
    }
}
