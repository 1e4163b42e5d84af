//! A connection to RabbitMQ: where it leads, how it is opened, and a bound on every wait.
//!
//! lapin's own recovery is off. It leaves futures pending between the loss and the return of a connection, it gives up after minutes, and it
//! does not bring back a channel that the broker closed. So a connection here lives once: whoever owns it watches for its end and opens
//! another, for ever, with [`Patience`] between the tries. These waits are the network's, so they run on the machine's time and not on the
//! host's `Clock`.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_core::Stream;
use lapin::{
    Channel, Connection, ConnectionProperties,
    tcp::{OwnedIdentity, OwnedTLSConfig},
    uri::{AMQPScheme, AMQPUri},
};

use super::transport;
use crate::delivery::report::Renewed;

/// How long any one answer of the broker may take.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A silent connection is found dead after two of these.
const HEARTBEAT_S: u16 = 10;
/// The longest wait between two tries to connect: work must go on soon after a broker is back.
const PATIENCE_MAX: Duration = Duration::from_secs(2);
/// The shortest.
const PATIENCE_MIN: Duration = Duration::from_millis(100);

/// Where a broker is and who we are to it. Its `Debug` shows no credential.
///
/// Credentials and certificates can be renewed while the host runs: everybody who has a clone of it connects with them the next time.
#[derive(Clone)]
pub struct Address {
    /// Where it is; of this nothing changes.
    uri: AMQPUri,
    shown: Arc<ArcSwap<Shown>>,
}

/// Who we are to the broker, and whom we trust.
#[derive(Clone)]
struct Shown {
    uri: AMQPUri,
    /// Certificates that are trusted beside those of the system, in PEM.
    ca: Option<String>,
    /// Our certificate and its key, in PEM.
    identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The URL as it was written.
    written: String,
}

/// Why there is no connection, or no more: words for the log, without a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lost(pub(super) String);

/// The waits between tries: doubling up to two seconds, each between a half and the whole of it, so that many hosts do not knock at once.
#[derive(Debug, Default)]
pub(super) struct Patience(u32);

impl Lost {
    /// Whether RabbitMQ refused, which it will do again, and the connection was not only lost.
    pub(super) fn is_the_brokers_word(&self) -> bool {
        ["PRECONDITION", "NOT_FOUND", "ACCESS_REFUSED", "ACCESS-REFUSED", "is not there"].iter().any(|word| self.0.contains(word))
    }
}

impl Address {
    /// Reads `amqp://user:password@host:port/vhost`, or `amqps://`.
    ///
    /// # Errors
    /// Says what was expected, never what was found: a password may stand in it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let expected = "an AMQP URL: amqp://user:password@host:5672/vhost, or amqps:// (a `/` in the vhost is written %2f)";
        let mut uri: AMQPUri = url.trim().parse().map_err(|_| expected.to_owned())?;
        uri.query.heartbeat = Some(HEARTBEAT_S);
        uri.query.connection_timeout = Some(u64::try_from(ANSWER_MAX.as_millis()).unwrap_or(u64::MAX));
        let shown = Shown { uri: uri.clone(), ca: None, identity: None, written: url.trim().to_owned() };
        Ok(Self { uri, shown: Arc::new(ArcSwap::from_pointee(shown)) })
    }

    /// Trusts the certificates of this PEM text too, beside those of the system.
    #[must_use]
    pub fn trusting(self, ca_pem: String) -> Self {
        self.with(|shown| shown.ca = Some(ca_pem))
    }

    /// Shows this certificate (PEM) and proves it with this key (PEM, PKCS#8).
    #[must_use]
    pub fn showing(self, certificate_pem: Vec<u8>, key_pem: Vec<u8>) -> Self {
        self.with(|shown| shown.identity = Some((certificate_pem, key_pem)))
    }

    fn with(self, change: impl FnOnce(&mut Shown)) -> Self {
        let mut shown = Shown::clone(&self.shown.load());
        change(&mut shown);
        Self { uri: self.uri, shown: Arc::new(ArcSwap::from_pointee(shown)) }
    }

    /// Takes the credentials and certificates of another reading of the same place, for the next connection. Another host, port, vhost or scheme is
    /// another broker, and what is under way at this one cannot be taken there.
    pub fn renew(&self, new: &Self) -> Renewed {
        let place = |address: &Self| (address.authority(), address.uri.vhost.clone(), address.is_encrypted());
        let (now, new_shown) = (self.shown.load(), new.shown.load_full());
        let what = |shown: &Shown| (shown.written.clone(), shown.ca.clone(), shown.identity.clone());
        if place(self) != place(new) {
            Renewed::Elsewhere
        } else if what(&now) == what(&new_shown) {
            Renewed::Same
        } else {
            self.shown.store(new_shown);
            Renewed::Taken
        }
    }

    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// The vhost.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    /// Host and port.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    /// Opens a connection under a name that the broker's operator sees.
    pub(super) async fn connect(&self, name: &str) -> Result<Connection, Lost> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        if self.is_encrypted() {
            // The libraries beneath ask for the process's provider; whoever has set one before means the same.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let shown = self.shown.load_full();
        let identity = shown.identity.clone().map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key });
        let tls = OwnedTLSConfig { identity, cert_chain: shown.ca.clone() };
        within("connecting", transport::connect(shown.uri.clone(), tls, properties)).await
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "{}://{}:{} (vhost {})", self.uri.scheme, authority.host, authority.port, self.uri.vhost)
    }
}

impl Patience {
    /// How long to wait before the next try.
    pub(super) fn next(&mut self) -> Duration {
        let whole = PATIENCE_MIN.saturating_mul(1_u32.checked_shl(self.0).unwrap_or(u32::MAX)).min(PATIENCE_MAX);
        self.0 = (self.0 + 1).min(16);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It worked: the next wait is the shortest again.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Waits for an answer of the broker, never for ever.
pub(super) async fn within<T>(what: &str, answer: impl Future<Output = lapin::Result<T>>) -> Result<T, Lost> {
    match tokio::time::timeout(ANSWER_MAX, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Lost(format!("{what}: {error}"))),
        Err(_) => Err(Lost(format!("{what}: no answer within {} s", ANSWER_MAX.as_secs()))),
    }
}

/// Opens a channel.
pub(super) async fn channel(connection: &Connection) -> Result<Channel, Lost> {
    within("opening a channel", connection.create_channel()).await
}

/// Says goodbye and does not wait long for the answer; a connection that is not closed is closed by its drop.
pub(super) async fn close(connection: &Connection) {
    let goodbye = connection.close(200, "the host stops".into());
    let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
}

/// Closes a channel nobody uses any more and does not wait long for the answer; one whose connection has ended has ended with it.
pub(super) async fn close_channel(channel: &Channel) {
    if channel.status().connected() {
        let _ = tokio::time::timeout(Duration::from_secs(1), channel.close(200, "done".into())).await;
    }
}

/// The next item of a stream.
pub(super) async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_renewed_for_every_clone_and_another_place_is_not_taken() {
        let address = |url: &str| Address::parse(url).unwrap();
        let now = address("amqps://hook:one@broker.example/%2f");
        let clone = now.clone();
        assert_eq!(now.renew(&address("amqps://hook:one@broker.example/%2f")), Renewed::Same);
        assert_eq!(now.renew(&address("amqps://hook:two@broker.example/%2f")), Renewed::Taken);
        assert_eq!(clone.shown.load().uri.authority.userinfo.password, "two");
        assert_eq!(now.renew(&address("amqps://hook:two@broker.example/%2f").trusting("ca".to_owned())), Renewed::Taken);
        assert_eq!(clone.shown.load().ca.as_deref(), Some("ca"));
        for elsewhere in ["amqps://hook:two@other.example/%2f", "amqps://hook:two@broker.example/v", "amqp://hook:two@broker.example/%2f"] {
            assert_eq!(now.renew(&address(elsewhere)), Renewed::Elsewhere, "{elsewhere}");
        }
        assert_eq!(clone.shown.load().uri.authority.host, "broker.example");
    }

    #[test]
    fn an_address_tells_where_it_leads_and_never_the_password() {
        let address = Address::parse("amqps://hook:s3cret@broker.example:5671/%2f").unwrap();
        assert_eq!(address.to_string(), "amqps://broker.example:5671 (vhost /)");
        assert!(address.is_encrypted());
        assert!(!format!("{address:?}").contains("s3cret"));
        for bad in ["", "http://s3cret@x", "amqp://s3cret:x@[/", "s3cret"] {
            assert!(!Address::parse(bad).unwrap_err().contains("s3cret"), "{bad}");
        }
    }

    #[test]
    fn patience_doubles_to_two_seconds_and_never_ends() {
        let mut patience = Patience::default();
        for tries in 0..100 {
            let wait = patience.next();
            assert!(wait <= PATIENCE_MAX && wait >= PATIENCE_MIN / 2, "try {tries}: {wait:?}");
            assert!(tries < 6 || wait >= PATIENCE_MAX / 2);
        }
        patience.reset();
        assert!(patience.next() <= PATIENCE_MIN);
    }
}
