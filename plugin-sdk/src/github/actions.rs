//! Workflows and their runs. <https://docs.github.com/en/rest/actions>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::{Repo, WorkflowRun};
use crate::http::HttpError;

/// A job of a workflow's run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Job {
    /// Its name.
    pub name: String,
    /// `success`, `failure`, …; none while it runs.
    pub conclusion: Option<String>,
    /// The page for people.
    pub html_url: Option<String>,
}

#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Runs {
    workflow_runs: Vec<WorkflowRun>,
}

impl Repo {
    /// The jobs of a run's latest attempt, at most a hundred.
    pub fn jobs(&self, run: u64) -> Result<Vec<Job>, HttpError> {
        let jobs: Jobs = self.get(&["actions", "runs", &run.to_string(), "jobs"], &[("filter", "latest"), ("per_page", "100")])?;
        Ok(jobs.jobs)
    }

    /// The runs for a commit, newest first, at most a hundred.
    pub fn runs_of(&self, sha: &str) -> Result<Vec<WorkflowRun>, HttpError> {
        let runs: Runs = self.get(&["actions", "runs"], &[("head_sha", sha), ("per_page", "100")])?;
        Ok(runs.workflow_runs)
    }

    /// Runs the failed jobs of a run again.
    pub fn rerun_failed_jobs(&self, run: u64) -> Result<(), HttpError> {
        self.write("POST", &["actions", "runs", &run.to_string(), "rerun-failed-jobs"], &json!({})).map(drop)
    }

    /// Starts a workflow (its file's name, or its id) on a branch or tag. It must have `on: workflow_dispatch`.
    pub fn start_workflow(&self, workflow: &str, name: &str, inputs: &BTreeMap<String, String>) -> Result<(), HttpError> {
        self.write("POST", &["actions", "workflows", workflow, "dispatches"], &json!({"ref": name, "inputs": inputs})).map(drop)
    }

    /// The runs of a workflow that were started by [`Repo::start_workflow`] or by hand at `since` (RFC 3339) or later.
    pub fn started_since(&self, workflow: &str, since: &str) -> Result<Vec<WorkflowRun>, HttpError> {
        let created = format!(">={since}");
        let query = [("event", "workflow_dispatch"), ("created", created.as_str()), ("per_page", "100")];
        let runs: Runs = self.get(&["actions", "workflows", workflow, "runs"], &query)?;
        Ok(runs.workflow_runs)
    }
}
