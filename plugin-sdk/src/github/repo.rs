//! GitHub's REST API, as far as one repository goes.
//!
//! A call is a method of [`Repo`]; its error is [`HttpError`], which knows its verdict, so a handler says `?` and is done: rate limits are
//! waited out, outages retried, and what would be the same again is rejected. What may be there already is looked for first, and what may be
//! gone is an `Option` or a `bool`, never an error. Source of paths and bodies: <https://docs.github.com/en/rest>.

use serde::{Serialize, de::DeserializeOwned};

use super::Repository;
use crate::{
    http::{HttpError, Request, Response},
    log,
};

/// Where GitHub's API is; a GitHub Enterprise Server has it at `https://HOST/api/v3`.
pub const API_URL: &str = "https://api.github.com";
/// The credential whose token the host adds: `[credentials.github]` of `tenant.toml`.
pub const CREDENTIAL: &str = "github";
/// The version asked for: the one all servers of today know.
const API_VERSION: &str = "2022-11-28";
/// Items of one page, GitHub's most.
const PAGE: &str = "100";
/// Pages of one list that are read: a run has a budget of calls.
const PAGES_MAX: u32 = 10;

/// One repository's part of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    url: String,
}

impl Repo {
    /// The repository of a delivery, at [`API_URL`] or where the configuration says. An error is a name that cannot be part of a path.
    pub fn new(api_url: &str, repository: &Repository) -> Result<Self, HttpError> {
        let mut url = format!("{}/repos", api_url.trim_end_matches('/'));
        let (owner, name) = repository.full_name.split_once('/').unwrap_or(("", &repository.full_name));
        push_parts(&mut url, &[owner, name])?;
        Ok(Self { url })
    }

    /// A request below the repository's path, with the credential and what GitHub asks of every client.
    pub(super) fn request(&self, method: &str, parts: &[&str], query: &[(&str, &str)]) -> Result<Request, HttpError> {
        let mut url = self.url.clone();
        push_parts(&mut url, parts)?;
        for (index, (name, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            escape(&mut url, value);
        }
        let request = Request::new(method, url).credential(CREDENTIAL);
        Ok(request.header("accept", "application/vnd.github+json").header("x-github-api-version", API_VERSION))
    }

    pub(super) fn get<T: DeserializeOwned>(&self, parts: &[&str], query: &[(&str, &str)]) -> Result<T, HttpError> {
        self.request("GET", parts, query)?.send()?.success()?.json()
    }

    /// What is there, or nothing: 404 for what never was (or may not be seen), 410 for what is gone.
    pub(super) fn find<T: DeserializeOwned>(&self, parts: &[&str]) -> Result<Option<T>, HttpError> {
        let answer = self.request("GET", parts, &[])?.send()?.success_or(&[404, 410])?;
        answer.map(|answer| answer.json()).transpose()
    }

    pub(super) fn write<B: Serialize + ?Sized>(&self, method: &str, parts: &[&str], body: &B) -> Result<Response, HttpError> {
        self.request(method, parts, &[])?.json(body).send()?.success()
    }

    /// All pages of a list, at most a thousand items; the log tells where there were more.
    pub(super) fn list<T: DeserializeOwned>(&self, parts: &[&str], query: &[(&str, &str)]) -> Result<Vec<T>, HttpError> {
        let mut items = Vec::new();
        for page in 1..=PAGES_MAX {
            let page = page.to_string();
            let query: Vec<_> = query.iter().copied().chain([("per_page", PAGE), ("page", &page)]).collect();
            let answer = self.request("GET", parts, &query)?.send()?.success()?;
            items.extend(answer.json::<Vec<T>>()?);
            if !answer.header("link").is_some_and(|link| link.contains("rel=\"next\"")) {
                return Ok(items);
            }
        }
        log::warn("a list is longer than is read", &[("path", &parts.join("/")), ("read", &items.len().to_string())]);
        Ok(items)
    }
}

/// Adds path parts, each escaped. A part that is empty or dots would be another path once a URL parser has seen it.
fn push_parts(url: &mut String, parts: &[&str]) -> Result<(), HttpError> {
    for part in parts {
        if matches!(*part, "" | "." | "..") {
            return Err(HttpError::Denied(format!("`{part}` cannot be part of a path of GitHub's API")));
        }
        url.push('/');
        escape(url, part);
    }
    Ok(())
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn escape(url: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => url.push(byte.into()),
            _ => url.extend(['%', HEX[usize::from(byte >> 4)].into(), HEX[usize::from(byte & 15)].into()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(parts: &[&str]) -> Result<String, HttpError> {
        let mut url = String::new();
        push_parts(&mut url, parts).map(|()| url)
    }

    #[test]
    fn a_name_is_one_part_of_the_path_whatever_is_in_it() {
        assert_eq!(url(&["labels", "good first issue"]).unwrap(), "/labels/good%20first%20issue");
        assert_eq!(url(&["labels", "a/../b?c#d%2e"]).unwrap(), "/labels/a%2F..%2Fb%3Fc%23d%252e");
        assert_eq!(url(&["labels", "größe"]).unwrap(), "/labels/gr%C3%B6%C3%9Fe");
    }

    #[test]
    fn a_part_that_climbs_is_refused() {
        // `DELETE …/labels/..` would be another call altogether.
        for part in ["", ".", ".."] {
            assert!(matches!(url(&["labels", part]), Err(HttpError::Denied(_))), "{part:?}");
        }
    }
}
