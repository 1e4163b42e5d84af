//! Files of a folder that other people write to: found by strict names, read as regular files only, bounded, into a private copy.
//!
//! The folder may hold anything: a FIFO that never answers, a device, a link to a neighbour's plugin, ten thousand files, half a file. What it
//! holds is looked at and read through [`Folder`] alone, and what is hashed and compiled is the private copy, so that nothing can be swapped
//! between the two.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use bytes::Bytes;
use rustix::fs::Stat;

use crate::{
    delivery::{PluginName, TenantId},
    folder::{Folder, NotRead},
};

/// Where a tenant's plugins lie in its folder.
pub(super) const PLUGINS: &str = "plugins";
/// Entries of one folder that are looked at; a folder with more is not read at all, rather than half.
const ENTRIES_MAX: usize = 20_000;

/// Why a file was not read, by slug and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileRefusal {
    pub(super) code: &'static str,
    pub(super) detail: String,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: (i64, i64),
    /// Also moved by what keeps the other four, such as a change of permissions or a copy that sets back the time.
    changed_ns: (i64, i64),
}

/// The two files of a plugin as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamps {
    pub(super) component: Option<Stamp>,
    pub(super) manifest: Option<Stamp>,
}

impl Stamps {
    /// Whether both files are there.
    pub(super) fn both(&self) -> bool {
        self.component.is_some() && self.manifest.is_some()
    }
}

/// The tenants that have a folder.
pub(super) fn tenants(tenants_dir: &Path) -> io::Result<BTreeSet<TenantId>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(tenants_dir)?.take(ENTRIES_MAX) {
        if let Some(tenant) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.insert(tenant);
        }
    }
    Ok(found)
}

/// The plugins of a tenant's folder: every well-formed `NAME.wasm` and `NAME.toml`. Dot files, temporary names and everything else are passed
/// over. A folder that is not there is an error, as is one that cannot be read or leads elsewhere: none is a removal of what was in it.
pub(super) fn scan(home: &Path) -> io::Result<BTreeMap<PluginName, Stamps>> {
    let folder = Folder::open(home)?;
    let mut found: BTreeMap<PluginName, Stamps> = BTreeMap::new();
    for file_name in folder.names(Path::new(PLUGINS), ENTRIES_MAX).map_err(io::Error::other)? {
        let Some((stem, extension)) = file_name.to_str().and_then(|name| name.rsplit_once('.')) else { continue };
        let Ok(name) = stem.parse::<PluginName>() else { continue };
        let stamp = || stamp(&folder, &Path::new(PLUGINS).join(&file_name));
        match extension {
            "wasm" => found.entry(name).or_default().component = stamp(),
            "toml" => found.entry(name).or_default().manifest = stamp(),
            _ => {}
        }
    }
    Ok(found)
}

/// Files of a plugin by their ending, and of none by their name. Dot files are nobody's: editors and tools make them.
pub(super) fn misnamed(home: &Path) -> io::Result<Vec<String>> {
    let names = Folder::open(home)?.names(Path::new(PLUGINS), ENTRIES_MAX).map_err(io::Error::other)?;
    let is_misnamed = |name: &String| match name.rsplit_once('.') {
        Some((stem, "wasm" | "toml")) => !name.starts_with('.') && stem.parse::<PluginName>().is_err(),
        _ => false,
    };
    let mut names: Vec<_> = names.into_iter().filter_map(|name| name.into_string().ok()).filter(is_misnamed).collect();
    names.sort();
    Ok(names)
}

/// None only where the file is known to be gone. What is there but cannot be looked at (no permission, a link that leads out, an I/O error)
/// keeps the stamp of its directory entry: reading it will say why it is refused, and it is not taken for removed.
fn stamp(folder: &Folder, path: &Path) -> Option<Stamp> {
    let stat = match folder.stat(path) {
        Err(error) if !error.is_not_found() => folder.stat_entry(path).ok()?,
        looked => looked.ok()?,
    };
    Some(Stamp::from(stat))
}

impl From<Stat> for Stamp {
    fn from(stat: Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            bytes: stat.st_size.unsigned_abs(),
            modified_ns: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            changed_ns: (stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        }
    }
}

/// Reads a file of the tenant's `plugins` whole into memory. Links may lead anywhere inside the tenant's folder (a `ConfigMap` is a dance of
/// links), not out.
pub(super) fn read(home: &Path, file_name: &str, bytes_max: u64) -> Result<Bytes, FileRefusal> {
    let shown = home.join(PLUGINS).join(file_name);
    let shown = shown.display();
    let refuse = |error: NotRead| {
        let (code, detail) = match error {
            NotRead::Unreadable(error) => ("file_unreadable", format!("{shown}: {error}")),
            NotRead::Outside(_) => (
                "link_leaves_tenant",
                format!("{shown} leads out of the tenant's folder; put the file itself there, or a link relative to where it stands"),
            ),
            NotRead::NotRegular => ("not_a_regular_file", format!("{shown} is not a regular file")),
            error @ NotRead::TooLarge { .. } => ("component_too_large", format!("{shown} {error}")),
        };
        FileRefusal { code, detail }
    };
    let folder = Folder::open(home).map_err(|error| refuse(error.into()))?;
    folder.read(&Path::new(PLUGINS).join(file_name), bytes_max).map(Bytes::from).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let tenant = dir.path().join("red");
        fs::create_dir_all(tenant.join("plugins")).unwrap();
        (dir, tenant)
    }

    fn code(tenant: &Path, file_name: &str) -> &'static str {
        read(tenant, file_name, 100).unwrap_err().code
    }

    #[test]
    fn only_well_formed_names_are_plugins() {
        let (_dir, tenant) = folder();
        let plugins = tenant.join("plugins");
        for name in ["good.wasm", "good.toml", "Bad.wasm", ".hidden.wasm", "a.b.wasm", "x.wasm.tmp", "noext", "half.wasm"] {
            fs::write(plugins.join(name), b"x").unwrap();
        }
        let found = scan(&tenant).unwrap();
        assert_eq!(found.keys().map(PluginName::as_str).collect::<Vec<_>>(), ["good", "half"]);
        assert_eq!(misnamed(&tenant).unwrap(), ["Bad.wasm", "a.b.wasm"]);
        assert!(found[&"half".parse().unwrap()].manifest.is_none());
        assert!(scan(&tenant.join("nowhere")).is_err(), "a folder that is not there is no empty folder");
    }

    #[test]
    fn what_is_no_regular_file_inside_the_tenants_folder_is_not_read() {
        let (dir, tenant) = folder();
        let plugins = tenant.join("plugins");
        rustix::fs::mknodat(rustix::fs::CWD, plugins.join("fifo.wasm"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(code(&tenant, "fifo.wasm"), "not_a_regular_file");
        // As only root may make one: the device that never ends.
        let (device, zero) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5));
        if rustix::fs::mknodat(rustix::fs::CWD, plugins.join("endless.wasm"), device, rustix::fs::Mode::RWXU, zero).is_ok() {
            assert_eq!(code(&tenant, "endless.wasm"), "not_a_regular_file");
        }
        fs::create_dir(plugins.join("dir.wasm")).unwrap();
        assert_eq!(code(&tenant, "dir.wasm"), "not_a_regular_file");
        symlink("/dev/zero", plugins.join("zero.wasm")).unwrap();
        assert_eq!(code(&tenant, "zero.wasm"), "link_leaves_tenant");
        fs::write(dir.path().join("neighbour"), b"secret").unwrap();
        symlink("../../neighbour", plugins.join("theirs.wasm")).unwrap();
        assert_eq!(code(&tenant, "theirs.wasm"), "link_leaves_tenant");
        // Not even the names in a neighbour's folder are told.
        fs::create_dir_all(dir.path().join("blue/plugins")).unwrap();
        fs::write(dir.path().join("blue/plugins/theirs.wasm"), b"x").unwrap();
        fs::create_dir(dir.path().join("green")).unwrap();
        symlink("../blue/plugins", dir.path().join("green/plugins")).unwrap();
        assert!(scan(&dir.path().join("green")).unwrap_err().to_string().contains("leads out"));
        fs::write(plugins.join("large.wasm"), [0; 101]).unwrap();
        assert_eq!(code(&tenant, "large.wasm"), "component_too_large");
        assert_eq!(code(&tenant, "gone.wasm"), "file_unreadable");
    }

    #[test]
    fn links_inside_the_folder_work_as_a_config_map_uses_them() {
        let (_dir, tenant) = folder();
        let plugins = tenant.join("plugins");
        fs::create_dir(plugins.join("..data_1")).unwrap();
        fs::write(plugins.join("..data_1/p.wasm"), b"one").unwrap();
        symlink("..data_1", plugins.join("..data")).unwrap();
        symlink("..data/p.wasm", plugins.join("p.wasm")).unwrap();
        assert_eq!(read(&tenant, "p.wasm", 100).unwrap(), &b"one"[..]);
        let before = scan(&tenant).unwrap();

        fs::create_dir(plugins.join("..data_2")).unwrap();
        fs::write(plugins.join("..data_2/p.wasm"), b"two").unwrap();
        symlink("..data_2", plugins.join("..data_tmp")).unwrap();
        fs::rename(plugins.join("..data_tmp"), plugins.join("..data")).unwrap();
        assert_ne!(scan(&tenant).unwrap(), before, "the swap behind the link is seen");
        assert_eq!(read(&tenant, "p.wasm", 100).unwrap(), &b"two"[..]);
    }
}
