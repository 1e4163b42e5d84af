//! A host as a process of its own, which can be killed.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

pub use rustix::process::Signal;

use hookyard::clock::Clock;

use crate::{folder::Folder, payloads::target_dir};

/// How long a process may take to open its door.
const START_MAX: Duration = Duration::from_mins(1);

/// The address of a listener that a host's roles do not include.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// A running `hookyard serve`; killed when dropped.
#[derive(Debug)]
pub struct ProcessHost {
    child: Child,
    /// Where it takes deliveries.
    pub ingest: SocketAddr,
    /// Where its admin listener is.
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    /// Ends when nobody holds the host's standard error any more, a tracer included.
    reader: Option<JoinHandle<()>>,
}

/// The binary that `cargo build` made beside this test, or in the repository's `target` folder where tests are compiled elsewhere
/// (`CARGO_BUILD_BUILD_DIR`).
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let profile = test.ancestors().nth(2).expect("the profile's folder");
    let beside = profile.join("hookyard");
    let built = if beside.is_file() { beside } else { target_dir().join(profile.file_name().expect("a name")).join("hookyard") };
    assert!(built.is_file(), "{} is not there; run `cargo build` or `cargo xtask test` first", built.display());
    built
}

impl ProcessHost {
    /// Starts a host on a folder and waits until its door is open.
    pub fn start(folder: &Folder) -> Self {
        Self::start_under(folder, &[])
    }

    /// Starts a host with more arguments, such as the roles it has.
    pub fn start_with(folder: &Folder, arguments: &[&str]) -> Self {
        Self::spawn(folder, &[], arguments).unwrap_or_else(|log| panic!("the host did not open its door: {log}"))
    }

    /// Starts the host from another copy of its binary.
    pub fn start_from(program: &std::path::Path, folder: &Folder) -> Self {
        let started = Self::spawn_command(&[program.into()], folder, &[]);
        started.unwrap_or_else(|log| panic!("the host did not open its door: {log}"))
    }

    /// The same with a program and its arguments in front, which must become the host or be its parent from outside, as `strace -D` is.
    pub fn start_under(folder: &Folder, wrapper: &[OsString]) -> Self {
        Self::try_start_under(folder, wrapper).unwrap_or_else(|log| panic!("the host did not open its door: {log}"))
    }

    /// The same; an error is the log of a host that did not open its door.
    pub fn try_start_under(folder: &Folder, wrapper: &[OsString]) -> Result<Self, String> {
        Self::spawn(folder, wrapper, &[])
    }

    fn spawn(folder: &Folder, wrapper: &[OsString], arguments: &[&str]) -> Result<Self, String> {
        let mut command = wrapper.to_vec();
        command.push(binary().into());
        Self::spawn_command(&command, folder, arguments)
    }

    fn spawn_command(command: &[OsString], folder: &Folder, arguments: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .args(["serve", "--config"])
            .arg(folder.config_file())
            .args(arguments)
            .env("HOOKYARD_LOG__FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the host starts");
        let stderr = child.stderr.take().expect("a pipe");
        let (found, addresses) = mpsc::channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if let Some(started) = addresses_of(&line) {
                        let _ = found.send(started);
                    }
                    log.lock().expect("a log").push(line);
                }
            }
        });
        let Ok((ingest, admin)) = addresses.recv_timeout(START_MAX) else {
            let _ = child.kill();
            let _ = child.wait();
            let _ = reader.join();
            return Err(log.lock().expect("a log").join("\n"));
        };
        Ok(Self { child, ingest, admin, log, reader: Some(reader) })
    }

    /// Every line it has logged.
    pub fn log(&self) -> String {
        self.log.lock().expect("a log").join("\n")
    }

    /// Waits until everything that lay there at its start serves or was refused: the door is open before.
    #[must_use]
    pub fn with_plugins(self) -> Self {
        let begun = Clock::system().instant();
        while !self.log().contains("plugins_loaded") {
            let took = Clock::system().instant().saturating_duration_since(begun);
            assert!(took < START_MAX, "the plugins are not loaded: {}", self.log());
            std::thread::yield_now();
        }
        self
    }

    /// SIGKILL, and wait until it and whoever traces it are gone.
    pub fn kill(self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self::signal(&self.child, signal);
    }

    /// Waits until it, and whoever traces it, are gone; gives its status and its log.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("an end");
        self.reader.take().expect("a reader").join().expect("a read log");
        (status, self.log())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets a plugin of the tenant `default` run that is paused or parked.
    pub fn resume(&self, folder: &Folder, plugin: &str) {
        let token = fs::read_to_string(folder.path().join("data/admin.token")).expect("a token");
        let (admin, token) = (self.admin, token.trim());
        let mut stream = TcpStream::connect(admin).expect("an admin listener");
        let head = format!("POST /api/v1/plugins/default/{plugin}/resume HTTP/1.1\r\nhost: {admin}\r\nauthorization: Bearer {token}\r\n");
        stream.write_all(format!("{head}connection: close\r\ncontent-length: 0\r\n\r\n").as_bytes()).expect("a sent request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// The most memory it has held, in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
        kib * 1024
    }
}

/// Starts a host of which nobody waits until its door is open.
pub fn start_only(folder: &Folder) -> Child {
    let mut command = Command::new(binary());
    command.args(["serve", "--config"]).arg(folder.config_file());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the host starts")
}

/// Sends a signal.
pub fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("a running process");
}

/// Waits until it is gone.
pub fn ended(mut child: Child) -> ExitStatus {
    child.wait().expect("an end")
}

/// The addresses in the line a host logs once its door is open.
fn addresses_of(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    // What a host is not there for has no address.
    let address = |name: &str| line[name].as_str().map_or(Some(NOWHERE), |text| text.parse().ok());
    if line["message"] == "host_started" { address("ingest").zip(address("admin")) } else { None }
}

impl Drop for ProcessHost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
