//! Labels an issue that is opened by the words in its title and body, and assigns it by its labels.
//!
//! What it adds is compared with what is there: the same delivery twice adds nothing.

use std::collections::{BTreeMap, BTreeSet};

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, Issue, Issues, Repo},
    log,
};
use serde::Deserialize;

hookyard_sdk::plugin!(handle, validate = validate);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    rules: Vec<Rule>,
    assignees: BTreeMap<String, Vec<String>>,
}

/// Any of the words, as a whole and in any case, earns the label.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    words: Vec<String>,
    label: String,
}

impl Default for Config {
    fn default() -> Self {
        let rule = |words: &[&str], label: &str| Rule { words: words.iter().map(ToString::to_string).collect(), label: label.into() };
        let rules = vec![
            rule(&["bug", "bugs", "error", "errors"], "bug"),
            rule(&["feature", "features", "enhancement"], "enhancement"),
            rule(&["docs", "documentation"], "documentation"),
            rule(&["urgent", "critical"], "priority:high"),
        ];
        Self { api_url: API_URL.into(), rules, assignees: BTreeMap::new() }
    }
}

/// Whether the rules can be followed: asked before a version serves.
pub fn validate() -> Result<(), Vec<String>> {
    let config: Config = config::check()?;
    let silent = config.rules.iter().filter(|rule| rule.words.is_empty() || rule.words.iter().any(|word| !is_word(word)));
    let problems: Vec<String> =
        silent.map(|rule| format!("the rule for `{}` has no words, or one that is not a single word", rule.label)).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Words are cut at everything that is neither a letter nor a digit, so that nothing else is ever found.
fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(char::is_alphanumeric)
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let event: Issues = delivery.json()?;
    if event.action != "opened" {
        return Ok(Verdict::skip(format!("`{}` is not triaged", event.action)));
    }
    let number = event.issue.number;
    let repo = Repo::new(&config.api_url, &event.repository)?;
    let Some(issue) = repo.issue(number)? else {
        return Ok(Verdict::skip(format!("there is no issue {number} any more")));
    };
    let labels = missing_labels(&config, &issue);
    if !labels.is_empty() {
        repo.add_labels(number, &labels)?;
    }
    let people = missing_people(&config, &issue, &labels);
    if !people.is_empty() {
        let assigned = repo.assign(number, &people)?;
        for person in people.iter().filter(|person| !assigned.assignees.iter().any(|user| user.login.eq_ignore_ascii_case(person))) {
            log::warn("cannot be assigned here", &[("person", person)]);
        }
    }
    if labels.is_empty() && people.is_empty() { Ok(Verdict::skip("nothing to add")) } else { Ok(Verdict::ack()) }
}

fn missing_labels<'a>(config: &'a Config, issue: &Issue) -> Vec<&'a str> {
    let text = format!("{}\n{}", issue.title, issue.body.as_deref().unwrap_or_default()).to_lowercase();
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    let earned = config.rules.iter().filter(|rule| rule.words.iter().any(|word| words.contains(word.to_lowercase().as_str())));
    let labels: BTreeSet<&str> = earned.map(|rule| rule.label.as_str()).collect();
    labels.into_iter().filter(|label| !issue.labels.iter().any(|there| there.name == *label)).collect()
}

/// For the labels that are there and those just added.
fn missing_people<'a>(config: &'a Config, issue: &Issue, added: &[&str]) -> Vec<&'a str> {
    let labels = issue.labels.iter().map(|label| label.name.as_str()).chain(added.iter().copied());
    let people: BTreeSet<&str> = labels.filter_map(|label| config.assignees.get(label)).flatten().map(String::as_str).collect();
    people.into_iter().filter(|person| !issue.assignees.iter().any(|user| user.login.eq_ignore_ascii_case(person))).collect()
}
