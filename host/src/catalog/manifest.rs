//! `NAME.toml`: what a plugin asks for, from the shape of the file to checked values.
//!
//! The manifest belongs to the team that owns the plugin, so it is hostile until checked: every value has a bound, unknown keys are refused
//! rather than ignored (a misspelt limit must not silently be no limit), and all problems are told at once.

use std::time::Duration;

use serde::Deserialize;

use super::{notes, serial::SerializeBy};
use crate::{
    delivery::{Digest, RetryPolicy, SourceId, parse_time, pattern_problem},
    egress::{Asked, HttpGrant, SecretGrant},
    tenants::Budget,
};

/// Largest manifest file.
pub const MANIFEST_BYTES_MAX: u64 = 256 * 1024;
/// Largest `[config]` table, as JSON.
const CONFIG_BYTES_MAX: usize = 64 * 1024;
/// Sources or events one plugin may name.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Grants of one kind a plugin may ask for.
const GRANTS_MAX: usize = 64;
/// Runs of one plugin at once, where the manifest says nothing. A run counts until its settlement is synced, and one sync carries many, so
/// this is many more than there are threads.
const CONCURRENCY_DEFAULT: usize = 32;
/// The same for a plugin whose runs take turns: most of them would only wait.
const CONCURRENCY_OF_TURNS_DEFAULT: usize = 8;
/// Runs of one plugin at once, at most.
const CONCURRENCY_MAX: usize = 1024;

/// A checked manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Sources it subscribes to.
    pub sources: Vec<SourceId>,
    /// `*`, `push` or `pull_request.opened`.
    pub events: Vec<String>,
    /// The `[config]` table.
    pub config: serde_json::Value,
    /// The budget it asks for, where it asks.
    pub limits: Limits,
    /// When and how often it is retried.
    pub retry: RetryPolicy,
    /// What it asks to reach.
    pub asked: Asked,
    /// Which runs take turns.
    pub serialize_by: Option<SerializeBy>,
    /// The component it belongs to, by the SHA-256 of the file.
    pub component_sha256: Option<Digest>,
}

/// The budget a manifest asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Fuel for an empty body.
    pub fuel: Option<u64>,
    /// Memory for an empty body.
    pub memory_bytes_max: Option<u64>,
    /// Wall-clock time.
    pub wall: Option<Duration>,
    /// Runs at once.
    pub concurrency_max: Option<usize>,
}

impl Limits {
    /// What is asked for, the host's default where nothing is, and never more than the ceilings. A limit that is stated is meant as it
    /// stands: what the default adds for each byte of the body is then not added.
    #[must_use]
    pub fn budget(&self, default: Budget, ceiling: Budget) -> Budget {
        Budget {
            fuel: self.fuel.unwrap_or(default.fuel),
            fuel_per_body_byte: if self.fuel.is_some() { 0 } else { default.fuel_per_body_byte },
            memory_bytes_max: self.memory_bytes_max.unwrap_or(default.memory_bytes_max),
            memory_per_body_byte: if self.memory_bytes_max.is_some() { 0 } else { default.memory_per_body_byte },
            wall: self.wall.unwrap_or(default.wall),
        }
        .min(ceiling)
    }

    /// Runs at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.concurrency_max.unwrap_or(CONCURRENCY_DEFAULT)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    sources: Vec<String>,
    events: Vec<String>,
    #[serde(default)]
    config: toml::Table,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    retry: RawRetry,
    #[serde(default)]
    grants: RawGrants,
    serialize_by: Option<String>,
    component_sha256: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    fuel: Option<u64>,
    memory_bytes_max: Option<u64>,
    wall_ms: Option<u64>,
    concurrency_max: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetry {
    r#for: Option<String>,
    attempts_max: Option<u32>,
    delay_min_ms: Option<u64>,
    delay_max_ms: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrants {
    #[serde(default)]
    http: Vec<HttpGrant>,
    #[serde(default)]
    secrets: Vec<SecretGrant>,
}

/// Reads and checks a manifest; the error lists every problem, one a line.
pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
    read(bytes, |pattern| pattern_problem(pattern).is_none())
}

/// Reads the manifest of a version that is kept: it has served, so what was allowed then does not end it now.
pub(super) fn parse_kept(bytes: &[u8]) -> Result<Manifest, String> {
    read(bytes, |pattern| pattern_problem(pattern).is_none() || was_event_pattern(pattern))
}

fn read(bytes: &[u8], is_pattern: impl Fn(&str) -> bool) -> Result<Manifest, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("the manifest is not UTF-8 ({error})"))?;
    let raw: Raw = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let mut problems = Vec::new();
    let sources =
        raw.sources.iter().filter_map(|name| name.parse().map_err(|error| problems.push(format!("sources: {error}"))).ok()).collect();
    for event in &raw.events {
        if let Some(problem) = pattern_problem(event).filter(|_| !is_pattern(event)) {
            let near = notes::near_event(event).map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            problems.push(format!("events: {problem}{near}"));
        }
    }
    for (key, found) in [("sources", raw.sources.len()), ("events", raw.events.len())] {
        if !(1..=SUBSCRIPTIONS_MAX).contains(&found) {
            problems.push(format!("{key}: found {found} entries; expected 1 to {SUBSCRIPTIONS_MAX}"));
        }
    }
    let serialize_by = raw.serialize_by.map(|text| text.parse()).transpose().unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let component_sha256 = raw.component_sha256.and_then(|text| {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            problems.push(format!(
                "component_sha256: found `{}`; expected 64 hexadecimal digits, as `sha256sum` prints them",
                text.escape_debug()
            ));
        }
        parsed
    });
    let mut limits = check_limits(&raw.limits, &mut problems);
    if serialize_by.is_some() {
        limits.concurrency_max.get_or_insert(CONCURRENCY_OF_TURNS_DEFAULT);
    }
    let retry = check_retry(&raw.retry).unwrap_or_else(|error| {
        problems.push(error);
        RetryPolicy::default()
    });
    let asked = check_grants(raw.grants, &mut problems);
    let config = to_json(toml::Value::Table(raw.config));
    let config_bytes = config.to_string().len();
    if config_bytes > CONFIG_BYTES_MAX {
        problems.push(format!("config: found {config_bytes} bytes; expected at most {CONFIG_BYTES_MAX}"));
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    Ok(Manifest { sources, events: raw.events, config, limits, retry, asked, serialize_by, component_sha256 })
}

fn check_limits(raw: &RawLimits, problems: &mut Vec<String>) -> Limits {
    let zeroes = [("fuel", raw.fuel), ("memory_bytes_max", raw.memory_bytes_max), ("wall_ms", raw.wall_ms)];
    for (key, _) in zeroes.iter().filter(|(_, value)| *value == Some(0)) {
        problems.push(format!("limits.{key}: found 0; expected at least 1 (leave it out for the default)"));
    }
    if raw.concurrency_max.is_some_and(|runs| !(1..=CONCURRENCY_MAX).contains(&runs)) {
        problems.push(format!("limits.concurrency_max: expected 1 to {CONCURRENCY_MAX}"));
    }
    Limits {
        fuel: raw.fuel,
        memory_bytes_max: raw.memory_bytes_max,
        wall: raw.wall_ms.map(Duration::from_millis),
        concurrency_max: raw.concurrency_max,
    }
}

fn check_grants(raw: RawGrants, problems: &mut Vec<String>) -> Asked {
    for (key, found) in [("http", raw.http.len()), ("secrets", raw.secrets.len())] {
        if found > GRANTS_MAX {
            problems.push(format!("grants.{key}: found {found} tables; expected at most {GRANTS_MAX}"));
        }
    }
    for (at, grant) in raw.http.iter().enumerate() {
        problems.extend(grant.problems().into_iter().map(|problem| format!("grants.http[{at}].{problem}")));
        if grant.allow_http {
            problems.push(format!("grants.http[{at}].allow_http: only the operator's `tenant.toml` may say it; leave it out"));
        }
    }
    Asked { http: raw.http, secrets: raw.secrets }
}

/// A manifest that names attempts and no time means what it has always meant: so many attempts, whatever time they take.
fn check_retry(raw: &RawRetry) -> Result<RetryPolicy, String> {
    let default = RetryPolicy::default();
    let min = raw.delay_min_ms.map_or(default.delay_min(), Duration::from_millis);
    let max = raw.delay_max_ms.map_or_else(|| default.delay_max().max(min), Duration::from_millis);
    let time = raw.r#for.as_deref().map(parse_time).transpose().map_err(|error| error.to_string())?;
    let policy = match (time, raw.attempts_max) {
        (None, Some(attempts_max)) => RetryPolicy::new(attempts_max, min, max),
        (time, attempts_max) => {
            let time = time.or(default.time()).unwrap_or(Duration::MAX);
            RetryPolicy::within(time, attempts_max, (min, max))
        }
    };
    policy.map_err(|error| error.to_string())
}

/// What was a pattern before there was one grammar, and fits nothing.
fn was_event_pattern(pattern: &str) -> bool {
    let word = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    pattern.split('.').count() <= 2 && pattern.split('.').all(word)
}

/// TOML as JSON; dates become their text.
fn to_json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, to_json(value))).collect::<serde_json::Map<_, _>>().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_contract_is_read() {
        let manifest = parse(
            br#"
            sources = ["github"]
            events = ["push", "pull_request.opened"]
            [config]
            main_branch = "main"
            [limits]
            fuel = 1_000_000_000
            memory_bytes_max = 67_108_864
            wall_ms = 5000
            [retry]
            attempts_max = 8
            delay_min_ms = 1000
            delay_max_ms = 3_600_000
            [[grants.http]]
            host = "api.github.com"
            methods = ["GET", "POST", "PATCH", "PUT"]
            credential = "github"
            "#,
        )
        .unwrap();
        assert_eq!(manifest.config["main_branch"], "main");
        assert_eq!(manifest.retry.attempts_max(), 8);
        assert_eq!(manifest.asked.http[0].host.as_deref(), Some("api.github.com"));
        assert_eq!(manifest.limits.wall, Some(Duration::from_secs(5)));
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let problems =
            parse(b"sources = [\"Git Hub\"]\nevents = [\"push.\"]\n[limits]\nfuel = 0\n[retry]\nattempts_max = 0\n").unwrap_err();
        for part in ["Git Hub", "push.", "limits.fuel", "attempts_max"] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
        let grants = "sources = [\"a\"]\nevents = [\"*\"]\n[[grants.http]]\nhost = \"https://a\"\nmethods = [\"GET\"]\nallow_http = true\n";
        let problems = parse(grants.as_bytes()).unwrap_err();
        assert!(problems.contains("grants.http[0].host") && problems.contains("only the operator"), "{problems}");
        assert!(parse(b"sources = [\"a\"]\nevents = [\"*\"]\nfule = 1\n").unwrap_err().contains("fule"));
        assert!(parse(b"sources = []\nevents = []\n").unwrap_err().contains("expected 1 to"));
        assert!(parse(b"\xff").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_time_ends_retries_by_default_and_attempts_do_where_a_manifest_names_only_them() {
        let of = |more: &str| {
            let manifest = format!("sources = [\"a\"]\nevents = [\"*\"]\n[retry]\n{more}");
            parse(manifest.as_bytes()).map(|manifest| (manifest.retry.time().map(|time| time.as_secs()), manifest.retry.attempts_max()))
        };
        let net = RetryPolicy::default().attempts_max();
        assert_eq!(of(""), Ok((Some(86_400), net)));
        assert_eq!(of("delay_min_ms = 5\ndelay_max_ms = 9"), Ok((Some(86_400), net)));
        assert_eq!(of("attempts_max = 8"), Ok((None, 8)));
        assert_eq!(of("for = \"90s\""), Ok((Some(90), net)));
        assert_eq!(of("for = \"2d\"\nattempts_max = 50"), Ok((Some(172_800), 50)));
        assert!(of("for = \"soon\"").unwrap_err().contains("`soon`"));
        assert!(of("for = \"8d\"").unwrap_err().contains("at most 7d"));
        assert!(of("for = 86400").unwrap_err().contains("string"));
    }

    #[test]
    fn an_event_the_door_never_takes_is_refused_and_what_serves_with_one_goes_on() {
        let of = |event: &str| format!("sources = [\"a\"]\nevents = [\"{event}\"]\n");
        let problem = parse(of("repository-dispatch.x").as_bytes()).unwrap_err();
        assert!(problem.contains("(did you mean `repository_dispatch`?)"), "{problem}");
        assert!(parse(of(&format!("repository_dispatch.{}", "x".repeat(65))).as_bytes()).unwrap_err().contains("1 to 64 bytes"));
        assert_eq!(parse(of("repository_dispatch.Deploy.to-Prod").as_bytes()).unwrap().events, ["repository_dispatch.Deploy.to-Prod"]);
        assert!(parse_kept(of("repository-dispatch.x").as_bytes()).is_ok());
        assert!(parse_kept(of("Push").as_bytes()).is_err(), "it was none then either");
    }

    #[test]
    fn runs_that_take_turns_are_few_at_once_unless_the_manifest_says_otherwise() {
        let parsed = |more: &str| parse(format!("sources = [\"a\"]\nevents = [\"*\"]\n{more}").as_bytes());
        let of = |more: &str| parsed(more).map(|manifest| (manifest.serialize_by, manifest.limits.concurrency()));
        assert_eq!(of(""), Ok((None, CONCURRENCY_DEFAULT)));
        assert_eq!(of("serialize_by = \"repository\""), Ok((Some(SerializeBy::Repository), CONCURRENCY_OF_TURNS_DEFAULT)));
        assert_eq!(of("serialize_by = \"repository\"\n[limits]\nconcurrency_max = 2").map(|(_, runs)| runs), Ok(2));
        assert!(of("serialize_by = \"sender\"").unwrap_err().contains("serialize_by: found `sender`"));
    }

    #[test]
    fn a_greedy_manifest_gets_no_more_than_the_ceiling() {
        let ceiling =
            Budget { fuel: 10, fuel_per_body_byte: 1, memory_bytes_max: 20, memory_per_body_byte: 1, wall: Duration::from_secs(1) };
        let greedy = Limits { fuel: Some(u64::MAX), memory_bytes_max: Some(u64::MAX), wall: Some(Duration::MAX), concurrency_max: None };
        let budget = greedy.budget(ceiling, ceiling);
        assert_eq!((budget.fuel, budget.memory_bytes_max, budget.wall), (10, 20, Duration::from_secs(1)));
        assert_eq!(Limits::default().budget(ceiling, ceiling), ceiling);
    }
}
