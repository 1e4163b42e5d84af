//! How a record is wrapped: as it is, or as a CloudEvent (version 1.0, structured JSON).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;

use super::record::{Message, Record};

/// The wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// The document itself, what is known of it beside it.
    Native,
    /// One JSON object with everything in it.
    CloudEvents,
}

/// The attributes of a CloudEvent, with the extensions `tenant`, `sequence`, `providerdeliveryid` and `deliveryid`.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'a str,
    tenant: &'a str,
    deliveryid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    providerdeliveryid: Option<&'a str>,
    #[serde(flatten)]
    data: Data<'a>,
}

#[derive(Serialize)]
enum Data<'a> {
    #[serde(rename = "data")]
    Json(&'a RawValue),
    #[serde(rename = "data")]
    Text(&'a str),
    #[serde(rename = "data_base64")]
    Binary(String),
}

impl Envelope {
    /// Wraps a record.
    pub(super) fn wrap(self, record: Record) -> Message {
        match self {
            Self::Native => Message { content_type: record.body_type().to_owned(), payload: record.body().clone(), record },
            Self::CloudEvents => {
                let payload = cloud_event(&record).into();
                Message { content_type: "application/cloudevents+json".to_owned(), payload, record }
            }
        }
    }
}

fn cloud_event(record: &Record) -> Vec<u8> {
    let id = record.id();
    let tenant = record.tenant();
    let (source, kind, subject, sequence, provider_id) = match record {
        Record::Delivery(delivery) => {
            let action = delivery.action.as_ref().map(|action| format!(".{action}")).unwrap_or_default();
            (
                format!("/t/{tenant}/sources/{}", delivery.source),
                format!("hookyard.delivery.{}{action}", delivery.event),
                delivery.repository.as_deref(),
                // The extension `sequence` is compared as a text, so it is as wide as the widest.
                Some(format!("{:020}", delivery.sequence)),
                Some(delivery.provider_id.as_str()),
            )
        }
        Record::Emit(emit) => (format!("/t/{tenant}/plugins/{}", emit.plugin), format!("hookyard.emit.{}", emit.name), None, None, None),
    };
    let event = CloudEvent {
        specversion: "1.0",
        id: &id,
        source,
        kind,
        time: record.time().to_string(),
        subject,
        datacontenttype: record.body_type(),
        tenant: tenant.as_str(),
        deliveryid: record.delivery_id().to_string(),
        sequence,
        providerdeliveryid: provider_id,
        data: data(record),
    };
    // Texts and numbers only: there is nothing in it that could fail.
    serde_json::to_vec(&event).unwrap_or_default()
}

/// JSON goes in untouched, number for number; other text as a text; anything else as Base64.
fn data(record: &Record) -> Data<'_> {
    let (body, body_type) = (record.body(), record.body_type());
    let is_json = body_type.starts_with("application/json") || body_type.contains("+json");
    if is_json && let Ok(json) = serde_json::from_slice(body) {
        return Data::Json(json);
    }
    match std::str::from_utf8(body) {
        Ok(text) if body_type.starts_with("text/") => Data::Text(text),
        _ => Data::Binary(STANDARD.encode(body)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{delivery::Timestamp, ledger::Emitted, streams::template::tests::delivery};

    pub(in crate::streams) fn emitted(name: &str, content_type: &str, body: &[u8]) -> Record {
        let delivery_id = "00112233445566778899aabbccddeeff".parse().unwrap();
        Record::Emit(Emitted {
            id: format!("{delivery_id}.labels.0"),
            tenant: "red".parse().unwrap(),
            plugin: "labels".parse().unwrap(),
            delivery_id,
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            body: body.to_vec().into(),
            emitted_at: Timestamp::from_unix_ms(0),
            mark: 7,
        })
    }

    fn emit(content_type: &str, body: &[u8]) -> Record {
        emitted("label-added", content_type, body)
    }

    fn event(record: Record) -> Value {
        let message = Envelope::CloudEvents.wrap(record);
        assert_eq!(message.content_type, "application/cloudevents+json");
        serde_json::from_slice(&message.payload).unwrap()
    }

    #[test]
    fn a_delivery_is_a_cloud_event_with_its_document_untouched() {
        let document = r#"{"n":12345678901234567890123,"d":1.10}"#;
        let record = Record::Delivery(delivery("pull_request", Some("opened"), document));
        let message = Envelope::CloudEvents.wrap(record.clone());
        assert!(String::from_utf8_lossy(&message.payload).contains(document));
        let event = event(record);
        for (name, value) in [
            ("specversion", "1.0"),
            ("source", "/t/red/sources/github"),
            ("type", "hookyard.delivery.pull_request.opened"),
            ("subject", "octo/hello"),
            ("datacontenttype", "application/json"),
            ("time", "1970-01-01T00:00:01.000Z"),
            ("sequence", "00000000000000000009"),
            ("providerdeliveryid", "guid-1"),
        ] {
            assert_eq!(event[name], value, "{name}");
        }
        assert_eq!(event["id"].as_str().unwrap().len(), 32);
        assert_eq!(event["id"], event["deliveryid"]);
    }

    #[test]
    fn what_a_plugin_emits_is_json_text_or_base64_by_what_it_is() {
        assert_eq!(event(emit("application/json", b"[1]"))["data"][0], 1);
        assert_eq!(event(emit("text/plain", b"hi"))["data"], "hi");
        assert_eq!(event(emit("application/octet-stream", &[0xff]))["data_base64"], "/w==");
        let broken = event(emit("application/json", b"{"));
        assert_eq!((broken["data_base64"].as_str(), broken.get("data")), (Some("ew=="), None));
        assert_eq!(broken["type"], "hookyard.emit.label-added");
        assert_eq!(broken["source"], "/t/red/plugins/labels");
    }

    #[test]
    fn a_native_envelope_is_the_document() {
        let message = Envelope::Native.wrap(Record::Delivery(delivery("push", None, "{}")));
        assert_eq!((message.content_type.as_str(), &message.payload[..]), ("application/json", &b"{}"[..]));
    }
}
