//! What a run asked of the host and what it was answered: in short for people, and exactly where a replay needs it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// One call of a run to the host and its answer, bounded and without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCall {
    /// `kv.get`, `once.begin`, …
    pub call: String,
    /// The arguments in short.
    pub input: String,
    /// The answer in short.
    pub answer: String,
    /// A digest of the exact arguments: two calls with the same asked the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub input_digest: String,
    /// The exact answer, where a replay needs it and there was room to keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

/// The exact answer of a host call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// A value of `kv`; none where the key was absent.
    Value(Option<Blob>),
    /// A step of `once` that was never begun before.
    Begun,
    /// A step that was done before, and its answer.
    Done(Blob),
    /// A step that was begun and never finished.
    Unknown,
    /// An HTTP answer.
    Response {
        /// The status code.
        status: u16,
        /// The header lines.
        headers: Vec<(String, String)>,
        /// The body.
        body: Blob,
        /// Whether the body was longer.
        truncated: bool,
    },
    /// An HMAC.
    Tag(Blob),
    /// Whether an HMAC was the right one.
    Verified(bool),
    /// An error.
    Failed {
        /// The error's name.
        code: String,
        /// In words.
        detail: String,
    },
}

/// Bytes, as text where they are text and as base64 where not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BlobForm", into = "BlobForm")]
pub struct Blob(pub Vec<u8>);

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum BlobForm {
    Text(String),
    Base64 { base64: String },
}

impl Recorded {
    /// About how many bytes it takes to keep.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.as_ref().map_or(0, |value| value.0.len()),
            Self::Done(bytes) | Self::Tag(bytes) => bytes.0.len(),
            Self::Response { headers, body, .. } => {
                body.0.len() + headers.iter().map(|(name, value)| name.len() + value.len() + 6).sum::<usize>()
            }
            Self::Failed { detail, .. } => detail.len(),
            Self::Begun | Self::Unknown | Self::Verified(_) => 0,
        }
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<BlobForm> for Blob {
    fn from(form: BlobForm) -> Self {
        Self(match form {
            BlobForm::Text(text) => text.into_bytes(),
            // Written by ourselves; what somebody else wrote there is no base64 and stands for nothing.
            BlobForm::Base64 { base64 } => STANDARD.decode(base64).unwrap_or_default(),
        })
    }
}

impl From<Blob> for BlobForm {
    fn from(blob: Blob) -> Self {
        String::from_utf8(blob.0).map_or_else(|error| Self::Base64 { base64: STANDARD.encode(error.as_bytes()) }, Self::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_answer_is_written_as_text_where_it_is_text_and_comes_back_to_the_byte() {
        for (bytes, written) in [(b"caf\xc3\xa9 \"x\"".to_vec(), "café"), (vec![0xff, 0x00, 0x80], "base64")] {
            let headers = vec![("etag".to_owned(), "\"1\"".to_owned())];
            let recorded = Recorded::Response { status: 200, headers, body: bytes.into(), truncated: true };
            let json = serde_json::to_string(&recorded).unwrap();
            assert!(json.contains(written), "{json}");
            assert_eq!(serde_json::from_str::<Recorded>(&json).unwrap(), recorded);
        }
        let none = Recorded::Value(None);
        assert_eq!(serde_json::from_str::<Recorded>(&serde_json::to_string(&none).unwrap()).unwrap(), none);
    }

    #[test]
    fn a_call_of_a_time_before_recordings_is_still_read() {
        let call: HostCall = serde_json::from_str(r#"{"call":"kv.get","input":"k","answer":"none"}"#).unwrap();
        assert_eq!((call.input_digest.as_str(), call.recorded), ("", None));
    }
}
