//! A line to a team's chat: a Slack-compatible webhook, whose URL is a credential of kind `url` that the plugin only names.
//!
//! A chat cannot be asked what was said in it, so a notice is at least once: [`once`] keeps a retry, a redelivery and a second delivery of the
//! same thing from saying it again, and after a crash between the post and its record it is said twice rather than never. Two deliveries
//! about the same thing at the same moment can both find nothing said; `serialize_by` in the manifest keeps them apart on one host.

use std::time::Duration;

use serde_json::json;

use crate::{
    Step, Verdict,
    http::{HttpError, Request},
    kv, once as step_once, step,
};

/// How long it is remembered that something was said: GitHub redelivers for three days, and re-runs checks for thirty.
const REMEMBERED: Duration = Duration::from_hours(31 * 24);
/// Bytes of a key that are used; the store takes 512.
const KEY_BYTES_MAX: usize = 400;

/// Says `text`, which is Slack's markup: see [`escape`] and [`link`].
pub fn send(credential: &str, text: &str) -> Result<(), HttpError> {
    Request::post_to(credential).json(&json!({"text": text})).send()?.success().map(drop)
}

/// Says `text` unless something was said under this key before, by any delivery; false where it was.
pub fn once(credential: &str, key: &str, text: &str) -> Result<bool, Verdict> {
    let key = format!("notified:{}", &key[..key.floor_char_boundary(KEY_BYTES_MAX)]);
    if kv::get(&key)?.is_some() {
        return Ok(false);
    }
    if step_once(&key, || send(credential, text).map(|()| Vec::new()))? == Step::Unknown {
        send(credential, text)?;
        step::finish(&key, &[])?;
    }
    kv::set_for(&key, &[], REMEMBERED)?;
    Ok(true)
}

/// Text from outside, so that it is shown and not obeyed: no link, no mention, no `<!channel>`.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A link under a text from outside; the text alone where there is no address that could be linked.
pub fn link(url: Option<&str>, text: &str) -> String {
    match url {
        Some(url) if url.starts_with("https://") && !url.contains(['<', '>', '|', ' ']) => format!("<{url}|{}>", escape(text)),
        _ => escape(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_call_a_channel_or_be_another_link() {
        assert_eq!(escape("<!channel> & co"), "&lt;!channel&gt; &amp; co");
        assert_eq!(link(Some("https://a.b/c"), "<x>|y"), "<https://a.b/c|&lt;x&gt;|y>");
        for bad in ["javascript:alert(1)", "https://a|b> <!channel", "http://a.b"] {
            assert_eq!(link(Some(bad), "text"), "text", "{bad}");
        }
        assert_eq!(link(None, "text"), "text");
    }
}
