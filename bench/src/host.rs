//! Hookyard as its users run it: `hookyard serve` on a folder of its own, on the disk the repository is on.
//!
//! The only settings that are not the defaults are the addresses and the rate limits, which are there to keep one sender from doing what this
//! bench does. How durable an accept is, and how many runs there are at once, stays as shipped.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use hookyard::clock::Clock;
use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    books::Books,
    client::Admin,
    folders::Folders,
    load::Target,
    payload::SECRET,
    process::{Server, free_address},
};

/// How long a host may take to be ready, longer than any floor.
const READY_MAX: Duration = Duration::from_mins(3);
/// How often it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The administrator's token; of a host that is reachable from this machine only, and lives for seconds.
const TOKEN: &str = "a-token-for-the-bench-and-nothing-else";

/// A folder laid out like an operator's; removed when dropped.
pub(crate) struct Folder {
    dir: TempDir,
    binary: PathBuf,
    more: String,
    queue: Option<Queue>,
    /// Dropped after `dir`.
    _removed: Removed,
}

/// Has the removal of a folder carried out at once: a file system that tells its disk of free blocks (`discard`) does so with its next commit,
/// seconds later, and whoever syncs then waits for it. That would be the next round.
struct Removed;

impl Drop for Removed {
    fn drop(&mut self) {
        rustix::fs::sync();
    }
}

/// RabbitMQ as the host's queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// Where it is, with credentials.
    pub(crate) url: String,
    /// `disk` or `broker`.
    pub(crate) ack_after: &'static str,
    /// What the host does.
    pub(crate) roles: &'static str,
}

/// A running host.
pub(crate) struct Host {
    /// Its process.
    pub(crate) server: Server,
    /// Its ingest listener.
    pub(crate) target: Target,
    /// Its admin listener.
    pub(crate) admin: Admin,
    /// From the start of the process until it said that it is ready.
    pub(crate) ready_after: Duration,
}

impl Folder {
    /// Lays a folder out with some of the shipped plugins.
    pub(crate) fn lay(folders: &Folders, plugins: &[&str]) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix_in("host-", folders.scratch()?)?;
        let home = dir.path().join("tenants/default");
        for folder in ["secrets", "plugins"] {
            fs::create_dir_all(home.join(folder))?;
        }
        private_file(&home.join("secrets/github"), SECRET)?;
        private_file(&home.join("secrets/token"), "a-token-nothing-is-sent-with")?;
        private_file(&home.join("secrets/slack"), "https://127.0.0.1/nothing-is-sent-here")?;
        fs::write(home.join("tenant.toml"), TENANT)?;
        let folder = Self { dir, binary: folders.hookyard()?, more: String::new(), queue: None, _removed: Removed };
        plugins.iter().try_for_each(|name| folder.copy(folders, name, name))?;
        Ok(folder)
    }

    /// Lays a folder out with a plugin and so many copies of it in all, for a host on RabbitMQ.
    pub(crate) fn lay_copies(folders: &Folders, plugin: &str, count: usize, queue: Queue) -> anyhow::Result<Self> {
        let settings = format!(
            "[broker]\nkind = \"rabbitmq\"\nack_after = \"{}\"\n[broker.rabbitmq]\nurl = {{ env = \"HOOKYARD_AMQP_URL\" }}\nkeys = [{{ file = \"secrets/amqp\" }}]\n",
            queue.ack_after
        );
        let laid = Self::lay(folders, &[plugin])?;
        fs::create_dir_all(laid.dir.path().join("secrets"))?;
        private_file(&laid.dir.path().join("secrets/amqp"), "a-key-that-only-this-bench-seals-with")?;
        let folder = Self { queue: Some(queue), ..laid.with(&settings) };
        (2..=count).try_for_each(|number| folder.copy(folders, plugin, &format!("{plugin}-{number}")))?;
        Ok(folder)
    }

    fn copy(&self, folders: &Folders, plugin: &str, name: &str) -> anyhow::Result<()> {
        let (wasm, manifest) = folders.plugin(plugin)?;
        let plugins = self.dir.path().join("tenants/default/plugins");
        fs::copy(manifest, plugins.join(format!("{name}.toml")))?;
        fs::copy(wasm, plugins.join(format!("{name}.wasm")))?;
        Ok(())
    }

    /// With more settings than a folder has by itself.
    pub(crate) fn with(self, settings: &str) -> Self {
        Self { more: self.more + settings, ..self }
    }

    /// Where another tenant's folder belongs.
    pub(crate) fn tenant(&self, name: &str) -> PathBuf {
        self.dir.path().join("tenants").join(name)
    }

    /// Where the ledger is.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where plugins are dropped.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.dir.path().join("tenants/default/plugins")
    }

    /// Starts the host and waits until it is ready.
    pub(crate) async fn start(&self, clock: &Clock) -> anyhow::Result<Host> {
        self.start_within(READY_MAX, clock).await
    }

    /// The same, for a host that has more to do before.
    pub(crate) async fn start_within(&self, ready_max: Duration, clock: &Clock) -> anyhow::Result<Host> {
        let (ingest, address) = (free_address()?, free_address()?);
        let config = self.dir.path().join("hookyard.toml");
        fs::write(&config, self.config(ingest, address))?;
        let began = clock.instant();
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--config"]).arg(&config).env("HOOKYARD_ADMIN_TOKEN", TOKEN);
        if let Some(queue) = &self.queue {
            command.args(["--roles", queue.roles]).env("HOOKYARD_AMQP_URL", &queue.url);
        }
        let mut server = Server::start("hookyard", &mut command, &self.dir.path().join("host.log"))?;
        let admin = Admin { address, token: TOKEN.to_owned() };
        while !admin.is_ready().await {
            server.must_run()?;
            let waited = clock.instant().saturating_duration_since(began);
            ensure!(waited < ready_max, "the host is not ready after {ready_max:?}; it said:\n{}", server.last_words());
            clock.sleep(LOOK_EVERY).await;
        }
        let ready_after = clock.instant().saturating_duration_since(began);
        Ok(Host { server, target: Target { address: ingest, expected: StatusCode::ACCEPTED }, admin, ready_after })
    }

    /// Everything at its default but the rates, which one generator behind one address would meet, and the log: the peers write no line a
    /// delivery either.
    fn config(&self, ingest: SocketAddr, admin: SocketAddr) -> String {
        let root = self.dir.path();
        format!(
            "data_dir = {}\ntenants_dir = {}\n[ingest]\nlisten = \"{ingest}\"\naddress_rate_per_s_max = 1000000\n[admin]\nlisten = \
             \"{admin}\"\n[log]\nfilter = \"warn\"\n{}",
            quoted(&root.join("data")),
            quoted(&root.join("tenants")),
            self.more
        )
    }
}

/// The shipped plugins import `http`, so they are granted it; the bench's deliveries make none of them send anything.
const TENANT: &str = "[sources.github]\nscheme = \"github\"\nsecrets = [{ file = \"secrets/github\" }]\nrate_per_s_max = 1000000\n\
                      installation_rate_per_s_max = 1000000\n[credentials.github]\nkind = \"github-token\"\n\
                      token = { file = \"secrets/token\" }\n[credentials.slack]\nkind = \"url\"\n\
                      url = { file = \"secrets/slack\" }\n[[grants.http]]\nhost = \"api.github.com\"\nmethods = [\"GET\"]\n\
                      credential = \"github\"\n[[grants.http]]\nmethods = [\"POST\"]\ncredential = \"slack\"\n";

impl Host {
    /// Waits until each of these plugins of the tenant `default` serves.
    pub(crate) async fn plugins_serve(&mut self, plugins: &[&str], clock: &Clock) -> anyhow::Result<()> {
        for name in plugins {
            self.serves("default", name, clock).await?;
        }
        Ok(())
    }

    /// Waits until a tenant's plugin serves.
    pub(crate) async fn serves(&mut self, tenant: &str, name: &str, clock: &Clock) -> anyhow::Result<()> {
        let deadline = clock.instant() + READY_MAX;
        loop {
            self.server.must_run()?;
            let view = self.admin.get(&format!("/api/v1/plugins/{tenant}/{name}")).await?;
            match view["status"].as_str() {
                Some("active" | "paused") => return Ok(()),
                Some("refused") => bail!("the plugin {name} was refused: {}", view["refusal"]),
                _ => ensure!(clock.instant() < deadline, "the plugin {name} does not serve after {READY_MAX:?}: {view}"),
            }
            clock.sleep(LOOK_EVERY).await;
        }
    }

    /// How many plugins serve.
    pub(crate) async fn serving(&self) -> anyhow::Result<usize> {
        let page = self.admin.get("/api/v1/plugins").await?;
        let plugins = page["items"].as_array().with_context(|| format!("the plugins are no list: {page}"))?;
        Ok(plugins.iter().filter(|plugin| plugin["status"] == "active").count())
    }

    /// Pauses a plugin: what is accepted for it waits.
    pub(crate) async fn pause(&self, plugin: &str) -> anyhow::Result<()> {
        self.admin.post(&format!("/api/v1/plugins/default/{plugin}/pause")).await.map(drop)
    }

    /// The books as they stand.
    pub(crate) async fn books(&self) -> anyhow::Result<Books> {
        Books::read(&self.admin.get("/api/v1/books").await?)
    }

    /// Legs that are not settled, in whosever keeping. This asks the host's memory, and costs it nothing; the books read its database.
    pub(crate) async fn legs_open(&self) -> anyhow::Result<u64> {
        let page = self.admin.get("/api/v1/queues").await?;
        let queues = page["items"].as_array().with_context(|| format!("the queues are no list: {page}"))?;
        let count = |queue: &Value, state: &str| queue[state].as_u64().with_context(|| format!("a queue has no number `{state}`: {queue}"));
        let states = ["waiting", "leased", "retry", "parked", "relayed"];
        queues.iter().flat_map(|queue| states.map(|state| count(queue, state))).sum()
    }

    /// SIGTERM, and waits until it has drained. A host that ends with an error has not.
    pub(crate) async fn stop(self, clock: &Clock) -> anyhow::Result<()> {
        let status = self.server.stop(clock).await?;
        ensure!(status.success(), "the host ended with {status} after SIGTERM");
        Ok(())
    }
}

/// A path as TOML writes it.
pub(crate) fn quoted(path: &Path) -> toml::Value {
    toml::Value::String(path.display().to_string())
}

/// A secret's file is for its owner alone.
pub(crate) fn private_file(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| format!("{} cannot be written", path.display()))
}
