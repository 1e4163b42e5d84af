//! Which event names may become part of a key.
//!
//! The header that carries an event's name is not signed, and a body can be sent again under any name; if each made a key of its own, who
//! holds one signed body could make keys without end. So a name becomes part of a key where GitHub publishes it or the operator wrote it
//! into the stream's filter, and is `other` everywhere else. The entry itself always tells the name that was sent.

/// What every other name becomes.
pub(super) const OTHER: &str = "other";

/// The events of docs.github.com/webhooks/webhook-events-and-payloads, sorted.
pub const PUBLISHED: [&str; 76] = [
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

/// The name as a part of a key: itself where it is known, by GitHub or by `named` (subscriptions of the operator), else [`OTHER`].
pub(super) fn key<'a>(event: &'a str, named: &[String]) -> &'a str {
    let is_named = |pattern: &String| pattern.split('.').next() == Some(event);
    if PUBLISHED.binary_search(&event).is_ok() || named.iter().any(is_named) { event } else { OTHER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_names_are_sorted_so_that_each_is_found() {
        assert!(PUBLISHED.is_sorted());
        assert!(PUBLISHED.iter().all(|name| key(name, &[]) == *name));
    }

    #[test]
    fn a_name_nobody_knows_makes_no_key_of_its_own() {
        for invented in ["pushh", "push2", "x", "other", ""] {
            assert_eq!(key(invented, &["*".to_owned(), "push.created".to_owned()]), OTHER, "{invented}");
        }
        assert_eq!(key("brand_new", &["brand_new.opened".to_owned()]), "brand_new");
    }
}
