//! A host as a process of its own, which can be killed.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use crate::folder::Folder;

/// How long a process may take to open its door.
const START_MAX: Duration = Duration::from_mins(1);

/// A running `hookyard serve`; killed when dropped.
#[derive(Debug)]
pub struct ProcessHost {
    child: Child,
    /// Where it takes deliveries.
    pub ingest: SocketAddr,
    /// Where its admin listener is.
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

/// The binary that `cargo build` made beside this test.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let built = test.ancestors().nth(2).expect("the profile's folder").join("hookyard");
    assert!(built.is_file(), "{} is not there; run `cargo build` or `cargo xtask test` first", built.display());
    built
}

impl ProcessHost {
    /// Starts a host on a folder and waits until its door is open.
    pub fn start(folder: &Folder) -> Self {
        let mut child = Command::new(binary())
            .args(["serve", "--config"])
            .arg(folder.config_file())
            .env("HOOKYARD_LOG__FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the host starts");
        let stderr = child.stderr.take().expect("a pipe");
        let (found, addresses) = mpsc::channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        std::thread::spawn({
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
            panic!("the host did not open its door: {:#?}", log.lock().expect("a log"));
        };
        Self { child, ingest, admin, log }
    }

    /// Every line it has logged.
    pub fn log(&self) -> String {
        self.log.lock().expect("a log").join("\n")
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("an end");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it has held, in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
        kib * 1024
    }
}

/// The addresses in the line a host logs once its door is open.
fn addresses_of(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| line[name].as_str().and_then(|text| text.parse().ok());
    if line["message"] == "host_started" { address("ingest").zip(address("admin")) } else { None }
}

impl Drop for ProcessHost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
