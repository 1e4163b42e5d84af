//! Whom requests of plugins trust: the certificates of the system, and those of the operator.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::Settings;

/// The operator's own, where there are some.
pub(super) fn read(settings: &Settings) -> anyhow::Result<Option<Vec<u8>>> {
    let read = |file: &PathBuf| std::fs::read(file).with_context(|| format!("`egress.ca_file` ({})", file.display()));
    settings.ca_file.as_ref().map(read).transpose()
}

/// A client that trusts them beside the system's.
pub(super) fn tls(settings: &Settings, authorities: Option<&[u8]>) -> anyhow::Result<ClientConfig> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(authorities.unwrap_or_default()).collect();
    let trusted = read.map_err(anyhow::Error::from).and_then(trusting);
    let file = || settings.ca_file.as_deref().unwrap_or(Path::new("")).display();
    let mut config = trusted.with_context(|| format!("`egress.ca_file` ({})", file()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A client that trusts the system's certificates and these.
///
/// # Errors
/// Where one of these is none that can be trusted.
pub fn trusting(more: Vec<CertificateDer<'static>>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in more {
        roots.add(certificate).context("a certificate that cannot be trusted")?;
    }
    if roots.is_empty() {
        tracing::warn!("no_trusted_certificates");
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("the TLS provider offers no protocol version")?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
