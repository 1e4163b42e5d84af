//! Issues, and pull requests seen as issues. <https://docs.github.com/en/rest/issues>

use serde::Serialize;
use serde_json::json;

use super::{Comment, Issue, Repo};
use crate::http::HttpError;

/// An issue to be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewIssue<'a> {
    /// The title.
    pub title: String,
    /// The description.
    pub body: String,
    /// Its labels; those the repository does not have are made.
    pub labels: &'a [&'a str],
}

/// Why an issue is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// It is done.
    Completed,
    /// It will not be done.
    NotPlanned,
}

impl Repo {
    /// An issue, or none where there is none of this number.
    pub fn issue(&self, number: u64) -> Result<Option<Issue>, HttpError> {
        self.find(&["issues", &number.to_string()])
    }

    /// The issues under a label, newest first; `state` is `open`, `closed` or `all`. Pull requests are not among them.
    pub fn issues(&self, label: &str, state: &str) -> Result<Vec<Issue>, HttpError> {
        let mut issues: Vec<Issue> = self.list(&["issues"], &[("labels", label), ("state", state)])?;
        issues.retain(|issue| issue.pull_request.is_none());
        Ok(issues)
    }

    /// Opens an issue.
    pub fn open_issue(&self, issue: &NewIssue<'_>) -> Result<Issue, HttpError> {
        self.write("POST", &["issues"], issue)?.json()
    }

    /// Closes an issue or pull request.
    pub fn close(&self, number: u64, reason: CloseReason) -> Result<(), HttpError> {
        let change = json!({"state": "closed", "state_reason": reason});
        self.write("PATCH", &["issues", &number.to_string()], &change).map(drop)
    }

    /// Opens an issue or pull request again.
    pub fn reopen(&self, number: u64) -> Result<(), HttpError> {
        self.write("PATCH", &["issues", &number.to_string()], &json!({"state": "open"})).map(drop)
    }

    /// The comments on an issue or pull request that were made or changed at `since` (RFC 3339) or later.
    pub fn comments_since(&self, number: u64, since: &str) -> Result<Vec<Comment>, HttpError> {
        self.list(&["issues", &number.to_string(), "comments"], &[("since", since)])
    }

    /// Comments on an issue or pull request.
    pub fn comment(&self, number: u64, body: &str) -> Result<Comment, HttpError> {
        self.write("POST", &["issues", &number.to_string(), "comments"], &json!({"body": body}))?.json()
    }

    /// Adds labels; those the repository does not have are made.
    pub fn add_labels<S: AsRef<str>>(&self, number: u64, labels: &[S]) -> Result<(), HttpError> {
        let labels: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
        self.write("POST", &["issues", &number.to_string(), "labels"], &json!({"labels": labels})).map(drop)
    }

    /// Takes a label off; false where it was not on.
    pub fn remove_label(&self, number: u64, label: &str) -> Result<bool, HttpError> {
        let request = self.request("DELETE", &["issues", &number.to_string(), "labels", label], &[])?;
        Ok(request.send()?.success_or(&[404])?.is_some())
    }

    /// Assigns people, and gives the issue as it is then: GitHub leaves out who cannot be assigned, and says nothing.
    pub fn assign<S: AsRef<str>>(&self, number: u64, people: &[S]) -> Result<Issue, HttpError> {
        let people: Vec<&str> = people.iter().map(AsRef::as_ref).collect();
        self.write("POST", &["issues", &number.to_string(), "assignees"], &json!({"assignees": people}))?.json()
    }

    /// Unassigns people; those who were not assigned do not matter.
    pub fn unassign<S: AsRef<str>>(&self, number: u64, people: &[S]) -> Result<(), HttpError> {
        let people: Vec<&str> = people.iter().map(AsRef::as_ref).collect();
        self.write("DELETE", &["issues", &number.to_string(), "assignees"], &json!({"assignees": people})).map(drop)
    }

    /// Answers a comment with a thumbs-up; a second one is the first.
    pub fn thumbs_up(&self, comment: u64) -> Result<(), HttpError> {
        self.write("POST", &["issues", "comments", &comment.to_string(), "reactions"], &json!({"content": "+1"})).map(drop)
    }
}
