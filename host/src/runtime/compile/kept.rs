//! Compiled code that is kept: put there by the host alone, and loaded only where it is still what was put there.
//!
//! wasmtime loads code from a cache without a further question, and what it loads is run as native code of this process. So the cache belongs
//! to the host: the compile child cannot reach it, and hands over what it made through a pipe. The host gives it the name under which wasmtime
//! looks for exactly this component, so that a child that was taken over cannot put its own code in another component's place; it notes the
//! hash of what it wrote; and it compares before each load. The engine that loads has no compiler: what is not there is never compiled here.
//!
//! The name is wasmtime's own, computed as it does. That both are the same is tried at each start, with a component of ours.

use std::{
    fs,
    hash::{Hash as _, Hasher},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use wasmtime::{Cache, CacheConfig, Engine, component};

use crate::{
    delivery::Digest,
    runtime::{engine::code_config, selftest::PROBE},
};

/// What the name of a note begins with.
const NOTE: &str = "compiled-";
/// What the name of code begins with that is not kept yet.
const NEW: &str = ".new-";
/// And that of the folder in which it is learnt how wasmtime names things.
const LEARN: &str = ".learn-";
/// Digests that are noted as compiled; with more of them all notes go, which costs a child each, once.
const NOTES_MAX: usize = 10_000;
/// How hard what is kept is compressed: quickly.
const ZSTD_LEVEL: i32 = 1;
/// Bytes that are hashed or compressed at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The folder of compiled code.
#[derive(Debug)]
pub(super) struct Kept {
    /// Where notes and marks lie.
    dir: PathBuf,
    /// Where wasmtime looks, below `code` in `dir`.
    shelf: PathBuf,
}

/// One component's place in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    file: PathBuf,
    note: PathBuf,
}

/// Code that is written and not yet kept; removed unless it is.
#[derive(Debug)]
pub(super) struct Written {
    path: PathBuf,
}

impl Kept {
    /// Opens the folder, readable by this user only, and learns how wasmtime names what it keeps.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        make_private(dir)?;
        forget_notes(dir);
        sweep(dir, LEARN);
        let shelf = dir.join("code").join(learn(dir)?);
        fs::create_dir_all(&shelf).with_context(|| format!("cannot make {}", shelf.display()))?;
        sweep(&shelf, NEW);
        Ok(Self { dir: dir.to_owned(), shelf })
    }

    /// The folder's path.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The cache of the engine that loads. Its entries are never rewritten, or their hashes would not hold.
    pub(super) fn cache(&self) -> anyhow::Result<Cache> {
        open_cache(&self.dir.join("code"))
    }

    /// The place of a component's code for this engine.
    pub(super) fn place(&self, engine: &Engine, wasm: &[u8], digest: Digest) -> Place {
        Place { file: self.shelf.join(name(engine, wasm)), note: self.dir.join(format!("{NOTE}{digest}")) }
    }

    /// Writes code as it comes, at most `bytes_max` of it.
    pub(super) fn write(&self, code: &mut dyn io::Read, bytes_max: u64) -> io::Result<Written> {
        let path = self.shelf.join(format!("{NEW}{:032x}", fastrand::u128(..)));
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let written = Written { path };
        let mut packed = zstd::Encoder::new(file, ZSTD_LEVEL)?;
        let bytes = io::copy(&mut code.take(bytes_max.saturating_add(1)), &mut packed)?;
        if bytes > bytes_max {
            return Err(io::Error::other(format!("the compiled code is larger than {bytes_max} bytes")));
        }
        if bytes == 0 {
            return Err(io::Error::other("the compiler wrote nothing"));
        }
        packed.finish()?.flush()?;
        Ok(written)
    }
}

impl Place {
    /// Whether code is kept here and is what was kept.
    pub(super) fn is_sound(&self) -> bool {
        let Ok(noted) = fs::read_to_string(&self.note) else { return false };
        hash_of(&self.file).is_ok_and(|found| noted == self.noted(&found))
    }

    /// Puts code here. The note comes last: without it nothing is loaded.
    pub(super) fn keep(&self, written: Written) -> io::Result<()> {
        let hash = hash_of(&written.path)?;
        fs::rename(&written.path, &self.file)?;
        std::mem::forget(written);
        let beside = self.note.with_extension("new");
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?
            .write_all(self.noted(&hash).as_bytes())?;
        fs::rename(&beside, &self.note)
    }

    /// Takes what is here away.
    pub(super) fn forget(&self) {
        drop(fs::remove_file(&self.note));
        drop(fs::remove_file(&self.file));
    }

    /// The text of a note: the file's name, which changes with the compiler, and its hash.
    fn noted(&self, hash: &str) -> String {
        format!("{} {hash}", self.file.file_name().unwrap_or_default().to_string_lossy())
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// Lets wasmtime keep a component of ours in a folder of its own, and looks where it lies.
fn learn(dir: &Path) -> anyhow::Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix(LEARN).tempdir_in(dir).context("the compile cache cannot be written to")?;
    let mut config = code_config();
    config.cache(Some(open_cache(folder.path())?));
    let engine = Engine::new(&config)?;
    component::Component::from_binary(&engine, PROBE).map_err(anyhow::Error::from).context("the self-test does not compile")?;
    let expected = name(&engine, PROBE);
    let modules = folder.path().join("modules");
    let compiler = fs::read_dir(&modules).into_iter().flatten().flatten().find(|compiler| compiler.path().join(&expected).is_file());
    let compiler = compiler.with_context(|| {
        format!("this build of wasmtime keeps compiled code under another name than `{expected}`: `runtime/compile/kept.rs` must follow")
    })?;
    let found = Path::new("modules").join(compiler.file_name());
    // wasmtime's own thread may still look into the folder, and would complain of its absence: the next start removes it.
    drop(folder.keep());
    Ok(found)
}

/// The name wasmtime gives the code of a component: the hash of everything that decides what it looks like.
fn name(engine: &Engine, wasm: &[u8]) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn finish(&self) -> u64 {
            // Nobody asks a hash of 32 bytes for 8 of them.
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut sha = Sha(Sha256::new());
    // Engine, component, and two things we do not use: debug information beside it, and intrinsics.
    (engine.precompile_compatibility_hash(), wasm, None::<&[u8]>, None::<&str>).hash(&mut sha);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha.0.finalize())
}

fn open_cache(folder: &Path) -> anyhow::Result<Cache> {
    let mut config = CacheConfig::new();
    config.with_directory(std::path::absolute(folder)?).with_optimized_compression_usage_counter_threshold(u64::MAX);
    let cache = Cache::new(config).map_err(anyhow::Error::from);
    cache.with_context(|| format!("the compile cache {} cannot be used", folder.display()))
}

fn hash_of(path: &Path) -> io::Result<String> {
    let (mut file, mut sha, mut chunk) = (fs::File::open(path)?, Sha256::new(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Digest::from_bytes(sha.finalize().into()).to_string()),
            read => sha.update(&chunk[..read]),
        }
    }
}

/// Removes what a host left that was killed, or wasmtime, which writes once more when nobody asks any longer.
fn sweep(dir: &Path, begin: &str) {
    let is_left = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(begin.as_bytes());
    for left in fs::read_dir(dir).into_iter().flatten().flatten().filter(is_left) {
        let path = left.path();
        drop(if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) });
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

fn make_private(dir: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).with_context(|| format!("cannot make {} private", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(kept: &Kept) -> Place {
        let engine = Engine::new(&code_config()).unwrap();
        let place = kept.place(&engine, PROBE, Digest::of(&[PROBE]));
        assert!(!place.is_sound(), "nothing is kept yet");
        place.keep(kept.write(&mut &b"code"[..], 4).unwrap()).unwrap();
        place
    }

    #[test]
    fn what_was_changed_since_it_was_kept_is_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(&dir.path().join("cache")).unwrap();
        let place = filled(&kept);
        assert!(place.is_sound());
        let mut bytes = fs::read(&place.file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&place.file, bytes).unwrap();
        assert!(!place.is_sound(), "a flipped bit");
        place.forget();
        assert!(!place.is_sound() && !place.file.exists());
        let other = Place { note: filled(&kept).note, file: place.file.with_file_name("another") };
        fs::copy(&place.file, &other.file).unwrap();
        assert!(!other.is_sound(), "the same bytes under another component's name");
    }

    #[test]
    fn code_beyond_its_bound_and_code_that_is_not_kept_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(&dir.path().join("cache")).unwrap();
        assert!(kept.write(&mut &b"12345"[..], 4).unwrap_err().to_string().contains("larger than 4"));
        assert!(kept.write(&mut &b""[..], 4).unwrap_err().to_string().contains("nothing"));
        drop(kept.write(&mut &b"1234"[..], 4).unwrap());
        assert_eq!(fs::read_dir(&kept.shelf).unwrap().count(), 0);
    }
}
