//! Pull requests. <https://docs.github.com/en/rest/pulls>

use serde::{Deserialize, Serialize};

use super::{PullRequest, Repo, User};
use crate::http::HttpError;

/// Who is asked for a review.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reviewers {
    /// People, by name.
    pub reviewers: Vec<String>,
    /// Teams, by slug.
    pub team_reviewers: Vec<String>,
}

/// A review somebody has given.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Review {
    /// Who; none where the account is gone.
    pub user: Option<User>,
}

impl Repo {
    /// A pull request as it is now.
    pub fn pull_request(&self, number: u64) -> Result<Option<PullRequest>, HttpError> {
        self.find(&["pulls", &number.to_string()])
    }

    /// The reviews given so far.
    pub fn reviews(&self, number: u64) -> Result<Vec<Review>, HttpError> {
        self.list(&["pulls", &number.to_string(), "reviews"], &[])
    }

    /// Asks for reviews.
    pub fn request_reviews(&self, number: u64, reviewers: &Reviewers) -> Result<(), HttpError> {
        self.write("POST", &["pulls", &number.to_string(), "requested_reviewers"], reviewers).map(drop)
    }
}
