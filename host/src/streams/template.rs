//! Names on the other side, made from a template such as `github:events:{event_type}`.
//!
//! What goes into a name is a closed set: names an operator wrote into a file, and event names that are known (see `events`). Nothing a
//! stranger or a plugin chooses becomes part of a key.

use super::{events, record::Record};
use crate::ledger::Followed;

/// Longest template.
const BYTES_MAX: usize = 200;

/// A template, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Tenant,
    Source,
    EventType,
    Plugin,
}

impl Template {
    /// Parses a template for what is followed.
    ///
    /// # Errors
    /// In words, what was expected.
    pub fn parse(text: &str, followed: Followed) -> Result<Self, String> {
        if text.is_empty() || text.len() > BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("1 to {BYTES_MAX} visible ASCII characters without spaces"));
        }
        let placeholders = match followed {
            Followed::Deliveries => "{tenant}, {source}, {event_type}",
            Followed::Emits => "{tenant}, {plugin}",
        };
        let expected = || format!("text and any of {placeholders}");
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(expected)?;
            if before.contains('}') {
                return Err(expected());
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(match (name, followed) {
                ("tenant", _) => Part::Tenant,
                ("source", Followed::Deliveries) => Part::Source,
                ("event_type", Followed::Deliveries) => Part::EventType,
                ("plugin", Followed::Emits) => Part::Plugin,
                _ => return Err(expected()),
            });
            rest = after;
        }
        if rest.contains('}') {
            return Err(expected());
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// Whether every tenant gets names of its own.
    #[must_use]
    pub fn parts_tenants(&self) -> bool {
        self.0.contains(&Part::Tenant)
    }

    /// The name for a record. `named` are the operator's subscriptions.
    pub(super) fn render(&self, record: &Record, named: &[String]) -> String {
        self.0
            .iter()
            .map(|part| match (part, record) {
                (Part::Text(text), _) => text.as_str(),
                (Part::Tenant, _) => record.tenant().as_str(),
                (Part::Source, Record::Delivery(delivery)) => delivery.source.as_str(),
                (Part::EventType, Record::Delivery(delivery)) => events::key(&delivery.event, named),
                (Part::Plugin, Record::Emit(emit)) => emit.plugin.as_str(),
                // A template is parsed for what is followed, so no other pair comes about.
                (Part::Source | Part::EventType | Part::Plugin, _) => events::OTHER,
            })
            .collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::delivery::{BodyEncoding, Delivery, DeliveryId, Timestamp};

    /// A delivery of the tenant `red`.
    pub(in crate::streams) fn delivery(event: &str, action: Option<&str>, document: &str) -> Delivery {
        Delivery {
            id: DeliveryId::from_bytes([7; 16]),
            tenant: "red".parse().unwrap(),
            source: "github".parse().unwrap(),
            provider_id: "guid-1".to_owned(),
            hook_id: None,
            event: event.to_owned(),
            action: action.map(str::to_owned),
            repository: Some("octo/hello".to_owned()),
            installation_id: None,
            received_at: Timestamp::from_unix_ms(1000),
            sequence: 9,
            encoding: BodyEncoding::Json,
            headers: Vec::new(),
            document: document.to_owned().into(),
            raw: None,
            body_sha256: [0; 32],
        }
    }

    fn rendered(template: &str, event: &str) -> String {
        Template::parse(template, Followed::Deliveries).unwrap().render(&Record::Delivery(delivery(event, None, "{}")), &[])
    }

    #[test]
    fn a_name_is_made_of_known_words_only() {
        assert_eq!(rendered("github:events:{event_type}", "push"), "github:events:push");
        assert_eq!(rendered("{tenant}:{source}:{event_type}", "push"), "red:github:push");
        assert_eq!(rendered("github:events:{event_type}", "push_a1b2"), "github:events:other");
        assert_eq!(rendered("fixed", "push"), "fixed");
    }

    #[test]
    fn a_template_that_is_none_is_refused_with_what_was_expected() {
        for bad in ["", "a b", "a{", "a}", "{tenant}}", "{nobody}", "{plugin}", "a{{tenant}}", "ä", "a\n", &"x".repeat(201)] {
            assert!(Template::parse(bad, Followed::Deliveries).is_err(), "{bad}");
        }
        assert!(Template::parse("{event_type}", Followed::Emits).unwrap_err().contains("{plugin}"));
        assert!(Template::parse("hookyard:emits:{tenant}:{plugin}", Followed::Emits).unwrap().parts_tenants());
        assert!(!Template::parse("github:events:{event_type}", Followed::Deliveries).unwrap().parts_tenants());
    }
}
