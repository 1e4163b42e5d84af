//! One node: started, killed, frozen, starved, and started again on the same data.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use crate::{Management, Settings, group::Group, packages::Packages, ports, site::Site};

/// How long a node may take to open its door, on a machine that does other things too.
const START_MAX: Duration = Duration::from_mins(3);
/// How long a killed node may take to be gone.
const END_MAX: Duration = Duration::from_secs(30);
/// How long the queues of a node may take to elect their leaders once it takes connections.
const ELECTION_MAX: Duration = Duration::from_secs(15);
/// Restarts beyond this heal nothing.
const RESTARTS_MAX: usize = 6;
/// Ports that are tried, where others are faster.
const PORTS_TRIED_MAX: usize = 3;
/// What RabbitMQ says where somebody else has its port.
const PORT_TAKEN: &str = "could_not_start_listener";
/// Gives the names of the quorum queues of a kind that have no leader.
const LEADERLESS: &str = "[N || Q <- rabbit_amqqueue:list_by_type(quorum), {resource, _, queue, N} <- [amqqueue:get_name(Q)], \
                          string:prefix(N, <<\"PREFIX\">>) =/= nomatch, \
                          case ra:members(amqqueue:get_pid(Q), 2000) of {ok, _, {_, _}} -> false; _ -> true end].";

/// A RabbitMQ node of one's own; killed when dropped.
#[derive(Debug)]
pub struct Node {
    name: String,
    amqp: u16,
    distribution: u16,
    management: Option<u16>,
    process: Mutex<Option<Group>>,
    // After the process: its folder goes last.
    site: Arc<Site>,
}

impl Node {
    /// Starts a node and waits until it takes connections. Another program may take a port between the look and the start: then it is laid out
    /// anew, on others.
    pub fn start(packages: Packages, settings: &Settings) -> anyhow::Result<Self> {
        let site = Arc::new(Site::open(packages)?);
        let mut tries = 1;
        loop {
            let node = Self::lay(Arc::clone(&site), "rabbit", settings)?;
            match node.restart() {
                Ok(()) => return Ok(node),
                Err(_) if node.has_lost_its_port() && tries < PORTS_TRIED_MAX => {
                    drop(fs::remove_file(node.log_file()));
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Lays out a node that does not run yet.
    pub(crate) fn lay(site: Arc<Site>, name: &str, settings: &Settings) -> anyhow::Result<Self> {
        let (amqp, distribution) = (ports::free()?, ports::free()?);
        let management = settings.management.then(ports::free).transpose()?;
        site.write(format!("{name}/rabbitmq.conf"), &settings.conf(management))?;
        site.write(format!("{name}/enabled_plugins"), if management.is_some() { "[rabbitmq_management].\n" } else { "[].\n" })?;
        Ok(Self { name: name.to_owned(), amqp, distribution, management, process: Mutex::new(None), site })
    }

    /// Where AMQP is spoken, as the administrator `guest`, in the vhost `/`.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.amqp)
    }

    /// The port AMQP is spoken on.
    pub fn port(&self) -> u16 {
        self.amqp
    }

    /// Its management API, where it was started with one.
    pub fn management(&self) -> Option<Management> {
        self.management.map(|port| Management::new(format!("http://guest:guest@127.0.0.1:{port}")))
    }

    /// Its full Erlang name.
    pub fn name(&self) -> String {
        format!("{}@localhost", self.name)
    }

    /// SIGKILL to everything of it; returns when nobody answers any more.
    pub fn kill(&self) -> anyhow::Result<()> {
        drop(self.process.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.until("its end", END_MAX, || !ports::speaks_amqp(self.amqp))
    }

    /// Starts it (again) on the same data and ports; returns when it takes connections.
    pub fn restart(&self) -> anyhow::Result<()> {
        self.launch()?;
        self.restarted()
    }

    /// Does what an operator does where queues came back from a SIGKILL without a leader (docs/rabbitmq.md): restarts the node, until each queue
    /// whose name begins so has one. Gives how often that took; an election that is only late takes none.
    pub fn heal(&self, prefix: &str) -> anyhow::Result<usize> {
        let mut leaderless = String::new();
        for restarts in 0..=RESTARTS_MAX {
            let is_led = self.until("a leader for each queue", ELECTION_MAX, || {
                leaderless = self.leaderless(prefix).unwrap_or_else(|error| Some(format!("{error:#}"))).unwrap_or_default();
                leaderless.is_empty()
            });
            if is_led.is_ok() {
                return Ok(restarts);
            }
            self.kill()?;
            self.restart()?;
        }
        bail!("RabbitMQ {}: queues without a leader after {RESTARTS_MAX} restarts: {leaderless}. It says:\n{}", self.name(), self.log())
    }

    /// The quorum queues whose name begins so and that have no leader, in RabbitMQ's own words; none where each has one.
    pub fn leaderless(&self, prefix: &str) -> anyhow::Result<Option<String>> {
        let names = self.ctl(&["eval", &LEADERLESS.replace("PREFIX", prefix)])?;
        Ok((names != "[]").then_some(names))
    }

    /// Waits until it takes connections.
    pub fn restarted(&self) -> anyhow::Result<()> {
        self.until("its door", START_MAX, || ports::speaks_amqp(self.amqp) || self.has_lost_its_port())?;
        ensure!(ports::speaks_amqp(self.amqp), "RabbitMQ {}: somebody else has port {}", self.name(), self.amqp);
        Ok(())
    }

    fn has_lost_its_port(&self) -> bool {
        fs::read_to_string(self.log_file()).is_ok_and(|log| log.contains(PORT_TAKEN))
    }

    fn log_file(&self) -> PathBuf {
        self.path(&format!("log/{}.log", self.name()))
    }

    /// Starts it (again) without waiting.
    pub fn launch(&self) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.path("start.log"))?;
        let environment = self.environment();
        let environment = environment.iter().map(|(name, value)| (*name, value.as_os_str()));
        let group = Group::start(self.site.script("rabbitmq-server").as_os_str(), &[], environment, log)?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(group);
        Ok(())
    }

    /// Whether it takes connections.
    pub fn is_up(&self) -> bool {
        ports::speaks_amqp(self.amqp)
    }

    /// Stops every process of it where it stands: connections stay open and nobody answers.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Runs `rabbitmqctl` with these arguments and gives what it prints.
    pub fn ctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.site.ctl(&self.name(), arguments)
    }

    /// A new vhost, in which `guest` may do everything; gives its URL.
    pub fn add_vhost(&self, name: &str) -> anyhow::Result<String> {
        self.ctl(&["add_vhost", name])?;
        self.ctl(&["set_permissions", "--vhost", name, "guest", ".*", ".*", ".*"])?;
        Ok(format!("amqp://guest:guest@127.0.0.1:{}/{name}", self.amqp))
    }

    /// Removes a vhost with all that is in it.
    pub fn remove_vhost(&self, name: &str) -> anyhow::Result<()> {
        self.ctl(&["delete_vhost", name]).map(drop)
    }

    /// Raises or clears the memory alarm, as a node does that has used up what it may.
    pub fn alarm_memory(&self, is_on: bool) -> anyhow::Result<()> {
        self.ctl(&["set_vm_memory_high_watermark", if is_on { "0" } else { "0.8" }]).map(drop)
    }

    /// Raises or clears the disk alarm, as a node does whose disk is full.
    pub fn alarm_disk(&self, is_on: bool) -> anyhow::Result<()> {
        self.ctl(&["set_disk_free_limit", if is_on { "100000GB" } else { "50MB" }]).map(drop)
    }

    /// The last of what it has logged.
    pub fn log(&self) -> String {
        let read = |name: String| fs::read_to_string(self.path(&name)).unwrap_or_default();
        let text = read("start.log".to_owned()) + &read(format!("log/{}.log", self.name()));
        text[text.floor_char_boundary(text.len().saturating_sub(8000))..].to_owned()
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).as_ref().context("the node does not run")?.signal(signal)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.path().join(&self.name).join(name)
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut environment = self.site.environment(&self.name());
        environment.extend([
            ("RABBITMQ_NODE_PORT", self.amqp.to_string().into()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_DIST_PORT", self.distribution.to_string().into()),
            ("RABBITMQ_MNESIA_BASE", self.path("data").into()),
            ("RABBITMQ_LOG_BASE", self.path("log").into()),
            ("RABBITMQ_CONFIG_FILE", self.path("rabbitmq").into()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("enabled_plugins").into()),
            ("RABBITMQ_GENERATED_CONFIG_DIR", self.path("generated").into()),
            ("RABBITMQ_PID_FILE", self.path("pid").into()),
        ]);
        environment
    }

    #[expect(clippy::disallowed_methods, reason = "another process lives in the machine's time")]
    fn until(&self, what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if is_so() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("RabbitMQ {}: {what} did not come within {patience:?}. It says:\n{}", self.name(), self.log())
    }
}
