//! What each stream is doing at this moment: written by the streams, read by who asks. No reason against taking deliveries; a stream that is
//! away costs nothing at the door.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{delivery::StreamName, ledger::Followed};

/// What one stream is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// Where it goes: `redis`.
    pub kind: &'static str,
    /// What it follows.
    pub followed: Followed,
    /// Up to where it has come.
    pub position: u64,
    /// Published since the host started.
    pub published: u64,
    /// Why it is not connected; none while it is.
    pub failure: Option<String>,
}

/// The streams of this host; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct StreamBoard(Arc<Mutex<BTreeMap<StreamName, StreamStatus>>>);

impl StreamBoard {
    /// A stream that is about to connect.
    pub fn put(&self, name: StreamName, kind: &'static str, followed: Followed) {
        let status = StreamStatus { kind, followed, position: 0, published: 0, failure: Some("not connected yet".to_owned()) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, status);
    }

    /// It is connected and goes on from there.
    pub fn connected(&self, name: &StreamName, position: u64) {
        self.change(name, |status| (status.position, status.failure) = (position, None));
    }

    /// It has come further and published so many on the way.
    pub fn moved(&self, name: &StreamName, position: u64, published: u64) {
        self.change(name, |status| {
            status.position = position;
            status.published += published;
        });
    }

    /// It is not connected any more, in words.
    pub fn failed(&self, name: &StreamName, detail: &str) {
        self.change(name, |status| status.failure = Some(detail.to_owned()));
    }

    /// All of them.
    #[must_use]
    pub fn streams(&self) -> BTreeMap<StreamName, StreamStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, name: &StreamName, change: impl FnOnce(&mut StreamStatus)) {
        if let Some(status) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(name) {
            change(status);
        }
    }
}
