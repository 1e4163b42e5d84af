//! `plugin new`: a plugin that builds and passes its fixtures at once.
//!
//! A Rust plugin needs the SDK. From a checkout it is named by its path, so that it follows the checkout; anywhere else the SDK this program
//! was built with is written beside the plugin, with the contract it speaks: no version to choose, and nothing to fetch that is not there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::super::{
    exit::{Exit, Failure},
    output::{next, say},
};
use crate::delivery::PluginName;

/// The SDK's files and the contract, by their paths in the repository.
const SDK: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
const SDK_CARGO: &str = "plugin-sdk/Cargo.toml";
const CONTRACT: &str = "wit/plugin.wit";

/// The arguments of `plugin new`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The folder to make, such as `review-wanted` or `handlers/review-wanted`; the plugin is named after it
    #[arg(value_name = "PATH")]
    dir: PathBuf,
    /// What it is written in
    #[arg(long, default_value = "rust")]
    lang: Lang,
}

/// Languages there is a template for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lang {
    /// Small and fast: some 100 kB, microseconds to start
    Rust,
    /// Through jco and QuickJS: 1.6 MB, a millisecond
    #[value(name = "js", alias = "javascript")]
    JavaScript,
}

/// A file of the template: its place, and its text with places for names.
type Template = (&'static str, &'static str);

const BOTH: [Template; 3] = [
    ("{{name}}.toml", include_str!("templates/manifest.toml.in")),
    ("fixtures/large.toml", include_str!("templates/large.toml.in")),
    ("fixtures/small.toml", include_str!("templates/small.toml.in")),
];
const RUST: [Template; 4] = [
    ("Cargo.toml", include_str!("templates/rust/Cargo.toml.in")),
    ("src/lib.rs", include_str!("templates/rust/lib.rs.in")),
    ("README.md", include_str!("templates/rust/README.md.in")),
    (".gitignore", "target/\n*.wasm\n"),
];
const JAVASCRIPT: [Template; 6] = [
    ("package.json", include_str!("templates/javascript/package.json.in")),
    ("handler.js", include_str!("templates/javascript/handler.js.in")),
    ("hookyard.d.ts", include_str!("templates/javascript/hookyard.d.ts.in")),
    ("jsconfig.json", include_str!("templates/javascript/jsconfig.json.in")),
    ("README.md", include_str!("templates/javascript/README.md.in")),
    (".gitignore", "node_modules/\n*.wasm\n"),
];

/// Makes the folder; one that holds something already is left as it is.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (dir, name) = (args.dir.as_path(), name_of(&args.dir)?);
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(Exit::Failed, format!("{} is there already, and not empty", dir.display())).hint("take another name"));
    }
    let (sdk, command) = match args.lang {
        Lang::Rust => (Some(provide_sdk(&name, dir)?), format!("hookyard plugin test {}", dir.display())),
        Lang::JavaScript => (None, format!("npm install --prefix {0} && hookyard plugin test {0}", dir.display())),
    };
    let own: &[Template] = if args.lang == Lang::Rust { &RUST } else { &JAVASCRIPT };
    let mut written = Vec::new();
    for (place, text) in own.iter().chain(&BOTH) {
        let fill = |text: &str| text.replace("{{name}}", name.as_str()).replace("{{sdk}}", sdk.as_deref().unwrap_or_default());
        write(&dir.join(fill(place)), &fill(text))?;
        written.push(fill(place));
    }
    say(&format!("created {}/: {}", dir.display(), written.join(", ")));
    if sdk.is_some_and(|sdk| sdk.starts_with("sdk/")) {
        say("with the SDK this hookyard was built with in sdk/");
    }
    say(&next(&command));
    Ok(())
}

/// The last part of the path, whatever leads there.
fn name_of(dir: &Path) -> Result<PluginName, Failure> {
    let whole = std::path::absolute(dir)?;
    let last = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    last.parse().map_err(|error| {
        Failure::new(Exit::Usage, format!("`{}`: a plugin is named after its folder, and {error}", dir.display()))
            .hint("such as `hookyard plugin new handlers/review-wanted`")
    })
}

/// Where the plugin's `Cargo.toml` finds the SDK.
fn provide_sdk(name: &PluginName, dir: &Path) -> Result<String, Failure> {
    if name.as_str().starts_with(|first: char| first.is_ascii_digit()) {
        return Err(Failure::new(Exit::Usage, format!("`{name}` begins with a digit, and a crate's name may not")));
    }
    let program = std::env::current_exe()?.canonicalize()?;
    if let Some(checkout) = program.ancestors().find(|dir| dir.join(SDK_CARGO).is_file() && dir.join(CONTRACT).is_file()) {
        return Ok(checkout.join("plugin-sdk").display().to_string());
    }
    for (place, text) in SDK {
        let text = if *place == SDK_CARGO { standalone(text)? } else { (*text).to_owned() };
        write(&dir.join("sdk").join(place), &text)?;
    }
    Ok("sdk/plugin-sdk".to_owned())
}

/// The SDK's `Cargo.toml` without what it takes from the repository's workspace.
fn standalone(cargo: &str) -> Result<String, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("the SDK inside this program is broken: {error}"));
    let mut table: toml::Table = toml::from_str(cargo).map_err(|error| broken(&error))?;
    table.remove("lints");
    let package = toml::toml! {
        name = "hookyard-sdk"
        edition = "2024"
        license = "Apache-2.0"
        publish = false
    };
    table.insert("package".to_owned(), toml::Value::Table(package));
    if let Some(toml::Value::Table(package)) = table.get_mut("package") {
        package.insert("version".to_owned(), toml::Value::String(env!("CARGO_PKG_VERSION").to_owned()));
    }
    toml::to_string(&table).map_err(|error| broken(&error))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", file.display()));
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(file, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_inside_the_program_is_the_repositorys_and_needs_no_workspace() {
        let places: Vec<&str> = SDK.iter().map(|(place, _)| *place).collect();
        assert!(places.contains(&SDK_CARGO) && places.contains(&CONTRACT) && places.contains(&"plugin-sdk/src/lib.rs"), "{places:?}");
        let (_, cargo) = SDK.iter().find(|(place, _)| *place == SDK_CARGO).unwrap();
        let table: toml::Table = toml::from_str(&standalone(cargo).unwrap()).unwrap();
        assert!(!table.to_string().contains("workspace"), "{table}");
        assert!(table["dependencies"].get("wit-bindgen").is_some());
        assert_eq!(table["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn every_place_in_a_template_is_one_that_is_filled() {
        for (place, text) in RUST.iter().chain(&JAVASCRIPT).chain(&BOTH) {
            let rest = text.replace("{{name}}", "").replace("{{sdk}}", "");
            assert!(!rest.contains("{{"), "{place}");
        }
        assert!(RUST.iter().chain(&JAVASCRIPT).filter(|(place, _)| *place == "README.md").all(|(_, text)| text.lines().count() <= 10));
    }

    #[test]
    fn the_plugin_on_the_first_page_is_the_template_that_is_built_and_tested() {
        let (_, template) = RUST[1];
        let code = &template[template.find("use ").unwrap()..];
        let readme = include_str!("../../../../README.md");
        assert!(readme.contains(&format!("```rust\n{code}```")), "README.md and templates/rust/lib.rs.in differ");
        assert!(code.lines().count() <= 15);
    }

    #[test]
    fn the_types_of_javascript_have_every_function_of_the_contract() {
        let (_, types) = JAVASCRIPT.into_iter().find(|(place, _)| *place == "hookyard.d.ts").unwrap();
        let contract = include_str!("../../../../wit/plugin.wit");
        let written = |line: &str| {
            let name = line.trim().split_once(": func(")?.0.to_owned();
            let mut words = name.split('-').map(str::to_owned);
            let first = words.next()?;
            let rest = words.map(|word| word[..1].to_uppercase() + &word[1..]);
            Some(first + &rest.collect::<String>())
        };
        let functions: Vec<String> = contract.lines().filter_map(written).filter(|name| name != "validateConfig").collect();
        assert!(functions.len() > 10, "{functions:?}");
        for name in functions {
            assert!(types.contains(&format!("{name}(")) || types.contains(&format!("as {name} ")), "{name}");
        }
    }

    #[test]
    fn the_manifest_of_the_template_is_one_a_host_takes() {
        let (_, manifest) = BOTH[0];
        crate::catalog::parse_manifest(manifest.replace("{{name}}", "sizes").as_bytes()).unwrap();
    }
}
