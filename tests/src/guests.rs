//! The guests of `tests/guests`, encoded as components.
//!
//! The texts are part of the test binary, so that a test needs neither a working directory nor a guest toolchain.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Calls `$then!` with the name of every guest: `foreach_guest!(table)` makes `table! { "ack", "loop", … }`.
#[macro_export]
macro_rules! foreach_guest {
    ($then:ident) => {
        $then! {
            "ack", "bad-text", "bulk-fill", "burn-then-trap", "call-flood", "config", "count", "echo", "emit-then-ack", "emit-then-reject", "exit", "fat-string",
            "fetch", "fetch-on", "http-import", "huge-string", "invalid-discriminant", "kv-flood", "kv-own-writes", "last-words", "log-flood", "log-some", "loop",
            "memory-bomb",
            "memory-bombs", "noisy", "once-flood", "once-send", "once-twice", "poison", "publish-document", "random", "reject", "remember", "retry", "sign", "skip",
            "sleep", "stack-overflow", "start-grow", "start-loop", "start-trap", "table-bomb", "trap", "unknown-import", "validate", "wall-clock",
            "wrong-world",
        }
    };
}

macro_rules! texts {
    ($($name:literal,)*) => {
        /// Name and text of every guest, sorted by name.
        pub const GUESTS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../guests/", $name, ".wat"))),)*];
    };
}

foreach_guest!(texts);

const PRELUDE: &str = include_str!("../guests/prelude.wat");
const WORLD: &str = include_str!("../guests/world.wit");
const PLUGIN: &str = include_str!("../../wit/plugin.wit");

/// The guest of this name as a component.
///
/// # Panics
///
/// Where there is no such guest, or its text is wrong.
#[must_use]
pub fn component(name: &str) -> Vec<u8> {
    let (_, text) = GUESTS.iter().find(|(guest, _)| *guest == name).unwrap_or_else(|| panic!("no guest `{name}` in tests/guests"));
    encode(text)
}

/// A guest's text as a component.
///
/// # Panics
///
/// Where the text is wrong.
#[must_use]
pub fn encode(text: &str) -> Vec<u8> {
    let world = text.lines().find_map(|line| line.strip_prefix(";; world: ")).unwrap_or("guest");
    let mut module = wat::parse_str(PRELUDE.replace("{{guest}}", text)).expect("the guest is WebAssembly text");
    let mut resolve = Resolve::default();
    resolve.push_source("plugin.wit", PLUGIN).expect("the contract parses");
    let package = resolve.push_source("world.wit", WORLD).expect("the guests' worlds parse");
    let world = resolve.select_world(&[package], Some(world)).expect("the guest's world exists");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the world can be embedded");
    let encoder = ComponentEncoder::default().validate(true).module(&module);
    encoder.expect("the guest fits its world").encode().expect("the guest can be encoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_the_folder_is_in_the_list_and_encodes() {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("tests/guests")).find(|dir| dir.is_dir());
        let entries = std::fs::read_dir(folder.expect("tests/guests is there")).expect("and can be read");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".wat").map(str::to_owned));
        let mut names: Vec<_> = names.filter(|name| name != "prelude").collect();
        names.sort_unstable();
        assert_eq!(names, GUESTS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
        for name in names {
            assert!(component(&name).starts_with(b"\0asm"), "{name}");
        }
    }
}
