//! What lies in a tenant's folder, read without loading anything: for `hookyard check`, beside a host or without one.

use std::{io, path::Path};

use super::{
    Manifest, files,
    manifest::{MANIFEST_BYTES_MAX, parse},
};
use crate::delivery::PluginName;

/// A plugin as it lies there.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: PluginName,
    /// Whether there is a component.
    pub has_component: bool,
    /// Its manifest, or what is wrong with it; none where there is no file.
    pub manifest: Option<Result<Manifest, String>>,
}

/// A tenant's plugins.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Those that a host would look at.
    pub plugins: Vec<Listed>,
    /// Files that were probably meant to be of a plugin, and have no name of one.
    pub misnamed: Vec<String>,
}

/// Looks at the plugins in a tenant's folder; a tenant without a folder of plugins has none.
pub fn inventory(home: &Path) -> io::Result<Inventory> {
    if !home.join(files::PLUGINS).exists() {
        return Ok(Inventory::default());
    }
    let found = |(name, stamps): (PluginName, files::Stamps)| {
        let read = || files::read(home, &format!("{name}.toml"), MANIFEST_BYTES_MAX).map_err(|refusal| refusal.detail);
        let manifest = stamps.manifest.map(|_| read().and_then(|bytes| parse(&bytes)));
        Listed { has_component: stamps.component.is_some(), manifest, name }
    };
    Ok(Inventory { plugins: files::scan(home)?.into_iter().map(found).collect(), misnamed: files::misnamed(home)? })
}
