//! `[streams.NAME]`: one table a stream.

use std::{collections::BTreeMap, fs, sync::Arc};

use super::{reader::Reader, secrets};
use crate::{
    delivery::{StreamName, TenantId},
    ledger::{Followed, StreamStart},
    streams::{Envelope, OptIn, OutletSettings, RedisSettings, RedisTls, StreamSettings, Template, check_redis},
};

/// Entries a Redis stream keeps, where nothing else is said.
const MAXLEN_DEFAULT: u64 = 10_000;
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
        reader.problem(&key("kind"), "nothing", "\"redis\"");
    }
    reader.word(&key("kind"), "redis", &["redis"]);
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
    let redis = redis(reader, &name, followed, env);
    let (opt_in, mut redis) = opt_in.zip(redis)?;
    if opt_in.mixes_tenants() {
        for (part, template) in [("stream", Some(&redis.stream)), ("channel", redis.channel.as_ref())] {
            if template.is_some_and(|template| !template.parts_tenants()) {
                reader.problem(&key(part), "a name without {tenant}", "one with it, since more than one tenant may be in it");
            }
        }
    }
    redis.events.clone_from(&events);
    Some(StreamSettings { followed, start, opt_in, events, envelope, outlet: OutletSettings::Redis(Arc::new(redis)), name })
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
    if reader.value(&key("url")).is_none() {
        reader.problem(&key("url"), "nothing", "{ env = \"NAME\" } or { file = \"path\" } that holds redis://… or rediss://…");
    }
    let url = secrets::resolve_host(reader, &key("url"), env);
    if let Some(Err(expected)) = url.as_ref().map(|url| check_redis(url, &tls)) {
        reader.problem(&key("url"), "a URL that does not fit (not shown)", expected);
    }
    Some(RedisSettings { url: url?, tls, stream: stream?, channel: channel?, maxlen, events: Vec::new() })
}

fn template(reader: &mut Reader, key: &str, default: &str, followed: Followed) -> Option<Template> {
    let text = reader.text(key).unwrap_or_else(|| default.to_owned());
    Template::parse(&text, followed).map_err(|expected| reader.problem(key, format!("`{}`", text.escape_debug()), expected)).ok()
}

fn tls(reader: &mut Reader, name: &StreamName, env: &BTreeMap<String, String>) -> RedisTls {
    let key = |part: &str| format!("streams.{name}.tls.{part}");
    let pem = |reader: &mut Reader, key: &str| {
        reader.value(key)?;
        let path = reader.path(key, "");
        fs::read(&path).map_err(|error| reader.problem(key, format!("{}: {error}", path.display()), "a readable PEM file")).ok()
    };
    let ca = pem(reader, &key("ca"));
    let certificate = pem(reader, &key("certificate"));
    let private = secrets::resolve_host(reader, &key("key"), env);
    if certificate.is_some() != private.is_some() {
        reader.problem(&key("certificate"), "one of certificate and key", "both: a PEM file, and its key as { file = \"path\" }");
    }
    RedisTls { ca, client: certificate.zip(private) }
}
