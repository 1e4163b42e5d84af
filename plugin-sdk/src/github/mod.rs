//! Typed views of GitHub's documents: the fields handlers use, and no more.
//!
//! GitHub changes its payloads weekly and without versions, so a view ignores what it does not know and asks only for what has always been
//! there; everything else is an `Option` or has a default. Actions and states are text for the same reason: a new one is not an error.
//! Need another field? Write a struct of your own with it and give that to [`Delivery::json`](crate::Delivery::json).
//! Shapes: <https://docs.github.com/en/webhooks/webhook-events-and-payloads>.

mod events;
mod parts;

pub use events::{
    CheckRunEvent, DeploymentEvent, DeploymentStatusEvent, Fork, IssueComment, Issues, PullRequestEvent, Push, ReleaseEvent,
    RepositoryEvent, Star, Status, Watch, WorkflowRunEvent,
};
pub use parts::{
    CheckRun, Comment, Commit, CommitAuthor, Deployment, DeploymentState, GitRef, Installation, Issue, Label, PullRequest, Release,
    Repository, User, WorkflowRun,
};
