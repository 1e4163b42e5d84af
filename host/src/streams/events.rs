//! Which event names may become part of a key.
//!
//! The header that carries an event's name is not signed, and a body can be sent again under any name; if each made a key of its own, who
//! holds one signed body could make keys without end. So a name becomes part of a key where GitHub publishes it or the operator wrote it
//! into the stream's filter, and is `other` everywhere else. The entry itself always tells the name that was sent.

use crate::delivery::PUBLISHED_EVENTS;

/// What every other name becomes.
pub(super) const OTHER: &str = "other";

/// The name as a part of a key: itself where it is known, by GitHub or by `named` (subscriptions of the operator), else [`OTHER`].
pub(super) fn key<'a>(event: &'a str, named: &[String]) -> &'a str {
    let is_named = |pattern: &String| pattern.split('.').next() == Some(event);
    if PUBLISHED_EVENTS.binary_search(&event).is_ok() || named.iter().any(is_named) { event } else { OTHER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_name_makes_a_key() {
        assert!(PUBLISHED_EVENTS.iter().all(|name| key(name, &[]) == *name));
    }

    #[test]
    fn a_name_nobody_knows_makes_no_key_of_its_own() {
        for invented in ["pushh", "push2", "x", "other", ""] {
            assert_eq!(key(invented, &["*".to_owned(), "push.created".to_owned()]), OTHER, "{invented}");
        }
        assert_eq!(key("brand_new", &["brand_new.opened".to_owned()]), "brand_new");
    }
}
