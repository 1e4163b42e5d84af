//! The shelf: the versions of plugins that served, and what an operator or a watch decided about them.
//!
//! A version is put on the shelf when it begins to serve; the newest is the one a restart begins with, so going back is one transaction: an
//! older version becomes the newest, and the one it takes the place of is held, so that its files, which still lie in the folder, are not
//! taken again. A pause is a row of its own and outlives even the plugin: it is the operator's word, and removing and adding files is the
//! team's.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Crash, Ledger, LedgerError, StoredPlugin,
    committer::Tx,
    readers::READ_MAX,
    rows::parsed,
    stored::{OF_VERSION, weight},
};
use crate::delivery::{Digest, PluginName, TenantId, Timestamp};

/// Versions of a plugin that are kept: the one that serves and five before it.
const VERSIONS_MAX: i64 = 6;
/// The flat part of a version, as its tenant's stored bytes count it.
pub(super) const VERSION_BYTES: usize = 256;
/// Longest report of an examination that is kept with its version.
const REPORT_BYTES_MAX: usize = 128 * 1024;
/// Versions of a plugin that are held; the oldest word is dropped first.
const HOLDS_MAX: i64 = 32;

/// A version on the shelf, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShelvedVersion {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: PluginName,
    /// The version.
    pub digest: Digest,
    /// When it last began to serve.
    pub served_from: Timestamp,
    /// Why it was left for an earlier version, where it was: it serves again only where somebody names it or drops it anew.
    pub taken_back: Option<String>,
}

/// A version that is not taken from the folder, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The version.
    pub digest: Digest,
    /// Why, in words.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// What was decided about a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// An operator has stopped its queue.
    pub paused: bool,
    /// Its runs have ended the host.
    pub crash: Option<Crash>,
    /// Versions that are not taken from the folder.
    pub holds: Vec<Hold>,
}

impl Ledger {
    /// Puts a version on the shelf as the one that serves; the five before it are kept too, and no version is held any more: a different
    /// file was dropped. Where its tenant's stored bytes are used up, older versions of the plugin go for it; an error where even they are not
    /// enough. What it writes is taken from the budget of its tenant's runs.
    pub async fn keep_plugin(&self, plugin: StoredPlugin) -> Result<(), LedgerError> {
        let report = report_text(&plugin);
        let (shared, tenant) = (self.shared(), plugin.tenant.clone());
        let bytes = plugin.wasm.len() + plugin.manifest.len() + report.as_ref().map_or(0, String::len);
        shared.pace.owe(&tenant, bytes, shared.clock.instant());
        if shared.write(bytes, move |tx| keep(tx, &plugin, report.as_deref())).await? {
            return Ok(());
        }
        let (used, most) = (self.stored_bytes(&tenant), shared.stored_limit(&tenant).share);
        Err(LedgerError::Failed(format!(
            "the tenant has {used} of {most} bytes stored, and {bytes} more do not fit: after a restart this version serves only if its files \
             are there. Raise the tenant's `limits.stored_bytes_max`, or wait until retention has made room"
        )))
    }

    /// Forgets a plugin's versions and holds: its files were removed on purpose. A pause stays.
    pub async fn forget_plugin(&self, tenant: &TenantId, name: &PluginName) -> Result<(), LedgerError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.shared().write(0, move |tx| forget(tx, &tenant, &name)).await
    }

    /// The version of every plugin that served last.
    pub async fn shelf(&self) -> Result<Vec<ShelvedVersion>, LedgerError> {
        self.shared().read(READ_MAX, shelf).await
    }

    /// The versions of one plugin, the one that served last first.
    pub async fn plugin_versions(&self, tenant: &TenantId, name: &PluginName) -> Result<Vec<ShelvedVersion>, LedgerError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.shared().read(READ_MAX, move |conn| versions(conn, &tenant, &name)).await
    }

    /// The manifest of one version.
    pub async fn shelved_manifest(&self, version: &ShelvedVersion) -> Result<Option<Vec<u8>>, LedgerError> {
        let version = version.clone();
        self.shared().read(READ_MAX, move |conn| manifest(conn, &version)).await
    }

    /// One version with its bytes.
    pub async fn shelved_plugin(&self, version: &ShelvedVersion) -> Result<Option<StoredPlugin>, LedgerError> {
        let version = version.clone();
        self.shared().read(READ_MAX, move |conn| stored(conn, &version)).await
    }

    /// Makes an older version the one that serves, and holds the one it takes the place of, which was left because of `why`. False where `to`
    /// is not on the shelf.
    pub async fn roll_plugin_back(&self, to: &ShelvedVersion, from: Option<Hold>, why: &str) -> Result<bool, LedgerError> {
        let (to, why) = (to.clone(), why.to_owned());
        self.shared().write(0, move |tx| roll_back(tx, &to, from.as_ref(), &why)).await
    }

    /// Stops or starts a plugin's queue for good. Starting it also forgets that its runs have ended the host.
    pub async fn pause_plugin(&self, tenant: &TenantId, name: &PluginName, paused: bool) -> Result<(), LedgerError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.shared().write(0, move |tx| pause(tx, &tenant, &name, paused)).await
    }

    /// What was decided about a plugin.
    pub async fn plugin_standing(&self, tenant: &TenantId, name: &PluginName) -> Result<Standing, LedgerError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.shared().read(READ_MAX, move |conn| standing(conn, &tenant, &name)).await
    }
}

/// The report as it is kept; none where it is longer than any that an examination writes of a manifest within its bounds.
fn report_text(plugin: &StoredPlugin) -> Option<String> {
    let text = serde_json::to_string(plugin.report.as_ref()?).ok()?;
    (text.len() <= REPORT_BYTES_MAX).then_some(text)
}

/// False where there is no room for it.
fn keep(tx: &mut Tx<'_>, plugin: &StoredPlugin, report: Option<&str>) -> rusqlite::Result<bool> {
    let (tenant, name, digest) = (plugin.tenant.as_str(), plugin.name.as_str(), plugin.digest.as_bytes());
    take_off(tx, &plugin.tenant, "tenant = ?1 AND name = ?2 AND digest = ?3", params![tenant, name, digest])?;
    // A different file was dropped, whether it can be kept or not.
    tx.execute("DELETE FROM plugin_holds WHERE tenant = ?1 AND name = ?2", [tenant, name])?;
    let bytes = weight(VERSION_BYTES + plugin.wasm.len() + plugin.manifest.len() + report.map_or(0, str::len));
    let of_older: i64 = tx
        .conn
        .prepare_cached(&format!("SELECT ifnull(sum({}), 0) FROM kept_plugins WHERE tenant = ?1 AND name = ?2", *OF_VERSION))?
        .query_row([tenant, name], |row| row.get(0))?;
    if !tx.may_store(&plugin.tenant, bytes - of_older) {
        return Ok(false);
    }
    let oldest = "mark = (SELECT min(mark) FROM kept_plugins WHERE tenant = ?1 AND name = ?2)";
    while !tx.may_store(&plugin.tenant, bytes) && take_off(tx, &plugin.tenant, oldest, params![tenant, name])? > 0 {}
    tx.store(&plugin.tenant, bytes);
    let (mark, now_ms) = (tx.counters.next_mark(), tx.now.unix_ms());
    tx.execute(
        "INSERT INTO kept_plugins(mark, tenant, name, digest, served_ms, manifest, wasm, report) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![mark, tenant, name, digest, now_ms, plugin.manifest, plugin.wasm, report],
    )?;
    let too_old = "tenant = ?1 AND name = ?2 AND mark NOT IN
         (SELECT mark FROM kept_plugins WHERE tenant = ?1 AND name = ?2 ORDER BY mark DESC LIMIT ?3)";
    take_off(tx, &plugin.tenant, too_old, params![tenant, name, VERSIONS_MAX])?;
    forgive(tx, (tenant, name), plugin.digest)?;
    Ok(true)
}

/// Another version than the one whose runs have ended the host serves now.
fn forgive(tx: &Tx<'_>, (tenant, name): (&str, &str), digest: Digest) -> rusqlite::Result<()> {
    let sql = "DELETE FROM crashed_plugins WHERE tenant = ?1 AND name = ?2 AND digest IS NOT ?3";
    tx.execute(sql, params![tenant, name, digest.as_bytes()]).map(drop)
}

fn forget(tx: &mut Tx<'_>, tenant: &TenantId, name: &PluginName) -> rusqlite::Result<()> {
    let key = params![tenant.as_str(), name.as_str()];
    take_off(tx, tenant, "tenant = ?1 AND name = ?2", key)?;
    for table in ["plugin_holds", "crashed_plugins"] {
        tx.execute(&format!("DELETE FROM {table} WHERE tenant = ?1 AND name = ?2"), key)?;
    }
    Ok(())
}

/// Takes versions of a tenant off the shelf; how many.
fn take_off(tx: &mut Tx<'_>, tenant: &TenantId, which: &str, params: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<usize> {
    let gone: Vec<i64> = tx
        .conn
        .prepare_cached(&format!("DELETE FROM kept_plugins WHERE {which} RETURNING {}", *OF_VERSION))?
        .query_map(params, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    tx.store(tenant, -gone.iter().sum::<i64>());
    Ok(gone.len())
}

fn roll_back(tx: &mut Tx<'_>, to: &ShelvedVersion, from: Option<&Hold>, why: &str) -> rusqlite::Result<bool> {
    let (tenant, name) = (to.tenant.as_str(), to.name.as_str());
    let (mark, now_ms) = (tx.counters.next_mark(), tx.now.unix_ms());
    let found = tx.execute(
        "UPDATE kept_plugins SET mark = ?4, served_ms = ?5, taken_back = NULL WHERE tenant = ?1 AND name = ?2 AND digest = ?3",
        params![tenant, name, to.digest.as_bytes(), mark, now_ms],
    )?;
    if found == 0 {
        return Ok(false);
    }
    // What is served on purpose is not held, whatever was said of it before.
    tx.execute("DELETE FROM plugin_holds WHERE tenant = ?1 AND name = ?2 AND digest = ?3", params![tenant, name, to.digest.as_bytes()])?;
    forgive(tx, (tenant, name), to.digest)?;
    if let Some(from) = from {
        // Other than the hold, this stays when different files are dropped: what was bad does not become better by them.
        tx.execute(
            "UPDATE kept_plugins SET taken_back = ?4 WHERE tenant = ?1 AND name = ?2 AND digest = ?3",
            params![tenant, name, from.digest.as_bytes(), why],
        )?;
        tx.execute(
            "INSERT OR REPLACE INTO plugin_holds(tenant, name, digest, reason, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![tenant, name, from.digest.as_bytes(), from.reason, from.at.unix_ms()],
        )?;
        tx.execute(
            "DELETE FROM plugin_holds WHERE tenant = ?1 AND name = ?2 AND digest NOT IN
             (SELECT digest FROM plugin_holds WHERE tenant = ?1 AND name = ?2 ORDER BY at_ms DESC LIMIT ?3)",
            params![tenant, name, HOLDS_MAX],
        )?;
    }
    Ok(true)
}

fn pause(tx: &Tx<'_>, tenant: &TenantId, name: &PluginName, paused: bool) -> rusqlite::Result<()> {
    let key = [tenant.as_str(), name.as_str()];
    if paused {
        tx.execute("INSERT OR IGNORE INTO plugin_pauses(tenant, name) VALUES (?1, ?2)", key)?;
    } else {
        tx.execute("DELETE FROM plugin_pauses WHERE tenant = ?1 AND name = ?2", key)?;
        tx.execute("DELETE FROM crashed_plugins WHERE tenant = ?1 AND name = ?2", key)?;
    }
    Ok(())
}

const VERSION: &str = "SELECT tenant, name, digest, served_ms, taken_back FROM kept_plugins";

fn version(row: &rusqlite::Row<'_>) -> rusqlite::Result<ShelvedVersion> {
    Ok(ShelvedVersion {
        tenant: parsed(row, 0)?,
        name: parsed(row, 1)?,
        digest: Digest::from_bytes(row.get(2)?),
        served_from: Timestamp::from_unix_ms(row.get(3)?),
        taken_back: row.get(4)?,
    })
}

fn shelf(conn: &Connection) -> rusqlite::Result<Vec<ShelvedVersion>> {
    let newest = "WHERE mark IN (SELECT max(mark) FROM kept_plugins GROUP BY tenant, name) ORDER BY tenant, name";
    conn.prepare_cached(&format!("{VERSION} {newest}"))?.query_map([], version)?.collect()
}

fn versions(conn: &Connection, tenant: &TenantId, name: &PluginName) -> rusqlite::Result<Vec<ShelvedVersion>> {
    conn.prepare_cached(&format!("{VERSION} WHERE tenant = ?1 AND name = ?2 ORDER BY mark DESC"))?
        .query_map([tenant.as_str(), name.as_str()], version)?
        .collect()
}

fn manifest(conn: &Connection, version: &ShelvedVersion) -> rusqlite::Result<Option<Vec<u8>>> {
    let ShelvedVersion { tenant, name, digest, .. } = version;
    conn.prepare_cached("SELECT manifest FROM kept_plugins WHERE tenant = ?1 AND name = ?2 AND digest = ?3")?
        .query_row(params![tenant.as_str(), name.as_str(), digest.as_bytes()], |row| row.get(0))
        .optional()
}

fn stored(conn: &Connection, version: &ShelvedVersion) -> rusqlite::Result<Option<StoredPlugin>> {
    let ShelvedVersion { tenant, name, digest, .. } = version;
    conn.prepare_cached("SELECT manifest, wasm, report FROM kept_plugins WHERE tenant = ?1 AND name = ?2 AND digest = ?3")?
        .query_row(params![tenant.as_str(), name.as_str(), digest.as_bytes()], |row| {
            let report: Option<String> = row.get(2)?;
            Ok(StoredPlugin {
                tenant: tenant.clone(),
                name: name.clone(),
                digest: *digest,
                manifest: row.get(0)?,
                wasm: row.get(1)?,
                report: report.and_then(|text| serde_json::from_str(&text).ok()),
            })
        })
        .optional()
}

fn standing(conn: &Connection, tenant: &TenantId, name: &PluginName) -> rusqlite::Result<Standing> {
    let key = [tenant.as_str(), name.as_str()];
    let paused = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM plugin_pauses WHERE tenant = ?1 AND name = ?2)")?
        .query_row(key, |row| row.get(0))?;
    let holds = conn
        .prepare_cached("SELECT digest, reason, at_ms FROM plugin_holds WHERE tenant = ?1 AND name = ?2 ORDER BY at_ms DESC")?
        .query_map(key, |row| {
            Ok(Hold { digest: Digest::from_bytes(row.get(0)?), reason: row.get(1)?, at: Timestamp::from_unix_ms(row.get(2)?) })
        })?
        .collect::<Result<_, _>>()?;
    let crash = conn
        .prepare_cached("SELECT digest, detail, at_ms FROM crashed_plugins WHERE tenant = ?1 AND name = ?2")?
        .query_row(key, |row| {
            let digest = row.get::<_, Option<_>>(0)?.map(Digest::from_bytes);
            Ok(Crash { digest, detail: row.get(1)?, at: Timestamp::from_unix_ms(row.get(2)?) })
        })
        .optional()?;
    Ok(Standing { paused, crash, holds })
}
