//! Sets a repository up that was made: default labels, settings and the protection of its default branch, all from the configuration.
//!
//! Labels that are there stay as they are; settings and protection are set whole. The same delivery twice leaves the same state.

use std::time::Duration;

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, NewLabel, Repo, RepositoryEvent},
    http::HttpError,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// GitHub wants all four; absent means that nothing of the kind is required. TOML cannot say `null`.
const PROTECTION: [&str; 4] = ["required_status_checks", "enforce_admins", "required_pull_request_reviews", "restrictions"];
/// An empty repository has no branch to protect before its first push.
const FIRST_PUSH_WAIT: Duration = Duration::from_mins(15);

hookyard_sdk::plugin!(handle, validate = validate);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    labels: Vec<NewLabel>,
    settings: Map<String, Value>,
    protection: Option<Map<String, Value>>,
}

impl Default for Config {
    fn default() -> Self {
        Self { api_url: API_URL.into(), labels: Vec::new(), settings: Map::new(), protection: None }
    }
}

/// Whether a repository could be set up by it: asked before a version serves.
pub fn validate() -> Result<(), Vec<String>> {
    let config: Config = config::check()?;
    let is_colour = |colour: &str| colour.len() == 6 && colour.bytes().all(|byte| byte.is_ascii_hexdigit());
    let wrong = config.labels.iter().filter(|label| !is_colour(&label.color));
    let problems: Vec<String> = wrong
        .map(|label| format!("the colour of the label `{}` is `{}`; expected six hexadecimal digits", label.name, label.color))
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let event: RepositoryEvent = delivery.json()?;
    if event.action != "created" {
        return Ok(Verdict::skip(format!("`{}` sets nothing up", event.action)));
    }
    let repo = Repo::new(&config.api_url, &event.repository)?;
    make_labels(&repo, &config.labels)?;
    if !config.settings.is_empty() {
        repo.change_settings(&config.settings)?;
    }
    if let Some(mut protection) = config.protection {
        let branch = event.repository.default_branch.as_deref().unwrap_or("main");
        if !repo.has_branch(branch)? {
            return Ok(Verdict::retry_after(FIRST_PUSH_WAIT, format!("there is no branch {branch} to protect yet")));
        }
        for key in PROTECTION {
            protection.entry(key).or_insert(Value::Null);
        }
        repo.protect(branch, &protection)?;
    }
    Ok(Verdict::ack())
}

/// Names of labels ignore case. One that another run makes meanwhile is as good as ours.
fn make_labels(repo: &Repo, wanted: &[NewLabel]) -> Result<(), HttpError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let there = repo.labels()?;
    let missing = wanted.iter().filter(|label| !there.iter().any(|known| known.name.eq_ignore_ascii_case(&label.name)));
    missing.into_iter().try_for_each(|label| repo.make_label(label).map(drop))
}
