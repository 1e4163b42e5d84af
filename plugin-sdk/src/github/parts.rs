//! What several events speak of.

use super::Words;

/// A person, a bot or an organisation.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct User {
    /// GitHub's id.
    pub id: u64,
    /// The name.
    pub login: String,
    /// `User`, `Bot` or `Organization`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Repository {
    /// GitHub's id.
    pub id: u64,
    /// The name without its owner.
    pub name: String,
    /// `owner/name`.
    pub full_name: String,
    /// Whether it is private.
    #[serde(default)]
    pub private: bool,
    /// Whether it is a fork.
    #[serde(default)]
    pub fork: bool,
    /// Whether it is archived.
    #[serde(default)]
    pub archived: bool,
    /// The default branch.
    pub default_branch: Option<String>,
    /// The page for people.
    pub html_url: Option<String>,
    /// Where to clone from.
    pub clone_url: Option<String>,
    /// The last push, as RFC 3339.
    #[serde(default, deserialize_with = "super::moment::either")]
    pub pushed_at: Option<String>,
    /// How many have starred it.
    pub stargazers_count: Option<u64>,
    /// How many forks of it there are.
    pub forks_count: Option<u64>,
    /// Whose it is.
    pub owner: Option<User>,
}

/// The installation of a GitHub App a delivery came through.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Installation {
    /// GitHub's id.
    pub id: u64,
}

/// A label.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Label {
    /// GitHub's id.
    pub id: u64,
    /// The name.
    pub name: String,
    /// Six hexadecimal digits.
    pub color: Option<String>,
    /// What it means.
    pub description: Option<String>,
}

/// Who wrote or committed a commit, as git has it.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct CommitAuthor {
    /// The name.
    pub name: Option<String>,
    /// The address.
    pub email: Option<String>,
    /// The GitHub account, where there is one.
    pub username: Option<String>,
}

/// A commit of a push.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Commit {
    /// Its SHA.
    pub id: String,
    /// The whole message.
    pub message: String,
    /// When, as RFC 3339.
    pub timestamp: Option<String>,
    /// The page for people.
    pub url: Option<String>,
    /// Whether it is new to the repository.
    #[serde(default)]
    pub distinct: bool,
    /// Who wrote it.
    pub author: Option<CommitAuthor>,
    /// Files added.
    #[serde(default)]
    pub added: Vec<String>,
    /// Files changed.
    #[serde(default)]
    pub modified: Vec<String>,
    /// Files removed.
    #[serde(default)]
    pub removed: Vec<String>,
}

/// One side of a pull request.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct GitRef {
    /// The branch.
    #[serde(rename = "ref")]
    pub name: String,
    /// The commit.
    pub sha: String,
    /// The repository; none where a fork was deleted.
    pub repo: Option<Repository>,
}

/// A pull request.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct PullRequest {
    /// GitHub's id.
    pub id: u64,
    /// Its number in the repository.
    pub number: u64,
    /// The title.
    pub title: String,
    /// The description.
    pub body: Option<String>,
    /// `open` or `closed`.
    pub state: String,
    /// Whether it is a draft.
    pub draft: Option<bool>,
    /// Whether it was merged; absent in short forms.
    pub merged: Option<bool>,
    /// The merge commit.
    pub merge_commit_sha: Option<String>,
    /// When it was merged, as RFC 3339.
    pub merged_at: Option<String>,
    /// The page for people.
    pub html_url: Option<String>,
    /// Who opened it; none where the account is gone.
    pub user: Option<User>,
    /// What is to be merged.
    pub head: GitRef,
    /// Where to.
    pub base: GitRef,
    /// Its labels.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// The people asked for a review who have not given it.
    #[serde(default)]
    pub requested_reviewers: Vec<User>,
    /// The teams asked for a review.
    #[serde(default)]
    pub requested_teams: Vec<Team>,
    /// Lines added; absent in short forms.
    pub additions: Option<u64>,
    /// Lines removed; absent in short forms.
    pub deletions: Option<u64>,
    /// Files changed; absent in short forms.
    pub changed_files: Option<u64>,
}

/// A team.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Team {
    /// Its name in paths; absent where GitHub names a user in a team's place.
    pub slug: Option<String>,
}

/// An issue, or a pull request seen as one.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Issue {
    /// GitHub's id.
    pub id: u64,
    /// Its number in the repository.
    pub number: u64,
    /// The title.
    pub title: String,
    /// The description.
    pub body: Option<String>,
    /// `open` or `closed`.
    pub state: Option<String>,
    /// Why it is closed: `completed`, `not_planned`, …
    pub state_reason: Option<String>,
    /// The page for people.
    pub html_url: Option<String>,
    /// Who opened it.
    pub user: Option<User>,
    /// Its labels.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Who is to do it.
    #[serde(default)]
    pub assignees: Vec<User>,
    /// What the author is to the repository: `OWNER`, `MEMBER`, `COLLABORATOR`, `NONE`, …
    pub author_association: Option<String>,
    /// Present where it is a pull request.
    pub pull_request: Option<serde::de::IgnoredAny>,
}

/// A comment on an issue or pull request.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Comment {
    /// GitHub's id.
    pub id: u64,
    /// The text.
    pub body: Option<String>,
    /// The page for people.
    pub html_url: Option<String>,
    /// Who wrote it.
    pub user: Option<User>,
    /// What the author is to the repository: `OWNER`, `MEMBER`, `COLLABORATOR`, `NONE`, …
    pub author_association: Option<String>,
    /// When, as RFC 3339.
    pub created_at: Option<String>,
}

/// A release.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Release {
    /// GitHub's id.
    pub id: u64,
    /// The tag.
    pub tag_name: String,
    /// The branch or commit the tag was made from.
    pub target_commitish: Option<String>,
    /// The title.
    pub name: Option<String>,
    /// The notes.
    pub body: Option<String>,
    /// Whether it is a draft.
    #[serde(default)]
    pub draft: bool,
    /// Whether it is a pre-release.
    #[serde(default)]
    pub prerelease: bool,
    /// The page for people.
    pub html_url: Option<String>,
}

/// One run of a workflow.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct WorkflowRun {
    /// GitHub's id.
    pub id: u64,
    /// The workflow's name.
    pub name: Option<String>,
    /// The branch.
    pub head_branch: Option<String>,
    /// The commit.
    pub head_sha: String,
    /// What started it.
    pub event: Option<String>,
    /// `queued`, `in_progress`, `completed`, …
    pub status: Option<String>,
    /// `success`, `failure`, …; none while it runs.
    pub conclusion: Option<String>,
    /// Its number in the workflow.
    pub run_number: Option<u64>,
    /// How often it was started.
    pub run_attempt: Option<u64>,
    /// The page for people.
    pub html_url: Option<String>,
}

/// The runs of all checks of one app for a commit.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct CheckSuite {
    /// The branch; none where the commit came from a fork.
    pub head_branch: Option<String>,
}

/// One run of a check.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct CheckRun {
    /// GitHub's id.
    pub id: u64,
    /// The check's name.
    pub name: String,
    /// The commit.
    pub head_sha: String,
    /// `queued`, `in_progress`, `completed`, …
    pub status: Option<String>,
    /// `success`, `failure`, …; none while it runs.
    pub conclusion: Option<String>,
    /// When it ended, as RFC 3339.
    pub completed_at: Option<String>,
    /// What it belongs to.
    pub check_suite: Option<CheckSuite>,
    /// Where to read more.
    pub details_url: Option<String>,
    /// The page for people.
    pub html_url: Option<String>,
}

/// A deployment.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Deployment {
    /// GitHub's id.
    pub id: u64,
    /// The commit.
    pub sha: String,
    /// What was asked for: a branch, a tag or a SHA.
    #[serde(rename = "ref")]
    pub name: String,
    /// The task, such as `deploy`.
    pub task: Option<String>,
    /// Where to.
    pub environment: Option<String>,
    /// In words.
    pub description: Option<String>,
}

/// A report on a deployment.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct DeploymentState {
    /// GitHub's id.
    pub id: u64,
    /// `pending`, `success`, `failure`, `error`, …
    pub state: String,
    /// Where to.
    pub environment: Option<String>,
    /// In words.
    pub description: Option<String>,
    /// Where to read more.
    pub target_url: Option<String>,
    /// The log.
    pub log_url: Option<String>,
    /// What was deployed.
    pub environment_url: Option<String>,
}

impl User {
    /// Whether it is an app or another machine: such are never answered.
    pub fn is_bot(&self) -> bool {
        self.kind.as_deref() == Some("Bot") || self.login.ends_with("[bot]")
    }
}

impl Words for Issue {
    fn text(&self) -> Option<&str> {
        self.body.as_deref()
    }

    fn trusted(&self) -> bool {
        super::marker::counts(self.user.as_ref(), self.author_association.as_deref())
    }
}

impl Words for Comment {
    fn text(&self) -> Option<&str> {
        self.body.as_deref()
    }

    fn trusted(&self) -> bool {
        super::marker::counts(self.user.as_ref(), self.author_association.as_deref())
    }
}
