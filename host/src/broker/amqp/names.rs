//! What everything at RabbitMQ is called, and how long a wait queue holds a message: pure, and the only place that knows.
//!
//! | object | kind | for |
//! |---|---|---|
//! | `hookyard.legs` | direct exchange | legs, by the name of their queue; what has no queue goes to `hookyard.unrouted` |
//! | `hookyard.leg.<tenant>.<plugin>` | quorum queue | the legs of one plugin |
//! | `hookyard.retry` | direct exchange | retries, by the name of a wait |
//! | `hookyard.retry.<wait>` | quorum queue | a wait of that length; then on to `hookyard.due` |
//! | `hookyard.due` | quorum queue without a limit | retries whose wait is over; any worker forwards them |
//! | `hookyard.dead` | fanout exchange and queue | dead letters on their way to the archive |
//! | `hookyard.unrouted` | fanout exchange and queue | what found no queue; any worker makes the queue and forwards it |
//! | `hookyard.rejected` | quorum queue | messages that are no leg of ours; nobody reads them but an operator |
//!
//! A wait queue that emptied into a leg's queue would hold up every tenant as soon as that queue is full, because RabbitMQ keeps at most 32
//! messages under way and tries again after three minutes. So all waits end in one queue that is never full.

use std::{fmt, time::Duration};

use crate::delivery::{PluginName, TenantId};

/// The names of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(String);

/// A wait queue's wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// What it is called.
    pub name: &'static str,
    /// How long it holds a message.
    pub wait: Duration,
}

const fn rung(name: &'static str, seconds: u64) -> Rung {
    Rung { name, wait: Duration::from_secs(seconds) }
}

/// The waits there are. One queue has one wait, because a queue expires messages only at its head.
pub const RUNGS: [Rung; 12] = [
    rung("1s", 1),
    rung("2s", 2),
    rung("5s", 5),
    rung("10s", 10),
    rung("30s", 30),
    rung("1m", 60),
    rung("2m", 120),
    rung("5m", 300),
    rung("10m", 600),
    rung("30m", 1800),
    rung("1h", 3600),
    rung("6h", 21_600),
];

impl Rung {
    /// The shortest wait that is not shorter than `wait`; the longest there is, where all are. Never before the time, and what is too early
    /// after the longest waits again.
    #[must_use]
    pub fn not_before(wait: Duration) -> Self {
        let [.., longest] = RUNGS;
        RUNGS.into_iter().find(|rung| rung.wait >= wait).unwrap_or(longest)
    }
}

impl Names {
    /// Names that begin with `prefix`: 1 to 60 characters of `[a-z0-9._-]`.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn new(prefix: &str) -> Result<Self, &'static str> {
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if (1..=60).contains(&prefix.len()) && prefix.bytes().all(is_plain) && !prefix.starts_with("amq.") {
            return Ok(Self(prefix.to_owned()));
        }
        Err("1 to 60 characters of a-z, 0-9, `.`, `_` and `-`, not beginning with `amq.`")
    }

    /// The exchange legs go to.
    #[must_use]
    pub fn legs(&self) -> String {
        format!("{self}.legs")
    }

    /// The queue of a plugin, and its routing key.
    #[must_use]
    pub fn queue(&self, tenant: &TenantId, plugin: &PluginName) -> String {
        format!("{self}.leg.{tenant}.{plugin}")
    }

    /// The exchange retries go to.
    #[must_use]
    pub fn retry(&self) -> String {
        format!("{self}.retry")
    }

    /// The wait queue of a rung.
    #[must_use]
    pub fn wait(&self, rung: Rung) -> String {
        format!("{self}.retry.{}", rung.name)
    }

    /// The queue all waits end in.
    #[must_use]
    pub fn due(&self) -> String {
        format!("{self}.due")
    }

    /// The exchange and the queue of dead letters.
    #[must_use]
    pub fn dead(&self) -> String {
        format!("{self}.dead")
    }

    /// The exchange and the queue of what found no queue.
    #[must_use]
    pub fn unrouted(&self) -> String {
        format!("{self}.unrouted")
    }

    /// The queue of messages that are no leg of ours.
    #[must_use]
    pub fn rejected(&self) -> String {
        format!("{self}.rejected")
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_never_ends_before_its_time() {
        for (asked_ms, name) in [(0, "1s"), (1000, "1s"), (1001, "2s"), (31_000, "1m"), (3_600_000, "1h"), (86_400_000, "6h")] {
            assert_eq!(Rung::not_before(Duration::from_millis(asked_ms)).name, name, "{asked_ms} ms");
        }
        assert!(RUNGS.windows(2).all(|pair| pair[0].wait < pair[1].wait));
    }

    #[test]
    fn two_plugins_never_share_a_queue_and_a_prefix_is_plain() {
        let names = Names::new("hookyard").unwrap();
        let queue = |tenant: &str, plugin: &str| names.queue(&tenant.parse().unwrap(), &plugin.parse().unwrap());
        assert_eq!(queue("default", "pr-size"), "hookyard.leg.default.pr-size");
        assert_ne!(queue("a", "b-c"), queue("a-b", "c"));
        for bad in ["", "Hook", "a b", "a/b", "a*", "a#", "amq.x", &"x".repeat(61)] {
            assert!(Names::new(bad).is_err(), "{bad}");
        }
    }
}
