//! The delivery a plugin is tried on that has handled none yet: small, of an event it subscribes to, with the parts every GitHub document has.

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Plugin;
use crate::delivery::{BodyEncoding, Delivery, DeliveryId, DeliveryKey, Header, SourceId, TenantId, Timestamp};

/// The provider's id of every built-in sample.
const PROVIDER_ID: &str = "00000000-0000-0000-0000-000000000000";

/// A delivery of the first event a version subscribes to.
pub(super) fn built_in(plugin: &Plugin, now: Timestamp) -> Delivery {
    let (event, action) = event(plugin.events.first().map_or("*", String::as_str));
    let owner = json!({ "id": 1, "login": "acme", "type": "Organization" });
    let document = json!({
        "action": action,
        "ref": "refs/heads/main",
        "repository": { "id": 1, "name": "site", "full_name": "acme/site", "private": false, "default_branch": "main", "owner": owner },
        "sender": { "id": 2, "login": "octocat", "type": "User" },
    });
    let document = Bytes::from(document.to_string());
    // A manifest names at least one source.
    delivery(&plugin.tenant, &plugin.sources[0], (event, action), (document, now))
}

/// `*` is a push, `issues.opened` what it says.
fn event(pattern: &str) -> (&str, Option<&str>) {
    match pattern.split_once('.') {
        Some((event, action)) => (event, Some(action)),
        None if pattern == "*" => ("push", None),
        None => (pattern, None),
    }
}

fn delivery(tenant: &TenantId, source: &SourceId, (event, action): (&str, Option<&str>), (document, now): (Bytes, Timestamp)) -> Delivery {
    let body_sha256 = Sha256::digest(&document).into();
    let key = DeliveryKey { tenant, source, hook_id: "", provider_id: PROVIDER_ID, body_sha256: &body_sha256 };
    Delivery {
        id: DeliveryId::derive(&key),
        provider_id: PROVIDER_ID.to_owned(),
        hook_id: None,
        event: event.to_owned(),
        action: action.map(str::to_owned),
        repository: Some("acme/site".to_owned()),
        installation_id: None,
        received_at: now,
        sequence: 1,
        encoding: BodyEncoding::Json,
        headers: vec![Header { name: "x-github-event".to_owned(), value: event.to_owned() }],
        document,
        raw: None,
        body_sha256,
        tenant: tenant.clone(),
        source: source.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_the_event_it_is_tried_on() {
        assert_eq!(event("*"), ("push", None));
        assert_eq!(event("star"), ("star", None));
        assert_eq!(event("issues.opened"), ("issues", Some("opened")));
    }
}
