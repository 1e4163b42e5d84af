//! Components made by other tools than the Rust target plugins usually have: each of `plugins/examples/` is built as its author would build it,
//! loads into the host's sandbox, and handles deliveries up to the largest GitHub sends.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use system_tests::process::binary;

/// GitHub sends no delivery larger than 25 MB.
const LARGEST_BYTES: usize = 24_900_000;

/// A copy of an example, so that nothing is built inside the repository.
struct Example {
    folder: tempfile::TempDir,
    name: &'static str,
}

impl Example {
    /// Copied, with the SDK at its place.
    fn copy(name: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let example = Self { folder, name };
        copy(&repository().join("plugins/examples").join(name), &example.dir());
        let cargo = example.dir().join("Cargo.toml");
        if let Ok(text) = fs::read_to_string(&cargo) {
            let sdk = repository().join("plugin-sdk").display().to_string();
            fs::write(&cargo, text.replace("../../../plugin-sdk", &sdk)).expect("a file");
        }
        example
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    fn component(&self) -> PathBuf {
        self.dir().join(self.name).with_extension("wasm")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.arg("plugin").args(arguments).current_dir(self.folder.path());
        command.env("CARGO_TARGET_DIR", repository().join("target/wasm")).output().expect("the program runs")
    }

    /// Builds it and runs its fixtures, and with them the largest delivery. False, and a word, where its compiler is not here.
    fn is_built_and_passes(&self) -> bool {
        self.expects_the_largest_delivery();
        let test = self.run(&["test", self.name, "--json"]);
        let words = String::from_utf8_lossy(&test.stderr).into_owned();
        if ["which is not here", "no Rust toolchain"].iter().any(|missing| words.contains(missing)) {
            let _ = writeln!(std::io::stderr(), "skipped: {}: {words}", self.name);
            return false;
        }
        assert!(test.status.success(), "{}: {words}\n{}", self.name, String::from_utf8_lossy(&test.stdout));
        let object: Value = serde_json::from_slice(&test.stdout).expect("JSON");
        assert_eq!((&object["passed"], &object["failed"]), (&4.into(), &0.into()), "{object}");
        true
    }

    /// What admission knows of it: its interfaces, those of WASI, its size.
    fn inspected(&self) -> Value {
        let inspect = self.run(&["inspect", &self.component().display().to_string(), "--json"]);
        serde_json::from_slice(&inspect.stdout).expect("JSON")
    }

    /// One fixture more: with the memory and the fuel of a plugin that states no limits, and time for a slow machine.
    fn expects_the_largest_delivery(&self) {
        let sample = repository().join("host/src/cli/samples/pull_request.json");
        let mut document: Value = serde_json::from_slice(&fs::read(sample).expect("the sample")).expect("JSON");
        let title = "Größer ".repeat(20);
        document["padding"] = (0..LARGEST_BYTES / (title.len() + 3)).map(|_| json!(title)).collect::<Vec<_>>().into();
        document["pull_request"]["additions"] = json!(600);
        let fixtures = self.dir().join("fixtures");
        fs::write(fixtures.join("largest.json"), document.to_string()).expect("a file");
        let fixture = "event = \"pull_request\"\npayload = \"largest.json\"\n[expect]\nverdict = \"ack\"\n";
        fs::write(fixtures.join("largest.toml"), fixture).expect("a file");
        let manifest = self.component().with_extension("toml");
        let text = fs::read_to_string(&manifest).expect("the manifest");
        fs::write(&manifest, format!("{text}\n[limits]\nwall_ms = 60_000\n")).expect("a file");
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the example") {
        let entry = entry.expect("an entry");
        let (file, name) = (entry.path(), entry.file_name());
        if file.is_dir() && !["target", "node_modules", "__pycache__", ".venv"].iter().any(|by_product| name == *by_product) {
            copy(&file, &to.join(name));
        } else if file.is_file() {
            fs::copy(&file, to.join(name)).expect("a copy");
        }
    }
}

#[test]
fn quickjs_of_jco_loads_and_reads_the_largest_delivery() {
    let example = Example::copy("review-quickjs");
    if example.is_built_and_passes() {
        let inspected = example.inspected();
        assert_eq!(inspected["imports"], json!(["config", "emit", "log"]), "{inspected}");
        assert!(inspected["component_bytes"].as_u64().is_some_and(|bytes| bytes < 2_500_000), "{inspected}");
    }
}

#[test]
fn starlingmonkey_of_jco_loads_and_reads_the_largest_delivery() {
    let example = Example::copy("review-starlingmonkey");
    if example.is_built_and_passes() {
        let inspected = example.inspected();
        assert_eq!(inspected["imports"], json!(["config", "emit", "log"]), "{inspected}");
        assert!(inspected["component_bytes"].as_u64().is_some_and(|bytes| bytes < 20_000_000), "{inspected}");
    }
}

#[test]
fn python_of_componentize_py_loads_and_reads_the_largest_delivery() {
    let example = Example::copy("review-python");
    if example.is_built_and_passes() {
        let inspected = example.inspected();
        assert_eq!(inspected["imports"], json!(["config", "emit", "log"]), "{inspected}");
        let has_sockets = |list: &Value| list.to_string().contains("wasi:sockets/tcp");
        assert!(has_sockets(&inspected["wasi_imports"]), "it imports all of WASI, and has none of it: {inspected}");
    }
}

#[test]
fn rust_over_wasi_loads_and_reads_the_largest_delivery() {
    let example = Example::copy("review-wasip2");
    if example.is_built_and_passes() {
        let inspected = example.inspected();
        assert_eq!(inspected["imports"], json!(["log", "config", "emit"]), "{inspected}");
        assert!(inspected["wasi_imports"].to_string().contains("wasi:cli/stdout"), "{inspected}");
    }
}
