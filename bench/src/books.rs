//! The host's books (`GET /api/v1/books`), as far as the bench reads them: what came in, and what became of it.

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Counts since the ledger began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Books {
    /// Deliveries accepted.
    pub(crate) accepted: u64,
    /// Of them for no plugin.
    pub(crate) unrouted: u64,
    /// Legs that some plugin has still to run.
    pub(crate) open: u64,
    /// Legs acked or skipped.
    pub(crate) handled: u64,
    /// Dead letters.
    pub(crate) dead: u64,
    /// What does not add up.
    pub(crate) gap: u64,
}

impl Books {
    /// Reads the page.
    pub(crate) fn read(page: &Value) -> anyhow::Result<Self> {
        let number = |value: &Value, name: &str| value[name].as_u64().with_context(|| format!("the books have no number `{name}`: {page}"));
        let states = |names: &[&str]| -> anyhow::Result<u64> { names.iter().map(|name| number(&page["by_state"], name)).sum() };
        Ok(Self {
            accepted: number(page, "accepted")?,
            unrouted: number(page, "unrouted")?,
            open: states(&["waiting", "leased", "retry", "parked"])?,
            handled: states(&["acked", "skipped"])?,
            dead: states(&["dead"])?,
            gap: number(page, "gap")?,
        })
    }

    /// Whether so many deliveries came in and nothing is left to do; fails where they cannot have been handled.
    pub(crate) fn are_done(&self, accepted: u64) -> anyhow::Result<bool> {
        ensure!(self.dead == 0, "{} of {accepted} deliveries became dead letters: there is no figure in that", self.dead);
        ensure!(self.unrouted == 0, "{} of {accepted} deliveries found no plugin: there is no figure in that", self.unrouted);
        Ok(self.accepted >= accepted && self.open == 0 && self.handled >= accepted)
    }

    /// Fails where the books do not hold what was sent.
    pub(crate) fn must_hold(&self, accepted: u64) -> anyhow::Result<()> {
        ensure!(self.accepted == accepted, "{accepted} deliveries were answered 202 and the books have {}", self.accepted);
        ensure!(self.gap == 0, "the books do not balance by {}", self.gap);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(waiting: u64, acked: u64, dead: u64) -> Value {
        let by_state =
            json!({"waiting": waiting, "leased": 0, "retry": 0, "parked": 0, "acked": acked, "skipped": 1, "dead": dead, "discarded": 0});
        let accepted = waiting + acked + 1 + dead;
        json!({"accepted": accepted, "routed": accepted, "unrouted": 0, "legs": accepted, "by_state": by_state, "on_loan": 0, "gap": 0})
    }

    #[test]
    fn work_is_done_when_every_leg_is_handled_and_not_before() {
        let done = |page: &Value, accepted| Books::read(page).unwrap().are_done(accepted).unwrap();
        assert!(done(&page(0, 9, 0), 10));
        assert!(!done(&page(1, 8, 0), 10), "a leg still waits");
        assert!(!done(&page(0, 8, 0), 10), "a delivery is still on its way in");
    }

    #[test]
    fn a_dead_letter_is_no_way_to_be_done() {
        let error = Books::read(&page(0, 8, 1)).unwrap().are_done(10).unwrap_err().to_string();
        assert!(error.contains("1 of 10 deliveries became dead letters"), "{error}");
    }

    #[test]
    fn a_delivery_that_was_answered_and_is_not_in_the_books_fails_the_run() {
        let books = Books::read(&page(0, 9, 0)).unwrap();
        assert!(books.must_hold(10).is_ok());
        assert!(books.must_hold(11).unwrap_err().to_string().contains("11 deliveries were answered 202 and the books have 10"));
    }

    #[test]
    fn a_page_without_a_count_is_no_zero() {
        let mut page = page(0, 1, 0);
        page["by_state"].as_object_mut().unwrap().remove("parked");
        assert!(Books::read(&page).unwrap_err().to_string().contains("`parked`"));
    }
}
