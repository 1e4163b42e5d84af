//! Secrets named in files: `{ env = "NAME" }` or `{ file = "path" }`, never the value itself.
//!
//! A tenant's file must not be a way to the host's own secrets or to a neighbour's: variables of the host are refused, an operator may list
//! which others are allowed, and a file must lie, after every link, beneath the tenant's folder or one the operator named.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use toml::Value;

use super::{Problem, reader::Reader};
use crate::signature::Secret;

/// Largest secret file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where secrets may come from.
#[derive(Clone, Debug, Default)]
pub struct SecretSources {
    /// Patterns (`NAME` or `PREFIX_*`) of variables tenants may name; every one but the host's own where it is empty.
    pub env_allow: Vec<String>,
    /// Folders beside the tenant's own that secret files may lie in.
    pub dirs: Vec<PathBuf>,
}

/// Resolves one secret of a file in `home`; a problem is noted under `key` and never shows the value.
pub(super) fn resolve(
    reader: &mut Reader,
    key: &str,
    value: &Value,
    (sources, home, env): (&SecretSources, &Path, &BTreeMap<String, String>),
) -> Option<Secret> {
    let expected = "{ env = \"NAME\" } or { file = \"path\" }";
    let found = match value.as_table().map(|table| (table.len(), table.get("env"), table.get("file"))) {
        Some((1, Some(Value::String(name)), None)) => from_env(name, sources, env),
        Some((1, None, Some(Value::String(path)))) => from_file(&home.join(path), sources, home),
        _ => Err(("a value of another shape (not shown)".to_owned(), expected.to_owned())),
    };
    found.map_err(|(found, expected)| reader.problem(key, found, expected)).ok()
}

/// Resolves one secret of the host's own file: any variable, and any file the operator names, relative to it.
pub(super) fn resolve_host(reader: &mut Reader, key: &str, env: &BTreeMap<String, String>) -> Option<Secret> {
    let value = reader.value(key)?;
    resolve_host_value(reader, key, &value, env)
}

/// The same of a value that stands in a list.
pub(super) fn resolve_host_value(reader: &mut Reader, key: &str, value: &Value, env: &BTreeMap<String, String>) -> Option<Secret> {
    let expected = "{ env = \"NAME\" } or { file = \"path\" }";
    let found = match value.as_table().map(|table| (table.len(), table.get("env"), table.get("file"))) {
        Some((1, Some(Value::String(name)), None)) => read_env(name, env),
        Some((1, None, Some(Value::String(path)))) => read_file(&reader.beside(path)),
        _ => Err(("a value of another shape (not shown)".to_owned(), expected.to_owned())),
    };
    found.map_err(|(found, expected)| reader.problem(key, found, expected)).ok()
}

type Wrong = (String, String);

fn from_env(name: &str, sources: &SecretSources, env: &BTreeMap<String, String>) -> Result<Secret, Wrong> {
    let allowed = |pattern: &String| pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix));
    if name.starts_with("HOOKYARD_") {
        return Err((format!("the variable `{name}`"), "a variable that is not the host's own (HOOKYARD_…)".to_owned()));
    }
    if !sources.env_allow.is_empty() && !sources.env_allow.iter().any(allowed) {
        return Err((format!("the variable `{name}`"), format!("one of `secret_env_allow` ({})", sources.env_allow.join(", "))));
    }
    read_env(name, env)
}

fn read_env(name: &str, env: &BTreeMap<String, String>) -> Result<Secret, Wrong> {
    let value = env.get(name).ok_or_else(|| (format!("the variable `{name}` is not set"), "a set variable".to_owned()))?;
    Secret::new(value.as_str()).ok_or_else(|| (format!("the variable `{name}` is empty"), "at least one byte".to_owned()))
}

fn from_file(path: &Path, sources: &SecretSources, home: &Path) -> Result<Secret, Wrong> {
    let wrong = |what: &str, expected: &str| (format!("{}: {what}", path.display()), expected.to_owned());
    let real = path.canonicalize().map_err(|error| wrong(&error.to_string(), "a readable file"))?;
    let inside = |dir: &Path| dir.canonicalize().is_ok_and(|dir| real.starts_with(dir));
    if !inside(home) && !sources.dirs.iter().any(|dir| inside(dir)) {
        return Err(wrong("leads out of the tenant's folder", "a file beneath the tenant's folder or one of `secret_dirs`"));
    }
    read_file(&real)
}

fn read_file(path: &Path) -> Result<Secret, Wrong> {
    let wrong = |what: &str, expected: &str| (format!("{}: {what}", path.display()), expected.to_owned());
    let meta = fs::metadata(path).map_err(|error| wrong(&error.to_string(), "a readable file"))?;
    if !meta.is_file() || meta.len() > SECRET_BYTES_MAX {
        return Err(wrong("no regular file, or too large", "a regular file of at most 64 KiB"));
    }
    let mut bytes = fs::read(path).map_err(|error| wrong(&error.to_string(), "a readable file"))?;
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    Secret::new(bytes).ok_or_else(|| wrong("is empty", "at least one byte"))
}

/// Everything wrong with a list of secrets that must not be empty.
pub(super) fn resolve_all(reader: &mut Reader, key: &str, places: (&SecretSources, &Path, &BTreeMap<String, String>)) -> Vec<Secret> {
    let Some(value) = reader.value(key) else {
        reader.problem(key, "nothing", "a list with at least one secret: a source without one would be an open door");
        return Vec::new();
    };
    let Some(items) = value.as_array().filter(|items| !items.is_empty()) else {
        reader.problem(key, "no secret", "a list with at least one secret: a source without one would be an open door");
        return Vec::new();
    };
    items.iter().enumerate().filter_map(|(at, item)| resolve(reader, &format!("{key}[{at}]"), item, places)).collect()
}

/// The problem of a file that cannot be read or is no TOML.
pub(super) fn read_toml(file: &Path) -> Result<toml::Table, Problem> {
    let problem = |found: String, expected: &str| Problem {
        file: file.to_owned(),
        key: String::new(),
        found,
        expected: expected.to_owned(),
        hint: None,
    };
    let text = fs::read_to_string(file).map_err(|error| problem(error.to_string(), "a readable UTF-8 file"))?;
    text.parse().map_err(|error: toml::de::Error| {
        // Not the error's own text: it quotes the line, and in that line may stand a secret.
        let before = text.as_bytes().iter().take(error.span().map_or(0, |span| span.start));
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        problem(format!("line {line}: {}", error.message().lines().next().unwrap_or_default()), "TOML")
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn resolved(value: &str, home: &Path, allow: &[&str]) -> Result<Secret, String> {
        let env = BTreeMap::from([("GITHUB_SECRET".to_owned(), "s".to_owned()), ("EMPTY".to_owned(), String::new())]);
        let sources = SecretSources { env_allow: allow.iter().map(|&text| text.to_owned()).collect(), dirs: Vec::new() };
        let mut reader = Reader::new(Path::new("tenant.toml"), toml::Table::new());
        let value = format!("v = {value}").parse::<toml::Table>().unwrap()["v"].clone();
        resolve(&mut reader, "k", &value, (&sources, home, &env)).ok_or_else(|| reader.problems.remove(0).found)
    }

    #[test]
    fn a_syntax_error_tells_its_line_and_does_not_quote_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tenant.toml");
        fs::write(&file, "[sources.github]\nsecrets = [hunter2]\n").unwrap();
        let problem = read_toml(&file).unwrap_err();
        assert!(problem.found.starts_with("line 2: "), "{}", problem.found);
        assert!(!format!("{problem:?}").contains("hunter2"));
    }

    #[test]
    fn a_tenant_reaches_no_secret_but_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("red");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("own"), "mine\n").unwrap();
        fs::write(dir.path().join("theirs"), "theirs").unwrap();
        symlink("../theirs", home.join("link")).unwrap();
        assert_eq!(resolved("{ file = \"own\" }", &home, &[]).unwrap().expose(), b"mine");
        assert_eq!(resolved("{ env = \"GITHUB_SECRET\" }", &home, &[]).unwrap().expose(), b"s");
        assert!(resolved("{ env = \"GITHUB_SECRET\" }", &home, &["GITHUB_*"]).is_ok());
        for (bad, part) in [
            ("{ env = \"HOOKYARD_ADMIN_TOKEN\" }", "HOOKYARD_ADMIN_TOKEN"),
            ("{ env = \"UNSET\" }", "not set"),
            ("{ env = \"EMPTY\" }", "empty"),
            ("{ file = \"../theirs\" }", "leads out"),
            ("{ file = \"link\" }", "leads out"),
            ("{ file = \"/etc/hostname\" }", "leads out"),
            ("{ file = \".\" }", "no regular file"),
            ("\"plain\"", "another shape"),
        ] {
            let found = resolved(bad, &home, &[]).unwrap_err();
            assert!(found.contains(part), "{bad}: {found}");
            assert!(!found.contains("plain"));
        }
        assert!(resolved("{ env = \"GITHUB_SECRET\" }", &home, &["OTHER_*"]).is_err());
    }
}
