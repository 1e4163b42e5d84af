//! What an event is called: one grammar for the header the door reads, the document's `action`, and the patterns that subscribe to both. What the
//! door takes a pattern may name, and what a pattern may name the door takes.

/// Longest name of an event.
pub const EVENT_BYTES_MAX: usize = 64;
/// Longest `action` that is an action; GitHub's longest has 33 bytes, those of a `repository_dispatch` are its sender's.
pub const ACTION_BYTES_MAX: usize = 64;

/// The events of docs.github.com/webhooks/webhook-events-and-payloads, sorted.
pub const PUBLISHED_EVENTS: [&str; 76] = [
    "branch_protection_configuration",
    "branch_protection_rule",
    "check_run",
    "check_suite",
    "code_scanning_alert",
    "commit_comment",
    "create",
    "custom_property",
    "custom_property_promoted_to_enterprise",
    "custom_property_values",
    "delete",
    "dependabot_alert",
    "deploy_key",
    "deployment",
    "deployment_protection_rule",
    "deployment_review",
    "deployment_status",
    "discussion",
    "discussion_comment",
    "fork",
    "github_app_authorization",
    "gollum",
    "installation",
    "installation_repositories",
    "installation_target",
    "issue_comment",
    "issue_dependencies",
    "issues",
    "label",
    "marketplace_purchase",
    "member",
    "membership",
    "merge_group",
    "meta",
    "milestone",
    "org_block",
    "organization",
    "package",
    "page_build",
    "personal_access_token_request",
    "ping",
    "project",
    "project_card",
    "project_column",
    "projects_v2",
    "projects_v2_item",
    "projects_v2_status_update",
    "public",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_review_thread",
    "push",
    "registry_package",
    "release",
    "repository",
    "repository_advisory",
    "repository_dispatch",
    "repository_import",
    "repository_ruleset",
    "repository_vulnerability_alert",
    "secret_scanning_alert",
    "secret_scanning_alert_location",
    "secret_scanning_scan",
    "security_advisory",
    "security_and_analysis",
    "sponsorship",
    "star",
    "status",
    "sub_issues",
    "team",
    "team_add",
    "watch",
    "workflow_dispatch",
    "workflow_job",
    "workflow_run",
];

/// Whether the door takes an event of this name.
#[must_use]
pub fn is_event(text: &str) -> bool {
    (1..=EVENT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Whether the door takes this as an action. It goes into lines, headers and terminals, and no provider has control characters in one.
#[must_use]
pub fn is_action(text: &str) -> bool {
    text.len() <= ACTION_BYTES_MAX && !text.contains(char::is_control)
}

/// Why nothing that the door takes fits a pattern, in words; nothing where something does.
#[must_use]
pub fn pattern_problem(pattern: &str) -> Option<String> {
    let (event, action) = pattern.split_once('.').map_or((pattern, None), |(event, action)| (event, Some(action)));
    let expected = if pattern != "*" && !is_event(event) {
        format!(
            "`*`, or an event of small letters, digits and `_` with at most {EVENT_BYTES_MAX} characters, such as `push` or `pull_request.opened`"
        )
    } else if action.is_some_and(|action| action.is_empty() || !is_action(action)) {
        format!("after the dot an action of 1 to {ACTION_BYTES_MAX} bytes without control characters, such as `pull_request.opened`")
    } else {
        return None;
    };
    Some(format!("found `{}`; expected {expected}", pattern.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_names_are_sorted_and_names() {
        assert!(PUBLISHED_EVENTS.is_sorted());
        assert!(PUBLISHED_EVENTS.iter().all(|name| is_event(name)));
    }

    #[test]
    fn a_pattern_names_what_the_door_takes_and_nothing_else() {
        let (event, action) = ("e".repeat(64), "A-b.c d".repeat(9));
        for pattern in ["*", "push", "pull_request.opened", "repository_dispatch.Deploy.to-Prod", &event, &format!("{event}.{action}")] {
            assert_eq!(pattern_problem(pattern), None, "{pattern}");
        }
        for pattern in
            ["", "Push", "repository-dispatch", "push.", ".opened", "*.opened", &format!("{event}e"), &format!("a.{action}ab"), "a.\u{1b}"]
        {
            assert!(pattern_problem(pattern).is_some(), "{pattern}");
        }
    }
}
