//! What this process may use: the control group's limits where there are some, else the machine's.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

/// Taken where the system does not say how much memory there is.
const MEMORY_BYTES_UNKNOWN: u64 = 1 << 30;
/// Where control groups of version 2 are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// Memory and processors that this process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of memory: the smallest limit of its control group and those above it, or all of the machine's.
    pub memory_bytes: u64,
    /// Threads that can run at once, the control group's quota counted in.
    pub cores: u64,
}

impl Machine {
    /// The one this process runs on.
    #[must_use]
    pub fn here() -> Self {
        let all = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text)).unwrap_or(MEMORY_BYTES_UNKNOWN);
        let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let limited = group_of(&group).and_then(|group| smallest_limit(Path::new(GROUPS), &group));
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        Self { memory_bytes: limited.map_or(all, |limit| limit.min(all)), cores }
    }
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The group of version 2 in `/proc/self/cgroup`.
fn group_of(cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(PathBuf::from(path))
}

/// The smallest `memory.max` from the group up to the root. Inside a container the path may name a folder that only the machine sees; the
/// root that the container sees is then its own group.
fn smallest_limit(root: &Path, group: &Path) -> Option<u64> {
    let limit = |dir: &Path| fs::read_to_string(root.join(dir).join("memory.max")).ok()?.trim().parse::<u64>().ok();
    group.ancestors().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_group_are_read_as_linux_writes_them() {
        assert_eq!(total_of("MemTotal:       24737764 kB\nMemFree: 1 kB\n"), Some(24_737_764 * 1024));
        assert_eq!(total_of("nothing"), None);
        assert_eq!(group_of("1:cpu:/x\n0::/system.slice/hookyard.service\n"), Some("system.slice/hookyard.service".into()));
        assert_eq!(group_of("1:cpu:/x\n"), None);
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts_and_max_is_none() {
        let root = tempfile::tempdir().unwrap();
        let (slice, unit) = (root.path().join("a"), root.path().join("a/b"));
        fs::create_dir_all(&unit).unwrap();
        assert_eq!(smallest_limit(root.path(), Path::new("a/b")), None);
        fs::write(unit.join("memory.max"), "max\n").unwrap();
        fs::write(slice.join("memory.max"), "1073741824\n").unwrap();
        assert_eq!(smallest_limit(root.path(), Path::new("a/b")), Some(1 << 30));
        fs::write(unit.join("memory.max"), "536870912\n").unwrap();
        assert_eq!(smallest_limit(root.path(), Path::new("a/b")), Some(512 << 20));
        // A container sees its own group as the root.
        fs::write(root.path().join("memory.max"), "268435456\n").unwrap();
        assert_eq!(smallest_limit(root.path(), Path::new("not/seen/here")), Some(256 << 20));
    }
}
