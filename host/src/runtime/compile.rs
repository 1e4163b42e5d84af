//! Compilation, bounded.
//!
//! A compile thread cannot be killed and a hostile component can make the compiler eat gigabytes, so the host lets a child of its own
//! executable do it: the child lowers its limits, compiles into the private cache and ends; the host then loads from the cache, which is
//! quick. While a digest is being compiled a marker of its name lies in the cache. Where the child dies on it, or the host does, the marker
//! stays, and the same bytes are not tried again: otherwise one file would bring the host down at every start.
//!
//! Starting a child costs more than loading what was compiled before. So a digest that once went well is noted, with the compiler it went
//! well with, and is loaded without a child from then on: a host with hundreds of plugins is back in seconds.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    io::{BufRead, BufReader, Read},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::Context as _;
use bytes::Bytes;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::{io::AsyncWriteExt as _, sync::Semaphore};
use wasmtime::{Engine, component};

use super::{
    AdmissionError, Compiler, Settings,
    engine::{code_config, open_cache},
};
use crate::delivery::Digest;

/// What the name of a note begins with.
const NOTE: &str = "compiled-";
/// Bytes of a child's last words that are told.
const STDERR_BYTES_MAX: usize = 2048;

/// Digests that are noted as compiled; with more of them all notes go, which costs a child each, once.
const NOTES_MAX: usize = 10_000;

/// Bytes of the line that goes ahead of the component.
const HEAD_BYTES_MAX: u64 = 1024;

/// What the child holds itself to; sent ahead of the component as one line of JSON.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct ChildLimits {
    memory_bytes: u64,
    cpu_s: u64,
    component_bytes: u64,
}

/// The one place that compiles: one component at a time.
pub(super) struct Workshop {
    settings: Settings,
    turn: Arc<Semaphore>,
}

/// The marker of a digest under compilation. It is lifted when the compiler has come back or is no longer wanted; a host that dies lifts
/// nothing, and a child that died leaves it on purpose.
struct Marker {
    path: PathBuf,
    stays: bool,
}

impl Workshop {
    /// Makes the cache folder, readable by this user only.
    pub(super) fn new(settings: Settings) -> anyhow::Result<Self> {
        if let Some(dir) = &settings.cache_dir {
            make_private(dir)?;
            forget_notes(dir);
        }
        Ok(Self { settings, turn: Arc::new(Semaphore::new(1)) })
    }

    /// Compiles a component, or loads what was compiled before.
    pub(super) async fn compile(&self, engine: &Engine, wasm: Bytes) -> Result<component::Component, AdmissionError> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|_| AdmissionError::new("compile_failed", "the compiler is closed"))?;
        let digest = Digest::of(&[&wasm]);
        let mut marker = self.settings.cache_dir.as_deref().map(|dir| Marker::lay(dir, digest)).transpose()?;
        let note = self.settings.cache_dir.as_deref().map(|dir| Note::of(dir, digest, engine));
        let went_well = note.as_ref().is_some_and(Note::lies_there);
        if let (Compiler::Child(exe), Some(dir), Some(marker), false) =
            (&self.settings.compiler, &self.settings.cache_dir, &mut marker, went_well)
        {
            self.compile_in_child(exe, dir, &wasm, marker).await?;
        }
        let engine = engine.clone();
        let compiling = tokio::task::spawn_blocking(move || {
            let compiled = component::Component::from_binary(&engine, &wasm);
            // A thread cannot be killed: the turn is over, and the marker lifted, when it really has come back.
            drop(turn);
            drop(marker);
            compiled
        });
        match tokio::time::timeout(self.settings.compile_timeout, compiling).await {
            Ok(Ok(Ok(compiled))) => {
                if let Some(note) = note.filter(|_| !went_well) {
                    note.leave();
                }
                Ok(compiled)
            }
            Ok(Ok(Err(error))) => Err(AdmissionError::new("compile_failed", format!("{error:#}"))),
            Ok(Err(panic)) => Err(AdmissionError::new("compile_failed", format!("the compiler panicked: {panic}"))),
            Err(_) => Err(self.timed_out()),
        }
    }

    async fn compile_in_child(&self, exe: &Path, dir: &Path, wasm: &[u8], marker: &mut Marker) -> Result<(), AdmissionError> {
        let failed = |what: &str, error: io::Error| AdmissionError::new("compile_failed", format!("{what} {}: {error}", exe.display()));
        let mut child = tokio::process::Command::new(exe)
            .args(["compile", "--cache"])
            .arg(dir)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed("cannot start", error))?;
        let mut stdin = child.stdin.take();
        let head = self.child_limits();
        let talk = async {
            if let Some(stdin) = &mut stdin {
                // A child that died does not read on; its status says more than the broken pipe.
                let _ = stdin.write_all(&head).await;
                let _ = stdin.write_all(wasm).await;
            }
            drop(stdin.take());
            child.wait_with_output().await
        };
        match tokio::time::timeout(self.settings.compile_timeout, talk).await {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => {
                // A status without a code is a signal: it ran into its limits, or was hit by something worse.
                marker.stays = output.status.code().is_none();
                let words = String::from_utf8_lossy(&output.stderr[..output.stderr.len().min(STDERR_BYTES_MAX)]).trim().to_owned();
                let detail = format!(
                    "the compiler ended with {} ({words}); it may use {} bytes of memory and {:?}",
                    output.status, self.settings.compile_memory_bytes_max, self.settings.compile_timeout
                );
                Err(AdmissionError::new("compile_failed", detail))
            }
            Ok(Err(error)) => Err(failed("cannot wait for", error)),
            Err(_) => {
                marker.stays = true;
                Err(self.timed_out())
            }
        }
    }

    fn child_limits(&self) -> Vec<u8> {
        let limits = ChildLimits {
            memory_bytes: self.settings.compile_memory_bytes_max,
            cpu_s: self.settings.compile_timeout.as_secs().saturating_mul(4).max(1),
            component_bytes: self.settings.component_bytes_max,
        };
        let mut line = serde_json::to_vec(&limits).unwrap_or_default();
        line.push(b'\n');
        line
    }

    fn timed_out(&self) -> AdmissionError {
        AdmissionError::new(
            "compile_timeout",
            format!("not compiled within {:?}; is the component larger than need be?", self.settings.compile_timeout),
        )
    }
}

/// That a digest was compiled within its bounds, by this very compiler.
struct Note {
    path: PathBuf,
    compiler: String,
}

impl Note {
    fn of(dir: &Path, digest: Digest, engine: &Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self { path: dir.join(format!("{NOTE}{digest}")), compiler: format!("{:016x}", hasher.finish()) }
    }

    fn lies_there(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|compiler| compiler == self.compiler)
    }

    /// A note that cannot be left costs a child next time.
    fn leave(&self) {
        if let Err(error) = fs::write(&self.path, &self.compiler) {
            tracing::debug!(path = %self.path.display(), %error, "compile_note_not_left");
        }
    }
}

fn forget_notes(dir: &Path) {
    let is_note = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(NOTE.as_bytes());
    let notes: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().filter(is_note).collect();
    if notes.len() > NOTES_MAX {
        for note in notes {
            drop(fs::remove_file(note.path()));
        }
    }
}

impl Marker {
    /// Lays the marker of `digest`; refuses where it lies there already.
    fn lay(dir: &Path, digest: Digest) -> Result<Self, AdmissionError> {
        let path = dir.join(format!("compiling-{digest}"));
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => Ok(Self { path, stays: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(AdmissionError::new(
                "compile_quarantined",
                format!("these very bytes ended a compiler or this host before; put a changed file, or remove {}", path.display()),
            )),
            Err(error) => Err(AdmissionError::new("compile_failed", format!("cannot write {}: {error}", path.display()))),
        }
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "compile_marker_not_lifted");
        }
    }
}

/// The body of `hookyard compile`: reads its limits and a component from `input`, lowers its own limits, and fills the cache.
pub fn compile_child(cache_dir: &Path, input: &mut dyn Read) -> anyhow::Result<()> {
    let mut input = BufReader::new(input);
    let limits: ChildLimits =
        serde_json::from_slice(&read_line(&mut input)?).context("the first line on standard input is no compile limits")?;
    let mut wasm = Vec::new();
    input.take(limits.component_bytes.saturating_add(1)).read_to_end(&mut wasm).context("the component cannot be read")?;
    anyhow::ensure!(wasm.len() as u64 <= limits.component_bytes, "the component is larger than {} bytes", limits.component_bytes);
    let limit = |max: u64| Rlimit { current: Some(max), maximum: Some(max) };
    setrlimit(Resource::Core, limit(0)).context("RLIMIT_CORE")?;
    setrlimit(Resource::As, limit(limits.memory_bytes)).context("RLIMIT_AS")?;
    setrlimit(Resource::Cpu, limit(limits.cpu_s)).context("RLIMIT_CPU")?;
    let engine = Engine::new(&code_config(Some(open_cache(cache_dir)?)))?;
    component::Component::from_binary(&engine, &wasm)?;
    Ok(())
}

fn read_line(input: &mut impl BufRead) -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(HEAD_BYTES_MAX).read_until(b'\n', &mut line).context("standard input cannot be read")?;
    anyhow::ensure!(line.pop() == Some(b'\n'), "standard input does not begin with a line of at most {HEAD_BYTES_MAX} bytes");
    Ok(line)
}

fn make_private(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).with_context(|| format!("cannot make {} private", dir.display()))
}
