//! The left column of the table: every resource that tenants use together.

use super::{Limit, Machine};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Something the host has only so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Linear memories of the runs under way.
    RunMemory,
    /// Runs under way.
    RunSlots,
    /// Threads of long runs.
    SlowLane,
    /// Bodies, records, emits and values on the disk.
    StoredBytes,
    /// Documents of open legs.
    WaitingBytes,
    /// Open legs.
    Legs,
    /// What runs write: records, values, emits, steps of `once`.
    SettledBytes,
    /// Compilations under way.
    CompileSlots,
    /// Processor time of compilations.
    CompileTime,
    /// Connections at the door.
    DoorConnections,
    /// Bytes of unfinished bodies at the door.
    BodyBytes,
    /// Connections at the admin listener.
    AdminConnections,
    /// Requests the admin listener works on.
    AdminRequests,
    /// Requests of plugins to the outside.
    OutgoingRequests,
    /// Look-ups of host names.
    Lookups,
    /// Bytes that RabbitMQ's messages inflate to while they are opened.
    OpenedBytes,
    /// Threads for work that would hold up others: compressing and unpacking documents, looking at folders, loading compiled code.
    BlockingThreads,
    /// Reads of the ledger under way.
    LedgerReads,
}

/// In what a resource is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Things.
    Count,
    /// Milliseconds an hour.
    MillisPerHour,
}

/// What happens at a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtBound {
    /// Who needs more waits, in a fair turn between holders.
    Wait,
    /// Who needs more is refused, and told so.
    Refuse,
    /// The one that did nothing for the longest time is given up for the new one.
    GiveUpOldest,
}

/// A resource in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name, as label of metrics and in `check`.
    pub name: &'static str,
    /// In what it is counted.
    pub unit: Unit,
    /// Who has a share of it.
    pub holder: &'static str,
    /// What happens at the bound.
    pub at_bound: AtBound,
    /// The key of the bound in `hookyard.toml`.
    pub bound_key: &'static str,
    /// The key of the share.
    pub share_key: &'static str,
}

impl Resource {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 18] = [
        Self::RunMemory,
        Self::RunSlots,
        Self::SlowLane,
        Self::StoredBytes,
        Self::WaitingBytes,
        Self::Legs,
        Self::SettledBytes,
        Self::CompileSlots,
        Self::CompileTime,
        Self::DoorConnections,
        Self::BodyBytes,
        Self::AdminConnections,
        Self::AdminRequests,
        Self::OutgoingRequests,
        Self::Lookups,
        Self::OpenedBytes,
        Self::BlockingThreads,
        Self::LedgerReads,
    ];

    /// The resource in words.
    #[must_use]
    pub fn row(self) -> Row {
        use AtBound::{GiveUpOldest, Refuse, Wait};
        use Unit::{Bytes, BytesPerSecond, Count, MillisPerHour};
        let (name, unit, holder, at_bound) = match self {
            Self::RunMemory => ("run_memory", Bytes, "tenant", Wait),
            Self::RunSlots => ("run_slots", Count, "tenant", Wait),
            Self::SlowLane => ("slow_lane", Count, "tenant", Wait),
            Self::StoredBytes => ("stored_bytes", Bytes, "tenant", Refuse),
            Self::WaitingBytes => ("waiting_bytes", Bytes, "tenant", Refuse),
            Self::Legs => ("legs", Count, "tenant", Refuse),
            Self::SettledBytes => ("settled_bytes", BytesPerSecond, "tenant", Wait),
            Self::CompileSlots => ("compile_slots", Count, "tenant", Wait),
            Self::CompileTime => ("compile_time", MillisPerHour, "tenant", Refuse),
            Self::DoorConnections => ("door_connections", Count, "address", GiveUpOldest),
            Self::BodyBytes => ("body_bytes", Bytes, "source or address", Refuse),
            Self::AdminConnections => ("admin_connections", Count, "address", GiveUpOldest),
            Self::AdminRequests => ("admin_requests", Count, "address", Wait),
            Self::OutgoingRequests => ("outgoing_requests", Count, "tenant", Wait),
            Self::Lookups => ("lookups", Count, "tenant", Wait),
            Self::OpenedBytes => ("opened_bytes", Bytes, "message", Wait),
            Self::BlockingThreads => ("blocking_threads", Count, "tenant", Wait),
            Self::LedgerReads => ("ledger_reads", Count, "tenant", Wait),
        };
        let (bound_key, share_key) = self.keys();
        Row { name, unit, holder, at_bound, bound_key, share_key }
    }

    /// The keys of bound and share. What had a key before this table keeps it.
    fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::RunMemory => ("shares.run_memory_bytes_max", "shares.tenant_run_memory_bytes_max"),
            Self::RunSlots => ("work.concurrency_max", "work.tenant_concurrency_max"),
            Self::SlowLane => ("work.threads", "shares.tenant_slow_lane_max"),
            Self::StoredBytes => ("shares.stored_bytes_max", "shares.tenant_stored_bytes_max"),
            Self::WaitingBytes => ("shares.waiting_bytes_max", "shares.tenant_waiting_bytes_max"),
            Self::Legs => ("shares.legs_max", "shares.tenant_legs_max"),
            Self::SettledBytes => ("shares.settled_bytes_per_s_max", "ledger.tenant_settled_bytes_per_s_max"),
            Self::CompileSlots => ("shares.compile_slots_max", "shares.tenant_compile_slots_max"),
            Self::CompileTime => ("shares.compile_ms_per_hour_max", "shares.tenant_compile_ms_per_hour_max"),
            Self::DoorConnections => ("ingest.connections_max", "ingest.connections_per_address_max"),
            Self::BodyBytes => ("ingest.body_budget_bytes_max", "shares.sender_body_bytes_max"),
            Self::AdminConnections => ("shares.admin_connections_max", "shares.address_admin_connections_max"),
            Self::AdminRequests => ("shares.admin_requests_max", "shares.address_admin_requests_max"),
            Self::OutgoingRequests => ("shares.outgoing_requests_max", "shares.tenant_outgoing_requests_max"),
            Self::Lookups => ("shares.lookups_max", "shares.tenant_lookups_max"),
            Self::OpenedBytes => ("shares.opened_bytes_max", "shares.message_opened_bytes_max"),
            Self::BlockingThreads => ("shares.blocking_threads_max", "shares.tenant_blocking_threads_max"),
            Self::LedgerReads => ("shares.ledger_reads_max", "shares.tenant_ledger_reads_max"),
        }
    }

    /// The default for a machine. `docs/limits.md` has the reason of each number.
    #[expect(clippy::match_same_arms, reason = "each resource has a line of its own, whatever its numbers")]
    pub(super) fn default_limit(self, machine: Machine) -> Limit {
        let (memory, cores) = (machine.memory_bytes, machine.cores.max(1));
        match self {
            // Half of the memory is for guests; the other half for everything else. One tenant has half of that.
            Self::RunMemory => Limit::new((memory / 2).max(64 * MIB), (memory / 4).max(32 * MIB)),
            Self::RunSlots => Limit::new(64, 48),
            // As `work.threads`: one core is left to the door and the committer. A tenant may have all but one.
            Self::SlowLane => {
                let threads = cores.saturating_sub(1).max(1);
                Limit::new(threads, threads.saturating_sub(1).max(1))
            }
            Self::StoredBytes => Limit::new(64 * GIB, 16 * GIB),
            Self::WaitingBytes => Limit::new(16 * GIB, 4 * GIB),
            Self::Legs => Limit::new(4_000_000, 1_000_000),
            Self::SettledBytes => Limit::new(64 * MIB, 16 * MIB),
            // Two even on one core: what one tenant compiles never takes the last place from the others.
            Self::CompileSlots => Limit::new((cores / 2).max(2), 1),
            Self::CompileTime => Limit::new(cores * 3_600_000, 900_000),
            Self::DoorConnections => Limit::new(10_000, 2_000),
            Self::BodyBytes => {
                let bound = (memory / 8).clamp(64 * MIB, 512 * MIB);
                Limit::new(bound, bound / 4)
            }
            Self::AdminConnections => Limit::new(256, 64),
            Self::AdminRequests => Limit::new(64, 16),
            Self::OutgoingRequests => Limit::new(64, 48),
            Self::Lookups => Limit::new(64, 16),
            // What one host gives away another takes, so a message's part does not follow the machine.
            Self::OpenedBytes => Limit::new((memory / 16).clamp(128 * MIB, 256 * MIB), 64 * MIB),
            Self::BlockingThreads => Limit::new(64, 16),
            Self::LedgerReads => Limit::new(4, 2),
        }
    }
}

impl Unit {
    /// A number of this unit for people: whole bytes and binary multiples of them, or the number.
    #[must_use]
    pub fn shown(self, number: u64) -> String {
        let sized = || {
            let (size, unit) = [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")].into_iter().find(|(size, _)| number >= *size).unwrap_or((1, "B"));
            if number.is_multiple_of(size) {
                format!("{} {unit}", number / size)
            } else {
                format!("{}.{} {unit}", number / size, number % size * 10 / size)
            }
        };
        match self {
            Self::Bytes => sized(),
            Self::BytesPerSecond => format!("{}/s", sized()),
            Self::Count => number.to_string(),
            Self::MillisPerHour => format!("{} s/h", number / 1000),
        }
    }
}

impl AtBound {
    /// What happens, in two words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Wait => "waits its turn",
            Self::Refuse => "is refused",
            Self::GiveUpOldest => "oldest idle goes",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_in_their_unit() {
        assert_eq!(Unit::Bytes.shown(512 * MIB), "512 MiB");
        assert_eq!(Unit::Bytes.shown(GIB + GIB / 2), "1.5 GiB");
        assert_eq!(Unit::Bytes.shown(12), "12 B");
        assert_eq!(Unit::BytesPerSecond.shown(16 * MIB), "16 MiB/s");
        assert_eq!(Unit::Count.shown(48), "48");
        assert_eq!(Unit::MillisPerHour.shown(900_000), "900 s/h");
    }
}
