//! The little of the management API that tests need, over plain HTTP/1.0.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use anyhow::{Context as _, ensure};

/// A node's management API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// `http://user:password@host:port`.
    url: String,
}

impl Management {
    /// The API at `http://user:password@host:port`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    /// Where it is, with the credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a vhost, in which its user then may do everything.
    pub fn add_vhost(&self, name: &str) -> anyhow::Result<()> {
        self.call("PUT", &format!("/api/vhosts/{name}"), "{}")?;
        let (user, ..) = self.parts()?;
        let all = r#"{"configure":".*","write":".*","read":".*"}"#;
        self.call("PUT", &format!("/api/permissions/{name}/{user}"), all).map(drop)
    }

    /// Removes a vhost with all that is in it.
    pub fn remove_vhost(&self, name: &str) -> anyhow::Result<()> {
        self.call("DELETE", &format!("/api/vhosts/{name}"), "").map(drop)
    }

    /// One call with a JSON body; gives the answer's body, or says what was refused.
    pub fn call(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let (user, password, authority) = self.parts()?;
        let mut stream = TcpStream::connect(authority).with_context(|| format!("the management API at {authority}"))?;
        let credentials = base64(format!("{user}:{password}").as_bytes());
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {authority}\r\nAuthorization: Basic {credentials}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len(),
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{method} {path} was answered with {answer}");
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    fn parts(&self) -> anyhow::Result<(&str, &str, &str)> {
        let parts = self.url.strip_prefix("http://").and_then(|rest| rest.trim_end_matches('/').split_once('@'));
        let parts = parts.and_then(|(credentials, authority)| Some((credentials.split_once(':')?, authority)));
        let ((user, password), authority) = parts.context("expected http://user:password@host:port of the management API")?;
        Ok((user, password, authority))
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            text.push(if place <= chunk.len() { char::from(LETTERS[bits >> (18 - 6 * place) & 63]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded_as_browsers_do() {
        for (text, encoded) in [("guest:guest", "Z3Vlc3Q6Z3Vlc3Q="), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("", "")] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn an_address_without_credentials_is_told() {
        let error = Management::new("http://localhost:15672").call("GET", "/api/overview", "").unwrap_err();
        assert!(error.to_string().contains("user:password"), "{error}");
    }
}
