//! Where RabbitMQ's programs are: installed, or fetched from Debian and unpacked into a folder, where nothing of the system is touched.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

/// What `rabbitmq-server` needs of Erlang, with what that needs; C libraries are on every machine that compiles Rust.
const DEBIAN: [&str; 18] = [
    "rabbitmq-server",
    "erlang-asn1",
    "erlang-base",
    "erlang-crypto",
    "erlang-eldap",
    "erlang-ftp",
    "erlang-inets",
    "erlang-mnesia",
    "erlang-os-mon",
    "erlang-parsetools",
    "erlang-public-key",
    "erlang-runtime-tools",
    "erlang-snmp",
    "erlang-ssl",
    "erlang-syntax-tools",
    "erlang-tftp",
    "erlang-tools",
    "erlang-xmerl",
];

/// The programs of one RabbitMQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packages {
    /// `rabbitmq-server`, `rabbitmqctl`, as RabbitMQ's authors wrote them: without Debian's wrapper, which changes the user.
    scripts: PathBuf,
    /// `erl`, `epmd`.
    programs: PathBuf,
}

impl Packages {
    /// Those that are installed, or else those unpacked in the repository's `target` folder; the error says in words why there are none.
    pub fn find() -> anyhow::Result<Self> {
        Self::beneath(Path::new("/")).map_or_else(|| Self::unpacked(&cache()?), Ok)
    }

    /// Those unpacked beneath `cache`, fetched first where they are not there.
    pub fn unpacked(cache: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        // Several test processes may come here at once: one fetches, the others wait and find.
        let lock = File::create(cache.join("lock"))?;
        lock.lock()?;
        // Its real place, because one of Erlang's scripts names it.
        let root = cache.canonicalize()?.join("root");
        let (complete, content) = (cache.join("complete"), format!("{}\n{}\n", root.display(), DEBIAN.join("\n")));
        if fs::read_to_string(&complete).ok().as_ref() != Some(&content) {
            fetch(cache, &root)?;
            fs::write(&complete, content)?;
        }
        Self::beneath(&root).with_context(|| format!("Debian's packages in {} hold no rabbitmq-server; remove the folder", root.display()))
    }

    fn beneath(root: &Path) -> Option<Self> {
        let releases = fs::read_dir(root.join("usr/lib/rabbitmq/lib")).ok()?;
        let mut scripts: Vec<PathBuf> = releases.flatten().map(|release| release.path().join("sbin")).collect();
        scripts.retain(|scripts| scripts.join("rabbitmq-server").is_file());
        scripts.sort();
        let programs = root.join("usr/lib/erlang/bin");
        let scripts = scripts.pop()?;
        programs.join("erl").is_file().then_some(Self { scripts, programs })
    }

    /// One of RabbitMQ's scripts.
    pub(crate) fn script(&self, name: &str) -> PathBuf {
        self.scripts.join(name)
    }

    /// One of Erlang's programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// `PATH` with Erlang first.
    pub(crate) fn search_path(&self) -> OsString {
        let old = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let paths = std::iter::once(self.programs.clone()).chain(env::split_paths(&old));
        env::join_paths(paths).unwrap_or(old)
    }
}

fn cache() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("this crate lies in the repository")?;
    Ok(root.join("target/rabbitmq"))
}

/// Downloads the packages and unpacks them; nothing is installed, no script of theirs runs.
fn fetch(cache: &Path, root: &Path) -> anyhow::Result<()> {
    let archives = cache.join("archives");
    for folder in [&archives, root] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
    }
    let download = Command::new("apt-get").arg("download").args(DEBIAN).current_dir(&archives).stdin(Stdio::null()).output();
    match download {
        Err(error) => bail!("RabbitMQ is not installed, and apt-get, which could fetch it, does not start: {error}"),
        Ok(output) => ensure!(
            output.status.success(),
            "RabbitMQ is not installed, and `apt-get download` does not give it (`apt-get update` may help): {}",
            String::from_utf8_lossy(&output.stderr).trim(),
        ),
    }
    for archive in fs::read_dir(&archives)? {
        let status = Command::new("dpkg").arg("-x").arg(archive?.path()).arg(root).stdin(Stdio::null()).status();
        ensure!(status.context("dpkg does not start")?.success(), "dpkg cannot unpack a package of {}", archives.display());
    }
    fs::remove_dir_all(&archives)?;
    // Debian has written its own place into this script.
    let erl = root.join("usr/lib/erlang/bin/erl");
    let text = fs::read_to_string(&erl).with_context(|| format!("cannot read {}", erl.display()))?;
    let here = root.join("usr/lib/erlang");
    fs::write(&erl, text.replace("ROOTDIR=/usr/lib/erlang", &format!("ROOTDIR=\"{}\"", here.display())))?;
    Ok(())
}
