//! Files in PEM. What is said to be a certificate, an authority or a key is read before anybody relies on it, so that `hookyard check` finds what
//! a handshake would find in the night.

use std::sync::Arc;

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use crate::egress::unusable_key;

/// The certificates of a file, at least one; the error says what it is instead.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) if text(pem).contains("PRIVATE KEY-----") => Err("a private key, and no certificate".to_owned()),
        Ok(_) => Err("no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned()),
        Err(error) => Err(format!("no certificates in PEM ({error})")),
    }
}

/// Whether a key is that of the first certificate of a chain.
pub(super) fn pair(certificate: &[u8], key: &[u8]) -> Result<(), String> {
    let chain = certificates(certificate).map_err(|found| format!("the certificate's file holds {found}"))?;
    if let Some(why) = unusable_key(&text(key)) {
        return Err(format!("the key's file holds {why}"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the key's file holds no private key in PEM ({error})"))?;
    CertifiedKey::from_der(chain, key, &Arc::new(ring::default_provider())).map(drop).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            "a certificate and the key of another one; was only one of the two files renewed, or is the order of the chain reversed?"
                .to_owned()
        }
        error => format!("a certificate and key that cannot be used together ({error})"),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
