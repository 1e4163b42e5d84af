//! One broker for many tests: the one a person names, or one of our own; each test has a vhost of its own there.

use std::env;

use anyhow::Context as _;

use crate::{Management, Node, Packages, Settings};

/// Where the broker is, of a person's choice.
const URL: &str = "HOOKYARD_AMQP_URL";
/// Where its management API is; without it no test can have a vhost of its own.
const MANAGEMENT_URL: &str = "HOOKYARD_AMQP_MANAGEMENT_URL";

/// A broker that several users share.
#[derive(Debug)]
pub struct Shared {
    url: String,
    management: Option<Management>,
    _node: Option<Node>,
}

/// A vhost of the shared broker; removed when dropped.
#[derive(Debug)]
pub struct Vhost {
    name: String,
    url: String,
    management: Management,
}

impl Shared {
    /// The broker of `HOOKYARD_AMQP_URL`, or else a node of our own that lives as long as this value, and at the longest as this process. The
    /// error says in words why there is neither.
    pub fn find() -> anyhow::Result<Self> {
        if let Ok(url) = env::var(URL) {
            return Ok(Self { url, management: env::var(MANAGEMENT_URL).ok().map(Management::new), _node: None });
        }
        let node = Node::start(Packages::find()?, &Settings { management: true, ..Settings::default() })?;
        Ok(Self { url: node.url(), management: node.management(), _node: Some(node) })
    }

    /// Where it is, with the credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its management API, where it is known.
    pub fn management(&self) -> Option<&Management> {
        self.management.as_ref()
    }

    /// What tells another process of this broker.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let management = self.management.iter().map(|management| (MANAGEMENT_URL, management.url().to_owned()));
        std::iter::once((URL, self.url.clone())).chain(management).collect()
    }

    /// A new, empty vhost.
    pub fn vhost(&self) -> anyhow::Result<Vhost> {
        let management = self.management.clone().with_context(|| {
            format!("{URL} is given without {MANAGEMENT_URL} (http://user:password@host:15672), and each test needs a vhost of its own")
        })?;
        let name = format!("hookyard-test-{:016x}", fastrand::u64(..));
        management.add_vhost(&name)?;
        let (server, _) = self.url.rsplit_once('/').context("expected a vhost at the end of the broker's URL")?;
        Ok(Vhost { url: format!("{server}/{name}"), name, management })
    }
}

impl Vhost {
    /// Where it is, with the credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port of its broker.
    pub fn port(&self) -> u16 {
        let authority = self.url.rsplit_once('@').map_or(self.url.as_str(), |(_, server)| server);
        let port = authority.split('/').next().and_then(|authority| authority.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
        // An address without a port is one on AMQP's own.
        port.unwrap_or(5672)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The management API of its broker.
    pub fn management(&self) -> &Management {
        &self.management
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        // The broker may be gone already; then the vhost is too.
        let _ = self.management.remove_vhost(&self.name);
    }
}
