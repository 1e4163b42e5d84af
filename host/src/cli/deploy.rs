//! `plugins deploy`: both files of a plugin put into a tenant's folder as one version.
//!
//! The manifest that is put there names its component by its hash, so a host that looks between the two renames takes neither the new manifest
//! with the old component nor the other way round.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{
    api::{Api, encoded},
    check::print_problems,
    environment,
    exit::{Exit, Failure},
    output::say,
    plugin::write_whole,
    read_bounded,
};
use crate::{
    catalog::{MANIFEST_BYTES_MAX, parse_manifest},
    clock::Clock,
    config,
    delivery::{Digest, PluginName},
};

/// How long a version may take until it serves or is refused: a turn at the compiler, and the longest compilation.
const WAIT_MAX: Duration = Duration::from_mins(3);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// The two files of a plugin, as they are put there.
#[derive(Debug)]
struct Pair {
    component: Vec<u8>,
    manifest: Vec<u8>,
}

impl Pair {
    /// As a host names the version.
    fn version(&self) -> String {
        Digest::of(&[&self.component, &self.manifest]).to_string()
    }
}

/// Puts every plugin of `dir` into the tenant's folder, and waits until it serves.
pub(super) async fn run(api: &mut Api, dir: &Path, (config, tenant): (Option<&Path>, &str)) -> Result<(), Failure> {
    let pairs = pairs(dir)?;
    let home = home(config, tenant)?;
    for (name, pair) in &pairs {
        // The manifest first: with the old component it is refused, while an old manifest may name no component and would take the new one.
        write_whole(&home.join(format!("{name}.toml")), &pair.manifest)?;
        write_whole(&home.join(format!("{name}.wasm")), &pair.component)?;
    }
    let mut refused = Vec::new();
    for (name, pair) in &pairs {
        match settled(api, &format!("plugins/{}/{}", encoded(tenant), encoded(name.as_str())), &pair.version()).await {
            Ok(None) => say(&format!("{name} serves {}", pair.version())),
            Ok(Some(reason)) => refused.push(format!("{name} was not taken: {reason}")),
            Err(failure) if failure.exit == Exit::Unreachable => {
                say(&format!("wrote {} plugin(s) to {}; no host answers that could say whether they serve", pairs.len(), home.display()));
                return Ok(());
            }
            Err(failure) => return Err(failure),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Failed, refused.join("\n")).hint("what served before serves on")) }
}

/// The plugins of a folder, checked. Nothing is written where one of them is wrong.
fn pairs(dir: &Path) -> Result<BTreeMap<PluginName, Pair>, Failure> {
    let unreadable = |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", dir.display()));
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let component = entry.map_err(unreadable)?.path();
        if component.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        let wrong = |what: String| Failure::new(Exit::Failed, format!("{}: {what}; nothing was deployed", component.display()));
        let stem = component.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let name: PluginName = stem.parse().map_err(|error| wrong(format!("{error}")))?;
        let manifest = read_bounded(&component.with_extension("toml"))?;
        if manifest.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(wrong(format!("its manifest has more than {MANIFEST_BYTES_MAX} bytes")));
        }
        let pair = pair(read_bounded(&component)?, manifest).map_err(|problems| wrong(format!("its manifest: {problems}")))?;
        found.insert(name, pair);
    }
    if found.is_empty() {
        let message = format!("found no NAME.wasm in {}; expected one beside its NAME.toml", dir.display());
        return Err(Failure::new(Exit::NotFound, message).hint("`hookyard plugin build` writes both"));
    }
    Ok(found)
}

/// With the manifest naming the component, in a line of its own at the top.
fn pair(component: Vec<u8>, manifest: Vec<u8>) -> Result<Pair, String> {
    let digest = Digest::of_file(&component);
    match parse_manifest(&manifest)?.component_sha256 {
        Some(named) if named == digest => Ok(Pair { component, manifest }),
        Some(named) => Err(format!("component_sha256: found {named}; expected {digest}, which the component beside it has")),
        None => {
            let line = format!("component_sha256 = \"{digest}\" # added by `hookyard plugins deploy`\n");
            Ok(Pair { component, manifest: [line.into_bytes(), manifest].concat() })
        }
    }
}

/// Where the tenant's plugins lie on this machine.
fn home(file: Option<&Path>, tenant: &str) -> Result<PathBuf, Failure> {
    let config = config::load(file, &environment()).map_err(|problems| {
        print_problems(&problems);
        Failure::new(Exit::ConfigInvalid, "the configuration is not valid, so nothing was deployed")
    })?;
    let home = config.tenants_dir.join(tenant);
    if !home.is_dir() {
        return Err(Failure::new(Exit::NotFound, format!("there is no folder {} of the tenant `{tenant}`", home.display()))
            .hint("name the tenant by `--tenant`, and the host's configuration by `--config`"));
    }
    Ok(home.join("plugins"))
}

/// Waits for a version: none where it serves, the reason where it was refused.
async fn settled(api: &mut Api, path: &str, version: &str) -> Result<Option<String>, Failure> {
    let clock = Clock::system();
    let until = clock.instant() + WAIT_MAX;
    loop {
        let plugin = match api.get(path).await {
            Ok(plugin) => plugin,
            Err(failure) if failure.exit == Exit::NotFound => Value::Null,
            Err(failure) => return Err(failure),
        };
        if plugin["digest"] == version {
            return Ok(None);
        }
        let refusal = &plugin["refusal"];
        if refusal["digest"] == version {
            let words = ["code", "reason"].map(|key| refusal[key].as_str().unwrap_or_default());
            return Ok(Some(words.join(": ")));
        }
        if clock.instant() > until {
            return Ok(Some(format!("it neither serves nor was refused within {} s", WAIT_MAX.as_secs())));
        }
        clock.sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "sources = [\"github\"]\nevents = [\"push\"]\n[config]\na = 1\n";

    #[test]
    fn the_manifest_that_is_put_there_names_the_component_and_says_the_same_otherwise() {
        let of = |manifest: &str| pair(b"component".to_vec(), manifest.as_bytes().to_vec());
        let put = of(MANIFEST).unwrap();
        let read = parse_manifest(&put.manifest).unwrap();
        assert_eq!((read.component_sha256, &read.config["a"]), (Some(Digest::of_file(b"component")), &Value::from(1)));
        let named = String::from_utf8(put.manifest.clone()).unwrap();
        assert_eq!(of(&named).unwrap().manifest, put.manifest, "what names it already is put there as it is");
        let other = pair(b"another".to_vec(), put.manifest).unwrap_err();
        assert!(other.contains("component_sha256: found"), "{other}");
    }

    #[test]
    fn a_folder_with_one_wrong_plugin_deploys_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let failure = |dir: &Path| pairs(dir).unwrap_err().message;
        assert!(failure(dir.path()).contains("found no NAME.wasm"));
        fs::write(dir.path().join("good.wasm"), "x").unwrap();
        fs::write(dir.path().join("good.toml"), MANIFEST).unwrap();
        fs::write(dir.path().join("Cargo.toml"), "[package]\n").unwrap();
        assert_eq!(pairs(dir.path()).unwrap().len(), 1, "what is no plugin's is passed over");
        fs::write(dir.path().join("bad.wasm"), "x").unwrap();
        assert!(failure(dir.path()).contains("bad.toml"));
        fs::write(dir.path().join("bad.toml"), MANIFEST.replace("push", "Push")).unwrap();
        assert!(failure(dir.path()).contains("nothing was deployed"));
        fs::rename(dir.path().join("bad.wasm"), dir.path().join("Bad.wasm")).unwrap();
        assert!(failure(dir.path()).contains("Bad.wasm"));
    }
}
