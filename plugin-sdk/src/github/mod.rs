//! GitHub: typed views of its documents, and its REST API.
//!
//! GitHub changes its payloads weekly and without versions, so a view ignores what it does not know and asks only for what has always been
//! there; everything else is an `Option` or has a default. Actions and states are text for the same reason: a new one is not an error.
//! Need another field? Write a struct of your own with it and give that to [`Delivery::json`](crate::Delivery::json). The API answers with
//! the same objects, so its calls give the same views.
//! Shapes: <https://docs.github.com/en/webhooks/webhook-events-and-payloads>.
//!
//! ```no_run
//! use hookyard_sdk::{Delivery, Verdict, github::{API_URL, Issues, Repo}};
//!
//! fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
//!     let event: Issues = delivery.json()?;
//!     let repo = Repo::new(API_URL, &event.repository)?;
//!     repo.add_labels(event.issue.number, &["triage"])?;
//!     Ok(Verdict::ack())
//! }
//! ```

mod actions;
mod deployments;
mod events;
mod issues;
mod marker;
mod moment;
mod parts;
mod pulls;
mod repo;
mod settings;

pub use actions::Job;
pub use deployments::{NewDeployment, Origin};
pub use events::{
    BranchName, CheckRunEvent, DeploymentEvent, DeploymentStatusEvent, Fork, IssueComment, Issues, PullRequestEvent, Push, ReleaseEvent,
    RepositoryEvent, Star, Status, Watch, WorkflowRunEvent,
};
pub use issues::{CloseReason, NewIssue};
pub use marker::{Marker, Words};
pub use moment::day;
pub use parts::{
    CheckRun, CheckSuite, Comment, Commit, CommitAuthor, Deployment, DeploymentState, GitRef, Installation, Issue, Label, PullRequest,
    Release, Repository, Team, User, WorkflowRun,
};
pub use pulls::{Review, Reviewers};
pub use repo::{API_URL, CREDENTIAL, Repo};
pub use settings::NewLabel;
