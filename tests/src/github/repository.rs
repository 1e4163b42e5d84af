//! What the repository `acme/shop` holds. A test lays it out and looks at it afterwards; calls change it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The repository. Values are GitHub's objects, with the fields that matter here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repository {
    /// Issues and pull requests seen as issues, by number.
    pub issues: BTreeMap<u64, Value>,
    /// Comments, in the order they were made, with the issue's number as `issue`.
    pub comments: Vec<Value>,
    /// Pull requests, by number; labels are those of the issue.
    pub pulls: BTreeMap<u64, Value>,
    /// Reviews given, by pull request.
    pub reviews: BTreeMap<u64, Vec<Value>>,
    /// Deployments, in the order they were made.
    pub deployments: Vec<Value>,
    /// Reports on deployments, oldest first.
    pub deployment_states: BTreeMap<u64, Vec<Value>>,
    /// The repository's labels.
    pub labels: Vec<Value>,
    /// What people may do: `admin`, `write`, `read`.
    pub permissions: BTreeMap<String, String>,
    /// Runs of workflows.
    pub runs: Vec<Value>,
    /// Jobs, by run.
    pub jobs: BTreeMap<u64, Vec<Value>>,
    /// Runs that were started again.
    pub reruns: Vec<u64>,
    /// Workflows that were started, with `ref` and `inputs`.
    pub started: Vec<Value>,
    /// Branches.
    pub branches: BTreeSet<String>,
    /// Settings that were changed.
    pub settings: Map<String, Value>,
    /// Protection, by branch.
    pub protection: BTreeMap<String, Value>,
    /// (comment, reaction).
    pub reactions: BTreeSet<(u64, String)>,
}

/// Whom calls are made as.
pub(super) fn bot() -> Value {
    json!({"login": "hookyard[bot]", "id": 9_001, "type": "Bot"})
}

/// A person.
pub(super) fn person(login: &str) -> Value {
    json!({"login": login, "id": 1, "type": "User"})
}

/// A moment in the lives of these tests: they say what comes after what, and the clock does not matter.
pub(super) const NOW: &str = "2099-01-01T00:00:00Z";

impl Repository {
    /// Adds an open issue by a stranger.
    pub fn add_issue(&mut self, number: u64, title: &str, body: &str) {
        let issue = json!({
            "id": 1_000 + number, "number": number, "title": title, "body": body, "state": "open", "state_reason": null,
            "user": person("stranger"), "author_association": "NONE", "labels": [], "assignees": [],
        });
        self.issues.insert(number, issue);
    }

    /// Adds an open pull request by `ada`.
    pub fn add_pull(&mut self, number: u64, additions: u64, deletions: u64) {
        self.add_issue(number, "A change", "");
        self.issue(number)["pull_request"] = json!({"url": format!("https://api.github.com/repos/acme/shop/pulls/{number}")});
        let pull = json!({
            "id": 2_000 + number, "number": number, "title": "A change", "state": "open", "draft": false, "merged": false, "user": person("ada"),
            "additions": additions, "deletions": deletions, "requested_reviewers": [], "requested_teams": [],
            "head": {"ref": "change", "sha": format!("{number:040x}"), "repo": null}, "base": {"ref": "main", "sha": "0".repeat(40), "repo": null},
        });
        self.pulls.insert(number, pull);
    }

    /// Adds a comment by somebody with an association, such as `NONE` or `MEMBER`.
    pub fn add_comment(&mut self, issue: u64, login: &str, association: &str, body: &str) {
        let id = self.next_id();
        self.comments.push(json!({
            "id": id, "issue": issue, "body": body, "user": person(login), "author_association": association, "created_at": NOW, "updated_at": NOW,
        }));
    }

    /// An issue, to be changed.
    pub fn issue(&mut self, number: u64) -> &mut Value {
        self.issues.get_mut(&number).unwrap_or_else(|| panic!("there is no issue {number}"))
    }

    /// The names of an issue's labels, sorted.
    pub fn labels_of(&self, number: u64) -> Vec<&str> {
        names(&self.issues[&number]["labels"], "name")
    }

    /// The names of those an issue is assigned to, sorted.
    pub fn assignees_of(&self, number: u64) -> Vec<&str> {
        names(&self.issues[&number]["assignees"], "login")
    }

    /// The texts of an issue's comments.
    pub fn comments_of(&self, number: u64) -> Vec<&str> {
        let of = self.comments.iter().filter(|comment| comment["issue"] == number);
        of.filter_map(|comment| comment["body"].as_str()).collect()
    }

    /// An id nothing has.
    pub(super) fn next_id(&self) -> u64 {
        10_000
            + (self.comments.len() + self.deployments.len() + self.issues.len()) as u64
            + self.deployment_states.values().map(|states| states.len() as u64).sum::<u64>()
    }
}

fn names<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    let mut names: Vec<&str> = list.as_array().into_iter().flatten().filter_map(|item| item[key].as_str()).collect();
    names.sort_unstable();
    names
}
