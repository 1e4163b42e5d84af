//! A plugin's folder: what it is written in, what it is called, what its manifest says.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::{
    exit::{Exit, Failure},
    read_bounded,
};
use crate::{
    catalog::{self, Manifest},
    delivery::PluginName,
};

/// What a plugin is written in. Its own build file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// `Cargo.toml`.
    Rust,
    /// `package.json`.
    JavaScript,
    /// `pyproject.toml`.
    Python,
}

/// A plugin's folder, read.
#[derive(Debug)]
pub(super) struct Project {
    /// Where it is.
    pub(super) dir: PathBuf,
    /// The plugin's name: that of its crate or package.
    pub(super) name: PluginName,
    pub(super) language: Language,
    /// The build file: `Cargo.toml`, `package.json` or `pyproject.toml`.
    pub(super) build: Value,
    /// The manifest as it is written, and as it is meant.
    pub(super) manifest_bytes: Vec<u8>,
    pub(super) manifest: Manifest,
}

impl Language {
    const ALL: [Self; 3] = [Self::Rust, Self::JavaScript, Self::Python];

    /// The file by which it is known, and where the plugin's name stands in it.
    fn build_file(self) -> (&'static str, &'static str) {
        match self {
            Self::Rust => ("Cargo.toml", "/package/name"),
            Self::JavaScript => ("package.json", "/name"),
            Self::Python => ("pyproject.toml", "/project/name"),
        }
    }
}

impl Project {
    /// Reads the folder; a manifest a host would refuse is refused here.
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let language = Language::ALL.into_iter().find(|language| dir.join(language.build_file().0).is_file()).ok_or_else(|| {
            let found = format!("{} is no plugin's folder: found no Cargo.toml, package.json or pyproject.toml", dir.display());
            Failure::new(Exit::Failed, found).hint("`hookyard plugin new NAME` makes one")
        })?;
        let (build, name) = read_build_file(dir, language)?;
        let (manifest_bytes, manifest) = read_manifest(dir, &name)?;
        Ok(Self { dir: dir.to_owned(), name, language, build, manifest_bytes, manifest })
    }

    /// Where its component goes unless told otherwise.
    pub(super) fn component(&self) -> PathBuf {
        self.dir.join(format!("{}.wasm", self.name))
    }

    /// A text of the build file.
    pub(super) fn setting(&self, pointer: &str) -> Option<&str> {
        self.build.pointer(pointer).and_then(Value::as_str)
    }
}

fn read_build_file(dir: &Path, language: Language) -> Result<(Value, PluginName), Failure> {
    let (file_name, pointer) = language.build_file();
    let file = dir.join(file_name);
    let invalid = |problem: String| Failure::new(Exit::ConfigInvalid, format!("{}: {problem}", file.display()));
    let text = String::from_utf8(read_bounded(&file)?).map_err(|error| invalid(error.to_string()))?;
    let build: Value = match language {
        Language::JavaScript => serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?,
        Language::Rust | Language::Python => toml::from_str(&text).map_err(|error| invalid(error.to_string()))?,
    };
    let key = pointer.trim_start_matches('/').replace('/', ".");
    let name = build.pointer(pointer).and_then(Value::as_str);
    let name = name.ok_or_else(|| invalid(format!("it has no `{key}`; name the folder of one plugin")))?;
    let name = name.parse().map_err(|error| invalid(format!("`{key}` is the plugin's name too, and {error}")))?;
    Ok((build, name))
}

fn read_manifest(dir: &Path, name: &PluginName) -> Result<(Vec<u8>, Manifest), Failure> {
    let file = dir.join(format!("{name}.toml"));
    let hint = "a manifest names at least `sources` and `events`";
    let bytes = read_bounded(&file).map_err(|failure| failure.hint(hint))?;
    let manifest = catalog::parse_manifest(&bytes)
        .map_err(|problems| Failure::new(Exit::ConfigInvalid, format!("{}: {problems}", file.display())).hint(hint))?;
    Ok((bytes, manifest))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    const MANIFEST: (&str, &str) = ("sizes.toml", "sources = [\"github\"]\nevents = [\"push\"]\n");

    #[test]
    fn the_build_file_tells_the_language_and_the_name() {
        for (file, text, language) in [
            ("Cargo.toml", "[package]\nname = \"sizes\"\n", Language::Rust),
            ("package.json", "{\"name\": \"sizes\"}", Language::JavaScript),
            ("pyproject.toml", "[project]\nname = \"sizes\"\n", Language::Python),
        ] {
            let dir = folder(&[(file, text), MANIFEST]);
            let project = Project::open(dir.path()).unwrap();
            assert_eq!((project.language, project.name.as_str()), (language, "sizes"));
            assert_eq!(project.component(), dir.path().join("sizes.wasm"));
        }
    }

    #[test]
    fn a_folder_that_is_no_plugins_is_told_from_one_that_names_none() {
        let failure = Project::open(folder(&[]).path()).unwrap_err();
        assert!(failure.hint.unwrap().contains("plugin new"));
        let failure = Project::open(folder(&[("Cargo.toml", "[workspace]\n")]).path()).unwrap_err();
        assert!(failure.message.contains("package.name"), "{failure}");
        let failure = Project::open(folder(&[("package.json", "{\"name\": \"@acme/Sizes\"}")]).path()).unwrap_err();
        assert_eq!(failure.exit, Exit::ConfigInvalid);
    }

    #[test]
    fn a_manifest_a_host_would_refuse_is_refused_here() {
        let cargo = ("Cargo.toml", "[package]\nname = \"sizes\"\n");
        let failure = Project::open(folder(&[cargo, ("sizes.toml", "sources = [\"github\"]\nevents = []\n")]).path()).unwrap_err();
        assert_eq!(failure.exit, Exit::ConfigInvalid);
        assert!(failure.message.contains("events"), "{failure}");
        let failure = Project::open(folder(&[cargo]).path()).unwrap_err();
        assert!(failure.message.contains("sizes.toml") && failure.hint.is_some(), "{failure}");
    }
}
