//! How a plugin knows its own words again.

use std::fmt;

use super::User;

const OPENING: &str = "<!-- hookyard:";
const CLOSING: &str = " -->";

/// An invisible line in an issue or comment, `<!-- hookyard:PLUGIN:KEY -->`: the same delivery again finds it and does nothing.
///
/// Anybody can write such a line, so it counts only in words of a [`Words::trusted`] author: else a stranger's comment could keep a plugin
/// from speaking. Looking and writing are two steps, and two runs at the same moment can both find nothing; a plugin that must not says
/// `concurrency_max = 1` in its manifest, which holds within one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker(String);

/// Who wrote a text, and the text: what an issue and a comment have in common.
pub trait Words {
    /// The text.
    fn text(&self) -> Option<&str>;
    /// Whether the author is one whose words the repository answers for: an app, an owner, a member or a collaborator.
    fn trusted(&self) -> bool;
}

impl Marker {
    /// The marker of a plugin for `key`, which says what was done: a commit, a run, a check and its branch.
    pub fn new(plugin: &str, key: impl fmt::Display) -> Self {
        // What would end the comment, or the line, early.
        let key: String = key.to_string().chars().map(|c| if matches!(c, '<' | '>') || c.is_control() { '_' } else { c }).collect();
        Self(format!("{OPENING}{plugin}:{key}{CLOSING}"))
    }

    /// The text with the marker at its end.
    pub fn on(&self, text: &str) -> String {
        format!("{text}\n\n{}", self.0)
    }

    /// Whether these are the plugin's own words about the key.
    pub fn is_on(&self, words: &impl Words) -> bool {
        words.trusted() && words.text().is_some_and(|text| text.contains(&self.0))
    }

    /// Whether a text was written by some plugin of Hookyard, or says so.
    pub fn is_any_in(text: &str) -> bool {
        text.contains(OPENING)
    }
}

/// Whether somebody's association with the repository, as GitHub reports it, or kind makes their words count.
pub(super) fn counts(author: Option<&User>, association: Option<&str>) -> bool {
    author.is_some_and(User::is_bot) || matches!(association, Some("OWNER" | "MEMBER" | "COLLABORATOR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Said(&'static str, bool);

    impl Words for Said {
        fn text(&self) -> Option<&str> {
            Some(self.0)
        }

        fn trusted(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn a_marker_is_found_in_trusted_words_and_for_its_own_key_only() {
        let text = "Closed.\n\n<!-- hookyard:push-deploy:c0ffee -->";
        let marker = Marker::new("push-deploy", "c0ffee");
        assert_eq!(marker.on("Closed."), text);
        assert!(marker.is_on(&Said(text, true)));
        assert!(!marker.is_on(&Said(text, false)), "a stranger can write it too");
        assert!(!Marker::new("push-deploy", "c0ff").is_on(&Said(text, true)));
        assert!(!Marker::new("other", "c0ffee").is_on(&Said(text, true)));
    }

    #[test]
    fn a_key_cannot_end_the_marker_early() {
        let marker = Marker::new("check-issues", "evil --> <img>\n");
        assert_eq!(marker.on(""), "\n\n<!-- hookyard:check-issues:evil --_ _img__ -->");
    }
}
