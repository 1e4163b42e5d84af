//! One view for each event: `push` is [`Push`], `pull_request` is [`PullRequestEvent`], and so on.

use super::{
    CheckRun, Comment, Commit, CommitAuthor, Deployment, DeploymentState, Installation, Issue, Label, PullRequest, Release, Repository,
    User, WorkflowRun,
};

/// `push`: commits or a tag arrived, or a branch or tag was made or deleted.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Push {
    /// The full name: `refs/heads/main`, `refs/tags/v1`.
    #[serde(rename = "ref")]
    pub name: String,
    /// The commit before; zeros where the branch is new.
    pub before: String,
    /// The commit now; zeros where the branch was deleted.
    pub after: String,
    /// Whether the branch is new.
    #[serde(default)]
    pub created: bool,
    /// Whether the branch was deleted.
    #[serde(default)]
    pub deleted: bool,
    /// Whether history was rewritten.
    #[serde(default)]
    pub forced: bool,
    /// The page that shows the difference.
    pub compare: Option<String>,
    /// The commits, at most 2,048 and oldest first.
    #[serde(default)]
    pub commits: Vec<Commit>,
    /// The newest commit; none on deletion.
    pub head_commit: Option<Commit>,
    /// Who pushed.
    pub pusher: Option<CommitAuthor>,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `pull_request`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct PullRequestEvent {
    /// What happened, such as `created`.
    pub action: String,
    /// The pull request's number.
    pub number: u64,
    /// The pull request.
    pub pull_request: PullRequest,
    /// The label, where one was added or removed.
    pub label: Option<Label>,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `issues`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Issues {
    /// What happened, such as `created`.
    pub action: String,
    /// The issue.
    pub issue: Issue,
    /// The label, where one was added or removed.
    pub label: Option<Label>,
    /// The person, where one was assigned or unassigned.
    pub assignee: Option<User>,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `issue_comment`: on an issue or a pull request.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct IssueComment {
    /// What happened, such as `created`.
    pub action: String,
    /// What was commented on.
    pub issue: Issue,
    /// The comment.
    pub comment: Comment,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `release`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct ReleaseEvent {
    /// What happened, such as `created`.
    pub action: String,
    /// The release.
    pub release: Release,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `workflow_run`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct WorkflowRunEvent {
    /// What happened, such as `created`.
    pub action: String,
    /// The run.
    pub workflow_run: WorkflowRun,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `check_run`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct CheckRunEvent {
    /// What happened, such as `created`.
    pub action: String,
    /// The run.
    pub check_run: CheckRun,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `deployment`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct DeploymentEvent {
    /// What happened; absent from old servers.
    pub action: Option<String>,
    /// The deployment.
    pub deployment: Deployment,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `deployment_status`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct DeploymentStatusEvent {
    /// What happened; absent from old servers.
    pub action: Option<String>,
    /// The report.
    pub deployment_status: DeploymentState,
    /// The deployment.
    pub deployment: Deployment,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `status`: a commit's status changed.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// GitHub's id.
    pub id: u64,
    /// The commit.
    pub sha: String,
    /// Which check.
    pub context: String,
    /// `pending`, `success`, `failure` or `error`.
    pub state: String,
    /// In words.
    pub description: Option<String>,
    /// Where to read more.
    pub target_url: Option<String>,
    /// The branches the commit is the head of, at most ten.
    #[serde(default)]
    pub branches: Vec<BranchName>,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// A branch a [`Status`] is about.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct BranchName {
    /// Its name.
    pub name: String,
}

/// `repository`: made, renamed, archived, …
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct RepositoryEvent {
    /// What happened, such as `created`.
    pub action: String,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `star`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Star {
    /// What happened, such as `created`.
    pub action: String,
    /// When; none where the star was taken away.
    pub starred_at: Option<String>,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `watch`: somebody starred a repository.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Watch {
    /// What happened, such as `created`.
    pub action: String,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}

/// `fork`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Fork {
    /// The new repository.
    pub forkee: Repository,
    /// Where it happened.
    pub repository: Repository,
    /// Who caused it.
    pub sender: Option<User>,
    /// The installation it came through.
    pub installation: Option<Installation>,
}
impl Push {
    /// The branch, where the push is one to a branch.
    pub fn branch(&self) -> Option<&str> {
        self.name.strip_prefix("refs/heads/")
    }

    /// The tag, where the push is one of a tag.
    pub fn tag(&self) -> Option<&str> {
        self.name.strip_prefix("refs/tags/")
    }
}
