//! Tells the team how a deployment ended; a failure also opens an issue.
//!
//! The notice is remembered, and the issue carries a marker and is looked for first, closed ones included: the same delivery twice tells once.

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, DeploymentStatusEvent, Marker, NewIssue, Repo},
    http::HttpError,
    notify,
};
use serde::Deserialize;

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    notify: String,
    label: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { api_url: API_URL.into(), notify: "slack".into(), label: "deployment-failure".into() }
    }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let event: DeploymentStatusEvent = delivery.json()?;
    let word = match event.deployment_status.state.as_str() {
        "success" => "succeeded",
        "failure" | "error" => "failed",
        other => return Ok(Verdict::skip(format!("`{other}` is no end"))),
    };
    if word == "failed" {
        open_issue(&Repo::new(&config.api_url, &event.repository)?, &event, &config.label)?;
    }
    let text = format!(
        "The deployment of {} ({}) to {} {word}.",
        notify::link(url(&event), &event.deployment.name),
        notify::escape(&event.repository.full_name),
        notify::escape(environment(&event)),
    );
    notify::once(&config.notify, &format!("deployment:{}:{word}", event.deployment.id), &text)?;
    Ok(Verdict::ack())
}

fn open_issue(repo: &Repo, event: &DeploymentStatusEvent, label: &str) -> Result<(), HttpError> {
    let (deployment, environment) = (&event.deployment, environment(event));
    let marker = Marker::new("deployment-report", deployment.id);
    if repo.issues(label, "all")?.iter().any(|issue| marker.is_on(issue)) {
        return Ok(());
    }
    let why = event.deployment_status.description.as_deref().unwrap_or_default().replace('`', "'");
    let why = if why.is_empty() { String::new() } else { format!("\n\n> `{why}`") };
    let body = format!(
        "Deployment {} of `{}` at {} to `{environment}` ended with `{}`.{why}\n\n{}",
        deployment.id,
        deployment.name,
        deployment.sha,
        event.deployment_status.state,
        url(event).unwrap_or_default(),
    );
    let title = format!("The deployment of {} to {environment} failed", deployment.name).chars().take(250).collect();
    repo.open_issue(&NewIssue { title, body: marker.on(&body), labels: &[label] }).map(drop)
}

fn environment(event: &DeploymentStatusEvent) -> &str {
    event.deployment.environment.as_deref().unwrap_or("production")
}

/// The log, or what the deployer gave instead. An empty text means none.
fn url(event: &DeploymentStatusEvent) -> Option<&str> {
    let status = &event.deployment_status;
    [&status.log_url, &status.target_url].into_iter().filter_map(Option::as_deref).find(|url| !url.is_empty())
}
