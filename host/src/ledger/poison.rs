//! The end of trust: after an I/O error nobody knows what is on the disk, so nothing is answered with success any more.

use tokio::sync::watch;

use super::LedgerError;

/// Set once, with the reason.
#[derive(Debug)]
pub(super) struct Poison(watch::Sender<Option<String>>);

impl Poison {
    /// Not poisoned.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Poisons; the first reason stays.
    pub(super) fn set(&self, reason: &str) {
        let is_first = self.0.send_if_modified(|set| {
            let is_first = set.is_none();
            if is_first {
                *set = Some(reason.to_owned());
            }
            is_first
        });
        if is_first {
            tracing::error!(reason, "ledger_poisoned");
        }
    }

    /// The reason, where it is poisoned.
    pub(super) fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// An error where it is poisoned.
    pub(super) fn check(&self) -> Result<(), LedgerError> {
        self.reason().map_or(Ok(()), |reason| Err(LedgerError::Poisoned(reason)))
    }

    /// Waits for the reason.
    pub(super) async fn wait(&self) -> String {
        let mut changes = self.0.subscribe();
        match changes.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the ledger is gone".to_owned(),
        }
    }
}

/// Whether an error means that the file or the disk cannot be trusted. A full disk can: the statement failed as a whole.
pub(super) fn is_fatal(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, ReadOnly, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(SystemIoFailure | DatabaseCorrupt | NotADatabase | ReadOnly | CannotOpen))
}

/// Whether the disk is full.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}
