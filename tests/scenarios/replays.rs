//! GitHub signs the body and no header: event, hook and delivery id are anybody's word. One captured call is sent again in every way that is
//! left to who has no secret.

use hookyard::{
    delivery::LegState,
    signature::{Secret, sign},
};
use system_tests::{
    folder::SECRET,
    guests,
    host::TestHost,
    sender::fresh_guid,
    stranger::{self, ask, status},
};

/// A captured call: its body and signature cannot be changed, all else can.
struct Captured {
    host: TestHost,
    body: &'static str,
    guid: String,
}

impl Captured {
    async fn with(tenant_toml: &str) -> Self {
        let host = TestHost::builder().plugin("echo", guests::component("publish-document")).tenant_toml(tenant_toml).start().await;
        let captured = Self { host, body: r#"{"action":"opened","number":1}"#, guid: fresh_guid() };
        assert_eq!(captured.send("pull_request", "1", &captured.guid).await.0, 202);
        captured
    }

    /// Sends it under these headers; status, and the answer's body.
    async fn send(&self, event: &str, hook_id: &str, guid: &str) -> (u16, serde_json::Value) {
        let signature = sign(&Secret::new(SECRET).expect("a secret"), self.body.as_bytes());
        let request = format!(
            "POST /webhooks/github HTTP/1.1\r\nhost: hooks\r\ncontent-type: application/json\r\nx-github-event: {event}\r\n\
             x-github-delivery: {guid}\r\nx-github-hook-id: {hook_id}\r\nx-hub-signature-256: {signature}\r\ncontent-length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        );
        let mut stream =
            stranger::connect(self.host.inner().ingest_address().expect("a host that takes deliveries"), 9).await.expect("a connection");
        let said = ask(&mut stream, request.as_bytes()).await;
        let body = said.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status(&said), serde_json::from_str(body).unwrap_or_default())
    }

    /// What came of an accepted replay: it is flagged, and told apart from the first.
    async fn assert_flagged(&self, (status, body): (u16, serde_json::Value)) {
        assert_eq!(status, 202, "{body}");
        let id = body["delivery_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        assert!(self.host.settled(id).await.body_seen_before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_new_id_as_another_event_or_from_another_hook_it_is_flagged() {
    let captured = Captured::with("").await;
    let again = captured.send("pull_request", "1", &fresh_guid()).await;
    captured.assert_flagged(again).await;
    let as_other_event = captured.send("push", "1", &fresh_guid()).await;
    captured.assert_flagged(as_other_event).await;
    let from_other_hook = captured.send("pull_request", "2", &captured.guid).await;
    captured.assert_flagged(from_other_hook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_an_event_whose_documents_have_another_subject_it_is_refused() {
    let mut captured = Captured::with("").await;
    captured.body = r#"{"action":"opened","issue":{"number":7},"repository":{"full_name":"acme/shop"}}"#;
    assert_eq!(captured.send("issues", "1", &fresh_guid()).await.0, 202);
    for event in ["push", "pull_request", "deployment"] {
        let (status, body) = captured.send(event, "1", &fresh_guid()).await;
        assert_eq!((status, body["code"].as_str()), (400, Some("event_mismatch")), "{event}");
    }
    captured.host.drained().await;
    assert_eq!(captured.host.emits().await.len(), 2, "the first of the house, and the issue");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_source_says_so_each_of_them_is_refused_and_only_the_first_runs() {
    let captured = Captured::with("refuse_replays = true").await;
    for (event, hook_id, guid) in
        [("pull_request", "1", fresh_guid()), ("push", "1", fresh_guid()), ("pull_request", "2", captured.guid.clone())]
    {
        let (status, body) = captured.send(event, hook_id, &guid).await;
        assert_eq!((status, body["code"].as_str()), (400, Some("body_replayed")), "{event} {hook_id}");
    }
    captured.host.drained().await;
    assert_eq!(captured.host.emits().await.len(), 1);
}

/// The same id and body under another event is the same delivery: the first to arrive decides what it is, and nothing runs a second time.
#[tokio::test(flavor = "multi_thread")]
async fn under_its_own_id_it_is_a_duplicate_whatever_event_it_claims() {
    let captured = Captured::with("").await;
    assert_eq!(captured.send("push", "1", &captured.guid).await.0, 200);
    captured.host.drained().await;
    let emits = captured.host.emits().await;
    assert_eq!(emits.len(), 1);
    assert_eq!(captured.host.delivery(emits[0].delivery_id).await.event, "pull_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_flight_beside_the_true_one_both_are_answered_with_success_and_it_runs_once() {
    let captured = Captured::with("").await;
    let guid = fresh_guid();
    let sends = (0..20).map(|_| captured.send("pull_request", "1", &guid));
    let mut answers = Vec::new();
    let mut running: Vec<_> = sends.map(Box::pin).collect();
    // All are begun before one is awaited to its end.
    while !running.is_empty() {
        let mut left = Vec::new();
        for mut send in running {
            match std::future::poll_fn(|context| std::task::Poll::Ready(send.as_mut().poll(context))).await {
                std::task::Poll::Ready(answer) => answers.push(answer.0),
                std::task::Poll::Pending => left.push(send),
            }
        }
        running = left;
        tokio::task::yield_now().await;
    }
    answers.sort_unstable();
    assert_eq!((answers.len(), answers[18], answers[19]), (20, 200, 202), "{answers:?}");
    captured.host.drained().await;
    let emits = captured.host.emits().await;
    assert_eq!(emits.len(), 2, "the captured one and this one, once each");
    for emit in emits {
        assert_eq!(captured.host.leg(emit.delivery_id, "echo").await.state, LegState::Acked);
    }
}
