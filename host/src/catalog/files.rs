//! Files of a folder that other people write to: found by strict names, opened as regular files only, read bounded into a private copy.
//!
//! The folder may hold anything: a FIFO that never answers, a device, a link to a neighbour's plugin, ten thousand files, half a file. What is
//! hashed and compiled is the private copy, so that nothing can be swapped between the two.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use bytes::Bytes;
use rustix::fs::OFlags;

use crate::delivery::{PluginName, TenantId};

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

/// The plugins of a folder: every well-formed `NAME.wasm` and `NAME.toml`. Dot files, temporary names and everything else are passed over.
/// A folder that is not there is an error, as is one that cannot be read: neither is a removal of what was in it.
pub(super) fn scan(plugins_dir: &Path) -> io::Result<BTreeMap<PluginName, Stamps>> {
    let mut found: BTreeMap<PluginName, Stamps> = BTreeMap::new();
    for (at, entry) in fs::read_dir(plugins_dir)?.enumerate() {
        if at >= ENTRIES_MAX {
            return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries")));
        }
        let entry = entry?;
        let file_name = entry.file_name();
        let Some((stem, extension)) = file_name.to_str().and_then(|name| name.rsplit_once('.')) else { continue };
        let Ok(name) = stem.parse::<PluginName>() else { continue };
        let stamp = stamp(&entry.path());
        match extension {
            "wasm" => found.entry(name).or_default().component = stamp,
            "toml" => found.entry(name).or_default().manifest = stamp,
            _ => {}
        }
    }
    Ok(found)
}

/// None only where the file is known to be gone. What is there but cannot be looked at (no permission, an I/O error) keeps the stamp of its
/// directory entry: reading it will say why it is refused, and it is not taken for removed.
fn stamp(path: &Path) -> Option<Stamp> {
    let meta = match fs::metadata(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => fs::symlink_metadata(path).ok()?,
        looked => looked.ok()?,
    };
    Some(Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        bytes: meta.len(),
        modified_ns: (meta.mtime(), meta.mtime_nsec()),
        changed_ns: (meta.ctime(), meta.ctime_nsec()),
    })
}

/// Reads a file of `tenant_dir` whole into memory. Links may lead anywhere inside that folder (a `ConfigMap` is a dance of links), not out.
pub(super) fn read(path: &Path, tenant_dir: &Path, bytes_max: u64) -> Result<Bytes, FileRefusal> {
    let refuse = |code, detail: String| FileRefusal { code, detail };
    let unreadable = |error: io::Error| refuse("file_unreadable", format!("{}: {error}", path.display()));
    let real = path.canonicalize().map_err(unreadable)?;
    let home = tenant_dir.canonicalize().map_err(unreadable)?;
    let outside = || {
        let detail = format!("{} leads out of the tenant's folder; put the file itself there", path.display());
        refuse("link_leaves_tenant", detail)
    };
    if !real.starts_with(&home) {
        return Err(outside());
    }
    // Non-blocking, so that a FIFO does not hold us; the type is checked on the open file, so that nothing can be put in its place.
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&real).map_err(unreadable)?;
    // Where the kernel tells what was opened, a folder on the way that was just now swapped for a link gains nothing.
    if fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).is_ok_and(|opened| !opened.starts_with(&home)) {
        return Err(outside());
    }
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(refuse("not_a_regular_file", format!("{} is not a regular file", path.display())));
    }
    if meta.len() > bytes_max {
        let detail = format!("{} has {} bytes; at most {bytes_max} are taken", path.display(), meta.len());
        return Err(refuse("component_too_large", detail));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(refuse("component_too_large", format!("{} grew beyond {bytes_max} bytes while it was read", path.display())));
    }
    Ok(bytes.into())
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

    fn code(path: &Path, tenant: &Path) -> &'static str {
        read(path, tenant, 100).unwrap_err().code
    }

    #[test]
    fn only_well_formed_names_are_plugins() {
        let (_dir, tenant) = folder();
        let plugins = tenant.join("plugins");
        for name in ["good.wasm", "good.toml", "Bad.wasm", ".hidden.wasm", "a.b.wasm", "x.wasm.tmp", "noext", "half.wasm"] {
            fs::write(plugins.join(name), b"x").unwrap();
        }
        let found = scan(&plugins).unwrap();
        assert_eq!(found.keys().map(PluginName::as_str).collect::<Vec<_>>(), ["good", "half"]);
        assert!(found[&"half".parse().unwrap()].manifest.is_none());
        assert!(scan(&tenant.join("nowhere")).is_err(), "a folder that is not there is no empty folder");
    }

    #[test]
    fn what_is_no_regular_file_inside_the_tenants_folder_is_not_read() {
        let (dir, tenant) = folder();
        let plugins = tenant.join("plugins");
        rustix::fs::mknodat(rustix::fs::CWD, plugins.join("fifo.wasm"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(code(&plugins.join("fifo.wasm"), &tenant), "not_a_regular_file");
        // As only root may make one: the device that never ends.
        let (device, zero) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5));
        if rustix::fs::mknodat(rustix::fs::CWD, plugins.join("endless.wasm"), device, rustix::fs::Mode::RWXU, zero).is_ok() {
            assert_eq!(code(&plugins.join("endless.wasm"), &tenant), "not_a_regular_file");
        }
        fs::create_dir(plugins.join("dir.wasm")).unwrap();
        assert_eq!(code(&plugins.join("dir.wasm"), &tenant), "not_a_regular_file");
        symlink("/dev/zero", plugins.join("zero.wasm")).unwrap();
        assert_eq!(code(&plugins.join("zero.wasm"), &tenant), "link_leaves_tenant");
        fs::write(dir.path().join("neighbour"), b"secret").unwrap();
        symlink("../../neighbour", plugins.join("theirs.wasm")).unwrap();
        assert_eq!(code(&plugins.join("theirs.wasm"), &tenant), "link_leaves_tenant");
        fs::write(plugins.join("large.wasm"), [0; 101]).unwrap();
        assert_eq!(code(&plugins.join("large.wasm"), &tenant), "component_too_large");
        assert_eq!(code(&plugins.join("gone.wasm"), &tenant), "file_unreadable");
    }

    #[test]
    fn links_inside_the_folder_work_as_a_config_map_uses_them() {
        let (_dir, tenant) = folder();
        let plugins = tenant.join("plugins");
        fs::create_dir(plugins.join("..data_1")).unwrap();
        fs::write(plugins.join("..data_1/p.wasm"), b"one").unwrap();
        symlink("..data_1", plugins.join("..data")).unwrap();
        symlink("..data/p.wasm", plugins.join("p.wasm")).unwrap();
        assert_eq!(read(&plugins.join("p.wasm"), &tenant, 100).unwrap(), &b"one"[..]);
        let before = scan(&plugins).unwrap();

        fs::create_dir(plugins.join("..data_2")).unwrap();
        fs::write(plugins.join("..data_2/p.wasm"), b"two").unwrap();
        symlink("..data_2", plugins.join("..data_tmp")).unwrap();
        fs::rename(plugins.join("..data_tmp"), plugins.join("..data")).unwrap();
        assert_ne!(scan(&plugins).unwrap(), before, "the swap behind the link is seen");
        assert_eq!(read(&plugins.join("p.wasm"), &tenant, 100).unwrap(), &b"two"[..]);
    }
}
