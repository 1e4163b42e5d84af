//! A repository's labels, settings, protection and people. <https://docs.github.com/en/rest/repos>

use serde::{Deserialize, Serialize};

use super::{Label, Repo};
use crate::http::{HttpError, Response};

/// A label to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLabel {
    /// The name.
    pub name: String,
    /// Six hexadecimal digits, without `#`.
    pub color: String,
    /// What it means, at most 100 characters.
    #[serde(default)]
    pub description: String,
}

#[derive(Deserialize)]
struct Permission {
    permission: String,
}

impl Repo {
    /// The labels there are.
    pub fn labels(&self) -> Result<Vec<Label>, HttpError> {
        self.list(&["labels"], &[])
    }

    /// Makes a label; false where there is one of this name, which GitHub tells by a refusal.
    pub fn make_label(&self, label: &NewLabel) -> Result<bool, HttpError> {
        match self.write("POST", &["labels"], label) {
            Ok(_) => Ok(true),
            Err(HttpError::Status { response, .. }) if is_there_already(&response) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Changes settings; those that are not named stay.
    pub fn change_settings<B: Serialize + ?Sized>(&self, settings: &B) -> Result<(), HttpError> {
        self.write("PATCH", &[], settings).map(drop)
    }

    /// Whether there is a branch of this name.
    pub fn has_branch(&self, branch: &str) -> Result<bool, HttpError> {
        Ok(self.find::<serde::de::IgnoredAny>(&["branches", branch])?.is_some())
    }

    /// Sets a branch's protection, whole.
    pub fn protect<B: Serialize + ?Sized>(&self, branch: &str, protection: &B) -> Result<(), HttpError> {
        self.write("PUT", &["branches", branch, "protection"], protection).map(drop)
    }

    /// Whether somebody may write: `write`, `maintain` and `admin` may, of which GitHub reports the second as `write`.
    pub fn may_write(&self, login: &str) -> Result<bool, HttpError> {
        let found: Option<Permission> = self.find(&["collaborators", login, "permission"])?;
        Ok(found.is_some_and(|found| matches!(found.permission.as_str(), "admin" | "write")))
    }
}

/// `Validation Failed`, because of a name that is taken.
fn is_there_already(response: &Response) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<Problem>,
    }
    #[derive(Deserialize)]
    struct Problem {
        code: Option<String>,
    }
    let is_taken = |refusal: Refusal| refusal.errors.iter().any(|problem| problem.code.as_deref() == Some("already_exists"));
    response.status == 422 && response.json::<Refusal>().is_ok_and(is_taken)
}
