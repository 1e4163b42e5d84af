//! What plugins call: the servers behind their requests, and how one run found them.

use std::fmt;

/// A server that plugins call, as its tenant's people know it: host and port of a URL, or the credential that is the URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination(String);

/// How a run found a destination, by its last request there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Which.
    pub destination: Destination,
    /// Whether it answered, and with another status than 5xx.
    pub is_up: bool,
}

impl Destination {
    /// The server of a URL.
    #[must_use]
    pub fn server(authority: String) -> Self {
        Self(authority)
    }

    /// The server of a URL that is a secret.
    #[must_use]
    pub fn of_credential(name: &str) -> Self {
        Self(format!("credential {name}"))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
