//! What a process gives up once it knows what it needs: files (landlock), calls to the operating system (seccomp), the network (both).
//!
//! A process that reads what strangers wrote may be taken over one day; what it cannot do then is decided here, beforehand, and cannot be
//! taken back by anybody. Two processes do this. The compile child becomes a *cell*: it has its three pipes and memory, and nothing else.
//! The host keeps its network and the files that its configuration names.
//!
//! Both kinds hold for the thread that asks and for all it starts afterwards, so they are asked for before there is a second thread. An old
//! kernel is no reason not to start: what it does not have is said in words, by [`missing`].

mod calls;
mod files;

use std::path::PathBuf;

pub use files::Paths;

/// Closes the calling process up: no file, no network, no new program, no executable memory; reading and writing what is open, memory and
/// threads remain. Gives what this kernel does not have or refuses, in words.
#[must_use]
pub fn cell() -> Vec<String> {
    let refused = |error: anyhow::Error| vec![format!("this kernel refuses it: {error:#}")];
    let files = files::close().unwrap_or_else(refused);
    let calls = calls::close().unwrap_or_else(refused);
    files.into_iter().chain(calls).collect()
}

/// Leaves the calling thread, and what it starts, the files of `paths` and those that every program needs; no new privileges either.
/// Gives what this kernel does not have or refuses, in words.
#[must_use]
pub fn host(paths: &Paths) -> Vec<String> {
    files::keep(paths).unwrap_or_else(|error| vec![format!("the host can open every file this user can: {error:#}")])
}

/// What this kernel does not have of all this, in words, without confining anything.
#[must_use]
pub fn missing() -> Vec<String> {
    files::missing().into_iter().chain(calls::missing()).collect()
}

/// The running program, also where its file was replaced or removed since: what the compile child is started from.
#[must_use]
pub fn this_program() -> PathBuf {
    let link = PathBuf::from("/proc/self/exe");
    if link.exists() { link } else { std::env::current_exe().unwrap_or(link) }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, net::ToSocketAddrs as _, process::Command, sync::mpsc};

    use super::*;

    /// Confinement holds for a thread, so one thread of the test gives up what a host gives up, and another renews files.
    #[test]
    fn a_confined_host_opens_what_is_named_and_what_is_renamed_into_its_place_and_nothing_else() {
        if !missing().is_empty() {
            std::io::stderr().write_all(b"skipped: this kernel has no landlock or no seccomp\n").unwrap();
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let [etc, data, other] = ["etc", "data", "other"].map(|name| dir.path().join(name));
        for folder in [&etc, &data, &other] {
            fs::create_dir(folder).unwrap();
        }
        let named = etc.join("cert.pem");
        for file in [&named, &other.join("secret")] {
            fs::write(file, "first").unwrap();
        }
        let paths = Paths { read: vec![named.clone()], write: vec![data.clone()] };
        let ((ready, is_ready), (renewed, is_renewed)) = (mpsc::channel(), mpsc::channel());
        let confined = std::thread::spawn({
            let named = named.clone();
            move || {
                assert_eq!(host(&paths), [""; 0]);
                ready.send(()).unwrap();
                is_renewed.recv().unwrap();
                assert_eq!(fs::read_to_string(&named).unwrap(), "second", "the file that took its place");
                fs::create_dir(data.join("sub")).unwrap();
                fs::write(data.join("sub/file"), "x").unwrap();
                fs::rename(data.join("sub/file"), data.join("file")).unwrap();
                for (what, works) in [
                    ("a file elsewhere", fs::read(other.join("secret")).is_ok()),
                    ("a new file elsewhere", fs::write(other.join("new"), "x").is_ok()),
                    ("a new file beside a named one", fs::write(etc.join("new"), "x").is_ok()),
                    ("the named file, to write", fs::OpenOptions::new().write(true).open(&named).is_ok()),
                    ("a shell", Command::new("/bin/sh").arg("-c").arg("true").status().is_ok()),
                    ("what another process was started with", fs::read("/proc/1/environ").is_ok()),
                ] {
                    assert!(!works, "{what}");
                }
                // What a host cannot do without.
                assert!(("localhost", 0).to_socket_addrs().is_ok());
                assert!(fs::File::open("/dev/urandom").is_ok());
                assert!(fs::OpenOptions::new().write(true).open("/dev/null").is_ok());
                assert!(fs::read_link("/proc/self/fd/0").is_ok());
                let again = Command::new(this_program()).arg("--list").output().unwrap();
                assert!(again.status.success(), "{again:?}");
            }
        });
        is_ready.recv().unwrap();
        let beside = named.with_extension("new");
        fs::write(&beside, "second").unwrap();
        fs::rename(&beside, &named).unwrap();
        renewed.send(()).unwrap();
        confined.join().unwrap();
    }
}
