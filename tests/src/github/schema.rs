//! Whether a JSON value fits a schema of `OpenAPI` 3.0: the part of it that GitHub's description of its requests uses.
//!
//! Stricter than the standard in one thing: a property the schema does not name is a problem, unless it says that others may be there. A
//! misspelt optional property is what such a check is for. A keyword this does not know is a problem too, never a pass.

use serde_json::Value;

/// Keywords that say nothing about what fits.
const ANNOTATIONS: [&str; 10] =
    ["description", "default", "example", "examples", "deprecated", "title", "format", "readOnly", "externalDocs", "nullable"];

/// Checks `value` against `schema`; `root` is the document references point into, and `at` where the value is, for words.
pub(super) fn fits(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolve(root, schema);
    if value.is_null() && schema["nullable"] == true {
        return Ok(());
    }
    let keywords = schema.as_object().ok_or_else(|| format!("{at}: the schema is no object"))?;
    for (keyword, says) in keywords {
        match keyword.as_str() {
            "type" => is_of_type(says, value, at)?,
            "enum" => ensure(says.as_array().is_some_and(|known| known.contains(value)), || format!("{at}: {value} is none of {says}"))?,
            "required" => has_all(says, value, at)?,
            "properties" | "additionalProperties" => properties_fit(root, schema, value, at)?,
            "items" => items_fit(root, says, value, at)?,
            "allOf" => alternatives(says).iter().try_for_each(|schema| fits(root, schema, value, at))?,
            // GitHub's alternatives overlap, so `oneOf` cannot be taken at its word.
            "oneOf" | "anyOf" => any_fits(root, alternatives(says), value, at)?,
            "minItems" => ensure(count(value) >= says.as_u64(), || format!("{at}: fewer than {says} items"))?,
            "maxItems" => ensure(count(value) <= says.as_u64(), || format!("{at}: more than {says} items"))?,
            "maxProperties" => {
                let count = value.as_object().map(|object| object.len() as u64);
                ensure(count <= says.as_u64(), || format!("{at}: more than {says} properties"))?;
            }
            "minimum" => ensure(value.as_f64() >= says.as_f64(), || format!("{at}: {value} is less than {says}"))?,
            "maximum" => ensure(value.as_f64() <= says.as_f64(), || format!("{at}: {value} is more than {says}"))?,
            "minLength" => ensure(length(value) >= says.as_u64(), || format!("{at}: shorter than {says}"))?,
            "maxLength" => ensure(length(value) <= says.as_u64(), || format!("{at}: longer than {says}"))?,
            other if ANNOTATIONS.contains(&other) || other.starts_with("x-") => {}
            other => return Err(format!("{at}: this check does not know the keyword `{other}`")),
        }
    }
    Ok(())
}

/// What a reference points to; anything else is itself.
pub(super) fn resolve<'a>(root: &'a Value, value: &'a Value) -> &'a Value {
    let mut value = value;
    while let Some(pointer) = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        value = root.pointer(pointer).unwrap_or(&Value::Null);
    }
    value
}

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}

fn alternatives(says: &Value) -> &[Value] {
    says.as_array().map_or(&[], Vec::as_slice)
}

fn count(value: &Value) -> Option<u64> {
    value.as_array().map(|items| items.len() as u64)
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn is_of_type(says: &Value, value: &Value, at: &str) -> Result<(), String> {
    let is = match says.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => return Err(format!("{at}: this check does not know the type {says}")),
    };
    ensure(is, || format!("{at}: {value} is no {says}"))
}

fn has_all(says: &Value, value: &Value, at: &str) -> Result<(), String> {
    let missing = alternatives(says).iter().filter_map(Value::as_str).find(|name| value.get(name).is_none());
    missing.map_or(Ok(()), |name| Err(format!("{at}: `{name}` is missing")))
}

fn properties_fit(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (name, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => fits(root, schema, value, &at)?,
            (None, Some(Value::Bool(true))) => {}
            (None, _) => return Err(format!("{at}: there is no such property")),
        }
    }
    Ok(())
}

fn items_fit(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let items = value.as_array().into_iter().flatten().enumerate();
    items.into_iter().try_for_each(|(index, item)| fits(root, schema, item, &format!("{at}[{index}]")))
}

fn any_fits(root: &Value, schemas: &[Value], value: &Value, at: &str) -> Result<(), String> {
    let problems: Vec<String> = schemas.iter().map_while(|schema| fits(root, schema, value, at).err()).collect();
    ensure(problems.len() < schemas.len(), || problems.join("; nor "))
}
