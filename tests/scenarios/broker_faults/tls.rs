//! The connection over TLS: an authority of one's own, a broker that asks for our certificate, and what is refused is told in words.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    path::Path,
    process::Command,
    time::Duration,
};

use hookyard::{clock::Clock, delivery::DeliveryId};
use lapin::{
    Connection, ConnectionProperties, ExchangeKind,
    options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use system_tests::{
    folder::{self, Folder, Layout, SECRET},
    guests,
    host::TestHost,
    process::ProcessHost,
    rabbit::{self, Node, Queue, Settings},
    sender::{Post, Sender},
};
use tempfile::TempDir;

use super::desk::{ALL, after, all_acked, fresh_document, send, two_plugins};

const PATIENCE: Duration = Duration::from_mins(1);
/// Of a user the broker has.
const PASSWORD: &str = "guest";

/// A node that takes only who shows a certificate of its authority.
struct Guarded {
    node: Node,
    port: u16,
    certificates: TempDir,
}

/// Makes an authority, the broker's certificate, ours, and an authority that nobody asked for; says why it cannot.
fn certificates() -> Result<TempDir, String> {
    let dir = TempDir::with_prefix("hookyard-tls-").expect("a folder");
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    for authority in ["ca", "other"] {
        let (key, out, subject) = (format!("{authority}.key"), format!("{authority}.pem"), format!("/CN=hookyard test {authority}"));
        openssl(
            dir.path(),
            &[&["req", "-x509"], &new_key[..], &["-keyout", &key, "-out", &out, "-days", "2", "-subj", &subject]].concat(),
        )?;
    }
    std::fs::write(dir.path().join("broker.ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n").expect("a file");
    std::fs::write(dir.path().join("host.ext"), "extendedKeyUsage=clientAuth\n").expect("a file");
    for name in ["broker", "host"] {
        let [key, request, extensions, out] = ["key", "csr", "ext", "pem"].map(|end| format!("{name}.{end}"));
        let subject = format!("/CN={name}");
        openssl(dir.path(), &[&["req"], &new_key[..], &["-keyout", &key, "-out", &request, "-subj", &subject]].concat())?;
        let signed = ["x509", "-req", "-in", &request, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
        openssl(dir.path(), &[&signed[..], &["-extfile", &extensions, "-out", &out]].concat())?;
    }
    Ok(dir)
}

fn openssl(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().map_err(|error| format!("no openssl: {error}"))?;
    assert!(output.status.success(), "openssl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn guarded() -> Option<Guarded> {
    let certificates = certificates().inspect_err(|missing| println!("skipped: {missing}")).ok()?;
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let path = |name: &str| certificates.path().join(name).display().to_string();
    let more = format!(
        "listeners.ssl.default = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
        path("ca.pem"),
        path("broker.pem"),
        path("broker.key")
    );
    let node = rabbit::node(&Settings { more, ..Settings::default() })?;
    Some(Guarded { node, port, certificates })
}

impl Guarded {
    /// Its queue, as a host that trusts this authority, and shows a certificate or none.
    fn queue(&self, authority: &str, shows: bool, password: &str) -> Queue {
        let path = |name: &str| self.certificates.path().join(name).display().to_string();
        let ours = if shows { format!("certificate = \"{}\"\nkey = \"{}\"\n", path("host.pem"), path("host.key")) } else { String::new() };
        let mut queue = Queue::at(format!("amqps://guest:{password}@127.0.0.1:{}/%2f", self.port));
        queue.more = format!("ca = \"{}\"\n{ours}", path(authority));
        queue
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_asks_for_a_certificate_is_shown_ours_and_trusted_by_our_authority() {
    let Some(broker) = guarded() else { return };
    let host = two_plugins(broker.queue("ca.pem", true, PASSWORD)).start().await;
    let ids = send(&host.sender(), 50).await;
    all_acked(&host, &ids, 2).await;
    let connections = tokio::task::block_in_place(|| broker.node.ctl(&["list_connections", "ssl", "peer_cert_subject"])).unwrap();
    let shown = connections.lines().filter(|line| line.starts_with("true") && line.ends_with("CN=host")).count();
    // The first line names the columns.
    assert!(shown >= 2 && shown + 1 == connections.lines().count(), "one publishes, one consumes: {connections}");
}

/// The door stays open meanwhile, and no leg runs.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_on_either_side_is_told_in_words_without_the_password() {
    let Some(broker) = guarded() else { return };
    let cases = [
        ("another authority", broker.queue("other.pem", true, PASSWORD), "UnknownIssuer"),
        ("no certificate of ours", broker.queue("ca.pem", false, PASSWORD), "CertificateRequired"),
        ("another password", broker.queue("ca.pem", true, "n0t-the-password"), "ACCESS_REFUSED"),
    ];
    for (what, queue, words) in cases {
        let plugins = BTreeMap::from([(("default".to_owned(), "ack".to_owned()), (guests::component("ack"), ALL.to_owned()))]);
        let folder = Folder::lay(&Layout { rabbitmq: Some(queue), plugins, ..Layout::default() });
        let host = ProcessHost::start(&folder);
        let sender = Sender::new(host.ingest, "default", "github", SECRET);
        sender.send(Post::json("push", fresh_document())).await.accepted();
        let told = async {
            while !host.log().lines().any(|line| line.contains("broker_lost") && line.contains(words)) {
                after(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{what}: no {words} in {}", host.log()));
        assert!(!host.log().contains("n0t-the-password") && !host.log().contains("attempt_finished"), "{what}: {}", host.log());
    }
}

/// The host's own queue is on its disk; only what others follow goes over this connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_shows_our_certificate_and_misses_nothing() {
    let Some(broker) = guarded() else { return };
    let connection = Connection::connect(&broker.node.url(), ConnectionProperties::default()).await.expect("a connection");
    let onlooker = connection.create_channel().await.expect("a channel");
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    onlooker.exchange_declare("hookyard.events".into(), ExchangeKind::Topic, durable, none()).await.expect("an exchange");
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    onlooker.queue_declare("all".into(), durable, none()).await.expect("a queue");
    let bound = onlooker.queue_bind("all".into(), "hookyard.events".into(), "ev.#".into(), QueueBindOptions::default(), none());
    bound.await.expect("a binding");

    let path = |name: &str| broker.certificates.path().join(name).display().to_string();
    let stream = format!(
        "[streams.events]\nkind = \"rabbitmq\"\nurl = {{ file = \"amqps.url\" }}\ntenants = [\"default\"]\nstart = \"oldest\"\n\
         [streams.events.tls]\nca = \"{}\"\ncertificate = \"{}\"\nkey = {{ file = \"{}\" }}\n",
        path("ca.pem"),
        path("host.pem"),
        path("host.key")
    );
    let folder = Folder::lay(&Layout { hookyard_toml: stream, ..Layout::default() });
    folder::write(&folder.path().join("amqps.url"), format!("amqps://guest:{PASSWORD}@127.0.0.1:{}/%2f", broker.port).as_bytes());
    let host = TestHost::start_on(folder, Clock::system()).await;
    let sent: BTreeSet<DeliveryId> = send(&host.sender(), 20).await.into_iter().collect();
    let mut seen = BTreeSet::new();
    let taking = async {
        while seen != sent {
            let message = onlooker.basic_get("all".into(), BasicGetOptions { no_ack: true }).await.expect("an answer");
            let Some(message) = message else { continue };
            let id = message.properties.message_id().as_ref().map(|id| id.as_str().to_owned()).expect("an id");
            seen.insert(id.parse::<DeliveryId>().expect("an id of ours"));
        }
    };
    tokio::time::timeout(PATIENCE, taking).await.expect("everything comes in time");
    let connections = tokio::task::block_in_place(|| broker.node.ctl(&["list_connections", "ssl", "peer_cert_subject"])).unwrap();
    assert!(connections.lines().any(|line| line.starts_with("true") && line.ends_with("CN=host")), "{connections}");
}
