//! Reports a deployment that was made as in progress, so that people see that somebody has taken it.
//!
//! A deployment that anybody has reported on beyond `queued` is left alone: the same delivery twice, or a late one, changes nothing.

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, DeploymentEvent, Repo},
};
use serde::Deserialize;

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    environments: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { api_url: API_URL.into(), environments: Vec::new() }
    }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let event: DeploymentEvent = delivery.json()?;
    if event.action.as_deref().is_some_and(|action| action != "created") {
        return Ok(Verdict::skip("nothing new is deployed"));
    }
    let environment = event.deployment.environment.as_deref().unwrap_or("production");
    if !config.environments.is_empty() && !config.environments.iter().any(|wanted| wanted == environment) {
        return Ok(Verdict::skip(format!("{environment} is not ours")));
    }
    let repo = Repo::new(&config.api_url, &event.repository)?;
    let states = repo.deployment_states(event.deployment.id)?;
    if let Some(state) = states.iter().find(|state| !matches!(state.state.as_str(), "queued" | "pending")) {
        return Ok(Verdict::skip(format!("it is reported as {}", state.state)));
    }
    repo.report_deployment(event.deployment.id, "in_progress", "The deployment has begun.")?;
    Ok(Verdict::ack())
}
