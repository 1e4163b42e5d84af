//! `tenants/<tenant>/tenant.toml`: a tenant's sources, secrets and ceilings. It belongs to the operator.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use super::{
    Config, Problem, allowed,
    reader::Reader,
    secrets::{self, Places},
};
use crate::{
    delivery::{SourceId, TenantId},
    ledger::{AtStoredBytesMax, Quota},
    signature::Scheme,
    tenants::{Budget, Directory, Origin, Source, Tenant},
};

/// Deliveries a second of one source, where its file says nothing. GitHub never repeats what gets a 429, so it is generous.
const SOURCE_RATE_DEFAULT: u64 = 10_000;
/// Deliveries a second of one installation, where the file says nothing.
const INSTALLATION_RATE_DEFAULT: u64 = 2_000;
/// Bytes a tenant may have waiting, where the file says nothing: 16 GiB.
const WAITING_BYTES_DEFAULT: u64 = 16 * 1024 * 1024 * 1024;

/// Reads every tenant's file; where one has problems, the tenant's current entry stays.
pub(super) fn load_all(config: &Config, env: &BTreeMap<String, String>, current: &Directory) -> (Directory, Vec<Problem>) {
    let (mut directory, mut problems) = (Directory::default(), Vec::new());
    let entries = match fs::read_dir(&config.tenants_dir) {
        Ok(entries) => entries,
        Err(error) => {
            // A folder that cannot be read is no folder without tenants.
            let (found, expected) = (error.to_string(), "a readable folder with one folder a tenant".to_owned());
            let hint = Some(format!("mkdir -p {}/default/plugins", config.tenants_dir.display()));
            problems.push(Problem { file: config.tenants_dir.clone(), key: String::new(), found, expected, hint });
            return (current.clone(), problems);
        }
    };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<TenantId>().ok()) else {
            problems.extend(misnamed(&entry.path()));
            continue;
        };
        match load(config, env, &id, &entry.path()) {
            Ok(tenant) => {
                // Read again and found the same, it stays the same: its apps keep their tokens.
                let kept = current.tenants.get(&id).filter(|kept| kept.origin == tenant.origin);
                let tenant = kept.map_or_else(|| Arc::new(tenant), Arc::clone);
                directory.tenants.insert(id, tenant);
            }
            Err(found) => {
                problems.extend(found);
                if let Some(kept) = current.tenants.get(&id) {
                    directory.tenants.insert(id, Arc::clone(kept));
                }
            }
        }
    }
    (directory, problems)
}

/// A folder that was probably meant to be a tenant's, and has no name of one. Others (`lost+found`, a `ConfigMap`'s `..data`) are nobody's.
fn misnamed(home: &Path) -> Option<Problem> {
    let is_meant = home.join("tenant.toml").exists() || home.join("plugins").exists();
    let is_hidden = home.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let found = "a folder with no tenant's name, which no host looks at".to_owned();
    let expected = "a name of small letters, digits, `-` and `_`".to_owned();
    (is_meant && !is_hidden).then(|| Problem { file: home.to_owned(), key: String::new(), found, expected, hint: None })
}

fn load(config: &Config, env: &BTreeMap<String, String>, id: &TenantId, home: &Path) -> Result<Tenant, Vec<Problem>> {
    let file = home.join("tenant.toml");
    // A tenant without a file has no sources: nothing can be sent to it, and its plugins wait. A file that is there and cannot be read is a
    // problem instead, so that the tenant keeps what it had.
    let found = secrets::read_tenant_toml(home).map_err(|problem| vec![problem])?;
    let has_file = found.is_some();
    let mut reader = Reader::new(&file, found.unwrap_or_default());
    let places = Places { sources: &config.secrets, tenant: id, home, env };
    let mut sources = BTreeMap::new();
    for name in reader.names("sources") {
        match name.parse::<SourceId>() {
            Ok(source_id) => {
                let source = source(&mut reader, source_id.clone(), places);
                sources.insert(source_id, Arc::new(source));
            }
            Err(error) => reader.problem(&format!("sources.{name}"), error, "a source name"),
        }
    }
    let tenant = Tenant {
        id: id.clone(),
        sources,
        ceiling: ceiling(&mut reader, config.ceiling),
        approve_new_grants: reader.truth("approve_new_grants", false),
        waiting_bytes_max: reader.number("limits.waiting_bytes_max", WAITING_BYTES_DEFAULT, 1024 * 1024..=u64::MAX >> 1),
        quota: quota(&mut reader),
        allowed: Arc::new(allowed::read(&mut reader, places)),
        origin: Origin { fingerprint: Some(reader.fingerprint()), has_file, variables: std::mem::take(&mut reader.read_variables) },
    };
    let (_, problems) = reader.finish();
    if problems.is_empty() { Ok(tenant) } else { Err(problems) }
}

/// What is not said is the host's share, and nothing is more than it.
fn quota(reader: &mut Reader) -> Quota {
    let mut most = |key: &str, least: u64| reader.value(key).is_some().then(|| reader.number(key, least, least..=u64::MAX >> 1));
    let (stored_bytes_max, legs_max) = (most("limits.stored_bytes_max", 1024 * 1024), most("limits.legs_max", 1));
    let words = ["refuse", "drop_oldest"];
    let drops = reader.word("limits.at_stored_bytes_max", words[0], &words) == words[1];
    Quota { stored_bytes_max, legs_max, at_stored_bytes_max: if drops { AtStoredBytesMax::DropOldest } else { AtStoredBytesMax::Refuse } }
}

fn source(reader: &mut Reader, id: SourceId, places: Places<'_>) -> Source {
    let key = |name: &str| format!("sources.{id}.{name}");
    if reader.value(&key("scheme")).is_none() {
        reader.problem(&key("scheme"), "nothing", "\"github\"");
    }
    reader.word(&key("scheme"), "github", &["github"]);
    let rate = |reader: &mut Reader, name: &str, default: u64| {
        u32::try_from(reader.number(&key(name), default, 1..=1_000_000)).unwrap_or(u32::MAX)
    };
    Source {
        scheme: Scheme::Github,
        secrets: secrets::resolve_all(reader, &key("secrets"), places),
        rate_per_s_max: rate(reader, "rate_per_s_max", SOURCE_RATE_DEFAULT),
        installation_rate_per_s_max: rate(reader, "installation_rate_per_s_max", INSTALLATION_RATE_DEFAULT),
        refuse_replays: reader.truth(&key("refuse_replays"), false),
        require_https: reader.truth(&key("require_https"), false),
        id,
    }
}

/// What the host allows is the most a tenant can be given, so a greater number means the host's.
fn ceiling(reader: &mut Reader, host: Budget) -> Budget {
    let wall_ms = u64::try_from(host.wall.as_millis()).unwrap_or(u64::MAX);
    Budget {
        fuel: reader.number("limits.fuel", host.fuel, 1..=i64::MAX.unsigned_abs()),
        memory_bytes_max: reader.number("limits.memory_bytes_max", host.memory_bytes_max, 1..=i64::MAX.unsigned_abs()),
        wall: reader.millis("limits.wall_ms", Duration::from_millis(wall_ms), 1..=i64::MAX.unsigned_abs()),
        ..host
    }
    .min(host)
}
