//! Where things are: the repository, what was built, what the bench writes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The folders of one run.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    repository: PathBuf,
    target: PathBuf,
    binaries: PathBuf,
}

impl Folders {
    /// The folders around this executable, which cargo built into `target/PROFILE`.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let executable = std::env::current_exe().context("this executable's path")?;
        let binaries = executable.parent().context("the profile's folder")?.to_owned();
        let target = binaries.parent().context("the target folder")?.to_owned();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?.to_owned();
        Ok(Self { repository, target, binaries })
    }

    /// The repository.
    pub(crate) fn repository(&self) -> &Path {
        &self.repository
    }

    /// The host's executable, which must have been built.
    pub(crate) fn hookyard(&self) -> anyhow::Result<PathBuf> {
        let path = self.binaries.join("hookyard");
        ensure!(path.is_file(), "{} is not there; build it with `cargo build -p hookyard`", path.display());
        Ok(path)
    }

    /// A shipped plugin: component and manifest.
    pub(crate) fn plugin(&self, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
        let (wasm, manifest) = (self.plugins().join(format!("{name}.wasm")), self.plugins().join(format!("{name}.toml")));
        ensure!(
            wasm.is_file() && manifest.is_file(),
            "{} or its manifest is not there; build it with `cargo xtask plugins`",
            wasm.display()
        );
        Ok((wasm, manifest))
    }

    /// Where `cargo xtask plugins` puts components.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.target.join("plugins")
    }

    /// A peer's sources.
    pub(crate) fn peer_sources(&self, name: &str) -> PathBuf {
        self.repository.join("bench/peers").join(name)
    }

    /// Where peers are installed.
    pub(crate) fn peers(&self) -> PathBuf {
        self.target.join("bench-peers")
    }

    /// Where short-lived hosts keep their data: on the disk the repository is on, because `/tmp` may be memory, whose syncs cost nothing.
    pub(crate) fn scratch(&self) -> anyhow::Result<PathBuf> {
        let path = self.target.join("bench-scratch");
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(path)
    }

    /// The names of all plugins that were built.
    pub(crate) fn plugin_names(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.plugins();
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read; run `cargo xtask plugins`", folder.display()))?;
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        let components = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "wasm"));
        let mut names: Vec<_> = components.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
        names.sort();
        Ok(names)
    }

    /// Where reports go: whole ones into the repository, others beside the build.
    pub(crate) fn runs(&self, is_whole: bool) -> PathBuf {
        if is_whole { self.repository.join("bench/runs") } else { self.target.join("bench-runs") }
    }
}
