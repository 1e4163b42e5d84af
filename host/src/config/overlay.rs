//! `HOOKYARD_INGEST__LISTEN=…` overrides `ingest.listen`: the environment laid over the file, before anything is checked.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::text::distance;

/// The keys outside of any section.
const ROOT_KEYS: [&str; 5] = ["data_dir", "tenants_dir", "secret_dirs", "secret_env_allow", "grace_ms"];

/// Variables that are no settings, and are read all the same.
const READ: [&str; 3] = ["HOOKYARD_ADMIN_TOKEN", "HOOKYARD_ADMIN_URL", "HOOKYARD_AMQP_URL"];

/// Lays every `HOOKYARD_…` setting over the table, and tells which key is from which variable. Two underscores part the keys; a value is TOML
/// where it reads as TOML, else a text.
pub(super) fn apply(table: &mut Table, env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in env {
        if let Some(path) = path_of(name) {
            let parts: Vec<_> = path.split("__").collect();
            set(table, &parts, parse(value));
            variables.insert(parts.join("."), name.clone());
        }
    }
    variables
}

/// The variable that sets a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("HOOKYARD_{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// Whether a variable bears our name, and nobody reads it.
pub(super) fn is_unread(name: &str) -> bool {
    name.starts_with("HOOKYARD_") && !name.starts_with("HOOKYARD_SECRET_") && !READ.contains(&name) && path_of(name).is_none()
}

/// The key that such a variable would set if it parted its words as it should.
pub(super) fn meant<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a String> {
    let words = name.strip_prefix("HOOKYARD_")?.to_ascii_lowercase();
    let (edits, key) = known.iter().map(|key| (distance(&key.replace('.', "_"), &words), key)).min()?;
    (edits <= 1).then_some(key)
}

/// Whether a variable is a setting of the host.
pub(super) fn is_setting(name: &str) -> bool {
    path_of(name).is_some()
}

/// The keys a variable sets; none where it sets none. `HOOKYARD_SECRET_<TENANT>_*` are tenants' secrets, in whose names two underscores mean a
/// hyphen.
fn path_of(name: &str) -> Option<String> {
    let path = name.strip_prefix("HOOKYARD_")?.to_ascii_lowercase();
    let is_setting = resembles_root_key(&path) || (path.contains("__") && !path.starts_with("secret_"));
    is_setting.then_some(path)
}

/// Not every variable of the prefix is a setting: some hold secrets or speak to the commands, and Kubernetes puts `HOOKYARD_SERVICE_HOST`
/// and `HOOKYARD_PORT_8080_TCP` before every container beside a service of our name. A near miss is taken too, so that it is told of as an
/// unknown key.
fn resembles_root_key(path: &str) -> bool {
    ROOT_KEYS.iter().any(|key| distance(key, path) <= 2)
}

fn set(table: &mut Table, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert((*key).to_owned(), value);
        }
        [key, rest @ ..] => {
            let inner = table.entry(*key).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Some(inner) = inner.as_table_mut() {
                set(inner, rest, value);
            }
        }
    }
}

fn parse(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    parsed.filter(|value| !value.is_datetime()).unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_override_the_file_with_the_type_they_read_as() {
        let mut table: Table = "[ingest]\nlisten = \"a\"\n".parse().unwrap();
        let env = [
            ("HOOKYARD_INGEST__LISTEN", "0.0.0.0:80"),
            ("HOOKYARD_INGEST__HEAD_BYTES_MAX", "32768"),
            ("HOOKYARD_DATA_DIR", "/var/lib/hookyard"),
            ("HOOKYARD_INGEST__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
            ("HOOKYARD_ADMIN_TOKEN", "not a setting"),
            ("HOOKYARD_SERVICE_HOST", "10.0.0.1"),
            ("HOOKYARD_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("HOOKYARD_TENANT_DIR", "near miss"),
            ("HOOKYARD_SECRET_TEAM__A_GITHUB", "a tenant's secret"),
            ("HOOKYARD_SECRET_DEFAULT_GITHUB", "a tenant's secret"),
            ("PATH", "/bin"),
        ];
        let variables = apply(&mut table, &env.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(variables["ingest.listen"], "HOOKYARD_INGEST__LISTEN");
        assert_eq!(table.keys().collect::<Vec<_>>(), ["data_dir", "ingest", "tenant_dir"]);
        let ingest = table["ingest"].as_table().unwrap();
        assert_eq!(ingest["listen"].as_str(), Some("0.0.0.0:80"));
        assert_eq!(ingest["head_bytes_max"].as_integer(), Some(32768));
        assert_eq!(ingest["trusted_proxies"].as_array().unwrap().len(), 1);
        assert_eq!(table["data_dir"].as_str(), Some("/var/lib/hookyard"));
    }
}
