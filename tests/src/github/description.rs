//! GitHub's own description of its REST API: npm `@octokit/openapi`, fetched and pinned by `cargo xtask test`.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::schema::{fits, resolve};
use crate::payloads::target_dir;

static DESCRIPTION: LazyLock<Option<Arc<Description>>> = LazyLock::new(read);

/// The description.
#[derive(Debug)]
pub(super) struct Description {
    root: Value,
}

/// One operation, such as `issues/create`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation<'a> {
    root: &'a Value,
    value: &'a Value,
    template: &'a str,
}

/// One call, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a [(String, String)],
    pub(super) body: Option<&'a Value>,
}

/// The description, read once; `None`, and a word about it, where it was not fetched.
pub(super) fn description() -> Option<Arc<Description>> {
    DESCRIPTION.clone()
}

#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn read() -> Option<Arc<Description>> {
    let file = target_dir().join("fixtures/openapi/api.github.com.json");
    let Ok(bytes) = std::fs::read(&file) else {
        println!(
            "skipped: {} is not there, so requests are not held against it; `cargo xtask test` fetches it where npm is",
            file.display()
        );
        return None;
    };
    Some(Arc::new(Description { root: serde_json::from_slice(&bytes).expect("the description is JSON") }))
}

impl Description {
    /// The operation of a method and path: the template with the most literal parts.
    pub(super) fn operation(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let paths = self.root["paths"].as_object()?;
        let fitting = paths.iter().filter(|(template, item)| is_of(template, path) && item.get(method.to_ascii_lowercase()).is_some());
        let (template, item) = fitting.max_by_key(|(template, _)| template.split('/').filter(|part| !part.starts_with('{')).count())?;
        Some(Operation { root: &self.root, value: &item[method.to_ascii_lowercase()], template })
    }

    /// What is wrong with a call, if anything.
    pub(super) fn problem(&self, call: &Call<'_>) -> Option<String> {
        let Some(operation) = self.operation(call.method, call.path) else {
            return Some("there is no such operation".to_owned());
        };
        operation.check(call).err()
    }
}

impl Operation<'_> {
    fn check(&self, call: &Call<'_>) -> Result<(), String> {
        for (part, value) in self.template.split('/').zip(call.path.split('/')) {
            if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                self.check_parameter("path", name, value)?;
            }
        }
        call.query.iter().try_for_each(|(name, value)| self.check_parameter("query", name, value))?;
        let body = resolve(self.root, &self.value["requestBody"]);
        match (&body["content"]["application/json"]["schema"], call.body) {
            (Value::Null, None) => Ok(()),
            (Value::Null, Some(_)) => Err("it takes no body".to_owned()),
            (_, None) => {
                if body["required"] == true {
                    Err("the body is missing".to_owned())
                } else {
                    Ok(())
                }
            }
            (schema, Some(body)) => fits(self.root, schema, body, "body"),
        }
    }

    fn check_parameter(&self, place: &str, name: &str, value: &str) -> Result<(), String> {
        let parameters = self.value["parameters"].as_array().into_iter().flatten().map(|parameter| resolve(self.root, parameter));
        let found = parameters.into_iter().find(|parameter| parameter["in"] == place && parameter["name"] == name);
        let Some(parameter) = found else { return Err(format!("there is no {place} parameter `{name}`")) };
        // A parameter is text: as a number or truth it fits where one is wanted.
        let text = Value::from(value);
        let read = serde_json::from_str(value).unwrap_or(Value::Null);
        let at = format!("{place} parameter {name}");
        fits(self.root, &parameter["schema"], &text, &at)
            .or_else(|problem| fits(self.root, &parameter["schema"], &read, &at).map_err(|_| problem))
    }

    /// GitHub's own example of a successful answer.
    pub(super) fn example(&self) -> Option<Value> {
        let responses = self.value["responses"].as_object()?;
        let (_, response) = responses.iter().find(|(status, _)| status.starts_with('2'))?;
        let examples = resolve(self.root, response)["content"]["application/json"]["examples"].as_object()?;
        // A few values are references themselves, to an example with a value.
        let mut example = resolve(self.root, examples.values().next()?);
        while let Some(value) = example.get("value") {
            example = resolve(self.root, value);
        }
        Some(example.clone())
    }
}

/// Whether a path fits a template such as `/repos/{owner}/{repo}`.
fn is_of(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(part), Some(found)) if part == found || (part.starts_with('{') && !found.is_empty()) => {}
            _ => return false,
        }
    }
}
