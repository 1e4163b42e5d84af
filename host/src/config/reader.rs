//! Reads one TOML table key by key, and remembers everything that is wrong with it.
//!
//! A parser that stops at the first mistake makes its user run it once a mistake. This reader goes on with the default, so that `hookyard
//! check` tells all problems at once; what no one asked for is a problem too, with the nearest known key as a hint. Each key is read in
//! exactly one place, with its default and bounds beside it, and is noted with its effective value.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use toml::{Table, Value};

use super::{Problem, overlay};
use crate::{delivery::Digest, listen::Listen, text::nearest};

/// A file being read.
#[derive(Debug)]
pub(super) struct Reader {
    file: PathBuf,
    table: Table,
    /// The keys that a variable has set, and its name.
    variables: BTreeMap<String, String>,
    known: BTreeSet<String>,
    /// What stood behind keys that name a variable or a file, each as a digest.
    pub(super) behind: BTreeMap<String, Digest>,
    /// The variables that secrets came from.
    pub(super) read_variables: Vec<String>,
    /// Every file and folder that was named.
    pub(super) named: Vec<PathBuf>,
    /// Every key and the value in force.
    pub(super) effective: Vec<(String, String)>,
    /// What is wrong so far.
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(file: &Path, table: Table) -> Self {
        Self::overlaid(file, (table, BTreeMap::new()))
    }

    /// A file over which variables have laid some of its keys.
    pub(super) fn overlaid(file: &Path, (table, variables): (Table, BTreeMap<String, String>)) -> Self {
        let (known, named, effective, problems) = (BTreeSet::new(), Vec::new(), Vec::new(), Vec::new());
        let (behind, read_variables) = (BTreeMap::new(), Vec::new());
        Self { file: file.to_owned(), table, variables, known, behind, read_variables, named, effective, problems }
    }

    /// The raw value of a dotted key.
    pub(super) fn value(&mut self, key: &str) -> Option<Value> {
        self.known.insert(key.to_owned());
        let mut parts = key.split('.');
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part)).cloned()
    }

    /// The names of the tables under a dotted key, as in `[sources.github]`.
    pub(super) fn names(&self, key: &str) -> Vec<String> {
        self.table.get(key).and_then(Value::as_table).map(|table| table.keys().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn problem(&mut self, key: &str, found: impl Display, expected: impl Display) {
        self.problem_with_hint(key, (found.to_string(), expected.to_string()), None);
    }

    /// A problem, and what to do about it.
    pub(super) fn problem_with_hint(&mut self, key: &str, (found, expected): (String, String), hint: Option<String>) {
        let file = self.origin(key).map_or_else(|| self.file.clone(), |variable| PathBuf::from(format!("the variable {variable}")));
        self.problems.push(Problem { file, key: key.to_owned(), found, expected, hint });
    }

    /// The variable a key comes from, where it is not from the file.
    fn origin(&self, key: &str) -> Option<&str> {
        let is_of = |set: &str| key.strip_prefix(set).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.variables.iter().find(|(set, _)| is_of(set)).map(|(_, variable)| variable.as_str())
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, key: &str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let number = match self.value(key) {
            None => default,
            Some(value) => match value.as_integer().and_then(|number| u64::try_from(number).ok()) {
                Some(number) if bounds.contains(&number) => number,
                _ => {
                    self.problem(key, shown(&value), format!("a whole number from {} to {}", bounds.start(), bounds.end()));
                    default
                }
            },
        };
        self.effective.push((key.to_owned(), number.to_string()));
        number
    }

    /// A whole number within bounds, as a size in memory.
    pub(super) fn size(&mut self, key: &str, default: usize, bounds: RangeInclusive<usize>) -> usize {
        let number = self.number(key, default as u64, *bounds.start() as u64..=*bounds.end() as u64);
        usize::try_from(number).unwrap_or(default)
    }

    /// A time in milliseconds within bounds.
    pub(super) fn millis(&mut self, key: &str, default: Duration, bounds_ms: RangeInclusive<u64>) -> Duration {
        let default_ms = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.number(key, default_ms, bounds_ms))
    }

    pub(super) fn truth(&mut self, key: &str, default: bool) -> bool {
        let truth = match self.value(key) {
            None => default,
            Some(value) => value.as_bool().unwrap_or_else(|| {
                self.problem(key, shown(&value), "true or false");
                default
            }),
        };
        self.effective.push((key.to_owned(), truth.to_string()));
        truth
    }

    /// A text, where there is one.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let text = match self.value(key)? {
            Value::String(text) => text,
            other => {
                self.problem(key, shown(&other), "a text in quotes");
                return None;
            }
        };
        self.effective.push((key.to_owned(), text.clone()));
        Some(text)
    }

    /// One of a closed set of words.
    pub(super) fn word(&mut self, key: &str, default: &str, words: &[&str]) -> String {
        let text = self.text(key).unwrap_or_else(|| default.to_owned());
        if words.contains(&text.as_str()) {
            return text;
        }
        self.problem(key, format!("`{text}`"), format!("one of {}", words.join(", ")));
        default.to_owned()
    }

    pub(super) fn path(&mut self, key: &str, default: impl AsRef<Path>) -> PathBuf {
        let path = self.text(key).map_or_else(|| default.as_ref().to_owned(), PathBuf::from);
        self.beside(path)
    }

    /// A path that is relative to the file being read.
    pub(super) fn beside(&mut self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.file.parent().unwrap_or(Path::new("")).join(path);
        // A path that follows the working directory about would be another one in a child process.
        let path = std::path::absolute(&path).unwrap_or(path);
        self.named.push(path.clone());
        path
    }

    pub(super) fn address(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        let Some(text) = self.text(key) else {
            self.effective.push((key.to_owned(), default.to_string()));
            return default;
        };
        text.parse().unwrap_or_else(|_| {
            self.problem(key, format!("`{text}`"), "an address and port, such as 127.0.0.1:8080 or [::1]:8080");
            default
        })
    }

    /// Where a listener of ours listens.
    pub(super) fn listen(&mut self, key: &str, default: Listen) -> Listen {
        let Some(text) = self.text(key) else {
            self.effective.push((key.to_owned(), default.to_string()));
            return default;
        };
        text.parse().unwrap_or_else(|expected: &str| {
            self.problem(key, format!("`{text}`"), expected);
            default
        })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let texts: Option<Vec<String>> =
            value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        texts.unwrap_or_else(|| {
            self.problem(key, shown(&value), "a list of texts");
            Vec::new()
        })
    }

    /// Notes what stood in the file or variable that a key names.
    pub(super) fn note(&mut self, key: &str, content: &[u8]) {
        self.behind.insert(key.to_owned(), digest(content));
    }

    /// Every key as it is written, as a digest of its value: a password may stand in one.
    pub(super) fn written(&self) -> BTreeMap<String, Digest> {
        let mut written = BTreeMap::new();
        flatten("", &self.table, &mut written);
        written
    }

    /// Of the file and of everything behind its keys.
    pub(super) fn fingerprint(&self) -> Digest {
        digest(format!("{:?}{:?}", self.written(), self.behind).as_bytes())
    }

    /// Everything that is wrong, what nobody asked for among it, and the effective values.
    pub(super) fn finish(mut self) -> (Vec<(String, String)>, Vec<Problem>) {
        let mut unknown = Vec::new();
        self.unknown("", &self.table, &mut unknown);
        for key in unknown {
            let spelt = |known: &str| if self.origin(&key).is_some() { overlay::variable_of(known) } else { known.to_owned() };
            let hint = nearest(&key, self.known.iter().map(String::as_str)).map(|known| format!("did you mean `{}`?", spelt(known)));
            let told = (format!("unknown key `{key}`"), "a key this version knows".to_owned());
            self.problem_with_hint(&key, told, hint);
        }
        (self.effective, self.problems)
    }

    /// Tells of variables that set nothing and were probably meant to: those that are a key but for the underscores that part it.
    pub(super) fn misspelt_variables(&mut self, env: &BTreeMap<String, String>) {
        for name in env.keys().filter(|name| overlay::is_unread(name) && !names(&self.table, name)) {
            let Some(key) = overlay::meant(name, &self.known) else { continue };
            let found = "a variable that sets nothing: two underscores part the words of a key".to_owned();
            let hint = Some(format!("did you mean `{}`?", overlay::variable_of(key)));
            let (file, key, expected) = (PathBuf::from(format!("the variable {name}")), key.clone(), "a variable of a key".to_owned());
            self.problems.push(Problem { file, key, found, expected, hint });
        }
    }

    fn unknown(&self, prefix: &str, table: &Table, found: &mut Vec<String>) {
        for (key, value) in table {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            if self.known.contains(&path) {
                continue;
            }
            let leads_on = self.known.iter().any(|known| known.starts_with(&format!("{path}.")));
            match value {
                Value::Table(inner) if leads_on => self.unknown(&path, inner, found),
                _ => found.push(path),
            }
        }
    }
}

fn flatten(prefix: &str, table: &Table, into: &mut BTreeMap<String, Digest>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => flatten(&path, inner, into),
            value => drop(into.insert(path, digest(value.to_string().as_bytes()))),
        }
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// Whether a value of the table is this text, as where a secret names its variable.
fn names(table: &Table, text: &str) -> bool {
    fn is_in(value: &Value, text: &str) -> bool {
        match value {
            Value::String(found) => found == text,
            Value::Array(items) => items.iter().any(|item| is_in(item, text)),
            Value::Table(table) => names(table, text),
            _ => false,
        }
    }
    table.values().any(|value| is_in(value, text))
}

/// A value for a message: never more than a line of it, and no table, because a secret may stand in one.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", text.chars().take(80).collect::<String>().escape_debug()),
        Value::Table(_) => "a table".to_owned(),
        Value::Array(items) => format!("a list of {}", items.len()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(text: &str) -> Reader {
        Reader::new(Path::new("x.toml"), text.parse().unwrap())
    }

    #[test]
    fn every_wrong_key_is_told_and_the_default_goes_on() {
        let mut reader = reader("[a]\nn = 99\nt = 1\nlisten = \"nowhere\"\nlissten = 1\n[b]\nx = 1\n");
        assert_eq!(reader.number("a.n", 5, 1..=10), 5);
        assert!(!reader.truth("a.t", false));
        let default = "127.0.0.1:1".parse().unwrap();
        assert_eq!(reader.address("a.listen", default), default);
        let (_, problems) = reader.finish();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["a.n", "a.t", "a.listen", "a.lissten", "b"]);
        assert_eq!(problems[3].hint.as_deref(), Some("did you mean `a.listen`?"));
        assert_eq!(problems[0].expected, "a whole number from 1 to 10");
    }

    #[test]
    fn a_value_in_a_message_is_short_and_never_a_table() {
        assert_eq!(shown(&Value::String("x".repeat(200))).len(), 82);
        assert_eq!(shown(&toml::toml! { secret = "hunter2" }.into()), "a table");
    }
}
