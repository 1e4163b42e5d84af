//! Bodies of every size and odd content, with memory bounded.

use system_tests::{
    folder::{Folder, Layout, SECRET},
    guests,
    host::TestHost,
    process::ProcessHost,
    sender::{Post, Sender},
};

const JSON_BYTES_MAX: usize = 26_214_400;

/// A JSON document of exactly `bytes` bytes.
fn document(bytes: usize) -> Vec<u8> {
    let mut document = b"{\"action\":\"opened\",\"text\":\"".to_vec();
    document.resize(bytes - 2, b'x');
    document.extend_from_slice(b"\"}");
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_up_to_the_cap_are_accepted_and_one_byte_more_is_not() {
    let host = TestHost::builder().plugin("ack", guests::component("ack")).start().await;
    let sender = host.sender();
    for bytes in [1_000_000, 10_000_000, JSON_BYTES_MAX - 1, JSON_BYTES_MAX] {
        let id = sender.post("push", document(bytes)).await.accepted();
        assert_eq!(host.settled(id).await.body_bytes, bytes as u64);
    }
    sender.post("push", document(JSON_BYTES_MAX + 1)).await.refused(413, "body_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_a_document_at_the_cap_is_accepted() {
    let host = TestHost::builder().plugin("ack", guests::component("ack")).start().await;
    let id = host.sender().send(Post::form("push", &document(JSON_BYTES_MAX))).await.accepted();
    assert_eq!(host.settled(id).await.body_bytes, JSON_BYTES_MAX as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_signed_but_no_json_are_refused_and_kept_nowhere() {
    let host = TestHost::builder().plugin("ack", guests::component("ack")).start().await;
    for body in [&b"\xff\xfe{}"[..], b"{\"text\":\"\xc3\x28\"}", b"{", b"", b"{} {}", b"nope"] {
        host.sender().post("push", body.to_vec()).await.refused(400, "body_not_json");
    }
    assert_eq!(host.inner().ledger().books().await.unwrap().accepted, 0);
}

/// A tree of this body would take some twenty times its size; three fields of it take nothing.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn a_body_of_many_small_values_costs_no_more_than_four_times_its_size() {
    let folder = Folder::lay(&Layout::default());
    let process = ProcessHost::start(&folder);
    let sender = Sender::new(process.ingest, "default", "github", SECRET);
    sender.post("push", "{}").await.accepted();
    let before = process.peak_rss_bytes();

    let mut body = b"[0".to_vec();
    while body.len() < JSON_BYTES_MAX - 3 {
        body.extend_from_slice(b",0");
    }
    body.push(b']');
    let bytes = body.len() as u64;
    sender.post("push", body).await.accepted();

    let grown = process.peak_rss_bytes() - before;
    println!("a body of {bytes} bytes raised the peak by {grown} bytes");
    assert!(grown <= 4 * bytes, "{grown} bytes for a body of {bytes}");
}
