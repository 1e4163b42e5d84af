//! `hookyard.toml`: each key in one place, with its default, its bounds and the settings it becomes.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Config, ReadFrom, Roles, reader::Reader, secrets, shares};
use crate::{
    admin,
    broker::{Kind, amqp},
    catalog,
    cidr::Cidr,
    egress,
    ingest::{self, TlsSettings},
    ledger,
    listen::Listen,
    runtime,
    shares::{Machine, Resource, Shares},
    signature::Secret,
    streams::StreamSettings,
    tenants::Budget,
    work,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// GitHub sends documents of at most 25 MB.
const JSON_BYTES_DEFAULT: usize = 25 * MIB;

pub(super) fn read(reader: &mut Reader, token: Secret, (broker, streams): (Kind, Vec<StreamSettings>)) -> Config {
    let data_dir = reader.path("data_dir", "data");
    let tenants_dir = reader.path("tenants_dir", "tenants");
    let ceiling = budget(
        reader,
        "limits",
        Budget {
            fuel: 100_000_000_000,
            fuel_per_body_byte: 10_000,
            memory_bytes_max: 1 << 30,
            memory_per_body_byte: 64,
            wall: Duration::from_mins(1),
        },
    );
    let default_budget = budget(
        reader,
        "defaults",
        Budget {
            fuel: 1_000_000_000,
            fuel_per_body_byte: 2_000,
            memory_bytes_max: 64 << 20,
            memory_per_body_byte: 8,
            wall: Duration::from_secs(5),
        },
    );
    let shared_work = matches!(&broker, Kind::RabbitMq(settings) if settings.shared_work);
    let mut limits = shares::read(reader, Machine::here());
    shares::own(reader, &mut limits);
    let shares = Shares::new(&limits);
    let broker = match broker {
        Kind::RabbitMq(settings) => Kind::RabbitMq(Box::new(amqp::Settings { shares: shares.clone(), ..*settings })),
        Kind::Embedded => Kind::Embedded,
    };
    Config {
        ingest: ingest(reader, &shares),
        admin: admin(reader, token, &shares),
        ledger: ledger(reader, &data_dir, &shares),
        runtime: runtime(reader, &data_dir, &shares),
        broker,
        own_amqp_key: None,
        roles: Roles::ALL,
        catalog: catalog(reader, &tenants_dir, (ceiling, default_budget), (shared_work, &shares)),
        egress: egress(reader, &shares),
        work: work::Settings { threads: bound(&shares, Resource::SlowLane), shares: shares.clone() },
        streams,
        shares,
        secrets: secrets::sources(reader),
        ceiling,
        grace: reader.millis("grace_ms", Duration::from_secs(25), 0..=600_000),
        log_format: reader.text("log.format").and_then(|format| log_format(reader, format)),
        log_filter: reader.text("log.filter").unwrap_or_else(|| "info".to_owned()),
        landlock: reader.truth("sandbox.landlock", true),
        file: PathBuf::new(),
        named: Vec::new(),
        effective: Vec::new(),
        read_from: ReadFrom::default(),
        data_dir,
        tenants_dir,
    }
}

/// A resource's bound as a size in memory.
fn bound(shares: &Shares, resource: Resource) -> usize {
    usize::try_from(shares.pool(resource).limit().bound).unwrap_or(usize::MAX)
}

/// Runs of one tenant at once, of the one that may have most of them; the pool holds each to its own number.
fn most_slots(shares: &Shares) -> usize {
    let pool = shares.pool(Resource::RunSlots);
    let most = pool.own().map(|(_, share)| share).chain([pool.limit().share]).max();
    most.and_then(|share| usize::try_from(share).ok()).unwrap_or(usize::MAX)
}

fn budget(reader: &mut Reader, table: &str, default: Budget) -> Budget {
    let key = |name: &str| format!("{table}.{name}");
    let most = i64::MAX.unsigned_abs();
    Budget {
        fuel: reader.number(&key("fuel"), default.fuel, 1..=most),
        fuel_per_body_byte: reader.number(&key("fuel_per_body_byte"), default.fuel_per_body_byte, 0..=1_000_000),
        memory_bytes_max: reader.number(&key("memory_bytes_max"), default.memory_bytes_max, 65_536..=1 << 32),
        memory_per_body_byte: reader.number(&key("memory_per_body_byte"), default.memory_per_body_byte, 0..=1024),
        wall: reader.millis(&key("wall_ms"), default.wall, 1..=600_000),
    }
}

fn ingest(reader: &mut Reader, shares: &Shares) -> ingest::Settings {
    let budget_bytes = bound(shares, Resource::BodyBytes);
    let json_bytes_max = reader.size("ingest.json_bytes_max", JSON_BYTES_DEFAULT, KIB..=256 * MIB);
    // The same document percent-encoded. On a small machine half of the budget, so that one form does not fill it, but never less than GitHub's
    // own documents need, which are in Latin letters.
    let form_default = ingest::form_bytes_of(json_bytes_max).min((budget_bytes / 2).max(json_bytes_max + json_bytes_max / 2));
    let form_bytes_max = reader.size("ingest.form_bytes_max", form_default, KIB..=ingest::form_bytes_of(256 * MIB));
    for (key, bytes) in [("ingest.json_bytes_max", json_bytes_max), ("ingest.form_bytes_max", form_bytes_max)] {
        if bytes > budget_bytes {
            reader.problem(key, bytes, format!("at most `ingest.body_budget_bytes_max`, {budget_bytes}: a larger body is never taken"));
        }
    }
    let accept_timeout = reader.millis("ingest.accept_timeout_ms", Duration::from_secs(8), 100..=600_000);
    let body_timeout = reader.millis("ingest.body_timeout_ms", accept_timeout, 100..=600_000);
    if body_timeout > accept_timeout {
        let (body_ms, accept_ms) = (body_timeout.as_millis(), accept_timeout.as_millis());
        let expected = format!("at most `ingest.accept_timeout_ms`, {accept_ms}: the body's time is part of it, and is cut off there");
        reader.problem_with_hint("ingest.body_timeout_ms", (body_ms.to_string(), expected), Some("leave it out, or raise both".to_owned()));
    }
    ingest::Settings {
        shares: shares.clone(),
        trusted_proxies: cidrs(reader, "ingest.trusted_proxies"),
        tls: tls(reader),
        json_bytes_max,
        form_bytes_max,
        head_bytes_max: reader.size("ingest.head_bytes_max", 16 * KIB, 8 * KIB..=256 * KIB),
        head_timeout: reader.millis("ingest.head_timeout_ms", Duration::from_secs(10), 100..=600_000),
        body_timeout,
        body_bytes_per_s_min: reader.size("ingest.body_bytes_per_s_min", KIB, 0..=MIB),
        address_rate_per_s_max: rate(reader, "ingest.address_rate_per_s_max", 5_000),
        address_failures_per_min_max: rate(reader, "ingest.address_failures_per_min_max", 300),
        accept_timeout,
        listen: reader.listen("ingest.listen", Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))),
    }
}

fn rate(reader: &mut Reader, key: &str, default: u64) -> u32 {
    u32::try_from(reader.number(key, default, 1..=1_000_000)).unwrap_or(u32::MAX)
}

/// A list of blocks of addresses.
pub(super) fn cidrs(reader: &mut Reader, key: &str) -> Vec<Cidr> {
    let blocks: Vec<Result<Cidr, String>> = reader.texts(key).iter().map(|text| text.parse().map_err(|_| text.clone())).collect();
    let mut sound = Vec::with_capacity(blocks.len());
    for block in blocks {
        match block {
            Ok(block) => sound.push(block),
            Err(text) => reader.problem(key, format!("`{text}`"), "blocks of addresses, such as 10.0.0.0/8 or fd00::/8"),
        }
    }
    sound
}

fn tls(reader: &mut Reader) -> Option<TlsSettings> {
    let (certificate, key) = (reader.text("ingest.tls.certificate"), reader.text("ingest.tls.key"));
    match (certificate, key) {
        (Some(_), Some(_)) => {
            Some(TlsSettings { certificate: reader.path("ingest.tls.certificate", ""), key: reader.path("ingest.tls.key", "") })
        }
        (None, None) => None,
        _ => {
            reader.problem("ingest.tls", "one of certificate and key", "both, as paths of PEM files");
            None
        }
    }
}

fn admin(reader: &mut Reader, token: Secret, shares: &Shares) -> admin::Settings {
    // Its source was resolved before, because the default depends on the data folder; here it is only a key that is known.
    reader.value("admin.token");
    admin::Settings {
        listen: reader.address("admin.listen", SocketAddr::from(([127, 0, 0, 1], 9090))),
        hosts: reader.texts("admin.hosts"),
        shares: shares.clone(),
        token,
    }
}

fn ledger(reader: &mut Reader, data_dir: &Path, shares: &Shares) -> ledger::Settings {
    let days = |days: u64| Duration::from_millis(days * DAY_MS);
    ledger::Settings {
        group_items_max: reader.size("ledger.group_items_max", 256, 1..=4096),
        group_bytes_max: reader.size("ledger.group_bytes_max", 2 * MIB, KIB..=256 * MIB),
        wal_bytes_max: reader.number("ledger.wal_bytes_max", 64 << 20, 1 << 20..=1 << 32),
        tenant_settled_bytes_per_s_max: shares.pool(Resource::SettledBytes).limit().share,
        free_bytes_min: reader.number("ledger.free_bytes_min", 256 << 20, 0..=1 << 40),
        body_cache_bytes_max: reader.size("ledger.body_cache_bytes_max", 64 * MIB, 0..=16 * 1024 * MIB),
        retain_settled: reader.millis("retention.settled_ms", days(7), 0..=3650 * DAY_MS),
        retain_unstreamed: reader.millis("retention.unstreamed_ms", days(7), 0..=3650 * DAY_MS),
        retain_unrouted: reader.millis("retention.unrouted_ms", days(1), 0..=3650 * DAY_MS),
        retain_dead: reader.millis("retention.dead_ms", days(30), 0..=3650 * DAY_MS),
        retain_removed_plugin: reader.millis("retention.removed_plugin_ms", days(30), 0..=3650 * DAY_MS),
        retain_dedup: reader.millis("retention.dedup_ms", days(3), 3 * DAY_MS..=3650 * DAY_MS),
        shares: shares.clone(),
        ..ledger::Settings::new(data_dir.to_owned())
    }
}

fn runtime(reader: &mut Reader, data_dir: &Path, shares: &Shares) -> runtime::Settings {
    runtime::Settings {
        concurrency_max: bound(shares, Resource::RunSlots),
        shares: shares.clone(),
        cache_dir: Some(data_dir.join("compiled")),
        compiler: runtime::Compiler::InProcess,
        component_bytes_max: reader.number("plugins.component_bytes_max", 32 << 20, 1 << 10..=256 << 20),
        compile_timeout: reader.millis("plugins.compile_timeout_ms", Duration::from_mins(2), 100..=3_600_000),
        compile_memory_bytes_max: reader.number("plugins.compile_memory_bytes_max", 2 << 30, 256 << 20..=1 << 40),
    }
}

fn catalog(
    reader: &mut Reader,
    tenants_dir: &Path,
    (ceiling, default_budget): (Budget, Budget),
    (shared_work, shares): (bool, &Shares),
) -> catalog::Settings {
    catalog::Settings {
        tenants_dir: tenants_dir.to_owned(),
        settle: reader.millis("plugins.settle_ms", Duration::from_millis(50), 1..=60_000),
        rescan: reader.millis("plugins.rescan_ms", Duration::from_secs(10), 100..=3_600_000),
        plugins_max: reader.size("plugins.per_tenant_max", 1000, 1..=100_000),
        component_bytes_max: reader.number("plugins.component_bytes_max", 32 << 20, 1 << 10..=256 << 20),
        tenant_concurrency_max: most_slots(shares),
        shared_work,
        shares: shares.clone(),
        ceiling,
        default_budget,
        watch: reader.millis("plugins.watch_ms", Duration::from_mins(5), 0..=DAY_MS),
        approve_new_grants: reader.truth("plugins.approve_new_grants", false),
        breaker: catalog::BreakerPolicy {
            faults_min: reader.size("plugins.breaker_faults_min", 20, 1..=1000),
            parked_for: reader.millis("plugins.breaker_parked_ms", Duration::from_secs(30), 100..=3_600_000),
        },
    }
}

fn egress(reader: &mut Reader, shares: &Shares) -> egress::Settings {
    let ca_file = reader.text("egress.ca_file").is_some().then(|| reader.path("egress.ca_file", ""));
    egress::Settings {
        allow_addresses: cidrs(reader, "egress.allow_addresses"),
        refuse_addresses: cidrs(reader, "egress.refuse_addresses"),
        ca_file,
        name_servers: name_servers(reader),
        shares: shares.clone(),
    }
}

/// Addresses with or without a port.
fn name_servers(reader: &mut Reader) -> Vec<SocketAddr> {
    const KEY: &str = "egress.name_servers";
    let texts = reader.texts(KEY);
    let read = |text: &String| text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| SocketAddr::new(address, 53)));
    let servers: Vec<SocketAddr> = texts.iter().filter_map(read).collect();
    if servers.len() < texts.len() {
        reader.problem(KEY, texts.join(", "), "addresses such as \"10.0.0.2\" or \"127.0.0.1:5353\"");
    }
    servers
}

fn log_format(reader: &mut Reader, format: String) -> Option<String> {
    if matches!(format.as_str(), "human" | "json") {
        return Some(format);
    }
    reader.problem("log.format", format!("`{format}`"), "human or json");
    None
}
