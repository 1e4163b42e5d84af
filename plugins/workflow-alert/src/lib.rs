//! Tells the team that a workflow's run has failed, with links to the jobs that did; once a run, its repetitions included.

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, Job, Repo, WorkflowRun, WorkflowRunEvent},
    notify,
};
use serde::Deserialize;

/// Jobs that are named; a matrix may have 256.
const JOBS_MAX: usize = 10;

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    notify: String,
    branches: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { api_url: API_URL.into(), notify: "slack".into(), branches: Vec::new() }
    }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let event: WorkflowRunEvent = delivery.json()?;
    let run = &event.workflow_run;
    if event.action != "completed" || !is_failure(run.conclusion.as_deref()) {
        return Ok(Verdict::skip(format!("`{}` is no failure", run.conclusion.as_deref().unwrap_or(&event.action))));
    }
    let branch = run.head_branch.as_deref().unwrap_or("no branch");
    if !config.branches.is_empty() && !config.branches.iter().any(|wanted| wanted == branch) {
        return Ok(Verdict::skip(format!("{branch} is not watched")));
    }
    let repo = Repo::new(&config.api_url, &event.repository)?;
    let jobs = repo.jobs(run.id)?;
    let failed: Vec<&Job> = jobs.iter().filter(|job| is_failure(job.conclusion.as_deref())).collect();
    let text = words(run, branch, &event.repository.full_name, &failed);
    let is_new = notify::once(&config.notify, &format!("run:{}", run.id), &text)?;
    if is_new { Ok(Verdict::ack()) } else { Ok(Verdict::skip("the team has been told")) }
}

fn is_failure(conclusion: Option<&str>) -> bool {
    matches!(conclusion, Some("failure" | "timed_out" | "startup_failure"))
}

fn words(run: &WorkflowRun, branch: &str, repository: &str, failed: &[&Job]) -> String {
    let name = format!("{} #{}", run.name.as_deref().unwrap_or("A workflow"), run.run_number.unwrap_or_default());
    let mut text = format!(
        "{} failed on {} of {}.",
        notify::link(run.html_url.as_deref(), &name),
        notify::escape(branch),
        notify::escape(repository),
    );
    let named = failed.iter().take(JOBS_MAX).map(|job| notify::link(job.html_url.as_deref(), &job.name));
    let more = failed.len().checked_sub(JOBS_MAX).filter(|more| *more > 0).map(|more| format!("and {more} more"));
    for line in named.chain(more) {
        text.push_str("\n• ");
        text.push_str(&line);
    }
    text
}
