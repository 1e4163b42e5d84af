//! Redis Streams: an entry for each message, then a notice of it on a pub/sub channel.
//!
//! Entries get their ids from Redis, in the order they are sent, on one connection. An id of our own, such as the delivery's sequence, would
//! drop what is sent twice, but also everything of a second host or of a ledger that began anew; so what comes twice carries the same `id` and
//! is dropped by who reads it. A stream is cut at its cap by Redis: what nobody has read by then is gone, and no cursor of ours can help it.
//!
//! An answer of Redis may quote the command it refuses, and in the command stands a body. So no answer is repeated, only its code.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo as _, RedisError, TlsCertificates,
    aio::MultiplexedConnection,
};
use serde_json::json;

use super::{
    outlet::{Failure, OutletTls, Unconfirmed},
    record::Message,
    template::Template,
};
use crate::{delivery::report::Renewed, signature::Secret};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one portion; a Redis that takes longer is taken for gone, and the portion is sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A Redis and how it is written to.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis://` or `rediss://`, with user, password and database.
    pub url: Secret,
    /// What has been read since in the place of URL and TLS; the next connection uses it.
    pub renewed: Arc<ArcSwapOption<(Secret, OutletTls)>>,
    /// Whom it trusts and who it is, for `rediss://`.
    pub tls: OutletTls,
    /// Names of the streams.
    pub stream: Template,
    /// Names of the channels that are told of each entry; none where nobody is told.
    pub channel: Option<Template>,
    /// Entries a stream keeps, approximately (`MAXLEN ~`).
    pub maxlen: u64,
    /// The operator's subscriptions: event names in it are known.
    pub events: Vec<String>,
}

/// Whether such a Redis could be connected to, as far as that can be told without doing it.
///
/// # Errors
/// What was expected; never the URL, which holds a password.
pub fn check(url: &Secret, tls: &OutletTls) -> Result<(), String> {
    client(url, tls).map(drop)
}

fn client(url: &Secret, tls: &OutletTls) -> Result<Client, String> {
    let expected = || "redis://[user:password@]host[:port][/database], or rediss:// for TLS".to_owned();
    let info = std::str::from_utf8(url.expose()).ok().and_then(|url| url.into_connection_info().ok()).ok_or_else(expected)?;
    match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => return Err("rediss:// without #insecure, which would trust anybody".to_owned()),
        ConnectionAddr::TcpTls { .. } => {}
        _ if tls.ca.is_some() || tls.client.is_some() => return Err("rediss:// where certificates are given".to_owned()),
        _ => return Client::open(info).map_err(|_| expected()),
    }
    let client_tls =
        tls.client.as_ref().map(|(cert, key)| ClientTlsConfig { client_cert: cert.clone(), client_key: key.expose().to_vec() });
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert: tls.ca.clone() })
        .map_err(|_| "certificates and a key in PEM".to_owned())
}

impl RedisSettings {
    /// Takes URL and certificates of another reading of the settings, for the next connection.
    pub fn renew(&self, new: &Self) -> Renewed {
        let now = self.renewed.load_full().map_or_else(|| (self.url.clone(), self.tls.clone()), |renewed| (*renewed).clone());
        let new = (new.url.clone(), new.tls.clone());
        if now == new {
            return Renewed::Same;
        }
        self.renewed.store(Some(Arc::new(new)));
        Renewed::Taken
    }
}

/// A connection.
pub(super) struct Redis {
    connection: MultiplexedConnection,
    settings: Arc<RedisSettings>,
}

impl Redis {
    pub(super) async fn connect(settings: Arc<RedisSettings>) -> Result<Self, Failure> {
        // The one the whole program uses; whoever comes first puts it in.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let renewed = settings.renewed.load_full();
        let (url, tls) = renewed.as_deref().map_or((&settings.url, &settings.tls), |(url, tls)| (url, tls));
        let client = client(url, tls).map_err(|expected| Failure(format!("the URL is not {expected}")))?;
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(Some(ANSWER_TIMEOUT));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(failure)?;
        Ok(Self { connection, settings })
    }

    /// Adds an entry for each message, then tells of them. What of the first of them is confirmed stays confirmed when a later one is refused.
    pub(super) async fn publish(&mut self, messages: &[Message]) -> Result<(), Unconfirmed> {
        let names: Vec<_> = messages.iter().map(|message| self.settings.stream.render(&message.record, &self.settings.events)).collect();
        let mut entries = redis::pipe();
        for (message, name) in messages.iter().zip(&names) {
            entries.cmd("XADD").arg(name).arg("MAXLEN").arg("~").arg(self.settings.maxlen).arg("*");
            for (field, value) in message.record.attributes() {
                entries.arg(field).arg(value);
            }
            entries.arg("content_type").arg(&message.content_type).arg("payload").arg(&message.payload[..]);
        }
        let ids: Vec<String> = entries.query_async(&mut self.connection).await.map_err(|error| {
            let refused = error.clone().into_server_errors().and_then(|errors| errors.iter().map(|(at, _)| *at).min());
            Unconfirmed { confirmed: refused.unwrap_or(0), failure: failure(error) }
        })?;
        if ids.len() != messages.len() {
            return Err(Unconfirmed { confirmed: 0, failure: Failure("Redis answered with another number of entries".to_owned()) });
        }
        self.tell(messages, names.iter().zip(&ids)).await.map_err(|failure| Unconfirmed { confirmed: messages.len(), failure })
    }

    /// Pub/sub keeps nothing, so a notice that fails is not sent again: the entries are there.
    async fn tell<'a>(&mut self, messages: &[Message], entries: impl Iterator<Item = (&'a String, &'a String)>) -> Result<(), Failure> {
        let Some(channel) = &self.settings.channel else { return Ok(()) };
        let mut notices = redis::pipe();
        for (message, (stream, id)) in messages.iter().zip(entries) {
            let notice = json!({
                "stream": stream,
                "message_id": id,
                "event_type": message.record.event_type(),
                "delivery_id": message.record.delivery_id(),
            });
            notices.cmd("PUBLISH").arg(channel.render(&message.record, &self.settings.events)).arg(notice.to_string()).ignore();
        }
        let told: Result<(), _> = notices.query_async(&mut self.connection).await;
        told.map_err(|error| Failure(format!("the entries are there, their notices are not: {}", failure(error))))
    }

    pub(super) async fn ping(&mut self) -> Result<(), Failure> {
        redis::cmd("PING").query_async(&mut self.connection).await.map_err(failure)
    }
}

/// What failed and what to do, without the text of Redis.
fn failure(error: RedisError) -> Failure {
    let category = error.category().to_owned();
    let io = error.is_io_error().then(|| error.to_string());
    let code = error.code().map(str::to_owned).or_else(|| error.into_server_errors()?.first().map(|(_, error)| error.code().to_owned()));
    let words = match code.as_deref() {
        Some("WRONGTYPE") => "a key of the template's name holds something that is no stream; rename or delete it",
        Some("OOM") => "its memory is full; raise `maxmemory`, lower `maxlen`, or let it evict",
        Some("NOPERM") => "the user may not do this; it needs XADD and PUBLISH on these names",
        Some("WRONGPASS" | "NOAUTH") => "it does not take the user and password of the URL",
        Some("READONLY") => "it is a replica; the URL must lead to the primary",
        Some("LOADING") => "it is still loading its data",
        Some("MISCONF") => "it cannot save to its disk and refuses writes",
        Some(_) => "it refuses the command",
        None => return Failure(io.map_or_else(|| format!("Redis: {category}"), |io| format!("Redis: {io}"))),
    };
    Failure(format!("Redis answers {}: {words}", code.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(url: &str) -> Secret {
        Secret::new(url).unwrap()
    }

    #[test]
    fn a_url_is_checked_and_never_shown() {
        assert_eq!(check(&secret("redis://:hunter2@127.0.0.1:6379/3"), &OutletTls::default()), Ok(()));
        assert_eq!(check(&secret("rediss://redis.example"), &OutletTls::default()), Ok(()));
        let certificates = OutletTls { ca: Some(b"no pem".to_vec()), client: None };
        let key = OutletTls { ca: None, client: Some((b"no pem".to_vec(), secret("no key"))) };
        for (url, tls) in [
            ("amqp://:hunter2@127.0.0.1", OutletTls::default()),
            ("hunter2", OutletTls::default()),
            ("rediss://:hunter2@127.0.0.1/#insecure", OutletTls::default()),
            ("redis://:hunter2@127.0.0.1", certificates),
            ("rediss://:hunter2@127.0.0.1", key),
        ] {
            let expected = check(&secret(url), &tls).unwrap_err();
            assert!(!expected.contains("hunter2"), "{expected}");
        }
    }
}
