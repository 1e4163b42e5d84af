//! Which plugins an event is for. Pure: decided once, when a delivery is accepted, and stored with it.

/// Whether a subscription takes an event: `*` takes all, `push` every action of it, `pull_request.opened` one.
#[must_use]
pub fn matches(pattern: &str, event: &str, action: Option<&str>) -> bool {
    match pattern.split_once('.') {
        None => pattern == "*" || pattern == event,
        Some((wanted, wanted_action)) => wanted == event && Some(wanted_action) == action,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::matches;

    #[test]
    fn subscriptions_match_as_the_table_says() {
        for (pattern, event, action, expected) in [
            ("*", "push", None, true),
            ("*", "issues", Some("opened"), true),
            ("push", "push", None, true),
            ("push", "push", Some("odd"), true),
            ("push", "pushed", None, false),
            ("issues.opened", "issues", Some("opened"), true),
            ("issues.opened", "issues", Some("closed"), false),
            ("issues.opened", "issues", None, false),
            ("issues.opened", "issues.opened", None, false),
        ] {
            assert_eq!(matches(pattern, event, action), expected, "{pattern} {event} {action:?}");
        }
    }

    proptest! {
        #[test]
        fn an_event_always_matches_its_own_name_and_its_own_name_and_action(event in "[a-z_]{1,20}", action in "[a-z_]{1,20}") {
            prop_assert!(matches(&event, &event, Some(&action)));
            let pattern = format!("{event}.{action}");
            prop_assert!(matches(&pattern, &event, Some(&action)));
            prop_assert!(!matches(&pattern, &event, None));
        }
    }
}
