//! Whether a document is of the event it claims to be.
//!
//! GitHub signs the body and no header, so who captured a call can send its body under another event's name. But every document of a common
//! event has one key that names its subject (<https://docs.github.com/en/webhooks/webhook-events-and-payloads>), and that is signed. A
//! document that lacks its own event's key, and has the key of another event, is not believed. One that has none of the keys is: it may come
//! from another provider that speaks GitHub's dialect, and a plugin that is subscribed to it knows what it is.

/// A common event, and the key every document of it has. A document may have several of the keys: a comment is of an issue.
const SUBJECTS: [(&str, &str); 16] = [
    ("check_run", "check_run"),
    ("check_suite", "check_suite"),
    ("commit_comment", "comment"),
    ("create", "ref_type"),
    ("delete", "ref_type"),
    ("deployment", "deployment"),
    ("deployment_status", "deployment_status"),
    ("fork", "forkee"),
    ("issue_comment", "comment"),
    ("issues", "issue"),
    ("pull_request", "pull_request"),
    ("pull_request_review", "review"),
    ("push", "commits"),
    ("release", "release"),
    ("workflow_job", "workflow_job"),
    ("workflow_run", "workflow_run"),
];

/// Which of the keys a document has at its top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Subjects(u16);

impl Subjects {
    /// Notes a key, where it is one of them.
    pub(super) fn note(&mut self, key: &[u8]) {
        for (at, _) in SUBJECTS.iter().enumerate().filter(|(_, (_, subject))| subject.as_bytes() == key) {
            self.0 |= 1 << at;
        }
    }

    /// Whether the document may be one of `event`.
    pub(super) fn fits(self, event: &str) -> bool {
        match SUBJECTS.iter().position(|(known, _)| *known == event) {
            Some(at) => self.0 == 0 || self.0 & (1 << at) != 0,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(keys: &[&str]) -> Subjects {
        let mut subjects = Subjects::default();
        for key in keys {
            subjects.note(key.as_bytes());
        }
        subjects
    }

    #[test]
    fn a_document_with_its_own_events_key_is_believed_whatever_else_it_has() {
        assert!(subjects(&["action", "issue", "comment"]).fits("issue_comment"));
        assert!(subjects(&["deployment_status", "deployment"]).fits("deployment_status"));
        assert!(subjects(&["pull_request", "review"]).fits("pull_request_review"));
    }

    #[test]
    fn a_document_of_another_event_is_not_and_one_of_no_known_event_or_shape_is() {
        assert!(!subjects(&["action", "issue"]).fits("push"));
        assert!(!subjects(&["ref", "commits"]).fits("release"));
        assert!(subjects(&["action", "issue"]).fits("star"), "an event without a key of its own");
        assert!(subjects(&["action", "number"]).fits("pull_request"), "a document with none of the keys");
    }
}
