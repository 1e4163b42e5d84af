//! No body, secret or signature is ever logged, counted or shown where it should not be.

use std::collections::BTreeMap;

use hookyard::signature::{Secret, sign};
use system_tests::{
    folder::{Folder, Layout, SECRET},
    guests,
    process::ProcessHost,
    sender::{Post, Sender},
};

#[tokio::test(flavor = "multi_thread")]
async fn no_body_secret_or_signature_is_logged() {
    const MARK: &str = "a-mark-that-stands-only-in-the-body";
    let manifest = "sources = [\"github\"]\nevents = [\"*\"]\n".to_owned();
    let plugins =
        ["ack", "trap", "reject"].map(|guest| (("default".to_owned(), guest.to_owned()), (guests::component(guest), manifest.clone())));
    let folder = Folder::lay(&Layout { plugins: BTreeMap::from(plugins), ..Layout::default() });
    let process = ProcessHost::start(&folder);
    let sender = Sender::new(process.ingest, "default", "github", SECRET);

    let document = format!("{{\"text\":\"{MARK}\"}}");
    let signature = sign(&Secret::new(SECRET).unwrap(), document.as_bytes());
    sender.post("push", document.clone()).await.accepted();
    let forged = "sha256=".to_owned() + &"ab".repeat(32);
    sender.send_with_signature(Post::json("push", document.clone()), &forged).await.unwrap().refused(401, "signature_mismatch");
    sender.send_with_signature(Post::json("push", document), "sha256=nonsense").await.unwrap().refused(401, "signature_malformed");
    let token = std::fs::read_to_string(folder.path().join("data/admin.token")).unwrap();

    // The refusals and the attempts are logged; waiting for the attempts makes the test mean something.
    while process.log().matches("attempt_finished").count() < 3 {
        tokio::task::yield_now().await;
    }
    let log = process.log();
    assert!(log.contains("delivery_accepted") && log.contains("delivery_refused"), "{log}");
    for secret in [MARK, SECRET, &signature, &signature[7..], &forged[7..], "nonsense", token.trim()] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}
