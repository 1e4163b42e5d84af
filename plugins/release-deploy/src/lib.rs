//! Deploys a published release to production, and tells the team.
//!
//! The deployment carries the release's id and is looked for first; the notice is remembered. The same delivery twice deploys and tells once.

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, NewDeployment, Origin, ReleaseEvent, Repo},
    http::HttpError,
    notify,
};
use serde::Deserialize;

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    environment: String,
    prereleases: bool,
    required_contexts: Vec<String>,
    notify: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let environment = "production".into();
        Self { api_url: API_URL.into(), environment, prereleases: false, required_contexts: Vec::new(), notify: None }
    }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let event: ReleaseEvent = delivery.json()?;
    if event.action != "published" {
        return Ok(Verdict::skip(format!("`{}` publishes nothing", event.action)));
    }
    if event.release.prerelease && !config.prereleases {
        return Ok(Verdict::skip(format!("{} is a pre-release", event.release.tag_name)));
    }
    let repo = Repo::new(&config.api_url, &event.repository)?;
    deploy(&repo, &event, &config)?;
    if let Some(channel) = &config.notify {
        let (tag, repository) = (&event.release.tag_name, &event.repository.full_name);
        let title = event.release.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(tag);
        let text = format!(
            "{} of {} is published; its deployment to {} has begun.",
            notify::link(event.release.html_url.as_deref(), title),
            notify::escape(repository),
            notify::escape(&config.environment),
        );
        notify::once(channel, &format!("release:{}", event.release.id), &text)?;
    }
    Ok(Verdict::ack())
}

fn deploy(repo: &Repo, event: &ReleaseEvent, config: &Config) -> Result<(), HttpError> {
    let (tag, key) = (&event.release.tag_name, format!("release:{}", event.release.id));
    let origin = Origin { hookyard: &key };
    if repo.is_deployed(origin, tag, &config.environment)? {
        return Ok(());
    }
    let deployment = NewDeployment {
        name: tag,
        environment: &config.environment,
        production_environment: true,
        description: format!("Release {tag}").chars().take(140).collect(),
        auto_merge: false,
        required_contexts: &config.required_contexts,
        payload: origin,
    };
    repo.deploy(&deployment).map(drop)
}
