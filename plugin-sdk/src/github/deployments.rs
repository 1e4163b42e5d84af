//! Deployments and the reports on them. <https://docs.github.com/en/rest/deployments>

use serde::{Deserialize, Serialize};

use super::{Deployment, DeploymentState, Repo};
use crate::http::HttpError;

/// A deployment to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewDeployment<'a> {
    /// A branch, a tag or a SHA.
    #[serde(rename = "ref")]
    pub name: &'a str,
    /// Where to.
    pub environment: &'a str,
    /// Whether people use what is deployed there.
    pub production_environment: bool,
    /// In words.
    pub description: String,
    /// Whether GitHub first merges the default branch into the ref.
    pub auto_merge: bool,
    /// The statuses that must have succeeded; none of them where it is empty.
    pub required_contexts: &'a [String],
    /// What the deployer is told, and what [`Repo::is_deployed`] looks for.
    pub payload: Origin<'a>,
}

/// What a deployment was made for: the same delivery again finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Origin<'a> {
    /// Which plugin, and for what.
    pub hookyard: &'a str,
}

/// The payload as GitHub gives it back: as it was, or as text.
#[derive(Deserialize)]
struct Found {
    payload: Option<serde_json::Value>,
}

impl Repo {
    /// Whether there is a deployment of a ref to an environment with this origin, among the newest thousand.
    pub fn is_deployed(&self, origin: Origin<'_>, name: &str, environment: &str) -> Result<bool, HttpError> {
        let found: Vec<Found> = self.list(&["deployments"], &[("ref", name), ("environment", environment)])?;
        Ok(found.iter().any(|found| found.is_of(origin)))
    }

    /// Makes a deployment; GitHub tells those who listen with the event `deployment`.
    pub fn deploy(&self, deployment: &NewDeployment<'_>) -> Result<Deployment, HttpError> {
        self.write("POST", &["deployments"], deployment)?.json()
    }

    /// The reports on a deployment, newest first.
    pub fn deployment_states(&self, deployment: u64) -> Result<Vec<DeploymentState>, HttpError> {
        self.list(&["deployments", &deployment.to_string(), "statuses"], &[])
    }

    /// Reports on a deployment: `state` is `queued`, `in_progress`, `success`, `failure`, …
    pub fn report_deployment(&self, deployment: u64, state: &str, description: &str) -> Result<(), HttpError> {
        let report = serde_json::json!({"state": state, "description": description});
        self.write("POST", &["deployments", &deployment.to_string(), "statuses"], &report).map(drop)
    }
}

impl Found {
    fn is_of(&self, origin: Origin<'_>) -> bool {
        let payload = match &self.payload {
            Some(serde_json::Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
            Some(value) => value.clone(),
            None => serde_json::Value::Null,
        };
        payload["hookyard"] == origin.hookyard
    }
}
