//! The plugin's own configuration: the `[config]` table of `NAME.toml`.

use std::{fmt::Display, str::FromStr};

use serde::de::DeserializeOwned;

use crate::host;

/// The value of one key: a string as it is, anything else as JSON. Dots reach into tables: `labels.small`.
pub fn get(key: &str) -> Option<String> {
    host::config::get(key)
}

/// The value of one key as `T`, or `default` where the key is absent. A value that is there and wrong is an error in words.
pub fn get_or<T>(key: &str, default: T) -> Result<T, String>
where
    T: FromStr,
    T::Err: Display,
{
    match get(key) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|error| format!("config `{key}` is `{text}`: {error}")),
    }
}

/// Whether the table is a `T`: what `plugin!(handle, validate = …)` asks first of all.
pub fn check<T: DeserializeOwned>() -> Result<T, Vec<String>> {
    parse().map_err(|problem| vec![problem])
}

/// The whole table as the plugin's own struct; `#[serde(default, deny_unknown_fields)]` on it turns typing errors into words.
pub fn parse<T: DeserializeOwned>() -> Result<T, String> {
    serde_json::from_str(&host::config::document()).map_err(|error| format!("the [config] table does not fit: {error}"))
}
