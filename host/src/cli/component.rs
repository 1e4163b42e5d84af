//! A component file with the manifest beside it, as every command reads it that runs one without a host.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    check::print_problems,
    environment,
    exit::{Exit, Failure},
    read_bounded,
};
use crate::{
    catalog::{self, Manifest},
    config::{self, Config},
    confine,
    delivery::{Digest, PluginName},
    runtime::{Compiler, Runtime, Settings},
    tenants::Budget,
};

/// A component that was read, and what its manifest says of it. Without a manifest it has no configuration and asks for nothing.
#[derive(Debug)]
pub(super) struct ComponentFile {
    /// Where it was read from.
    pub(super) path: PathBuf,
    /// The component.
    pub(super) wasm: Bytes,
    /// The version, as a host would name it.
    pub(super) digest: Digest,
    /// The manifest beside it, where there is one.
    pub(super) manifest: Option<Manifest>,
}

impl ComponentFile {
    /// Reads both.
    ///
    /// # Errors
    /// Where one cannot be read, or the manifest is none.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let (wasm, manifest) = (Bytes::from(read_bounded(path)?), manifest_beside(path)?);
        let digest = manifest.as_ref().map_or_else(|| Digest::of(&[&wasm]), |manifest| Digest::of(&[&wasm, manifest]));
        let invalid = |problems| Failure::new(Exit::ConfigInvalid, format!("{}: {problems}", path.with_extension("toml").display()));
        let manifest = manifest.map(|manifest| catalog::parse_manifest(&manifest)).transpose().map_err(invalid)?;
        Ok(Self { path: path.to_owned(), wasm, digest, manifest })
    }

    /// The plugin the file is named after.
    ///
    /// # Errors
    /// Where a plugin cannot have that name.
    pub(super) fn name(&self) -> Result<PluginName, Failure> {
        name(&self.path)
    }

    /// The interfaces its manifest asks for. What is run without a host sends nothing, so they are taken as granted.
    pub(super) fn interfaces(&self) -> Vec<&'static str> {
        self.manifest.as_ref().map(|manifest| manifest.asked.interfaces()).unwrap_or_default()
    }

    /// The `[config]` table.
    pub(super) fn config(&self) -> Value {
        self.manifest.as_ref().map_or_else(|| json!({}), |manifest| manifest.config.clone())
    }

    /// What a run may spend on that host.
    pub(super) fn budget(&self, host: &Config) -> Budget {
        let limits = self.manifest.as_ref().map(|manifest| manifest.limits).unwrap_or_default();
        limits.budget(host.catalog.default_budget, host.ceiling)
    }
}

/// The plugin a component's file is named after; it shows in the ids of emitted events.
///
/// # Errors
/// Where a plugin cannot have that name.
pub(super) fn name(path: &Path) -> Result<PluginName, Failure> {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    stem.parse().map_err(|error| Failure::new(Exit::Usage, format!("a component's file is named after its plugin, and {error}")))
}

/// The bytes of the manifest beside a component, where there is one.
///
/// # Errors
/// Where it cannot be read.
pub(super) fn manifest_beside(component: &Path) -> Result<Option<Bytes>, Failure> {
    let file = component.with_extension("toml");
    file.exists().then(|| read_bounded(&file).map(Bytes::from)).transpose()
}

/// An engine for runs without a host, and what a host that was started here would be told. Whose file it is does not matter: a component
/// that somebody asks to be looked at compiles in the same bounded child as on a host, and its code is kept as long as the command runs.
///
/// # Errors
/// Where a host could not be started here.
pub(super) fn sandbox() -> Result<(Runtime, Config), Failure> {
    let host = config::load(None, &environment()).map_err(|problems| {
        print_problems(&problems);
        Failure::new(Exit::ConfigInvalid, "the host's configuration does not tell the limits")
    })?;
    let settings = Settings { concurrency_max: 1, cache_dir: None, compiler: compiler(), ..host.runtime.clone() };
    Ok((Runtime::new(settings)?, host))
}

/// The same child as a host's; a unit test's own binary is no compiler.
fn compiler() -> Compiler {
    if cfg!(test) { Compiler::InProcess } else { Compiler::Child(confine::this_program()) }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    #[test]
    fn limits_configuration_and_version_come_from_the_manifest_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sizes.wasm");
        fs::write(&path, b"a component").unwrap();
        let alone = ComponentFile::read(&path).unwrap();
        assert!(alone.manifest.is_none() && alone.interfaces().is_empty());
        assert_eq!((alone.config(), alone.digest), (json!({}), Digest::of(&[b"a component"])));
        let manifest = b"sources=[\"github\"]\nevents=[\"*\"]\n[config]\nsmall=1\n[limits]\nfuel=7\n";
        fs::write(dir.path().join("sizes.toml"), manifest).unwrap();
        let both = ComponentFile::read(&path).unwrap();
        let most = Budget { fuel: 9, fuel_per_body_byte: 0, memory_bytes_max: 1, memory_per_body_byte: 0, wall: Duration::MAX };
        assert_eq!((both.manifest.as_ref().unwrap().limits.budget(most, most).fuel, both.config()), (7, json!({ "small": 1 })));
        assert_eq!(both.digest, Digest::of(&[b"a component", manifest]));
        fs::write(dir.path().join("sizes.toml"), "sources = 1").unwrap();
        let invalid = ComponentFile::read(&path).unwrap_err();
        assert!(invalid.exit == Exit::ConfigInvalid && invalid.message.contains("sizes.toml"), "{}", invalid.message);
    }

    #[test]
    fn a_component_is_named_after_its_plugin() {
        assert_eq!(name(Path::new("a/pr-size.wasm")).unwrap().as_str(), "pr-size");
        assert_eq!(name(Path::new("a/PR size.wasm")).unwrap_err().exit, Exit::Usage);
    }
}
