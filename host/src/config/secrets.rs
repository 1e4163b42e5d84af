//! Secrets named in files: `{ env = "NAME" }` or `{ file = "path" }`, never the value itself.
//!
//! A tenant's file must not be a way to the host's own secrets or to a neighbour's. So a tenant may name only what is its own by name: variables
//! `HOOKYARD_SECRET_<TENANT>_*`, files beneath its folder, and in the folders of all tenants what bears its name. Whatever else it may name, the
//! operator has listed in the host's file. Files are read through [`Folder`], which no link and no swap leads out of.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use toml::Value;

use super::{Problem, overlay, reader::Reader};
use crate::{
    delivery::TenantId,
    folder::{Folder, NotRead},
    signature::Secret,
};

/// Largest secret file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Largest file of settings.
const TOML_BYTES_MAX: u64 = 1024 * 1024;
/// Shortest secret of a source, and shortest admin token: what is shorter can be guessed by trying.
pub(super) const BYTES_MIN: usize = 16;
/// What the variables of tenants begin with.
const TENANTS_PREFIX: &str = "HOOKYARD_SECRET_";
/// How a secret is written down.
const EXPECTED: &str = "{ env = \"NAME\" } or { file = \"path\" }";

/// Where secrets may come from.
#[derive(Clone, Debug, Default)]
pub struct SecretSources {
    /// What every tenant may name. Of the folders only what bears the tenant's name.
    pub all: SecretPlaces,
    /// What one tenant may name beside that. Of the folders everything.
    pub tenants: BTreeMap<TenantId, SecretPlaces>,
}

impl SecretSources {
    /// Every folder that somebody may name a file of.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        std::iter::once(&self.all).chain(self.tenants.values()).flat_map(|places| places.dirs.iter().cloned()).collect()
    }
}

/// Variables and folders.
#[derive(Clone, Debug, Default)]
pub struct SecretPlaces {
    /// Patterns (`NAME` or `PREFIX_*`) of variables; never the host's own.
    pub env_allow: Vec<String>,
    /// Folders.
    pub dirs: Vec<PathBuf>,
}

/// Where one tenant's secrets may come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    pub(super) sources: &'a SecretSources,
    pub(super) tenant: &'a TenantId,
    pub(super) home: &'a Path,
    pub(super) env: &'a BTreeMap<String, String>,
}

/// What is wrong with a secret; never with its value.
struct Wrong {
    found: String,
    expected: String,
    hint: Option<String>,
}

impl Wrong {
    fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into(), hint: None }
    }

    fn tell(self, reader: &mut Reader, key: &str) {
        reader.problem_with_hint(key, (self.found, self.expected), self.hint);
    }
}

/// Reads `secret_env_allow` and `secret_dirs`, those of all tenants and those of each.
pub(super) fn sources(reader: &mut Reader) -> SecretSources {
    let mut sources = SecretSources { all: places(reader, ""), tenants: BTreeMap::new() };
    if reader.value("secret_dirs").is_none() {
        sources.all.dirs = ["/run/secrets", "/run/credentials/hookyard.service"].map(PathBuf::from).into();
    }
    for name in reader.names("tenants") {
        match name.parse::<TenantId>() {
            Ok(tenant) => {
                let places = places(reader, &format!("tenants.{name}."));
                of_one_alone(reader, &name, (&places.dirs, &sources.all.dirs));
                sources.tenants.insert(tenant, places);
            }
            Err(error) => reader.problem(&format!("tenants.{name}"), error, "a tenant name"),
        }
    }
    sources
}

/// A folder that is listed for one tenant holds nobody else's secrets: not the host's, not all tenants', not another's.
fn of_one_alone(reader: &mut Reader, name: &str, (dirs, of_all): (&[PathBuf], &[PathBuf])) {
    let (data_dir, tenants_dir) = (reader.path("data_dir", "data"), reader.path("tenants_dir", "tenants"));
    for dir in dirs {
        let overlaps = |other: &PathBuf| dir.starts_with(other) || other.starts_with(dir);
        if overlaps(&data_dir) || overlaps(&tenants_dir) || of_all.iter().any(|shared| shared.starts_with(dir)) {
            let expected = "a folder of this tenant's secrets alone, apart from `data_dir`, `tenants_dir` and the folders of all tenants";
            reader.problem(&format!("tenants.{name}.secret_dirs"), dir.display(), expected);
        }
    }
}

fn places(reader: &mut Reader, table: &str) -> SecretPlaces {
    let env_key = format!("{table}secret_env_allow");
    let env_allow = reader.texts(&env_key);
    for pattern in env_allow.iter().filter(|pattern| pattern.starts_with("HOOKYARD_")) {
        reader.problem(&env_key, format!("`{}`", pattern.escape_debug()), "variables that are not the host's own (HOOKYARD_…)");
    }
    let dirs = reader.texts(&format!("{table}secret_dirs"));
    SecretPlaces { env_allow, dirs: dirs.into_iter().map(|dir| reader.beside(dir)).collect() }
}

/// Resolves one secret of a tenant's file; a problem is noted under `key` and never shows the value.
pub(super) fn resolve(reader: &mut Reader, key: &str, value: &Value, places: Places<'_>) -> Option<Secret> {
    let found = match value.as_table().map(|table| (table.len(), table.get("env"), table.get("file"))) {
        Some((1, Some(Value::String(name)), None)) => places.variable(name),
        Some((1, None, Some(Value::String(path)))) => places.file(path),
        _ => Err(Wrong::new("a value of another shape (not shown)", EXPECTED)),
    };
    if let Some(variable) = value.get("env").and_then(Value::as_str) {
        reader.read_variables.push(variable.to_owned());
    }
    taken(reader, key, found)
}

fn taken(reader: &mut Reader, key: &str, found: Result<Secret, Wrong>) -> Option<Secret> {
    let secret = found.map_err(|wrong| wrong.tell(reader, key)).ok()?;
    reader.note(key, secret.expose());
    Some(secret)
}

/// Resolves one secret of the host's own file: any variable, and any file the operator names, relative to it.
pub(super) fn resolve_host(reader: &mut Reader, key: &str, env: &BTreeMap<String, String>) -> Option<Secret> {
    let value = reader.value(key)?;
    resolve_host_value(reader, key, &value, env)
}

/// The same of a value that stands in a list.
pub(super) fn resolve_host_value(reader: &mut Reader, key: &str, value: &Value, env: &BTreeMap<String, String>) -> Option<Secret> {
    let found = match value.as_table().map(|table| (table.len(), table.get("env"), table.get("file"))) {
        Some((1, Some(Value::String(name)), None)) => read_env(name, env),
        Some((1, None, Some(Value::String(path)))) => read_file(&reader.beside(path)),
        _ => Err(Wrong::new("a value of another shape (not shown)", EXPECTED)),
    };
    taken(reader, key, found)
}

impl Places<'_> {
    fn variable(&self, name: &str) -> Result<Secret, Wrong> {
        let of = |places: &SecretPlaces| places.env_allow.iter().any(|pattern| matches(pattern, name));
        let is_hosts = name.starts_with("HOOKYARD_");
        let is_listed = of(&self.sources.all) || self.sources.tenants.get(self.tenant).is_some_and(of);
        if own_prefix(self.tenant).is_some_and(|prefix| is_own(&prefix, name)) || (is_listed && !is_hosts) {
            return read_env(name, self.env);
        }
        let shown = name.chars().take(80).collect::<String>().escape_debug().to_string();
        let found = format!("the variable `{shown}`, which this tenant may not name");
        let own = own_prefix(self.tenant).map_or_else(String::new, |prefix| format!("a variable {prefix}…, or "));
        let expected = format!("{own}one that `secret_env_allow` of the host's file lists for this tenant, and none of the host's own");
        let line = format!("hookyard.toml takes `[tenants.{}]` with `secret_env_allow = [\"{shown}\"]`", self.tenant);
        let rename = own_prefix(self.tenant).map(|prefix| format!("name it {prefix}SOMETHING"));
        let hint = if is_hosts { rename } else { Some(rename.map_or_else(|| line.clone(), |rename| format!("{rename}; or {line}"))) };
        Err(Wrong { found, expected, hint })
    }

    fn file(&self, path: &str) -> Result<Secret, Wrong> {
        let shown = self.home.join(path);
        let wrong = |what: &str, expected: &str| Wrong::new(format!("{}: {what}", shown.display()), expected);
        let Some((folder, inside)) = self.locate(Path::new(path)) else { return Err(self.outside(&shown)) };
        match Folder::open(&folder).map_err(NotRead::from).and_then(|folder| folder.read(&inside, SECRET_BYTES_MAX)) {
            Ok(bytes) => of_file(&bytes, &shown),
            Err(NotRead::Outside(_)) => Err(self.outside(&shown)),
            Err(NotRead::NotRegular | NotRead::TooLarge { .. }) => {
                Err(wrong("no regular file, or too large", "a regular file of at most 64 KiB"))
            }
            Err(NotRead::Unreadable(error)) => Err(wrong(&error.to_string(), "a readable file")),
        }
    }

    /// The folder a file must lie beneath, by the way it is named, and its path there.
    fn locate(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        if path.is_relative() {
            return Some((self.home.to_owned(), path.to_owned()));
        }
        let own = self.sources.tenants.get(self.tenant).map(|places| places.dirs.as_slice()).unwrap_or_default();
        let by_folder = self.sources.all.dirs.iter().map(|dir| dir.join(self.tenant.as_str()));
        let mut roots = std::iter::once(self.home.to_owned()).chain(own.iter().cloned()).chain(by_folder);
        if let Some(found) = roots.find_map(|root| path.strip_prefix(&root).ok().map(|inside| (root.clone(), inside.to_owned()))) {
            return Some(found);
        }
        // No tenant's name has a dot, so what stands before the first one is whose file it is.
        let is_own = |inside: &Path| {
            let mut parts = inside.components();
            let name = match (parts.next(), parts.next()) {
                (Some(Component::Normal(name)), None) => name.to_str(),
                _ => None,
            };
            name.and_then(|name| name.split_once('.')).is_some_and(|(tenant, _)| tenant == self.tenant.as_str())
        };
        let flat =
            |dir: &PathBuf| path.strip_prefix(dir).ok().filter(|inside| is_own(inside)).map(|inside| (dir.clone(), inside.to_owned()));
        self.sources.all.dirs.iter().find_map(flat)
    }

    fn outside(&self, shown: &Path) -> Wrong {
        let tenant = self.tenant;
        let of_all = self.sources.all.dirs.iter().map(|dir| format!("{0}/{tenant}/NAME, {0}/{tenant}.NAME", dir.display()));
        let of_all: Vec<String> = of_all.collect();
        Wrong {
            found: format!("{}: leads out of the tenant's folder, or is no file of this tenant", shown.display()),
            expected: format!("a file beneath the tenant's folder, reached by relative links only, or one of: {}", of_all.join(", ")),
            hint: Some(format!("move the file beneath {}, or give it the tenant's name in one of those folders", self.home.display())),
        }
    }
}

/// What a tenant's own variables begin with: its name in capitals, each `-` as `__`, and one `_` before the rest. A single underscore cannot be
/// part of the name, so no two tenants have a variable in common: `HOOKYARD_SECRET_AB_C_X` is `ab`'s, `HOOKYARD_SECRET_AB__C_X` is `ab-c`'s. A
/// tenant whose name has an underscore has no variables of its own.
fn own_prefix(tenant: &TenantId) -> Option<String> {
    let name = tenant.as_str();
    (!name.contains('_')).then(|| format!("{TENANTS_PREFIX}{}_", name.to_ascii_uppercase().replace('-', "__")))
}

fn is_own(prefix: &str, name: &str) -> bool {
    let rest = name.strip_prefix(prefix).unwrap_or_default();
    // Some settings of the host begin like a variable of a tenant `env` or `dirs`.
    !rest.is_empty() && !rest.starts_with('_') && !overlay::is_setting(name)
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

fn read_env(name: &str, env: &BTreeMap<String, String>) -> Result<Secret, Wrong> {
    let value = env.get(name).ok_or_else(|| Wrong::new(format!("the variable `{name}` is not set"), "a set variable"))?;
    let secret = Secret::new(value.as_str()).ok_or_else(|| Wrong::new(format!("the variable `{name}` is empty"), "at least one byte"))?;
    let found = |around: &str| format!("the variable `{name}` with {around}");
    alone(secret, found).map_err(|wrong| Wrong { hint: Some(Secret::WITHOUT.to_owned()), ..wrong })
}

/// A secret with nothing around it that the other side does not have. What is in PEM ends with a line end, and it means nothing there.
fn alone(secret: Secret, found: impl Fn(&str) -> String) -> Result<Secret, Wrong> {
    match secret.surrounded_by() {
        Some(around) if !secret.expose().starts_with(b"-----BEGIN ") => {
            Err(Wrong::new(found(around), "the secret alone: the other side would use another one"))
        }
        _ => Ok(secret),
    }
}

/// Reads a file of the operator's own, wherever it lies.
fn read_file(path: &Path) -> Result<Secret, Wrong> {
    let wrong = |what: &str, expected: &str| Wrong::new(format!("{}: {what}", path.display()), expected);
    let meta = fs::metadata(path).map_err(|error| wrong(&error.to_string(), "a readable file"))?;
    if !meta.is_file() || meta.len() > SECRET_BYTES_MAX {
        return Err(wrong("no regular file, or too large", "a regular file of at most 64 KiB"));
    }
    let bytes = fs::read(path).map_err(|error| wrong(&error.to_string(), "a readable file"))?;
    of_file(&bytes, path)
}

/// The secret in a file's bytes.
fn of_file(bytes: &[u8], path: &Path) -> Result<Secret, Wrong> {
    let empty = || Wrong::new(format!("{}: is empty", path.display()), "at least one byte");
    let secret = Secret::in_file(bytes).ok_or_else(empty)?;
    alone(secret, |around| format!("{}: a secret with {around}", path.display()))
}

/// Everything wrong with a list of secrets that must not be empty.
pub(super) fn resolve_all(reader: &mut Reader, key: &str, places: Places<'_>) -> Vec<Secret> {
    let Some(value) = reader.value(key) else {
        reader.problem(key, "nothing", "a list with at least one secret: a source without one would be an open door");
        return Vec::new();
    };
    let Some(items) = value.as_array().filter(|items| !items.is_empty()) else {
        reader.problem(key, "no secret", "a list with at least one secret: a source without one would be an open door");
        return Vec::new();
    };
    let mut secrets = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let key = format!("{key}[{at}]");
        let Some(secret) = resolve(reader, &key, item, places) else { continue };
        check_length(reader, &key, &secret);
        secrets.push(secret);
    }
    secrets
}

/// Tells of a secret that is too short to be one.
pub(super) fn check_length(reader: &mut Reader, key: &str, secret: &Secret) {
    let bytes = secret.expose().len();
    if bytes < BYTES_MIN {
        let told =
            (format!("a secret of {bytes} bytes (not shown)"), format!("at least {BYTES_MIN} bytes: a shorter one is guessed by trying"));
        reader.problem_with_hint(key, told, Some("`openssl rand -hex 24` makes one".to_owned()));
    }
}

/// A tenant's own file; none where it has none. It is read like every file of the tenant's folder.
pub(super) fn read_tenant_toml(home: &Path) -> Result<Option<toml::Table>, Problem> {
    const NAME: &str = "tenant.toml";
    let file = home.join(NAME);
    let problem = |found: String| problem_of(&file, found, "a readable UTF-8 file in the tenant's own folder, of at most 1 MiB");
    let folder = Folder::open(home).map_err(|error| problem(error.to_string()))?;
    // Gone is something else than there and not readable (no permission, a link to a volume that is not mounted).
    if folder.stat_entry(Path::new(NAME)).is_err_and(|error| error.is_not_found()) {
        return Ok(None);
    }
    let bytes = folder.read(Path::new(NAME), TOML_BYTES_MAX).map_err(|error| problem(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| problem("bytes that are no UTF-8".to_owned()))?;
    parse_toml(&file, &text).map(Some)
}

/// The problem of a file that cannot be read or is no TOML.
pub(super) fn read_toml(file: &Path) -> Result<toml::Table, Problem> {
    let text = fs::read_to_string(file).map_err(|error| problem_of(file, error.to_string(), "a readable UTF-8 file"))?;
    parse_toml(file, &text)
}

fn problem_of(file: &Path, found: String, expected: &str) -> Problem {
    Problem { file: file.to_owned(), key: String::new(), found, expected: expected.to_owned(), hint: None }
}

fn parse_toml(file: &Path, text: &str) -> Result<toml::Table, Problem> {
    text.parse().map_err(|error: toml::de::Error| {
        // Not the error's own text: it quotes the line, and in that line may stand a secret.
        let before = text.as_bytes().iter().take(error.span().map_or(0, |span| span.start));
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        problem_of(file, format!("line {line}: {}", error.message().lines().next().unwrap_or_default()), "TOML")
    })
}

#[cfg(test)]
mod tests;
