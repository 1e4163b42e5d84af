//! `HOOKYARD_INGEST__LISTEN=…` overrides `ingest.listen`: the environment laid over the file, before anything is checked.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// Variables of the same prefix that are no settings: they speak to the commands.
const NOT_SETTINGS: [&str; 5] = ["HOOKYARD_ADMIN_URL", "HOOKYARD_ADMIN_TOKEN", "HOOKYARD_AMQP_URL", "HOOKYARD_CONFIG", "HOOKYARD_KILLS"];

/// Lays every `HOOKYARD_…` variable over the table. Two underscores part the keys; a value is TOML where it reads as TOML, else a text.
pub(super) fn apply(table: &mut Table, env: &BTreeMap<String, String>) {
    for (name, value) in env {
        if NOT_SETTINGS.contains(&name.as_str()) {
            continue;
        }
        let Some(path) = name.strip_prefix("HOOKYARD_") else { continue };
        let path = path.to_ascii_lowercase();
        set(table, &path.split("__").collect::<Vec<_>>(), parse(value));
    }
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
            ("PATH", "/bin"),
        ];
        apply(&mut table, &env.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let ingest = table["ingest"].as_table().unwrap();
        assert_eq!(ingest["listen"].as_str(), Some("0.0.0.0:80"));
        assert_eq!(ingest["head_bytes_max"].as_integer(), Some(32768));
        assert_eq!(ingest["trusted_proxies"].as_array().unwrap().len(), 1);
        assert_eq!(table["data_dir"].as_str(), Some("/var/lib/hookyard"));
        assert!(!table.contains_key("admin_token") && !table.contains_key("admin"));
    }
}
