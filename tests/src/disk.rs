//! A disk that may lose what was not synced.
//!
//! It is fed with what a process told the kernel ([`crate::trace`]) and gives the folder as a power cut would leave it at that moment. What
//! was synced is there. Of what was not, nothing may be there, or all of it, or any sectors of any writes: a device writes whole sectors,
//! in any order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use hookyard::delivery::DeliveryId;

use crate::trace::Event;

/// What a device writes whole.
const SECTOR_BYTES: usize = 512;

/// What has become of the writes nobody synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All are gone.
    All,
    /// None is gone.
    None,
    /// Any of their sectors are gone, drawn from this seed.
    Some(u64),
}

/// One file, by its number: names come and go.
#[derive(Clone, Debug, Default)]
struct File {
    /// As a reader sees it now.
    cached: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<(usize, Change)>,
}

impl File {
    fn change(&mut self, at: usize, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push((at, change));
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

#[derive(Clone, Debug)]
enum Naming {
    Create(String, usize),
    Remove(String),
}

/// The disk at a moment.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    now: usize,
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    pending_names: Vec<(usize, Naming)>,
    /// Whether the folder itself would be there.
    has_folder: bool,
    /// Counts the syncs that changed what is certain.
    pub syncs: usize,
    /// Every delivery that was answered.
    pub promised: BTreeSet<DeliveryId>,
}

impl Disk {
    /// The next thing the kernel was told.
    pub fn apply(&mut self, event: &Event) {
        let now = self.now;
        self.now += 1;
        match event {
            Event::FolderMade | Event::Shown(_) => {}
            Event::ParentSynced { .. } => self.has_folder = true,
            Event::FolderSynced { began } => {
                let (synced, rest) = split(std::mem::take(&mut self.pending_names), *began);
                name(&mut self.synced_names, synced);
                self.pending_names = rest;
                self.syncs += 1;
            }
            Event::Created { name } if self.names.contains_key(name) => {}
            Event::Created { name } => {
                self.files.push(File::default());
                let file = self.files.len() - 1;
                self.names.insert(name.clone(), file);
                self.pending_names.push((now, Naming::Create(name.clone(), file)));
            }
            Event::Removed { name } => {
                self.names.remove(name);
                self.pending_names.push((now, Naming::Remove(name.clone())));
            }
            Event::Wrote { name, offset, data } => self.file(name).change(now, Change::Write(*offset, data.clone())),
            Event::Resized { name, bytes } => self.file(name).change(now, Change::Resize(*bytes)),
            Event::Synced { name, began } => {
                let file = self.file(name);
                let (synced, rest) = split(std::mem::take(&mut file.pending), *began);
                for change in synced {
                    change.apply(&mut file.synced);
                }
                file.pending = rest;
                self.syncs += 1;
            }
            Event::SyncFailed { name, began } => {
                let file = self.file(name);
                file.pending = split(std::mem::take(&mut file.pending), *began).1;
            }
            Event::Answered(id) => {
                self.promised.insert(*id);
            }
        }
    }

    fn file(&mut self, name: &str) -> &mut File {
        let number = self.names.get(name).unwrap_or_else(|| panic!("{name} was never created"));
        &mut self.files[*number]
    }

    /// The files a power cut would leave.
    pub fn after_cut(&self, loss: Loss) -> BTreeMap<String, Vec<u8>> {
        let mut random = fastrand::Rng::with_seed(if let Loss::Some(seed) = loss { seed } else { 0 });
        if loss == Loss::All && !self.has_folder {
            return BTreeMap::new();
        }
        let mut names = self.synced_names.clone();
        // A file system keeps its names in order, so what is left of them is a beginning.
        let kept = match loss {
            Loss::All => 0,
            Loss::None => self.pending_names.len(),
            Loss::Some(_) => random.usize(..=self.pending_names.len()),
        };
        name(&mut names, self.pending_names[..kept].iter().map(|(_, naming)| naming.clone()));
        let mut content = |file: usize| {
            let File { cached, synced, pending } = &self.files[file];
            let mut bytes = synced.clone();
            match loss {
                Loss::All => {}
                Loss::None => bytes.clone_from(cached),
                Loss::Some(_) => pending.iter().for_each(|(_, change)| change.apply_some(&mut bytes, &mut random)),
            }
            bytes
        };
        names.into_iter().map(|(name, file)| (name, content(file))).collect()
    }

    /// Whether the write is there, as far as this process of the folder's files can tell.
    pub fn is_in(event: &Event, folder: &Path) -> bool {
        match event {
            Event::Wrote { name, offset, data } => {
                fs::read(folder.join(name)).is_ok_and(|bytes| bytes.get(*offset..offset + data.len()) == Some(data))
            }
            _ => false,
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => write(bytes, *offset, data),
            Self::Resize(length) => bytes.resize(*length, 0),
        }
    }

    /// Whole, not at all, or some of its sectors.
    fn apply_some(&self, bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
        match (self, random.u8(0..4)) {
            (_, 0) => {}
            (Self::Write(offset, data), 1 | 2) => {
                let mut at = 0;
                while at < data.len() {
                    let end = data.len().min(at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES);
                    if random.bool() {
                        write(bytes, offset + at, &data[at..end]);
                    }
                    at = end;
                }
            }
            _ => self.apply(bytes),
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

/// What happened before `began`, and the rest.
fn split<T>(changes: Vec<(usize, T)>, began: usize) -> (Vec<T>, Vec<(usize, T)>) {
    let (before, rest): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(at, _)| *at < began);
    (before.into_iter().map(|(_, change)| change).collect(), rest)
}

fn name(names: &mut BTreeMap<String, usize>, changes: impl IntoIterator<Item = Naming>) {
    for change in changes {
        match change {
            Naming::Create(name, file) => {
                names.insert(name, file);
            }
            Naming::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}
