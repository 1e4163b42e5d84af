//! How long things may be. What does not fit on a few screens is not read as a whole.

use super::{
    Finding,
    tree::{self, File, Tree},
};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const TRAIT_METHODS_MAX: usize = 5;
const MAIN_LINES_MAX: usize = 60;
const MAIN: &str = "host/src/main.rs";

/// Files that are longer, and why. The list may only shrink: an entry that is no longer needed is a finding.
const LONG_FILES: [&str; 0] = [];

/// Rule (c).
pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    check_against(tree, &LONG_FILES, findings);
}

fn check_against(tree: &Tree, long_files: &[&str], findings: &mut Vec<Finding>) {
    for (path, file) in tree.rust() {
        let (lines, lines_max) = (file.code().lines().count(), if path == MAIN { MAIN_LINES_MAX } else { FILE_LINES_MAX });
        let (is_long, is_listed) = (lines > lines_max, long_files.contains(&path));
        if is_long && !is_listed {
            findings.push(Finding::new(
                path,
                1,
                "sizes",
                format!("{lines} lines without its tests; at most {lines_max}: split it by subject"),
            ));
        }
        if !is_long && is_listed {
            findings.push(Finding::new(path, 1, "sizes", "no longer too long; take it off `LONG_FILES`".to_owned()));
        }
        check_functions(path, file, findings);
        check_traits(path, file, findings);
    }
    for path in long_files.iter().filter(|path| tree.get(path).is_none()) {
        findings.push(Finding::new(path, 1, "sizes", "is not there; take it off `LONG_FILES`".to_owned()));
    }
}

fn check_functions(path: &str, file: &File, findings: &mut Vec<Finding>) {
    for (at, name, body) in items(&file.lexed.code, "fn") {
        let lines = body.lines().count();
        if lines > FUNCTION_LINES_MAX {
            let what = format!("`{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}: name its steps");
            findings.push(Finding::new(path, file.line(at), "sizes", what));
        }
    }
}

fn check_traits(path: &str, file: &File, findings: &mut Vec<Finding>) {
    for (at, name, body) in items(file.code(), "trait") {
        let methods = items_at_depth_one(body);
        if methods > TRAIT_METHODS_MAX {
            let what = format!("the trait `{name}` has {methods} methods; at most {TRAIT_METHODS_MAX}: split it by user");
            findings.push(Finding::new(path, file.line(at), "sizes", what));
        }
    }
}

/// Every `keyword name … { … }` of the code: its place, its name, its text from the keyword to the closing brace.
fn items<'a>(code: &'a str, keyword: &'a str) -> impl Iterator<Item = (usize, &'a str, &'a str)> + 'a {
    tree::words(code, keyword).filter_map(move |at| {
        let name = tree::identifier(&code[at + keyword.len()..]);
        let open = body(code, at)?;
        // `fn(u8) -> u8` is a type.
        (!name.is_empty()).then(|| (at, name, &code[at..tree::closing(code, open)]))
    })
}

/// Where the body of the item at `at` opens, outside all other brackets; none where a `;` comes first.
fn body(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'{' if depth == 0 => return Some(offset),
            b';' if depth == 0 => return None,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

fn items_at_depth_one(body: &str) -> usize {
    let depth =
        |at: usize| body[..at].bytes().filter(|&byte| byte == b'{').count() - body[..at].bytes().filter(|&byte| byte == b'}').count();
    tree::words(body, "fn").filter(|&at| depth(at) == 1 && !tree::identifier(&body[at + 2..]).is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str, long_files: &[&str]) -> Vec<String> {
        let mut findings = Vec::new();
        check_against(&Tree::of([(path.to_owned(), text.to_owned())]), long_files, &mut findings);
        findings.iter().map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.what)).collect()
    }

    #[test]
    fn a_file_is_measured_without_its_tests() {
        let tests = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(500));
        assert_eq!(findings("a.rs", &tests, &[]), [""; 0]);
        assert_eq!(findings("a.rs", &"// x\n".repeat(400), &[]), [""; 0]);
        assert_eq!(findings("a.rs", &"// x\n".repeat(401), &[]).len(), 1);
        assert_eq!(findings(MAIN, &"// x\n".repeat(61), &[]).len(), 1);
    }

    #[test]
    fn an_exception_that_is_not_needed_is_found() {
        assert_eq!(findings("a.rs", &"// x\n".repeat(401), &["a.rs"]), [""; 0]);
        assert_eq!(findings("a.rs", "// x\n", &["a.rs", "b.rs"]).len(), 2);
    }

    #[test]
    fn a_function_has_at_most_seventy_lines_from_its_name_to_its_brace() {
        let function = |lines: usize| format!("fn a(x: [u8; 2]) -> u8 {{\n{}}}\n", "    \"}\";\n".repeat(lines - 2));
        assert_eq!(findings("a.rs", &function(70), &[]), [""; 0]);
        assert_eq!(findings("a.rs", &function(71), &[]), ["a.rs:1 `a` has 71 lines; at most 70: name its steps"]);
    }

    #[test]
    fn a_trait_has_at_most_five_methods_and_the_functions_in_their_bodies_are_not_counted() {
        let methods = |count: usize| {
            format!("trait T {{\n{}fn z() {{ fn inner() {{}} }}\n}}\n", "    fn m(&self, f: fn(u8) -> u8);\n".repeat(count - 1))
        };
        assert_eq!(findings("a.rs", &methods(5), &[]), [""; 0]);
        assert_eq!(findings("a.rs", &methods(6), &[]).len(), 1);
    }
}
