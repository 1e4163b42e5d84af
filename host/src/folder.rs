//! A folder that others write to, and the one way to read a file of it.
//!
//! Who may write to a folder can put anything in the place of a file at any moment: a link to the host's own token, a pipe that never answers,
//! a device that never ends. So nothing here is judged by its name. The folder is held open; each part of a path is opened from the
//! descriptor of the one before, never through a link; links are read as text and followed by the same steps, so that no path leaves the
//! folder; and what was opened is judged by its descriptor. Between the look and the read there is no second look that could see another file.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat},
    io::Errno,
};

/// Links that are followed on the way to one file; the kernel's own bound.
const LINKS_MAX: usize = 40;
/// Folders beneath each other; each one of them is a descriptor for as long as the walk lasts.
const DEPTH_MAX: usize = 64;
/// Parts of a path that are still to be walked, links included.
const PARTS_MAX: usize = 4096;
/// Parts that are walked to one file in all, through every link: enough for folders and links that somebody made by hand, and little work.
const STEPS_MAX: usize = 128;

/// A folder, held open.
#[derive(Debug)]
pub struct Folder {
    root: OwnedFd,
    path: PathBuf,
}

/// Why something in a folder was not read.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    /// Not there, no permission, a fault of the disk.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// The path, or a link on its way, leads out of the folder. An absolute link does, wherever it points.
    #[error("leads out of {0}")]
    Outside(PathBuf),
    /// A pipe, a device, a socket or a folder.
    #[error("is not a regular file")]
    NotRegular,
    /// More bytes than are taken.
    #[error("has {found} bytes or more; at most {most} are taken")]
    TooLarge {
        /// Bytes it has.
        found: u64,
        /// Bytes it may have.
        most: u64,
    },
}

impl NotRead {
    /// Whether there is nothing of that name.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl From<Errno> for NotRead {
    fn from(error: Errno) -> Self {
        Self::Unreadable(error.into())
    }
}

/// How the last part of a path is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// To be read. Non-blocking, so that a pipe does not hold the reader.
    File,
    /// To be listed.
    Folder,
    /// To be looked at, without a right to read it.
    Look,
}

impl Folder {
    /// Opens a folder. Its own path is the operator's, and is followed through links.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root, path: path.to_owned() })
    }

    /// Reads a regular file beneath the folder whole, up to `bytes_max`. Links may lead anywhere inside.
    pub fn read(&self, relative: &Path, bytes_max: u64) -> Result<Vec<u8>, NotRead> {
        let file = File::from(self.walk(relative, Last::File)?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(NotRead::NotRegular);
        }
        let too_large = |found| NotRead::TooLarge { found, most: bytes_max };
        if meta.len() > bytes_max {
            return Err(too_large(meta.len()));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
        // It may grow while it is read.
        file.take(bytes_max + 1).read_to_end(&mut bytes)?;
        let found = bytes.len() as u64;
        if found > bytes_max { Err(too_large(found)) } else { Ok(bytes) }
    }

    /// What stands at a path beneath the folder, links followed.
    pub fn stat(&self, relative: &Path) -> Result<Stat, NotRead> {
        Ok(fstat(self.walk(relative, Last::Look)?)?)
    }

    /// What stands at a path beneath the folder, the link itself where the last part is one.
    pub fn stat_entry(&self, relative: &Path) -> Result<Stat, NotRead> {
        let name = relative.file_name().ok_or_else(|| self.outside())?;
        let parent = self.walk(relative.parent().unwrap_or(Path::new("")), Last::Look)?;
        Ok(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The names in a folder beneath this one, at most `entries_max`; one with more is an error rather than half a list.
    pub fn names(&self, relative: &Path, entries_max: usize) -> Result<Vec<OsString>, NotRead> {
        let mut names = Vec::new();
        for entry in Dir::new(self.walk(relative, Last::Folder)?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if names.len() >= entries_max {
                return Err(io::Error::other(format!("more than {entries_max} entries")).into());
            }
            names.push(OsStr::from_bytes(name).to_owned());
        }
        Ok(names)
    }

    fn outside(&self) -> NotRead {
        NotRead::Outside(self.path.clone())
    }

    /// Opens a path part by part. The kernel follows no link here: one that is met is read, and its parts are walked instead.
    fn walk(&self, relative: &Path, last: Last) -> Result<OwnedFd, NotRead> {
        let mut parts = Vec::new();
        self.push(&mut parts, relative)?;
        let (mut above, mut links, mut steps): (Vec<OwnedFd>, usize, usize) = (Vec::new(), 0, 0);
        while let Some(part) = parts.pop() {
            steps += 1;
            if steps > STEPS_MAX {
                return Err(Errno::LOOP.into());
            }
            if part == ".." {
                above.pop().ok_or_else(|| self.outside())?;
                continue;
            }
            let here = above.last().map_or(self.root.as_fd(), |folder| folder.as_fd());
            let how = if parts.is_empty() { last } else { Last::Look };
            let opened = open_part(here, &part, how, !parts.is_empty())?;
            match opened {
                Some(found) if parts.is_empty() => return Ok(found),
                Some(_) if above.len() >= DEPTH_MAX => return Err(io::Error::other(format!("more than {DEPTH_MAX} folders deep")).into()),
                Some(found) => above.push(found),
                None => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP.into());
                    }
                    let target = readlinkat(here, &part, Vec::new())?.into_bytes();
                    self.push(&mut parts, Path::new(&OsString::from_vec(target)))?;
                }
            }
        }
        // The path ends at a folder: this one itself, or one that was left again by `..`.
        let here = above.last().map_or(self.root.as_fd(), |folder| folder.as_fd());
        let flags = if last == Last::Look { OFlags::PATH } else { OFlags::RDONLY };
        Ok(openat(here, ".", flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The parts of a path, the first one on top.
    fn push(&self, parts: &mut Vec<OsString>, path: &Path) -> Result<(), NotRead> {
        let mut added = Vec::new();
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => added.push(OsString::from("..")),
                Component::Normal(name) => added.push(name.to_owned()),
                Component::RootDir | Component::Prefix(_) => return Err(self.outside()),
            }
        }
        if parts.len() + added.len() > PARTS_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        parts.extend(added.into_iter().rev());
        Ok(())
    }
}

/// Opens one part; none where it is a link.
fn open_part(here: BorrowedFd<'_>, part: &OsStr, how: Last, leads_on: bool) -> Result<Option<OwnedFd>, NotRead> {
    let always = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let flags = match how {
        Last::File => always | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        Last::Folder => always | OFlags::RDONLY | OFlags::DIRECTORY,
        Last::Look => always | OFlags::PATH,
    };
    let is_link = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    match openat(here, part, flags, Mode::empty()) {
        // Only a look opens a link itself.
        Ok(found) if how == Last::Look => {
            let kind = fstat(&found)?;
            if is_link(kind) {
                return Ok(None);
            }
            if leads_on && FileType::from_raw_mode(kind.st_mode) != FileType::Directory {
                return Err(Errno::NOTDIR.into());
            }
            Ok(Some(found))
        }
        Ok(found) => Ok(Some(found)),
        Err(error @ (Errno::LOOP | Errno::NOTDIR)) => {
            let found = statat(here, part, AtFlags::SYMLINK_NOFOLLOW)?;
            if is_link(found) { Ok(None) } else { Err(error.into()) }
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::symlink,
        sync::atomic::{AtomicBool, Ordering},
    };

    use rustix::fs::{RenameFlags, mknodat, renameat_with};

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("red");
        fs::create_dir_all(home.join("deep/er")).unwrap();
        fs::write(dir.path().join("admin.token"), b"the host's own").unwrap();
        fs::write(home.join("own"), b"mine").unwrap();
        (dir, home)
    }

    fn read(home: &Path, relative: &str) -> Result<Vec<u8>, String> {
        let folder = Folder::open(home).unwrap();
        folder.read(Path::new(relative), 100).map_err(|error| error.to_string())
    }

    #[test]
    fn links_inside_are_followed_and_none_leads_out() {
        let (_dir, home) = folder();
        for (link, target) in [
            ("to-own", "own"),
            ("deep/up", "../own"),
            ("deep/er/chain", "../up"),
            ("folder", "deep"),
            ("out", "../admin.token"),
            ("deep/out", "../../admin.token"),
            ("absolute", home.join("own").to_str().unwrap()),
            ("proc", "/proc/self/cwd"),
            ("loop", "loop"),
        ] {
            symlink(target, home.join(link)).unwrap();
        }
        for good in ["own", "./own", "deep/../own", "to-own", "deep/up", "deep/er/chain", "folder/up", "folder/er/chain", "folder/../own"] {
            assert_eq!(read(&home, good).as_deref(), Ok(b"mine".as_slice()), "{good}");
        }
        for (bad, why) in [
            ("out", "leads out"),
            ("deep/out", "leads out"),
            ("folder/out", "leads out"),
            ("../admin.token", "leads out"),
            ("deep/../../admin.token", "leads out"),
            ("/etc/hostname", "leads out"),
            ("absolute", "leads out"),
            ("proc/own", "leads out"),
            ("loop", "Too many"),
            ("nowhere", "No such file"),
            ("own/x", "Not a directory"),
            ("", "not a regular file"),
            ("deep", "not a regular file"),
            ("deep/..", "not a regular file"),
        ] {
            let error = read(&home, bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn pipes_and_large_files_are_refused_by_what_they_are() {
        let (_dir, home) = folder();
        mknodat(CWD, home.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        fs::write(home.join("large"), [0; 101]).unwrap();
        assert!(read(&home, "pipe").unwrap_err().contains("not a regular file"));
        assert!(read(&home, "large").unwrap_err().contains("at most 100"));
        let folder = Folder::open(&home).unwrap();
        assert!(FileType::from_raw_mode(folder.stat(Path::new("pipe")).unwrap().st_mode) == FileType::Fifo);
        assert!(folder.names(Path::new(""), 2).is_err(), "more than are listed");
        assert!(folder.names(Path::new(""), 9).unwrap().contains(&OsString::from("pipe")));
    }

    #[test]
    fn a_file_swapped_for_a_link_to_the_hosts_token_at_any_moment_never_leads_there() {
        let (_dir, home) = folder();
        symlink("../admin.token", home.join("trap")).unwrap();
        symlink("..", home.join("deep-trap")).unwrap();
        fs::write(home.join("deep/admin.token"), b"mine").unwrap();
        let (done, swaps) = (AtomicBool::new(false), [("own", "trap"), ("deep", "deep-trap")]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for (one, other) in swaps {
                        renameat_with(CWD, home.join(one), CWD, home.join(other), RenameFlags::EXCHANGE).unwrap();
                    }
                }
            });
            let (mut found, mut refused, mut stolen) = (0, 0, None);
            while stolen.is_none() && (found < 2_000 || refused < 2_000) {
                for path in ["own", "deep/admin.token"] {
                    match read(&home, path) {
                        Ok(bytes) if bytes == b"mine" => found += 1,
                        Ok(bytes) => stolen = Some(bytes),
                        Err(_) => refused += 1,
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(stolen, None, "after {found} and {refused}");
        });
    }
}
