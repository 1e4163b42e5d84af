//! Where an answer says that the thing is elsewhere: a repository that was renamed, for one.
//!
//! A `GET` is asked again there, because reading twice changes nothing. Each step is a request like any other: the host judges it by the grants, and
//! adds a credential only where that is bound to. Whatever else is sent is not sent a second time by itself; its error says where it belongs now.

use super::{Answer, HttpError, Request, Response};

/// Steps that are followed.
const STEPS_MAX: usize = 5;

impl Response {
    /// Where the thing is instead, as the other side wrote it; none where this answer is about something else.
    pub fn moved_to(&self) -> Option<&str> {
        if matches!(self.status, 301 | 302 | 303 | 307 | 308) { self.header("location").map(str::trim) } else { None }
    }
}

/// Follows an answer to a `GET` as long as it leads elsewhere. What is no success in the end is for the caller, as without a step.
pub(super) fn follow(request: Request, answer: Answer) -> Result<Answer, HttpError> {
    let (mut request, mut answer) = (request, answer);
    for _ in 0..STEPS_MAX {
        if request.0.method != "GET" || request.0.url.is_empty() {
            break;
        }
        let Some(next) = answer.moved_to().and_then(|location| resolved(&request.0.url, location)) else { break };
        request.0.url.clone_from(&next);
        answer = match request.clone().send_once() {
            Err(HttpError::Denied(why)) => {
                let words = format!(
                    "{} was answered with {}: it has moved to {next}, and that is not granted: {why}",
                    answer.request, answer.status
                );
                return Err(HttpError::Denied(words));
            }
            other => other?,
        };
    }
    Ok(answer)
}

/// An absolute URL, or a path on the same server. Others are rare, and are told rather than guessed.
fn resolved(url: &str, location: &str) -> Option<String> {
    let location = location.split('#').next()?;
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_owned());
    }
    let (scheme, rest) = url.split_once("://")?;
    if location.starts_with("//") {
        return Some(format!("{scheme}:{location}"));
    }
    let server = rest.split(['/', '?']).next()?;
    location.starts_with('/').then(|| format!("{scheme}://{server}{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_absolute_url_or_a_path_on_the_same_server() {
        let from = |location| resolved("https://api.github.com/repos/a/b?x=1", location);
        assert_eq!(from("https://api.github.com/repositories/7#top").as_deref(), Some("https://api.github.com/repositories/7"));
        assert_eq!(from("/repositories/7").as_deref(), Some("https://api.github.com/repositories/7"));
        assert_eq!(from("//other.example/x").as_deref(), Some("https://other.example/x"));
        assert_eq!(from("../c"), None);
        assert_eq!(from("ftp://other.example/"), None);
    }
}
