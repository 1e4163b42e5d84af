//! The repository as the rules see it: every file git knows or would add, read once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, ensure};

use super::lexer::{self, Lexed};

/// All files, by path with `/`.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, File>,
    /// Files that are compiled for tests only.
    test_files: BTreeSet<String>,
}

/// One text file.
#[derive(Debug)]
pub(super) struct File {
    /// Its text; empty where it is not UTF-8.
    pub(super) text: String,
    /// Its code, where it is Rust.
    pub(super) lexed: Lexed,
    /// Where the trailing `#[cfg(test)] mod tests {` begins, or the end.
    pub(super) tests_at: usize,
}

impl Tree {
    /// Reads the files of the repository at `root`.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let output = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()
            .context("cannot run git")?;
        ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
        let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        let mut files = Vec::new();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            // A file deleted but not yet staged is still listed.
            let Ok(bytes) = fs::read(root.join(name)) else { continue };
            files.push((name.to_owned(), String::from_utf8(bytes).unwrap_or_default()));
        }
        Ok(Self::of(files))
    }

    /// A tree of files by path and text.
    pub(super) fn of(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            let file = File::new(&path, text);
            tree.test_files.extend(file.test_modules(&path));
            tree.files.insert(path, file);
        }
        tree
    }

    /// Every file, in order of path.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// Every Rust file.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files().filter(|(path, _)| is_rust(path))
    }

    /// One file.
    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// Whether there is a file or folder of this path.
    pub(super) fn exists(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.range(folder.clone()..).next().is_some_and(|(at, _)| at.starts_with(&folder))
    }

    /// Whether the whole file is compiled for tests only.
    pub(super) fn is_test(&self, path: &str) -> bool {
        let is_below =
            |test: &String| test.strip_suffix(".rs").and_then(|stem| path.strip_prefix(stem)).is_some_and(|rest| rest.starts_with('/'));
        path.starts_with("tests/") || path.contains("/tests/") || self.test_files.iter().any(|test| test == path || is_below(test))
    }
}

impl File {
    fn new(path: &str, text: String) -> Self {
        let lexed = if is_rust(path) { lexer::lex(&text) } else { Lexed::default() };
        let tests_at = lexed.code.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        Self { text, lexed, tests_at }
    }

    /// The code without the trailing test module.
    pub(super) fn code(&self) -> &str {
        self.lexed.code.get(..self.tests_at).unwrap_or_default()
    }

    /// The 1-based line of an offset.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
    }

    /// The files this one declares as `#[cfg(test)] mod name;`.
    fn test_modules(&self, path: &str) -> Vec<String> {
        let home = match path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder,
            _ => path.strip_suffix(".rs").unwrap_or(path),
        };
        let declared = self.lexed.code.split("#[cfg(test)]").skip(1);
        let names = declared.filter_map(|after| after.trim_start().strip_prefix("mod ")?.split_once(';')).map(|(name, _)| name);
        names
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
            .map(|name| format!("{home}/{name}.rs"))
            .collect()
    }
}

/// Every place of `word` in `code` where no identifier goes on before or after it.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let bytes = code.as_bytes();
        !is_word(at.checked_sub(1).and_then(|before| bytes.get(before))) && !is_word(bytes.get(at + word.len()))
    })
}

/// The identifier at the beginning of `code`, white space skipped; empty where there is none.
pub(super) fn identifier(code: &str) -> &str {
    let code = code.trim_start();
    let end = code.bytes().position(|byte| !byte.is_ascii_alphanumeric() && byte != b'_').unwrap_or(code.len());
    &code[..end]
}

/// The offset just after the bracket that closes the one at `open`, or the end.
pub(super) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree::of(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())))
    }

    #[test]
    fn what_is_declared_under_cfg_test_is_a_test_and_what_lies_below_it() {
        let tree = tree(&[
            ("host/src/work/mod.rs", "#[cfg(test)]\nmod doubles;\nmod judge;\n"),
            ("host/src/work/doubles.rs", ""),
            ("host/src/work/doubles/more.rs", ""),
            ("host/src/work/judge.rs", "#[cfg(test)]\nmod tests;"),
        ]);
        assert!(tree.is_test("host/src/work/doubles.rs"));
        assert!(tree.is_test("host/src/work/doubles/more.rs"));
        assert!(tree.is_test("host/src/work/judge/tests.rs"));
        assert!(!tree.is_test("host/src/work/judge.rs"));
    }

    #[test]
    fn a_folder_exists_where_a_file_lies_in_it() {
        let tree = tree(&[("docs/a.md", "")]);
        assert!(tree.exists("docs") && tree.exists("docs/a.md") && tree.exists(""));
        assert!(!tree.exists("doc") && !tree.exists("docs/a"));
    }

    #[test]
    fn words_stand_alone_and_brackets_close_their_own_kind_of_depth() {
        assert_eq!(words("xfn fn fns fn(", "fn").collect::<Vec<_>>(), [4, 11]);
        assert_eq!(identifier("  ab_1::c"), "ab_1");
        assert_eq!(closing("a{b(c)[d]}e", 1), 10);
    }
}
