//! Files and the network, by landlock: what is not named cannot be opened, made, renamed or removed.
//!
//! A rule holds for a file or a folder as it is found now (its inode). Whoever renews a certificate or a secret writes a new file and
//! renames it over the old one, so beside a file its folder is opened, and beside a link the folder it leads to.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};

/// The newest version whose every right was tried with this code; a kernel with more of them loses nothing we rely on.
const KNOWN: ABI = ABI::V7;
/// Folders and files of the system that a host reads: names and addresses, authorities, the time zone, the machine's size. The whole of
/// `/etc`, because `resolv.conf` and bundles of authorities are replaced by renaming.
const SYSTEM: [&str; 17] = [
    "/etc",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/nscd",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/usr/lib/ssl",
    "/usr/share/zoneinfo",
    "/usr/lib/locale",
    "/proc/self",
    "/proc/meminfo",
    "/proc/sys",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/urandom",
    "/dev/random",
];

/// What a host reads and writes beside the system's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Files and folders it reads; what is beneath a folder is read, too.
    pub read: Vec<PathBuf>,
    /// Folders it also writes to.
    pub write: Vec<PathBuf>,
}

/// What is opened for whom.
#[derive(Default)]
struct Opened {
    read: BTreeSet<PathBuf>,
    execute: BTreeSet<PathBuf>,
    write: BTreeSet<PathBuf>,
}

/// Closes every file and every port.
pub(super) fn close() -> anyhow::Result<Vec<String>> {
    let ruleset = ruleset()
        .handle_access(AccessNet::from_all(KNOWN))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .context("landlock")?;
    Ok(lacks(&ruleset.restrict_self().context("landlock")?))
}

/// Closes every file but these and the system's own.
pub(super) fn keep(paths: &Paths) -> anyhow::Result<Vec<String>> {
    let opened = Opened::of(paths);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_all(KNOWN) & !BitFlags::from(AccessFs::Execute) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let mut ruleset = ruleset().create().context("landlock")?;
    let kinds = [(&opened.read, read), (&opened.execute, read | AccessFs::Execute), (&opened.write, write)];
    for (path, access) in kinds.into_iter().flat_map(|(paths, access)| paths.iter().map(move |path| (path, access))) {
        // Gone since it was looked at: then there is nothing to open.
        let Ok(file) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
        ruleset = ruleset.add_rule(PathBeneath::new(file, access)).with_context(|| format!("landlock: {}", path.display()))?;
    }
    Ok(lacks(&ruleset.restrict_self().context("landlock")?))
}

/// What a process could not be kept from here; it is kept from nothing to find that out.
pub(super) fn missing() -> Vec<String> {
    let has = |set: Result<Ruleset, landlock::RulesetError>| set.and_then(Ruleset::create).is_ok();
    let hard = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if !has(hard().handle_access(AccessFs::from_all(ABI::V1))) {
        return vec![NO_LANDLOCK.to_owned()];
    }
    if !has(hard().handle_access(AccessFs::from_all(ABI::V3))) {
        return vec![OLD_LANDLOCK.to_owned()];
    }
    Vec::new()
}

const NO_LANDLOCK: &str = "landlock is missing: the host and the compile child can open every file this user can; it takes Linux 5.13 or \
                           newer with `landlock` among the security modules (`lsm=`)";
const OLD_LANDLOCK: &str =
    "landlock is older than Linux 6.2: files elsewhere cannot be opened, but those this user may write can be truncated";

fn ruleset() -> Ruleset {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    // In the best effort nothing is refused for being unknown to the kernel.
    ruleset.handle_access(AccessFs::from_all(KNOWN)).unwrap_or_default()
}

fn lacks(status: &RestrictionStatus) -> Vec<String> {
    let files = match status.ruleset {
        RulesetStatus::NotEnforced => vec![NO_LANDLOCK.to_owned()],
        _ => missing(),
    };
    let privileges = (!status.no_new_privs).then(|| "`no_new_privs` cannot be set".to_owned());
    files.into_iter().chain(privileges).collect()
}

impl Opened {
    fn of(paths: &Paths) -> Self {
        let mut opened = Self::default();
        let authorities = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().filter_map(env::var_os).map(PathBuf::from);
        let named = SYSTEM.iter().map(PathBuf::from).chain(authorities).chain(paths.read.iter().cloned());
        for path in named {
            opened.name(&path);
        }
        opened.write.extend(paths.write.iter().filter_map(|path| path.canonicalize().ok()));
        opened.write.insert(PathBuf::from("/dev/null"));
        // The program itself, which compiles in a child, and what it is linked with; both can be replaced while it runs.
        opened.execute.insert(super::this_program());
        opened.execute.extend(libraries());
        opened
    }

    /// A folder; or a file with the folder it is in, and that of the file a link leads to.
    fn name(&mut self, path: &Path) {
        let Ok(real) = path.canonicalize() else {
            // What is not there yet may be put there: its folder is opened.
            let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
            self.read.extend(folder.filter(|folder| folder.components().count() > 2));
            return;
        };
        if real.is_dir() || path.starts_with("/proc") || path.starts_with("/dev") {
            self.read.insert(real);
            return;
        }
        let named = std::path::absolute(path).ok();
        let folders = [named.as_deref(), Some(real.as_path())].into_iter().flatten().filter_map(Path::parent);
        // A file in `/` is opened alone: with its folder everything would be.
        self.read.extend(folders.filter(|folder| *folder != Path::new("/")).map(Path::to_owned));
        self.read.insert(real);
    }
}

/// The folders of the shared libraries and of the loader this program runs with.
fn libraries() -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let program = env::current_exe().ok();
    let files = maps.lines().filter_map(|line| line.split_once('/').map(|(_, path)| PathBuf::from(format!("/{path}"))));
    let libraries = files.filter(|file| Some(file) != program.as_ref() && file.to_string_lossy().contains(".so"));
    libraries.filter_map(|file| file.parent().map(Path::to_owned)).filter(|folder| folder != Path::new("/")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn beside_a_file_its_folder_is_opened_and_that_of_the_file_a_link_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for folder in ["live", "archive"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        fs::write(root.join("archive/cert1.pem"), "x").unwrap();
        symlink("../archive/cert1.pem", root.join("live/cert.pem")).unwrap();
        let mut opened = Opened::default();
        opened.name(&root.join("live/cert.pem"));
        opened.name(&root.join("not-there/at/all"));
        opened.name(Path::new("/proc/meminfo"));
        let expected = ["archive", "archive/cert1.pem", "live"].map(|name| root.join(name));
        assert_eq!(opened.read, expected.into_iter().chain([PathBuf::from("/proc/meminfo")]).collect());
    }

    #[test]
    fn the_loader_and_the_libraries_of_this_program_are_found() {
        let found = libraries();
        assert!(found.iter().all(|folder| folder.is_absolute() && folder.is_dir()), "{found:?}");
        let is_static = !fs::read_to_string("/proc/self/maps").unwrap().contains(".so");
        assert!(is_static || !found.is_empty());
    }
}
