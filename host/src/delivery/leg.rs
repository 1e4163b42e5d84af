//! The states of a leg. Every leg is in exactly one of them; `docs/lifecycle.md` draws the arrows.

use std::{fmt, str::FromStr};

/// Where a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LegState {
    /// Durable and ready to run.
    Waiting,
    /// A worker runs it now.
    Leased,
    /// It will be ready again at its due time.
    Retry,
    /// Its plugin is absent, paused or broken; it waits for the plugin, not for a time.
    Parked,
    /// The plugin handled it.
    Acked,
    /// The plugin said there was nothing to do.
    Skipped,
    /// Hopeless: kept as a dead letter until replayed or discarded.
    Dead,
    /// A dead letter an operator gave up.
    Discarded,
    /// In the keeping of RabbitMQ: whichever host takes it from there runs it.
    Relayed,
}

impl LegState {
    /// All states, in the order of `docs/lifecycle.md`.
    pub const ALL: [Self; 9] =
        [Self::Waiting, Self::Leased, Self::Retry, Self::Parked, Self::Acked, Self::Skipped, Self::Dead, Self::Discarded, Self::Relayed];

    /// The state's one name.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Retry => "retry",
            Self::Parked => "parked",
            Self::Acked => "acked",
            Self::Skipped => "skipped",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
            Self::Relayed => "relayed",
        }
    }

    /// Whether the leg has still to run: somebody will, without being asked again.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Leased | Self::Retry | Self::Parked | Self::Relayed)
    }
}

impl fmt::Display for LegState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}

impl FromStr for LegState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.slug() == text)
            .ok_or_else(|| format!("`{text}` is not a leg state; expected one of {}", Self::ALL.map(Self::slug).join(", ")))
    }
}

impl serde::Serialize for LegState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.slug())
    }
}

impl<'de> serde::Deserialize<'de> for LegState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
