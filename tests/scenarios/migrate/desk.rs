//! The folder of a host that does not run, and the command on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::Duration,
};

use hookyard::{
    clock::Clock,
    delivery::{DeliveryId, LegId, LegState, Receipt, TenantId, Timestamp},
    ledger::{self, Ledger, Queue, QueueSet, RunMemory},
};
use system_tests::{
    amqp::{KEY, settings},
    contract::offer,
    folder,
    process::binary,
    rabbit::Vhost,
};
use tempfile::TempDir;

/// A host's data folder and configuration, without the host.
pub(crate) struct Desk {
    pub(crate) data: TempDir,
    pub(crate) config: TempDir,
}

/// How one leg stands by the ledger's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: LegState,
    pub(crate) generation: u32,
    pub(crate) attempts: u32,
    pub(crate) runs: usize,
    pub(crate) due_at: Option<Timestamp>,
}

impl Desk {
    pub(crate) fn new(vhost: &Vhost) -> Self {
        Self::at(vhost.url())
    }

    pub(crate) fn at(url: &str) -> Self {
        let desk =
            Self { data: tempfile::tempdir().expect("a temporary folder"), config: tempfile::tempdir().expect("a temporary folder") };
        desk.configure(url, "embedded", "");
        desk
    }

    pub(crate) fn configure(&self, url: &str, kind: &str, more: &str) {
        folder::write(&self.config.path().join("amqp"), url.as_bytes());
        let (data, amqp) = (self.data.path().display(), self.config.path().join("amqp"));
        let amqp = amqp.display();
        let key = self.config.path().join("amqp-key");
        folder::write(&key, KEY.as_bytes());
        let key = key.display();
        let tenants = self.config.path().join("tenants");
        std::fs::create_dir_all(&tenants).expect("a folder");
        let tenants = tenants.display();
        // A queue has the same arguments for the engine of a test and for this host.
        let bytes_max = settings("amqp://localhost/%2f").topology.queue_bytes_max;
        let toml = format!(
            "data_dir = \"{data}\"\ntenants_dir = \"{tenants}\"\n[broker]\nkind = \"{kind}\"\n[broker.rabbitmq]\nurl = {{ file = \
             \"{amqp}\" }}\nkeys = [{{ file = \"{key}\" }}]\nqueue_bytes_max = {bytes_max}\n{more}\n[ingest]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n"
        );
        folder::write(&self.config_file(), toml.as_bytes());
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.config.path().join("hookyard.toml")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(self.config_file()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn migrate(&self, to: &str, more: &[&str]) -> Output {
        let mut arguments = vec!["queue", "migrate", "--to", to];
        arguments.extend(more);
        tokio::task::block_in_place(|| self.command(&arguments).output()).expect("a binary that starts")
    }

    /// Migrates to the end; gives what it prints as an object.
    pub(crate) fn migrate_all(&self, to: &str) -> serde_json::Value {
        let output = self.migrate(to, &["--json"]);
        assert!(output.status.success(), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("an object")
    }

    /// Begins to migrate and kills it after a time; true where it had ended before.
    pub(crate) async fn migrate_and_kill(&self, to: &str, after: Duration) -> bool {
        let mut child = self.command(&["queue", "migrate", "--to", to]).stderr(Stdio::null()).spawn().expect("a binary that starts");
        tokio::time::sleep(after).await;
        let ended = child.try_wait().expect("a process that can be started and ended");
        child.kill().expect("a process that can be started and ended");
        child.wait().expect("a process that can be started and ended");
        assert!(ended.is_none_or(|status| status.success()), "{ended:?}");
        ended.is_some()
    }

    pub(crate) fn open(&self, clock: &Clock) -> Ledger {
        let settings = ledger::Settings { free_bytes_min: 0, ..ledger::Settings::new(self.data.path()) };
        Ledger::open(settings, clock.clone()).expect("a ledger")
    }

    /// Every leg of these deliveries, with books that balance.
    pub(crate) async fn legs(&self, ids: &BTreeSet<DeliveryId>) -> BTreeMap<LegId, Standing> {
        let ledger = self.open(&Clock::system());
        let books = ledger.books().await.expect("a ledger that works");
        assert_eq!(books.gap, 0, "{books:?}");
        let mut legs = BTreeMap::new();
        for id in ids {
            for leg in ledger.delivery(*id).await.expect("a readable ledger").expect("a delivery").legs {
                let runs = leg.history.len();
                let standing = Standing { state: leg.state, generation: leg.generation, attempts: leg.attempts, runs, due_at: leg.due_at };
                legs.insert(LegId { delivery: *id, plugin: leg.plugin }, standing);
            }
        }
        ledger.close().await;
        legs
    }
}

pub(crate) fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn served(names: &[&str]) -> QueueSet {
    let queue = |name: &&str| Queue {
        tenant: TenantId::default_tenant(),
        plugin: name.parse().expect("a name"),
        concurrency_max: 100,
        run_memory: RunMemory::default(),
    };
    QueueSet { queues: names.iter().map(queue).collect(), tenant_concurrency_max: 100 }
}

pub(crate) async fn accept(ledger: &Ledger, number: u32, plugins: &[&str], ids: &mut BTreeSet<DeliveryId>) {
    let clock = Clock::system();
    let receipt =
        ledger.offer(offer(number, plugins, clock.now()), clock.instant() + Duration::from_secs(8)).await.expect("a ledger that works");
    let Receipt::Accepted { id, .. } = receipt else { panic!("{receipt:?}") };
    ids.insert(id);
}
