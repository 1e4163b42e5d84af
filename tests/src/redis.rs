//! A Redis of the test's own, on its own port and in its own folder, that can be killed, frozen and started again.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use redis::{FromRedisValue, aio::MultiplexedConnection};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::folder;

/// The password it asks for.
pub const PASSWORD: &str = "only-the-test-knows-it";

/// A running `redis-server`; killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    dir: TempDir,
    port: u16,
    tls: bool,
    child: Child,
}

type Fields = Vec<(String, Vec<u8>)>;

/// One entry of a stream.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The id Redis gave it.
    pub id: String,
    /// Its fields.
    pub fields: Fields,
}

impl Entry {
    /// A field as text.
    pub fn field(&self, name: &str) -> &str {
        let value = self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_slice());
        std::str::from_utf8(value.unwrap_or_else(|| panic!("no field {name} in {self:?}"))).expect("text")
    }
}

impl RedisServer {
    /// Starts one that keeps what it confirmed through a kill (`everysec` does not: it may answer before it has written); `None`, and a word about it, where there is no `redis-server`.
    #[expect(clippy::print_stdout, reason = "what is skipped is said")]
    pub fn start() -> Option<Self> {
        if program().arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("skipped: there is no redis-server; `apt-get install redis-tools` brings it");
            return None;
        }
        Some(Self::start_in(TempDir::with_prefix("hookyard-redis-").expect("a temporary folder"), false))
    }

    /// The same over TLS, with a certificate for `localhost`; its authority is the certificate itself.
    pub fn start_tls(certificate: &[u8], key: &[u8]) -> Option<Self> {
        let plain = Self::start()?;
        drop(plain);
        let dir = TempDir::with_prefix("hookyard-redis-").expect("a temporary folder");
        folder::write(&dir.path().join("cert.pem"), certificate);
        folder::write(&dir.path().join("key.pem"), key);
        Some(Self::start_in(dir, true))
    }

    fn start_in(dir: TempDir, tls: bool) -> Self {
        // The port is free now and taken by Redis in a moment; a test that loses this race finds another.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a free port").port();
        let child = spawn(&dir, port, tls);
        Self { dir, port, tls, child }
    }

    /// Where it is, with the password.
    pub fn url(&self) -> String {
        if self.tls {
            format!("rediss://:{PASSWORD}@localhost:{}/0", self.port)
        } else {
            format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port)
        }
    }

    /// A file that holds the URL, as a host is told it.
    pub fn url_file(&self) -> PathBuf {
        let file = self.dir.path().join("url");
        folder::write(&file, self.url().as_bytes());
        file
    }

    /// The certificate it shows.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("an end");
    }

    /// Starts it again on the same port and folder.
    pub fn restart(&mut self) {
        self.child = spawn(&self.dir, self.port, self.tls);
    }

    /// It takes connections and answers nothing, until it is thawed.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a signal");
    }

    /// A connection of the test's own (without TLS).
    pub async fn connection(&self) -> MultiplexedConnection {
        self.client().get_multiplexed_async_connection().await.expect("a connection")
    }

    /// A client of the test's own (without TLS).
    pub fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("a client")
    }

    /// Asks it something.
    pub async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, arguments) = command.split_first().expect("a command");
        redis::cmd(name).arg(arguments).query_async(&mut self.connection().await).await.expect("an answer")
    }

    /// Everything that is said on a channel from now on.
    pub fn listen(&self, channel: &str) -> mpsc::Receiver<String> {
        let (client, channel) = (self.client(), channel.to_owned());
        let (say, heard) = mpsc::channel();
        let (ready, subscribed) = mpsc::channel();
        std::thread::spawn(move || {
            let mut connection = client.get_connection().expect("a connection");
            let mut listening = connection.as_pubsub();
            listening.subscribe(channel).expect("a subscription");
            ready.send(()).expect("somebody who waits");
            while let Ok(message) = listening.get_message() {
                if say.send(message.get_payload().expect("a text")).is_err() {
                    return;
                }
            }
        });
        subscribed.recv().expect("a subscription");
        heard
    }

    /// Every entry of a stream, oldest first.
    pub async fn entries(&self, stream: &str) -> Vec<Entry> {
        let found: Vec<(String, Fields)> = self.ask(&["XRANGE", stream, "-", "+"]).await;
        found.into_iter().map(|(id, fields)| Entry { id, fields }).collect()
    }
}

/// `redis-server`, or what Debian's package of that name is a link to: one program that is what it is called.
fn program() -> Command {
    let of_debian = Path::new("/usr/bin/redis-check-rdb");
    let mut command = Command::new(if of_debian.is_file() { of_debian } else { Path::new("redis-server") });
    command.arg0("redis-server");
    command
}

fn spawn(dir: &TempDir, port: u16, tls: bool) -> Child {
    let port = port.to_string();
    let ports = if tls { [("--port", "0"), ("--tls-port", port.as_str())] } else { [("--port", port.as_str()), ("--tls-port", "0")] };
    let mut command = program();
    command.args(ports.into_iter().flat_map(|(name, value)| [name, value]));
    if tls {
        command.args([
            "--tls-cert-file",
            "cert.pem",
            "--tls-key-file",
            "key.pem",
            "--tls-ca-cert-file",
            "cert.pem",
            "--tls-auth-clients",
            "no",
        ]);
    }
    let mut child = command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--requirepass", PASSWORD])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-server starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut said = String::new();
    while !said.contains("Ready to accept connections") {
        assert_ne!(lines.read_line(&mut said).expect("a line"), 0, "redis-server ended: {said}");
    }
    // Whoever writes to a pipe that nobody reads is killed by it or stops.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    child
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
