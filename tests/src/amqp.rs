//! The RabbitMQ engine for tests: on a vhost of its own, with a ledger of its own, and a peer on the same vhost where a test wants one.

use std::{path::Path, sync::Arc, time::Duration};

use hookyard::{
    broker::{
        Amqp,
        amqp::{Address, Keys, Names, Parts, Settings, Topology},
    },
    clock::Clock,
    ledger::{self, Ledger},
    observe::{Observer, Readiness},
    shares::Shares,
    signature::Secret,
};
use tempfile::TempDir;

use crate::contract::Engine;

/// How long a test waits for what RabbitMQ is to do.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// What every host of every test seals its messages with.
pub const KEY: &str = "of-all-hosts-of-all-tests-of-this-repository";

/// Settings for a vhost: everything in one process, as by default.
pub fn settings(url: &str) -> Settings {
    Settings {
        address: Address::parse(url).expect("an AMQP URL"),
        topology: Topology {
            names: Names::new("hookyard").expect("a prefix"),
            passive: false,
            queue_messages_max: 1_000_000,
            queue_bytes_max: 1 << 30,
        },
        keys: Keys::new(vec![Secret::new(KEY).expect("a key")]).expect("a key that is long enough"),
        management: None,
        ack_after_broker: false,
        message_bytes_max: 16 << 20,
        retries_in_ledger: false,
        works: true,
        archives: true,
        shared_work: false,
        shares: Shares::default(),
    }
}

/// A host's queue without the rest of the host.
#[derive(Debug)]
pub struct Node {
    /// The engine.
    pub engine: Arc<Amqp>,
    /// Its ledger.
    pub ledger: Ledger,
    /// Its reasons not to be ready.
    pub readiness: Readiness,
    /// Its metrics.
    pub observer: Observer,
    clock: Clock,
    dir: TempDir,
}

impl Node {
    /// Starts an engine on a new ledger.
    pub async fn start(settings: Settings, clock: Clock) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), settings, clock).await
    }

    /// Starts an engine on a folder.
    pub async fn start_in(dir: TempDir, settings: Settings, clock: Clock) -> Self {
        let ledger = open(dir.path(), &clock);
        let readiness = Readiness::new();
        let observer = Observer::new(clock.clone());
        let parts = Parts { ledger: ledger.clone(), clock: clock.clone(), observer: observer.clone(), readiness: readiness.clone() };
        let engine = Amqp::start(settings, parts).await.expect("a readable ledger");
        Self { engine, ledger, readiness, observer, clock, dir }
    }

    /// As the contract suite takes it.
    pub fn as_engine(&self) -> Engine {
        Engine { broker: self.engine.clone(), dead: self.engine.clone(), clock: self.clock.clone() }
    }

    /// Stops it, checks the books, and gives the folder for another start.
    pub async fn stop(self) -> TempDir {
        let books = self.ledger.books().await.expect("readable books");
        assert_eq!(books.gap, 0, "the books do not balance: {books:?}");
        self.engine.stop().await;
        self.ledger.close().await;
        self.dir
    }
}

fn open(dir: &Path, clock: &Clock) -> Ledger {
    Ledger::open(ledger::Settings { free_bytes_min: 0, ..ledger::Settings::new(dir) }, clock.clone()).expect("a ledger")
}
