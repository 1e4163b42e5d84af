//! The admin API as the commands use it: where it is, which token it gets, what its refusals mean.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

use super::{
    client::{Target, Wire},
    environment,
    exit::{Exit, Failure},
    output::Output,
};
use crate::{
    config::{self, Config},
    signature::Secret,
};

/// Which host to talk to.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The admin listener's URL; by default that of the host's configuration
    #[arg(long, global = true, env = "HOOKYARD_ADMIN_URL", value_name = "URL")]
    admin: Option<String>,
    /// The host's configuration, to find a host on this machine and its token; `HOOKYARD_ADMIN_TOKEN` goes first
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the API's objects unchanged
    #[arg(long, global = true)]
    json: bool,
}

impl Args {
    /// The host's configuration, where one is named.
    #[must_use]
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Where the command writes.
    #[must_use]
    pub(super) fn output(&self) -> Output {
        Output::new(self.json)
    }
}

/// The admin API of one host.
#[derive(Debug)]
pub(super) struct Api {
    wire: Wire,
    prefix: String,
    token: Option<String>,
}

impl Api {
    /// Finds out where it is and who we are; connects at the first call.
    pub(super) fn new(args: &Args) -> Result<Self, Failure> {
        // What is wrong with the rest of it is no matter here, and a file of another user's need not be readable.
        let local = config::read(args.config.as_deref(), &environment()).config;
        let target = Target::parse(&args.admin.clone().unwrap_or_else(|| format!("http://{}", reachable(local.admin.listen))))?;
        let given = environment().remove("HOOKYARD_ADMIN_TOKEN").and_then(Secret::new);
        if let Some(around) = given.as_ref().and_then(Secret::surrounded_by) {
            let message = format!("the variable HOOKYARD_ADMIN_TOKEN has {around}, which is no part of the token");
            return Err(Failure::new(Exit::Usage, message).hint(Secret::WITHOUT));
        }
        let given = given.and_then(|token| String::from_utf8(token.expose().to_vec()).ok());
        // The token of this machine's host is for this machine's host: it is never shown to another one.
        let token = given.or_else(|| target.is_loopback().then(|| local_token(&local)).flatten());
        Ok(Self { prefix: format!("{}/api/v1", target.path.trim_end_matches('/')), wire: Wire::new(target), token })
    }

    /// The host whose admin listener is there.
    pub(super) fn at(admin: &str) -> Result<Self, Failure> {
        Self::new(&Args { admin: Some(admin.to_owned()), config: None, json: false })
    }

    /// Reads.
    pub(super) async fn get(&mut self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path).await
    }

    /// Acts. What is asked for stands in the path and the query: the API reads no body, and refuses one.
    pub(super) async fn post(&mut self, path: &str) -> Result<Value, Failure> {
        self.call(Method::POST, path).await
    }

    async fn call(&mut self, method: Method, path: &str) -> Result<Value, Failure> {
        let mut request =
            Request::builder().method(method).uri(format!("{}/{path}", self.prefix)).header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::new()));
        let request = request.map_err(|error| Failure::new(Exit::Usage, format!("cannot ask for `{path}`: {error}")))?;
        let answer = self.wire.call(request).await?;
        if answer.status().is_success() {
            if answer.body().is_empty() {
                return Ok(Value::Null);
            }
            let status = answer.status();
            return serde_json::from_slice(answer.body())
                .map_err(|_| Failure::new(Exit::Failed, format!("the answer ({status}) is not JSON: is this Hookyard's admin listener?")));
        }
        Err(refused(answer.status(), answer.body()))
    }
}

/// A path segment or query value, percent-encoded.
#[must_use]
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// A query string of those that are given.
#[must_use]
pub(super) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let given: Vec<String> = pairs.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={}", encoded(value)))).collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let words = ["detail", "title"].iter().find_map(|name| problem[*name].as_str()).unwrap_or("no reason given");
    let code = problem["code"].as_str().map(|code| format!(" [{code}]")).unwrap_or_default();
    let failure = |exit| Failure::new(exit, format!("the host refused ({status}){code}: {words}"));
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            failure(Exit::NotAuthorised).hint("set HOOKYARD_ADMIN_TOKEN, or name the host's --config: its token is in data_dir/admin.token")
        }
        StatusCode::NOT_FOUND => failure(Exit::NotFound),
        StatusCode::SERVICE_UNAVAILABLE => failure(Exit::Unreachable).hint("the host is starting or stopping: /readyz tells"),
        _ => failure(Exit::Failed),
    }
}

/// Where a listener of this machine is reached: one that listens everywhere, over loopback.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, listen.port())),
        _ => listen,
    }
}

fn local_token(config: &Config) -> Option<String> {
    let token = std::fs::read_to_string(config.data_dir.join("admin.token")).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert_eq!(encoded("../x?y#z ü"), "..%2Fx%3Fy%23z%20%C3%BC");
        assert_eq!(query(&[("a", Some("1&b=2")), ("c", None)]), "?a=1%26b%3D2");
        assert_eq!(query(&[("c", None)]), "");
    }

    #[test]
    fn a_listener_is_asked_where_it_listens_and_over_loopback_where_that_is_everywhere() {
        let at = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!([at("127.0.0.1:18082"), at("0.0.0.0:1"), at("[::]:2")], ["127.0.0.1:18082", "127.0.0.1:1", "[::1]:2"]);
    }

    #[test]
    fn the_hosts_refusals_become_exit_codes() {
        let problem = br#"{"code":"not_found","detail":"no such delivery"}"#;
        for (status, exit) in
            [(401, Exit::NotAuthorised), (403, Exit::NotAuthorised), (404, Exit::NotFound), (409, Exit::Failed), (503, Exit::Unreachable)]
        {
            let failure = refused(StatusCode::from_u16(status).unwrap(), problem);
            assert_eq!(failure.exit, exit, "{status}");
            assert!(failure.message.contains("no such delivery"), "{failure}");
        }
        assert_eq!(refused(StatusCode::NOT_FOUND, b"<html>").exit, Exit::NotFound);
    }
}
