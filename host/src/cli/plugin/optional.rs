//! Arguments that JavaScript may leave out. The contract has no defaults, and the engine refuses a call that has fewer arguments than the contract
//! says: `kv.set(key, value)` would trap. So an import of such a function gets a function around it, on the line of the import.

use regex_lite::{Captures, Regex};

use super::super::exit::{Exit, Failure};

/// Functions with something to leave out: interface, name, and the parameters with their defaults. `undefined` is "none".
const OPTIONAL: [(&str, &str, &str); 2] = [("kv", "set", "key, value, ttlMs = undefined"), ("log", "write", "level, message, fields = []")];
/// `import { set as put, get } from "hookyard:plugin/kv@0.1.0";` or `import * as kv from "…";`: what is imported, and from which interface.
const IMPORT: &str = r#"(?m)^(\s*)import\s+(\{[^}]*\}|\*\s*as\s+[\w$]+)\s*from\s*(["']hookyard:plugin/([a-z-]+)@[0-9.]+["'])\s*;?"#;

/// The source with functions around those that have something to leave out; its lines keep their numbers.
pub(super) fn with_defaults(source: &str) -> Result<String, Failure> {
    let import = Regex::new(IMPORT).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    Ok(import.replace_all(source, |found: &Captures<'_>| rewritten(found)).into_owned())
}

fn rewritten(import: &Captures<'_>) -> String {
    let (indent, bindings, from, interface) = (&import[1], &import[2], &import[3], &import[4]);
    let optional: Vec<_> = OPTIONAL.iter().filter(|(of, ..)| *of == interface).map(|(_, name, taken)| (*name, *taken)).collect();
    if optional.is_empty() {
        return import[0].to_owned();
    }
    let (bindings, around) = match bindings.strip_prefix('*') {
        Some(rest) => namespace(rest.trim_start().trim_start_matches("as").trim(), &optional),
        None => list(bindings, &optional),
    };
    format!("{indent}import {bindings} from {from};{around}")
}

/// `* as name`: an object of all functions, with other ones in the places of those that have something to leave out.
fn namespace(name: &str, optional: &[(&str, &str)]) -> (String, String) {
    let inner = format!("hookyardAround{name}");
    let functions: Vec<String> =
        optional.iter().map(|(of, taken)| format!("{of}: {}", function(&format!("{inner}.{of}"), taken))).collect();
    (format!("* as {inner}"), format!(" const {name} = {{ ...{inner}, {} }};", functions.join(", ")))
}

/// `{ of as name, of }`: each that has something to leave out comes under another name. Line ends stay where they are.
fn list(bindings: &str, optional: &[(&str, &str)]) -> (String, String) {
    let (mut kept, mut around) = (Vec::new(), Vec::new());
    for binding in bindings.trim_matches(['{', '}']).split(',') {
        let mut words = binding.split_whitespace();
        let of = words.next().unwrap_or_default();
        let name = words.nth(1).unwrap_or(of);
        match optional.iter().find(|(optional, _)| *optional == of) {
            Some((_, taken)) => {
                let inner = format!("hookyardAround{name}");
                around.push(format!(" const {name} = {};", function(&inner, taken)));
                kept.push(format!("{} {of} as {inner} ", "\n".repeat(binding.matches('\n').count())));
            }
            None => kept.push(binding.to_owned()),
        }
    }
    (format!("{{{}}}", kept.join(",")), around.concat())
}

/// `(key, value, ttlMs = undefined) => inner(key, value, ttlMs)`.
fn function(inner: &str, taken: &str) -> String {
    let given: Vec<&str> = taken.split(", ").map(|one| one.split(' ').next().unwrap_or(one)).collect();
    format!("({taken}) => {inner}({})", given.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_with_something_to_leave_out_is_imported_with_a_function_around_it() {
        assert_eq!(
            with_defaults("import { set, get } from \"hookyard:plugin/kv@0.1.0\";\nset(\"a\", b);\n").unwrap(),
            "import { set as hookyardAroundset , get } from \"hookyard:plugin/kv@0.1.0\"; const set = (key, value, ttlMs = undefined) => \
             hookyardAroundset(key, value, ttlMs);\nset(\"a\", b);\n"
        );
        let renamed = with_defaults("import { set as put } from 'hookyard:plugin/kv@0.1.0'").unwrap();
        assert!(
            renamed.contains("set as hookyardAroundput") && renamed.contains("const put = (key, value, ttlMs = undefined)"),
            "{renamed}"
        );
        let whole = with_defaults("import * as store from \"hookyard:plugin/kv@0.1.0\";").unwrap();
        assert!(
            whole.starts_with("import * as hookyardAroundstore from") && whole.contains("const store = { ...hookyardAroundstore, set: ("),
            "{whole}"
        );
        let log = with_defaults("import { write } from \"hookyard:plugin/log@0.1.0\";").unwrap();
        assert!(log.contains("fields = []) => hookyardAroundwrite(level, message, fields)"), "{log}");
    }

    #[test]
    fn everything_else_stays_and_lines_keep_their_numbers() {
        for source in [
            "import { send } from \"hookyard:plugin/http@0.1.0\";\n",
            "import { get } from \"./set.js\";\n",
            "// import { set } from \"hookyard:plugin/kv@0.1.0\";\n",
            "const kv = \"import { set }\";\n",
        ] {
            assert_eq!(with_defaults(source).unwrap(), source);
        }
        let source = "import {\n  get,\n  set,\n} from \"hookyard:plugin/kv@0.1.0\";\nlast();\n";
        let rewritten = with_defaults(source).unwrap();
        assert_eq!(rewritten.lines().position(|line| line == "last();"), source.lines().position(|line| line == "last();"), "{rewritten}");
    }
}
