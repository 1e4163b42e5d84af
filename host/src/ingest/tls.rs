//! TLS at the door: ring, HTTP/1.1 only by ALPN, and certificates that are read again when their files change.
//!
//! The files are compared by content on a cadence: renewal tools replace files in more ways than a file watcher reports, and two small reads
//! cost nothing. A pair that does not load, or whose key is not the certificate's, leaves the old pair in place and says so.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use super::TlsSettings;
use crate::{
    clock::Clock,
    observe::{Observer, facts::SettingsReloaded},
    tasks::Tasks,
};

/// How often the files are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The pair that serves now.
#[derive(Debug)]
pub(super) struct Certificates {
    settings: TlsSettings,
    serving: ArcSwap<CertifiedKey>,
}

/// The bytes of both files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificates {
    /// Loads the pair and has `tasks` load it again whenever it changes.
    pub(super) fn open(settings: TlsSettings, clock: Clock, observer: Observer, tasks: &Tasks) -> anyhow::Result<Arc<Self>> {
        let files = Files::read(&settings)?;
        let serving = ArcSwap::from_pointee(files.certified_key(&settings)?);
        let certificates = Arc::new(Self { settings, serving });
        let (watched, stop) = (Arc::clone(&certificates), tasks.clone());
        tasks.spawn("tls_certificates", async move {
            tokio::select! {
                () = stop.stopping() => {}
                () = watched.watch(files, clock, observer) => {}
            }
        });
        Ok(certificates)
    }

    /// Speaks TLS 1.2 and 1.3 with whatever pair serves at the time of each handshake.
    pub(super) fn acceptor(self: &Arc<Self>) -> anyhow::Result<TlsAcceptor> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .context("the TLS provider offers no protocol version")?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    async fn watch(&self, mut seen: Files, clock: Clock, observer: Observer) {
        let mut problem = None;
        loop {
            clock.sleep(LOOK_EVERY).await;
            let outcome = Files::read(&self.settings).and_then(|files| self.take(&mut seen, files));
            let now = outcome.as_ref().err().map(|error| format!("{error:#}"));
            // The same problem is said once, not every ten seconds.
            if matches!(outcome, Ok(true)) || (now.is_some() && now != problem) {
                observer.record(&SettingsReloaded { problems: now.iter().cloned().collect(), ..SettingsReloaded::default() });
            }
            problem = now;
        }
    }

    /// Puts a changed pair in place; false where nothing changed.
    fn take(&self, seen: &mut Files, files: Files) -> anyhow::Result<bool> {
        if *seen == files {
            return Ok(false);
        }
        self.serving.store(Arc::new(files.certified_key(&self.settings)?));
        *seen = files;
        Ok(true)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.serving.load_full())
    }
}

impl Files {
    fn read(settings: &TlsSettings) -> anyhow::Result<Self> {
        let read = |path: &std::path::Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        Ok(Self { certificate: read(&settings.certificate)?, key: read(&settings.key)? })
    }

    fn certified_key(&self, settings: &TlsSettings) -> anyhow::Result<CertifiedKey> {
        let certificate = settings.certificate.display();
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("{certificate} is not a certificate chain in PEM"))?;
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).with_context(|| format!("{} is not a private key in PEM", settings.key.display()))?;
        CertifiedKey::from_der(chain, key, &provider())
            .with_context(|| format!("{certificate} and {} are not a usable pair", settings.key.display()))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
