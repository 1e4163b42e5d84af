//! The host's own TLS: handshake, delivery, and a certificate that is replaced while it serves.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hookyard::{
    clock::Clock,
    delivery::{LegState, Timestamp},
    signature::{Secret, sign},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use system_tests::{
    folder::{self, Folder, Layout, SECRET},
    guests,
    host::TestHost,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const FIRST: (&[u8], &[u8]) = (include_bytes!("../fixtures/tls/first.pem"), include_bytes!("../fixtures/tls/first.key"));
const SECOND: (&[u8], &[u8]) = (include_bytes!("../fixtures/tls/second.pem"), include_bytes!("../fixtures/tls/second.key"));

async fn host_with(pair: (&[u8], &[u8])) -> TestHost {
    let manifest = "sources = [\"github\"]\nevents = [\"*\"]\n".to_owned();
    let layout = Layout {
        hookyard_toml: "[ingest.tls]\ncertificate = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\n".to_owned(),
        tenant_toml: "require_https = true".to_owned(),
        plugins: [(("default".to_owned(), "ack".to_owned()), (guests::component("ack"), manifest))].into(),
        ..Layout::default()
    };
    let folder = Folder::lay(&layout);
    put(&folder, pair);
    TestHost::start_on(folder, Clock::manual(Timestamp::from_unix_ms(1_800_000_000_000))).await
}

fn put(folder: &Folder, (certificate, key): (&[u8], &[u8])) {
    folder::write(&folder.path().join("tls/key.pem"), key);
    folder::write(&folder.path().join("tls/cert.pem"), certificate);
}

/// A handshake that trusts both certificates, and the one the host showed.
async fn connect(address: SocketAddr) -> (TlsStream<TcpStream>, CertificateDer<'static>) {
    let stream = shake_hands(address, &[]).await.expect("a handshake");
    let shown = stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned();
    (stream, shown)
}

/// The same, speaking only these protocols.
async fn shake_hands(address: SocketAddr, protocols: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for (certificate, _) in [FIRST, SECOND] {
        roots.add(CertificateDer::from_pem_slice(certificate).expect("a certificate")).expect("a root");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await.expect("an open door");
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").expect("a name"), stream).await
}

/// Resets, continuations and streams that multiply a connection are HTTP/2's, and it is not spoken: not even begun.
#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_only_http_2_is_turned_away_in_the_handshake_and_who_speaks_both_is_answered_in_the_other() {
    let host = host_with(FIRST).await;
    let at = host.inner().ingest_address().unwrap();
    let refused = shake_hands(at, &[b"h2"]).await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    let both = shake_hands(at, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(post_over(both, "{\"n\":1}").await.starts_with("HTTP/1.1 202"));
}

async fn post_over(mut stream: TlsStream<TcpStream>, body: &str) -> String {
    let signature = sign(&Secret::new(SECRET).expect("a secret"), body.as_bytes());
    let request = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         x-github-event: push\r\nx-github-delivery: {body:?}\r\nx-hub-signature-256: {signature}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    // The peer closes after its answer; how politely is not this test's matter.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_over_tls_is_accepted_where_https_is_required_and_one_without_it_is_not() {
    let host = host_with(FIRST).await;
    let (stream, shown) = connect(host.inner().ingest_address().unwrap()).await;
    assert_eq!(shown, CertificateDer::from_pem_slice(FIRST.0).unwrap());
    let answer = post_over(stream, "{\"n\":1}").await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    host.drained().await;
    let page = host.inner().ledger().deliveries(hookyard::ledger::DeliveryFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.items[0].legs[0].state, LegState::Acked);

    let plain = TestHost::builder().tenant_toml("require_https = true").start().await;
    plain.sender().post("push", "{}").await.refused(400, "https_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_serves_the_next_handshake_and_a_bad_one_changes_nothing() {
    let host = host_with(FIRST).await;
    let (before, _) = connect(host.inner().ingest_address().unwrap()).await;

    put(host.folder(), SECOND);
    let second = CertificateDer::from_pem_slice(SECOND.0).unwrap();
    while connect(host.inner().ingest_address().unwrap()).await.1 != second {
        host.let_time_pass(Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    assert!(post_over(before, "{\"n\":2}").await.starts_with("HTTP/1.1 202"), "the open connection goes on");

    let mut facts = host.inner().observer().subscribe();
    folder::write(&host.folder().path().join("tls/cert.pem"), b"no certificate");
    let told = async {
        loop {
            host.let_time_pass(Duration::from_secs(10));
            if let Ok(Ok(fact)) = tokio::time::timeout(Duration::from_millis(20), facts.recv()).await
                && fact.kind == "settings_reloaded"
            {
                return fact;
            }
        }
    };
    let fact = tokio::time::timeout(Duration::from_secs(30), told).await.expect("the problem is told");
    assert!(serde_json::to_string(&fact).unwrap().contains("cert.pem"));
    assert_eq!(connect(host.inner().ingest_address().unwrap()).await.1, second);
}
