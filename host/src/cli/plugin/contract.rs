//! The contract as a tool of another language wants it: `wit/plugin.wit`, and a world with the interfaces a plugin's source names.
//!
//! A Rust component imports what it uses, because the linker drops the rest. The engines inside JavaScript and Python components import all
//! of their world, and an import is a request for permission: so the world is made from the source, interface by interface.

use std::{collections::BTreeSet, path::Path};

use super::super::exit::{Exit, Failure};

/// The contract this host was built with.
pub(super) const WIT: &str = include_str!("../../../../wit/plugin.wit");
/// The world that is made for one plugin.
pub(super) const WORLD: &str = "plugin";

/// The file it is written to.
pub(super) const FILE: &str = "plugin.wit";

/// Writes the contract, with a world of these interfaces, into a folder.
pub(super) fn write(folder: &Path, imports: &BTreeSet<String>) -> Result<(), Failure> {
    let imports: Vec<String> = imports.iter().map(|interface| format!("    import {interface};")).collect();
    let text = format!("{WIT}\nworld {WORLD} {{\n{}\n    export handler;\n}}\n", imports.join("\n"));
    Ok(std::fs::write(folder.join(FILE), text)?)
}

/// The interfaces after each `prefix` in a source; one that the contract does not have is a mistake of the source's.
pub(super) fn named_after(prefix: &str, source: &str) -> Result<BTreeSet<String>, Failure> {
    let known = interfaces();
    let named = source.split(prefix).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
        rest[..end].to_owned()
    });
    let named: BTreeSet<String> = named.filter(|name| !name.is_empty() && name != "types").collect();
    match named.iter().find(|name| !known.contains(name.as_str())) {
        None => Ok(named),
        Some(unknown) => {
            let known: Vec<&str> = known.into_iter().collect();
            Err(Failure::new(Exit::Failed, format!("`{prefix}{unknown}` is not in the contract; there is {}", known.join(", "))))
        }
    }
}

/// What a plugin may import.
pub(super) fn interfaces() -> BTreeSet<&'static str> {
    let names = WIT.lines().filter_map(|line| line.strip_prefix("interface ")?.split(' ').next());
    names.filter(|name| !matches!(*name, "types" | "handler")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_has_what_the_source_names_and_nothing_else() {
        let source = "import { write } from 'hookyard:plugin/log@0.1.0';\nimport { get } from \"hookyard:plugin/kv@0.1.0\";\n";
        let named = named_after("hookyard:plugin/", source).unwrap();
        assert_eq!(named.iter().map(String::as_str).collect::<Vec<_>>(), ["kv", "log"]);
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &named).unwrap();
        let mut resolve = wit_parser::Resolve::default();
        let (package, _) = resolve.push_path(folder.path().join(FILE)).unwrap();
        let world = &resolve.worlds[resolve.select_world(&[package], Some(WORLD)).unwrap()];
        let imported: Vec<String> = world.imports.iter().map(|(key, _)| resolve.name_world_key(key)).collect();
        assert_eq!(imported, ["hookyard:plugin/kv@0.1.0", "hookyard:plugin/log@0.1.0", "hookyard:plugin/types@0.1.0"]);
    }

    #[test]
    fn an_interface_that_is_not_there_is_answered_with_those_that_are() {
        let failure = named_after("hookyard:plugin/", "import 'hookyard:plugin/files@0.1.0'").unwrap_err();
        assert!(failure.message.contains("files") && failure.message.contains("emit, http, kv"), "{failure}");
        assert!(named_after("hookyard:plugin/", "no import at all").unwrap().is_empty());
    }
}
