//! `[streams.NAME]`: one table a stream.

use std::{collections::BTreeMap, fs, sync::Arc};

use super::{pem, reader::Reader, secrets};
use crate::{
    broker::amqp::Address,
    delivery::{StreamName, TenantId},
    ledger::{Followed, StreamStart},
    signature::Secret,
    streams::{Envelope, OptIn, OutletSettings, OutletTls, RabbitmqSettings, RedisSettings, StreamSettings, Template, check_redis},
};

/// Entries a Redis stream keeps, where nothing else is said.
const MAXLEN_DEFAULT: u64 = 10_000;
/// The cap of RabbitMQ 4; a bigger message would close the channel.
const MESSAGE_BYTES_DEFAULT: usize = 16 * 1024 * 1024;
/// Streams of one host.
const STREAMS_MAX: usize = 64;

pub(super) fn read(reader: &mut Reader, env: &BTreeMap<String, String>) -> Vec<StreamSettings> {
    let names = reader.names("streams");
    if names.len() > STREAMS_MAX {
        reader.problem("streams", format!("{} tables", names.len()), format!("at most {STREAMS_MAX}"));
    }
    let streams = names.into_iter().take(STREAMS_MAX);
    streams
        .filter_map(|name| match name.parse() {
            Ok(name) => stream(reader, name, env),
            Err(error) => {
                let error: crate::delivery::ParseIdError = error;
                reader.problem(&format!("streams.{name}"), error, "a stream name");
                None
            }
        })
        .collect()
}

fn stream(reader: &mut Reader, name: StreamName, env: &BTreeMap<String, String>) -> Option<StreamSettings> {
    let key = |part: &str| format!("streams.{name}.{part}");
    if reader.value(&key("kind")).is_none() {
        reader.problem(&key("kind"), "nothing", "\"redis\" or \"rabbitmq\"");
    }
    let kind = reader.word(&key("kind"), "redis", &["redis", "rabbitmq"]);
    let followed = match reader.word(&key("follows"), "deliveries", &["deliveries", "emits"]).as_str() {
        "emits" => Followed::Emits,
        _ => Followed::Deliveries,
    };
    let start = match reader.word(&key("start"), "newest", &["newest", "oldest"]).as_str() {
        "oldest" => StreamStart::Oldest,
        _ => StreamStart::Newest,
    };
    let envelope = match reader.word(&key("envelope"), "native", &["native", "cloudevents"]).as_str() {
        "cloudevents" => Envelope::CloudEvents,
        _ => Envelope::Native,
    };
    let opt_in = opt_in(reader, &key("tenants"));
    let events = reader.texts(&key("events"));
    if followed == Followed::Emits && !events.is_empty() {
        reader.problem(&key("events"), "a list", "nothing: events are chosen where deliveries are followed, not emits");
    }
    let outlet = match kind.as_str() {
        "rabbitmq" => rabbitmq(reader, &name, &events, env).map(|rabbitmq| OutletSettings::Rabbitmq(Arc::new(rabbitmq))),
        _ => redis(reader, &name, followed, env).map(|redis| {
            if opt_in.as_ref().is_some_and(OptIn::mixes_tenants) {
                part_tenants(reader, &name, &redis);
            }
            OutletSettings::Redis(Arc::new(RedisSettings { events: events.clone(), ..redis }))
        }),
    };
    Some(StreamSettings { followed, start, opt_in: opt_in?, events, envelope, outlet: outlet?, name })
}

fn part_tenants(reader: &mut Reader, name: &StreamName, redis: &RedisSettings) {
    for (part, template) in [("stream", Some(&redis.stream)), ("channel", redis.channel.as_ref())] {
        if template.is_some_and(|template| !template.parts_tenants()) {
            let key = format!("streams.{name}.{part}");
            reader.problem(&key, "a name without {tenant}", "one with it, since more than one tenant may be in it");
        }
    }
}

/// Whose data leaves the house is written down, never assumed.
fn opt_in(reader: &mut Reader, key: &str) -> Option<OptIn> {
    let texts = reader.texts(key);
    if texts.is_empty() {
        reader.problem(key, "no tenant", "the tenants whose deliveries may leave this host, such as [\"default\"], or [\"*\"] for all");
        return None;
    }
    if texts == ["*"] {
        return Some(OptIn::Everyone);
    }
    let tenants: Vec<TenantId> = texts
        .iter()
        .filter_map(|text| text.parse().map_err(|error: crate::delivery::ParseIdError| reader.problem(key, error, "a tenant name")).ok())
        .collect();
    (tenants.len() == texts.len()).then(|| OptIn::Only(tenants.into_iter().collect()))
}

fn redis(reader: &mut Reader, name: &StreamName, followed: Followed, env: &BTreeMap<String, String>) -> Option<RedisSettings> {
    let key = |part: &str| format!("streams.{name}.{part}");
    let (stream, channel) = match followed {
        Followed::Deliveries => ("github:events:{event_type}", "github:events"),
        Followed::Emits => ("hookyard:emits:{tenant}:{plugin}", "hookyard:emits:{tenant}"),
    };
    let stream = template(reader, &key("stream"), stream, followed);
    // An empty channel is the way to say that nobody is to be told.
    let channel = match reader.value(&key("channel")).as_ref().and_then(toml::Value::as_str) {
        Some("") => Some(None),
        _ => template(reader, &key("channel"), channel, followed).map(Some),
    };
    let maxlen = reader.number(&key("maxlen"), MAXLEN_DEFAULT, 1..=1_000_000_000);
    let tls = tls(reader, name, env);
    let url = url(reader, name, env);
    if let Some(Err(expected)) = url.as_ref().map(|url| check_redis(url, &tls)) {
        reader.problem(&key("url"), "a URL that does not fit (not shown)", expected);
    }
    Some(RedisSettings { url: url?, renewed: Arc::default(), tls, stream: stream?, channel: channel?, maxlen, events: Vec::new() })
}

fn rabbitmq(reader: &mut Reader, name: &StreamName, events: &[String], env: &BTreeMap<String, String>) -> Option<RabbitmqSettings> {
    let key = |part: &str| format!("streams.{name}.{part}");
    let message_bytes_max = reader.size(&key("message_bytes_max"), MESSAGE_BYTES_DEFAULT, 64 * 1024..=512 * 1024 * 1024);
    let OutletTls { ca, client } = tls(reader, name, env);
    let url = url(reader, name, env)?;
    let address = std::str::from_utf8(url.expose()).map_err(|_| "an AMQP URL in UTF-8".to_owned()).and_then(Address::parse);
    let mut address = match address {
        Ok(address) if address.is_encrypted() || (ca.is_none() && client.is_none()) => address,
        Ok(_) => {
            reader.problem(&key("url"), "amqp:// (not shown)", "amqps:// where certificates are given");
            return None;
        }
        Err(expected) => {
            reader.problem(&key("url"), "a URL that does not fit (not shown)", expected);
            return None;
        }
    };
    if let Some(ca) = ca.map(String::from_utf8) {
        match ca {
            Ok(ca) => address = address.trusting(ca),
            Err(_) => reader.problem(&key("tls.ca"), "a file that is no text", "certificates in PEM"),
        }
    }
    if let Some((certificate, private)) = client {
        address = address.showing(certificate, private.expose().to_vec());
    }
    Some(RabbitmqSettings { address, message_bytes_max, events: events.to_vec() })
}

fn url(reader: &mut Reader, name: &StreamName, env: &BTreeMap<String, String>) -> Option<Secret> {
    let key = format!("streams.{name}.url");
    if reader.value(&key).is_none() {
        reader.problem(&key, "nothing", "{ env = \"NAME\" } or { file = \"path\" } that holds a URL such as redis://… or amqp://…");
    }
    secrets::resolve_host(reader, &key, env)
}

fn template(reader: &mut Reader, key: &str, default: &str, followed: Followed) -> Option<Template> {
    let text = reader.text(key).unwrap_or_else(|| default.to_owned());
    Template::parse(&text, followed).map_err(|expected| reader.problem(key, format!("`{}`", text.escape_debug()), expected)).ok()
}

/// The authority to trust, and our certificate and key.
fn tls(reader: &mut Reader, name: &StreamName, env: &BTreeMap<String, String>) -> OutletTls {
    let key = |part: &str| format!("streams.{name}.tls.{part}");
    let file = |reader: &mut Reader, key: &str| {
        reader.value(key)?;
        let path = reader.path(key, "");
        let read = fs::read(&path);
        let bytes = read.map_err(|error| reader.problem(key, format!("{}: {error}", path.display()), "a readable PEM file")).ok()?;
        reader.note(key, &bytes);
        Some(bytes)
    };
    let ca = file(reader, &key("ca"));
    if let Some(Err(found)) = ca.as_deref().map(pem::certificates) {
        reader.problem(&key("ca"), found, "a PEM file of certificates");
    }
    let certificate = file(reader, &key("certificate"));
    let private = secrets::resolve_host(reader, &key("key"), env);
    if certificate.is_some() != private.is_some() {
        reader.problem(&key("certificate"), "one of certificate and key", "both: a PEM file, and its key as { file = \"path\" }");
    }
    if let (Some(certificate), Some(private)) = (&certificate, &private)
        && let Err(found) = pem::pair(certificate, private.expose())
    {
        reader.problem(&key("certificate"), found, "a certificate and its key, both in PEM");
    }
    OutletTls { ca, client: certificate.zip(private) }
}
