//! `[broker]`: which queue, and where RabbitMQ is.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{pem, reader::Reader, secrets::resolve_host_value};
use crate::{
    broker::{
        Kind,
        amqp::{self, Address, Keys, Management, Names, Topology},
    },
    shares::Shares,
    signature::Secret,
};

const MIB: usize = 1024 * 1024;
/// What messages are sealed with.
const KEYS: &str = "broker.rabbitmq.keys";
/// The variable the URL comes from where nothing else is said.
const URL_VARIABLE: &str = "HOOKYARD_AMQP_URL";

/// The key a host makes for itself where none is configured: in its data folder, so that it lives as long as the ledger whose legs it seals.
const OWN_KEY_FILE: &str = "amqp.key";

/// The queue, and the key that this host has made for itself, where it needs one and has none.
pub(super) fn read(reader: &mut Reader, env: &BTreeMap<String, String>) -> (Kind, Option<Secret>) {
    let kind = reader.word("broker.kind", "embedded", &["embedded", "rabbitmq"]);
    let ack_after = reader.word("broker.ack_after", "disk", &["disk", "broker"]);
    let is_rabbitmq = kind == "rabbitmq";
    let ca = certificates(reader, "broker.rabbitmq.ca");
    let management = management(reader, env, (ca.as_deref(), is_rabbitmq));
    let address = address(reader, env, (ca, is_rabbitmq));
    let prefix = reader.text("broker.rabbitmq.prefix").unwrap_or_else(|| "hookyard".to_owned());
    let names = Names::new(&prefix).map_err(|expected| reader.problem("broker.rabbitmq.prefix", format!("`{prefix}`"), expected));
    let passive = reader.word("broker.rabbitmq.topology", "declare", &["declare", "passive"]) == "passive";
    let queue_messages_max = reader.number("broker.rabbitmq.queue_messages_max", 1_000_000, 1..=100_000_000);
    let queue_bytes_max = reader.number("broker.rabbitmq.queue_bytes_max", 2 << 30, 1 << 20..=1 << 40);
    let message_bytes_max = reader.size("broker.rabbitmq.message_bytes_max", 16 * MIB, 256 * 1024..=128 * MIB);
    let retries = reader.word("broker.rabbitmq.retries", "broker", &["broker", "ledger"]);
    let archives = reader.truth("broker.rabbitmq.archive", true);
    let shared_work = reader.truth("broker.rabbitmq.shared_work", false);
    if !is_rabbitmq {
        if ack_after == "broker" {
            reader.problem("broker.ack_after", "`broker`", "\"disk\": the embedded broker is the disk");
        }
        // Known all the same: a key of a file that is there stays what it is when the engine changes.
        reader.value(KEYS);
        return (Kind::Embedded, None);
    }
    let keys = keys(reader, env, shared_work || !archives);
    let (Some(address), Ok(names), Some((keys, own_key))) = (address, names, keys) else { return (Kind::Embedded, None) };
    let settings = amqp::Settings {
        address,
        management,
        topology: Topology { names, passive, queue_messages_max, queue_bytes_max },
        keys,
        ack_after_broker: ack_after == "broker",
        message_bytes_max,
        retries_in_ledger: retries == "ledger",
        works: true,
        archives,
        shared_work,
        // Those of the host are read later, and put in their place there.
        shares: Shares::default(),
    };
    (Kind::RabbitMq(Box::new(settings)), own_key)
}

/// The keys of messages: those that are named, else the one this host made at an earlier start, else a new one. A host that is one of several
/// needs named ones: what it sealed with a key of its own, no other host would take.
fn keys(reader: &mut Reader, env: &BTreeMap<String, String>, is_one_of_several: bool) -> Option<(Keys, Option<Secret>)> {
    const EXPECTED: &str = "1 to 8 keys of at least 32 bytes, the same on every host: [{ file = \"keys/amqp\" }] or [{ env = \"NAME\" }]; \
                            `openssl rand -hex 32` makes one";
    let Some(value) = reader.value(KEYS) else {
        if is_one_of_several {
            reader.problem(KEYS, "nothing, beside `shared_work = true` or `archive = false`", EXPECTED);
            return None;
        }
        let data_dir = reader.path("data_dir", "data");
        let key = own_key(&own_key_file(&data_dir)).map_err(|found| reader.problem(KEYS, found, EXPECTED)).ok()?;
        let keys = Keys::new(vec![key.clone()]).map_err(|found| reader.problem(KEYS, found, EXPECTED)).ok()?;
        return Some((keys, Some(key)));
    };
    let items = value.as_array().cloned().unwrap_or_default();
    let before = reader.problems.len();
    let secrets =
        items.iter().enumerate().filter_map(|(at, item)| resolve_host_value(reader, &format!("{KEYS}[{at}]"), item, env)).collect();
    if reader.problems.len() > before {
        return None;
    }
    Keys::new(secrets).map(|keys| (keys, None)).map_err(|found| reader.problem(KEYS, found, EXPECTED)).ok()
}

/// Where the key stands that a host has made for itself.
pub(super) fn own_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join(OWN_KEY_FILE)
}

/// The key of an earlier start, or a new one. A file that cannot be read is no reason for another key: the legs at RabbitMQ are sealed with it.
fn own_key(file: &Path) -> Result<Secret, String> {
    match fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => Secret::new(text.trim()).ok_or_else(|| format!("{} is empty", file.display())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", file.display())),
        Ok(_) | Err(_) => super::random_token().ok_or_else(|| "no random bytes from the system".to_owned()),
    }
}

fn address(reader: &mut Reader, env: &BTreeMap<String, String>, (ca, is_needed): (Option<String>, bool)) -> Option<Address> {
    let key = UrlKey { key: "broker.rabbitmq.url", otherwise: Some(URL_VARIABLE), expected: "amqp://user:password@host:5672/vhost" };
    let url = url(reader, env, key, is_needed);
    let certificate = certificates(reader, "broker.rabbitmq.certificate");
    let key = file(reader, "broker.rabbitmq.key");
    match (&certificate, &key) {
        (Some(certificate), Some(key)) => {
            if let Err(found) = pem::pair(certificate.as_bytes(), key.as_bytes()) {
                reader.problem("broker.rabbitmq.certificate", found, "a certificate and its key, both in PEM");
            }
        }
        (None, None) => {}
        _ => reader.problem("broker.rabbitmq.certificate", "only one of `certificate` and `key`", "both, or neither"),
    }
    let mut address =
        Address::parse(&url?).map_err(|expected| reader.problem("broker.rabbitmq.url", "another text (not shown)", expected)).ok()?;
    if !address.is_encrypted() && (ca.is_some() || certificate.is_some()) {
        reader.problem("broker.rabbitmq.url", "amqp:// beside a `ca` or a `certificate`", "amqps://");
    }
    if let Some(ca) = ca {
        address = address.trusting(ca);
    }
    if let (Some(certificate), Some(key)) = (certificate, key) {
        address = address.showing(certificate.into_bytes(), key.into_bytes());
    }
    Some(address)
}

/// The management API, where it is to be asked. The authority that signs the broker signs it, too.
fn management(reader: &mut Reader, env: &BTreeMap<String, String>, (ca, is_needed): (Option<&str>, bool)) -> Option<Management> {
    const KEY: &str = "broker.rabbitmq.management_url";
    let key = UrlKey { key: KEY, otherwise: None, expected: "http://user:password@host:15672" };
    let url = url(reader, env, key, is_needed)?;
    Management::parse(&url, ca).map_err(|expected| reader.problem(KEY, "another text (not shown)", expected)).ok()
}

/// How a URL is written down.
struct UrlKey {
    key: &'static str,
    /// The variable it comes from where nothing is said.
    otherwise: Option<&'static str>,
    expected: &'static str,
}

/// A URL; never shown, because a password stands in it.
fn url(
    reader: &mut Reader,
    env: &BTreeMap<String, String>,
    UrlKey { key, otherwise, expected }: UrlKey,
    is_needed: bool,
) -> Option<String> {
    let value = match (reader.value(key), otherwise) {
        (Some(Value::String(url)), _) => return Some(url),
        (Some(value), _) => value,
        (None, Some(variable)) => Value::Table(Table::from_iter([("env".to_owned(), Value::from(variable))])),
        (None, None) => return None,
    };
    if let Some(variable) = value.get("env").and_then(Value::as_str).filter(|name| env.get(*name).is_none_or(String::is_empty)) {
        if is_needed {
            reader.problem(key, format!("the variable `{variable}` is not set or empty"), expected);
        }
        return None;
    }
    let url = resolve_host_value(reader, key, &value, env)?;
    String::from_utf8(url.expose().to_vec()).map_err(|_| reader.problem(key, "bytes that are no UTF-8 (not shown)", expected)).ok()
}

fn certificates(reader: &mut Reader, key: &str) -> Option<String> {
    let text = file(reader, key)?;
    match pem::certificates(text.as_bytes()) {
        Ok(_) => Some(text),
        Err(found) => {
            reader.problem(key, found, "a PEM file of certificates (-----BEGIN CERTIFICATE-----)");
            None
        }
    }
}

fn file(reader: &mut Reader, key: &str) -> Option<String> {
    let name = reader.text(key)?;
    let path: PathBuf = reader.beside(&name);
    let read = fs::read_to_string(&path);
    let text = read.map_err(|error| reader.problem(key, format!("{}: {error}", path.display()), "a readable file")).ok()?;
    reader.note(key, text.as_bytes());
    Some(text)
}
