//! The host's side of the compile child: starts it, gives it the component, takes the code, and says how it ended.

use std::{
    fs::File,
    io,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

use super::{
    child::Task,
    kept::{Kept, Written},
    marker::Marker,
};
use crate::{runtime::AdmissionError, shares::Threads};

/// Bytes of a child's last words that are told.
const STDERR_BYTES_MAX: u64 = 2048;
/// Compiled code may have a quarter of the memory a compilation has: the compiler holds it several times over.
const CODE_PART: u64 = 4;

/// What a compilation may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) memory_bytes: u64,
    pub(super) timeout: Duration,
}

impl Bounds {
    fn task(&self, wasm: &[u8]) -> Task {
        Task { memory_bytes: self.memory_bytes, cpu_s: self.timeout.as_secs().saturating_mul(4).max(1), component_bytes: wasm.len() as u64 }
    }

    /// How much compiled code is taken.
    pub(super) fn code_bytes_max(&self) -> u64 {
        self.memory_bytes / CODE_PART
    }

    pub(super) fn timed_out(&self) -> AdmissionError {
        let detail = format!("not compiled within {:?}; is the component larger than need be?", self.timeout);
        AdmissionError::new("compile_timeout", detail)
    }
}

/// Compiles in a child of `program`; what it did wrong is noted in `marker`. Whoever drops the future ends the child.
pub(super) async fn compile(
    program: &Path,
    (wasm, bounds): (&[u8], Bounds),
    (kept, marker): (&Arc<Kept>, &mut Marker),
    threads: &Threads,
) -> Result<Written, AdmissionError> {
    let failed = |what: &str, error: io::Error| AdmissionError::new("compile_failed", format!("{what} {}: {error}", program.display()));
    let mut child = start(program).map_err(|error| failed("cannot start", error))?;
    let talk = talk(&mut child, (wasm, bounds), kept, threads);
    match tokio::time::timeout(bounds.timeout, talk).await {
        Ok(Ok((status, Ok(written), _))) if status.success() => Ok(written),
        Ok(Ok((status, Err(error), _))) if status.success() => Err(failed("the code cannot be taken from", error)),
        Ok(Ok((status, _, words))) => {
            if status.code().is_none() {
                marker.strike(by_own_limits(status));
            }
            let detail = format!(
                "the compiler ended with {status} ({words}); it may use {} bytes of memory and {:?}",
                bounds.memory_bytes, bounds.timeout
            );
            Err(AdmissionError::new("compile_failed", detail))
        }
        Ok(Err(error)) => Err(failed("cannot wait for", error)),
        Err(_) => {
            // Time passes on a busy machine, too: the first time is a strike, and no proof. Its own processor time is one.
            marker.strike(false);
            Err(bounds.timed_out())
        }
    }
}

fn start(program: &Path) -> io::Result<Child> {
    Command::new(program)
        .arg0("hookyard")
        .arg("compile")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Gives the child its task and takes the code and its last words, all at once: whoever waits for one pipe while another is full waits for ever.
async fn talk(
    child: &mut Child,
    (wasm, bounds): (&[u8], Bounds),
    kept: &Arc<Kept>,
    threads: &Threads,
) -> io::Result<(ExitStatus, io::Result<Written>, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut head = serde_json::to_vec(&bounds.task(wasm)).unwrap_or_default();
    head.push(b'\n');
    let give = async {
        let mut stdin = stdin?;
        // A child that died does not read on; its status says more than the broken pipe. The pipe stays open: its end is the child's.
        let _ = stdin.write_all(&head).await;
        let _ = stdin.write_all(wasm).await;
        let _ = stdin.flush().await;
        Some(stdin)
    };
    let take = async {
        let Some(stdout) = stdout else { return Err(io::Error::other("it has no standard output")) };
        let (mut code, kept) = (File::from(stdout.into_owned_fd()?), Arc::clone(kept));
        // Compressing and writing is not for a thread that others wait for.
        let taken = threads.run(move || kept.write(&mut code, bounds.code_bytes_max()));
        taken.await.unwrap_or_else(|_| Err(io::Error::other("the code was not written")))
    };
    let (stdin, written, words) = tokio::join!(give, take, last_words(stderr));
    let status = child.wait().await?;
    drop(stdin);
    Ok((status, written, words))
}

/// The first bytes of what it says; the rest is read and dropped, so that it does not wait for us.
async fn last_words(stderr: Option<impl AsyncRead + Unpin>) -> String {
    let (Some(mut stderr), mut words) = (stderr, Vec::new()) else { return String::new() };
    let _ = (&mut stderr).take(STDERR_BYTES_MAX).read_to_end(&mut words).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&words).trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// SIGKILL may have come from anybody: an operator, the kernel when memory is short. The others are its own doing.
fn by_own_limits(status: ExitStatus) -> bool {
    status.signal().is_some_and(|signal| signal != Signal::KILL.as_raw())
}
