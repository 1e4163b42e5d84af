//! What a host told the kernel about its ledger's files, and when it answered, recorded by `strace`.
//!
//! A kill proves nothing about syncing, because the page cache outlives a process. A record of every write and every sync does: from it the
//! disk can be rebuilt as a power cut would leave it ([`crate::disk`]). A tracer stops a thread before and after each call, so an answer
//! that stands behind a sync here was given after that sync.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path, process::Command};

use hookyard::delivery::DeliveryId;

/// Longer strings than any page or answer.
const STRING_BYTES_MAX: usize = 1 << 20;
const CALLS: &str = "openat,creat,write,writev,pwrite64,pwritev,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,\
     mkdir,mkdirat,sendto,sendmsg";

/// One thing the kernel was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The ledger's folder was made.
    FolderMade,
    /// The folder above it was synced, begun before the event `began`.
    ParentSynced {
        /// The event before which the sync began.
        began: usize,
    },
    /// The ledger's folder was synced: which names there are.
    FolderSynced {
        /// The event before which the sync began.
        began: usize,
    },
    /// A name that was not there came to be.
    Created {
        /// Its name in the folder.
        name: String,
    },
    /// A name went away.
    Removed {
        /// Its name in the folder.
        name: String,
    },
    /// Bytes were written.
    Wrote {
        /// The file.
        name: String,
        /// From where on.
        offset: usize,
        /// What.
        data: Vec<u8>,
    },
    /// A file was cut or grown.
    Resized {
        /// The file.
        name: String,
        /// To so many bytes.
        bytes: usize,
    },
    /// A file was synced: everything written before the event `began`.
    Synced {
        /// The file.
        name: String,
        /// The event before which the sync began.
        began: usize,
    },
    /// A sync of a file failed: what was written before the event `began` may be called clean from now on, and no later sync writes it.
    SyncFailed {
        /// The file.
        name: String,
        /// The event before which the sync began.
        began: usize,
    },
    /// A delivery was answered 202 or 200: its bytes were about to be handed to the kernel.
    Answered(DeliveryId),
    /// What a plugin emitted for a delivery was handed to the kernel, for whoever asked or follows.
    Shown(DeliveryId),
}

/// Where a host's calls are recorded.
#[derive(Debug)]
pub struct Tracer {
    file: tempfile::NamedTempFile,
}

/// The events of one host's life, and the calls that were under way when it was killed.
#[derive(Debug, Default)]
pub struct Life {
    /// In the order of the kernel.
    pub events: Vec<Event>,
    /// Writes of which nobody knows whether they came to be.
    pub unfinished: Vec<Event>,
}

/// Whether processes can be traced here.
pub fn is_possible() -> bool {
    Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success())
}

/// A command line that lets a host's system calls of these names fail, as `strace -e inject=` takes it.
pub fn injecting(fault: &str) -> Vec<OsString> {
    ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={fault}")].map(OsString::from).to_vec()
}

impl Default for Tracer {
    fn default() -> Self {
        Self { file: tempfile::NamedTempFile::new().expect("a temporary file") }
    }
}

impl Tracer {
    /// What stands before the host's own command line.
    pub fn wrapper(&self) -> Vec<OsString> {
        let (bytes, calls) = (STRING_BYTES_MAX.to_string(), format!("trace={CALLS}"));
        let words = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", &bytes, "-e", "signal=none", "-e", &calls, "-o"];
        words.map(OsString::from).into_iter().chain([self.file.path().into()]).collect()
    }

    /// The same with calls that fail, as [`injecting`] takes them.
    pub fn wrapper_injecting(&self, fault: &str) -> Vec<OsString> {
        let mut words = self.wrapper();
        words.splice(1..1, ["-e".into(), format!("inject={fault}").into()]);
        words
    }

    /// The record of a host that has ended, as far as it concerns the ledger in `data_dir`. Events are counted from `first` on.
    pub fn read(&self, data_dir: &Path, first: usize) -> Life {
        let text = fs::read_to_string(self.file.path()).expect("a trace");
        let folder = data_dir.to_str().expect("a path in UTF-8").to_owned();
        let parent = data_dir.parent().and_then(Path::to_str).expect("a folder above").to_owned();
        let mut reader = Reader { folder, parent, first, life: Life::default(), begun: BTreeMap::new() };
        for line in text.lines() {
            reader.line(line);
        }
        let unfinished = std::mem::take(&mut reader.begun);
        for (_, text) in unfinished.into_values() {
            reader.told(&format!("{text}) = ?"), 0);
        }
        reader.life
    }
}

struct Reader {
    folder: String,
    parent: String,
    first: usize,
    life: Life,
    /// Calls under way, by thread: where they began and what is known of them.
    begun: BTreeMap<String, (usize, String)>,
}

impl Reader {
    fn now(&self) -> usize {
        self.first + self.life.events.len()
    }

    fn line(&mut self, line: &str) {
        let Some((thread, rest)) = line.split_once(' ') else { return };
        let rest = rest.trim_start();
        if let Some(text) = rest.strip_suffix(" <unfinished ...>") {
            let began = self.now();
            self.answer(text);
            self.begun.insert(thread.to_owned(), (began, text.to_owned()));
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let Some((began, text)) = self.begun.remove(thread) else { return };
            self.told(&format!("{text}{end}"), began);
        } else {
            let began = self.now();
            self.answer(rest);
            self.told(rest, began);
        }
    }

    fn told(&mut self, text: &str, began: usize) {
        // The result of a call in which the process was killed is a question mark.
        let (finished, text) = text.strip_suffix("= ?").map_or((true, text.to_owned()), |text| (false, format!("{text}= 0")));
        let event = self.event(&text, began);
        let list = if finished { &mut self.life.events } else { &mut self.life.unfinished };
        list.extend(event);
    }

    /// An answer, and anything else that is said to others, counts from the moment its call begins.
    fn answer(&mut self, text: &str) {
        if !["sendto(", "sendmsg(", "write(", "writev("].iter().any(|call| text.starts_with(call)) || self.name_in(text).is_some() {
            return;
        }
        let said = String::from_utf8_lossy(&strings(text).concat()).into_owned();
        self.life.events.extend(said.split('"').filter_map(emit_of).map(Event::Shown));
        if !said.starts_with("HTTP/1.1 202 ") && !said.starts_with("HTTP/1.1 200 ") {
            return;
        }
        let id = said.split_once("\"delivery_id\":\"").and_then(|(_, rest)| rest.split('"').next()).and_then(|id| id.parse().ok());
        self.life.events.extend(id.map(Event::Answered));
    }

    /// The file of the folder that the call's descriptor belongs to.
    fn name_in(&self, text: &str) -> Option<String> {
        self.name_of(&descriptor(text)?)
    }

    /// The ledger's own files, but for the index in shared memory, which is made anew at each start.
    fn name_of(&self, path: &str) -> Option<String> {
        let name = path.strip_prefix(&self.folder)?.strip_prefix('/')?;
        let matters = name.starts_with("ledger.db") && !name.ends_with("-shm") || ["watermark", "inflight"].contains(&name);
        matters.then(|| name.to_owned())
    }

    fn event(&self, text: &str, began: usize) -> Option<Event> {
        let (call, _) = text.split_once('(')?;
        let (arguments, result) = text.rsplit_once(" = ")?;
        if result.starts_with('-') {
            let name = matches!(call, "fsync" | "fdatasync").then(|| self.name_in(text)).flatten();
            return name.map(|name| Event::SyncFailed { name, began });
        }
        let strings = || strings(arguments);
        let path = || String::from_utf8(strings().into_iter().next()?).ok();
        let numbers = || numbers(arguments);
        match call {
            "openat" | "creat" => {
                let name = self.name_of(&path()?)?;
                assert!(!arguments.contains("O_TRUNC"), "a file of the ledger is opened with O_TRUNC: teach `trace` what that means");
                arguments.contains("O_CREAT").then_some(Event::Created { name })
            }
            "mkdir" => (path()? == self.folder).then_some(Event::FolderMade),
            "unlink" => Some(Event::Removed { name: self.name_of(&path()?)? }),
            "pwrite64" => {
                let name = self.name_in(text)?;
                let data = strings().concat();
                let [bytes, offset] = numbers()[..] else { panic!("a write without length and offset: {arguments:.200}") };
                assert_eq!(data.len(), bytes, "the recorded string is cut");
                Some(Event::Wrote { name, offset, data })
            }
            "ftruncate" => Some(Event::Resized { name: self.name_in(text)?, bytes: *numbers().first()? }),
            "fsync" | "fdatasync" => {
                let path = descriptor(text)?;
                if path == self.folder {
                    return Some(Event::FolderSynced { began });
                }
                if path == self.parent {
                    return Some(Event::ParentSynced { began });
                }
                Some(Event::Synced { name: self.name_of(&path)?, began })
            }
            "write" | "writev" | "pwritev" | "fallocate" | "sendto" | "sendmsg" => {
                assert_eq!(self.name_in(text), None, "the ledger uses `{call}`: teach `trace` what that means");
                None
            }
            other => {
                let is_ours =
                    strings().into_iter().filter_map(|path| String::from_utf8(path).ok()).any(|path| self.name_of(&path).is_some());
                assert!(!is_ours, "the ledger uses `{other}`: teach `trace` what that means");
                None
            }
        }
    }
}

/// The delivery of an emit's id, `<delivery>.<plugin>.<index>`.
fn emit_of(text: &str) -> Option<DeliveryId> {
    let (delivery, rest) = text.split_once('.')?;
    let (_, index) = rest.rsplit_once('.')?;
    index.parse::<u64>().ok().and_then(|_| delivery.parse().ok())
}

/// The path of the first argument where that is a descriptor: `12<\x2f…>`.
fn descriptor(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('(')?;
    let (number, rest) = rest.split_once('<')?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    String::from_utf8(unhex(rest.split_once('>')?.0)).ok()
}

/// Everything in quotes.
fn strings(text: &str) -> Vec<Vec<u8>> {
    text.split('"').skip(1).step_by(2).map(unhex).collect()
}

/// The plain numbers behind the last string or the descriptor.
fn numbers(text: &str) -> Vec<usize> {
    let tail = text.rsplit_once(['"', '>']).map_or(text, |(_, tail)| tail);
    tail.split([',', ')']).filter_map(|word| word.trim().parse().ok()).collect()
}

/// `\x2f\x74` as bytes.
fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks_exact(4)
        .map(|digits| {
            let digits = std::str::from_utf8(&digits[2..]).expect("two digits");
            u8::from_str_radix(digits, 16).expect("a byte in hexadecimal digits")
        })
        .collect()
}
