//! Which issues commit messages close: GitHub's keywords, followed by `#12` or `owner/repo#12`.
//! <https://docs.github.com/en/issues/tracking-your-work-with-issues/using-issues/linking-a-pull-request-to-an-issue>

use std::collections::BTreeMap;

const KEYWORDS: [&str; 9] = ["close", "closes", "closed", "fix", "fixes", "fixed", "resolve", "resolves", "resolved"];

/// An issue, and the first commit that closes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing<'a> {
    /// `owner/repo`.
    pub(crate) repository: &'a str,
    /// Its number there.
    pub(crate) issue: u64,
    /// The commit's SHA.
    pub(crate) commit: &'a str,
}

/// The distinct issues of all commits (SHA and message), in order of repository and number; `#12` means the one of `own`.
pub(crate) fn issues<'a>(commits: impl Iterator<Item = (&'a str, &'a str)>, own: &'a str) -> Vec<Closing<'a>> {
    let mut found = BTreeMap::new();
    for (commit, message) in commits {
        let mut after_keyword = false;
        for word in message.split_whitespace() {
            if let Some((repository, issue)) = reference(word).filter(|_| after_keyword) {
                let repository = if repository.is_empty() { own } else { repository };
                // GitHub's names ignore case: `Owner/Repo#1` and `owner/repo#1` are one issue.
                found.entry((repository.to_ascii_lowercase(), issue)).or_insert(Closing { repository, issue, commit });
            }
            after_keyword = is_keyword(word);
        }
    }
    found.into_values().collect()
}

/// Also at the start of a parenthesis, and with the colon of `Closes: #12`.
fn is_keyword(word: &str) -> bool {
    let word = word.trim_start_matches(['(', '[', '*', '-']);
    let word = word.strip_suffix(':').unwrap_or(word);
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// Repository (empty for one's own) and number; what follows the number must not be part of a word.
fn reference(word: &str) -> Option<(&str, u64)> {
    let (repository, rest) = word.split_once('#')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let ends = !rest[digits..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let number = rest[..digits].parse().ok().filter(|number| *number > 0)?;
    (ends && (repository.is_empty() || is_repository(repository))).then_some((repository, number))
}

fn is_repository(name: &str) -> bool {
    let part = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    name.split_once('/').is_some_and(|(owner, repository)| part(owner) && part(repository))
}

#[cfg(test)]
mod tests {
    use super::issues;

    fn of(message: &str) -> Vec<(&str, u64)> {
        let closings = issues(std::iter::once(("c0ffee", message)), "acme/shop");
        closings.into_iter().map(|closing| (closing.repository, closing.issue)).collect()
    }

    #[test]
    fn every_keyword_counts_in_any_case() {
        for keyword in super::KEYWORDS {
            assert_eq!(of(&format!("{keyword} #7")).len(), 1, "{keyword}");
            assert_eq!(of(&format!("{} #7", keyword.to_uppercase())).len(), 1, "{keyword}");
        }
    }

    #[test]
    fn an_issue_of_another_repository_keeps_its_name() {
        assert_eq!(of("Fixes other/lib#3 and closes: #4."), [("acme/shop", 4), ("other/lib", 3)]);
    }

    #[test]
    fn an_issue_named_twice_is_one() {
        assert_eq!(of("fix #1, (fixes #1)\n\ncloses Acme/Shop#1").len(), 1);
    }

    #[test]
    fn the_first_commit_that_closes_an_issue_is_named() {
        let closings = issues([("a", "fix #1"), ("b", "fix #1, fix #2")].into_iter(), "acme/shop");
        assert_eq!(closings.iter().map(|closing| (closing.issue, closing.commit)).collect::<Vec<_>>(), [(1, "a"), (2, "b")]);
    }

    #[test]
    fn what_is_no_reference_after_a_keyword_closes_nothing() {
        for message in [
            "see #1",
            "fixes the #1 bug",
            "prefixes #1",
            "fix #0",
            "fix #1a",
            "fix #",
            "fix a/b/c#1",
            "fix /b#1",
            "fix #99999999999999999999",
        ] {
            assert_eq!(of(message), [], "{message}");
        }
    }
}
