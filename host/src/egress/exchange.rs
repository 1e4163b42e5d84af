//! One request and its answer on one connection, within bounds.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::{
    ANSWER_BYTES_MAX, SendError,
    connection::{ANSWER_HEAD_BYTES_MAX, Connection},
};

/// An answer as it came: nothing scrubbed.
pub(super) struct Raw {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) truncated: bool,
}

/// What became of it.
pub(super) enum Exchanged {
    /// An answer, and the connection where it can be used again.
    Answer(Raw, Option<Connection>),
    /// The connection was closed before a byte of the request was written: here it is, to be sent on another.
    NotSent(Request<Full<Bytes>>),
}

/// Sends the request and reads the answer whole, up to the cap.
pub(super) async fn exchange(mut connection: Connection, request: Request<Full<Bytes>>) -> Result<Exchanged, SendError> {
    let Connection { requests, driver, .. } = &mut connection;
    let exchanged = {
        let mut talk = pin!(async {
            let answer = match requests.try_send_request(request).await {
                Ok(answer) => answer,
                Err(mut error) => {
                    return match error.take_message() {
                        Some(request) => Ok(Err(request)),
                        None => Err(SendError::Unreachable(format!("the request failed: {}", error.into_error()))),
                    };
                }
            };
            read(answer).await.map(Ok)
        });
        let mut ended = false;
        loop {
            tokio::select! {
                biased;
                exchanged = &mut talk => break exchanged?,
                // What was read before the connection ended is still to be taken out of it.
                () = &mut *driver, if !ended => ended = true,
            }
        }
    };
    Ok(match exchanged {
        Ok(raw) => {
            let reusable = !raw.truncated && raw.status != StatusCode::SWITCHING_PROTOCOLS;
            Exchanged::Answer(raw, reusable.then_some(connection))
        }
        Err(request) => Exchanged::NotSent(request),
    })
}

async fn read(answer: http::Response<Incoming>) -> Result<Raw, SendError> {
    let (head, mut body) = answer.into_parts();
    let head_bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if head_bytes > ANSWER_HEAD_BYTES_MAX {
        return Err(SendError::Unavailable(format!(
            "the answer's header lines have {head_bytes} bytes; at most {ANSWER_HEAD_BYTES_MAX} are read"
        )));
    }
    let coding = head.headers.get(header::CONTENT_ENCODING).map_or("identity", |value| value.to_str().unwrap_or("another coding"));
    if !coding.eq_ignore_ascii_case("identity") {
        let coding: String = coding.chars().take(32).collect();
        return Err(SendError::Unavailable(format!("the answer is encoded as `{coding}`, which was not asked for and cannot be searched")));
    }
    let (mut bytes, mut truncated) = (BytesMut::new(), false);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| SendError::Unreachable(format!("the answer broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = ANSWER_BYTES_MAX - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            truncated = true;
            break;
        }
    }
    Ok(Raw { status: head.status, headers: head.headers, body: bytes.freeze(), truncated })
}
