//! The author's loop, as a user types it: the real binary, real compilers, no host but in the last step.

mod javascript;
mod quick_start;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use system_tests::{guests, process::binary};

/// A desk outside any checkout: a folder with a copy of the program, as if it had been installed.
struct Desk {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("bin/hookyard");
        fs::create_dir(folder.path().join("bin")).expect("a folder");
        // By another process: a file this one has open for writing is "busy" in whatever a neighbouring test starts meanwhile.
        assert!(Command::new("cp").arg(binary()).arg(&program).status().expect("cp").success(), "a copy of the program");
        Self { folder, program }
    }

    fn path(&self, place: &str) -> PathBuf {
        self.folder.path().join(place)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        // Dependencies of plugins are compiled once for all tests and for the shipped plugins.
        command.env("CARGO_TARGET_DIR", repository().join("target/wasm"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// A plugin whose component is one of the WAT guests: nothing has to be built.
    fn with_guest(guest: &str, events: &str) -> Self {
        let desk = Self::new();
        fs::create_dir(desk.path("guest")).expect("a folder");
        fs::write(desk.path("guest/package.json"), "{\"name\": \"guest\"}").expect("a file");
        // So little fuel that it is always what runs out first, on the slowest machine too.
        let manifest = format!("sources = [\"github\"]\nevents = {events}\n[limits]\nfuel = 10_000_000\n");
        fs::write(desk.path("guest/guest.toml"), manifest).expect("a file");
        fs::write(desk.path("guest/guest.wasm"), guests::component(guest)).expect("a file");
        desk
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn data(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn skip(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}; `cargo xtask test` brings it where it can be had");
}

/// A program of the path this test was started with.
fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[test]
fn a_new_rust_plugin_builds_and_passes_its_fixtures_outside_any_checkout() {
    let desk = Desk::new();
    let new = desk.run(&["plugin", "new", "sizes"]);
    assert!(new.status.success() && new.stdout.is_empty(), "{new:?}");
    assert!(words(&new).contains("next: hookyard plugin test sizes"), "{}", words(&new));
    assert!(desk.path("sizes/sdk/plugin-sdk/src/lib.rs").is_file(), "the SDK comes with it");

    let test = desk.run(&["plugin", "test", "sizes"]);
    if words(&test).contains("no Rust toolchain") {
        return skip("a Rust toolchain for wasm32-unknown-unknown");
    }
    assert_eq!(code(&test), 0, "{}\n{}", data(&test), words(&test));
    assert!(data(&test).contains("PASS  large  ack") && data(&test).contains("2 passed, 0 failed"), "{}", data(&test));
    assert!(words(&test).contains("next: cp sizes/sizes.toml sizes/sizes.wasm tenants/default/plugins/"), "{}", words(&test));

    // Somebody else, somewhere else: the same bytes, and nothing of where either of them has their files.
    let elsewhere = Desk::new();
    assert!(elsewhere.run(&["plugin", "new", "sizes"]).status.success());
    let built = elsewhere.run(&["plugin", "build", "sizes"]);
    assert_eq!(code(&built), 0, "{}", words(&built));
    let component = |desk: &Desk| fs::read(desk.path("sizes/sizes.wasm")).expect("the component");
    let (here, there) = (component(&desk), component(&elsewhere));
    let home = std::env::home_dir().unwrap_or_default();
    for place in [desk.path("sizes"), home.join(".cargo"), home] {
        let place = place.as_os_str().as_encoded_bytes();
        assert!(!here.windows(place.len().max(2)).any(|bytes| bytes == place), "{} is in the component", String::from_utf8_lossy(place));
    }
    assert!(here == there, "two builds of the same source differ");

    // A fixture that expects something else: every difference is told, and the run is not repeated by hand to see why.
    let fixture = fs::read_to_string(desk.path("sizes/fixtures/large.toml")).expect("the fixture");
    let other = fixture.replace("\"ack\"", "\"skip\"").replace("labels = [\"review-wanted\"]", "labels = [\"large\"]");
    fs::write(desk.path("sizes/fixtures/large.toml"), other).expect("a file");
    let test = desk.run(&["plugin", "test", "sizes", "--no-build"]);
    assert_eq!(code(&test), 1);
    for line in [
        "FAIL  large",
        "      verdict\n        expected  skip\n        found     ack\n",
        "      http[0].body.labels\n",
        "1 passed, 1 failed",
    ] {
        assert!(data(&test).contains(line), "{line:?} is not in {}", data(&test));
    }
    let object = desk.run(&["plugin", "test", "sizes", "--no-build", "--json", "--only", "large"]);
    let object: Value = serde_json::from_slice(&object.stdout).expect("JSON");
    assert_eq!((&object["failed"], &object["fixtures"][0]["differences"][0]["what"]), (&1.into(), &"verdict".into()), "{object}");
}

#[test]
fn a_new_plugin_never_writes_over_what_is_there() {
    let desk = Desk::new();
    fs::create_dir(desk.path("sizes")).expect("a folder");
    fs::write(desk.path("sizes/thesis.txt"), "years of work").expect("a file");
    let new = desk.run(&["plugin", "new", "sizes"]);
    assert_eq!(code(&new), 1);
    assert!(words(&new).contains("not empty"), "{}", words(&new));
    assert_eq!(fs::read_dir(desk.path("sizes")).expect("the folder").count(), 1);
    assert_eq!(code(&desk.run(&["plugin", "new", "2fast"])), 2);
    assert_eq!(code(&desk.run(&["plugin", "new", ".."])), 2, "a path without a last part names no plugin");
    assert_eq!(code(&desk.run(&["plugin", "new", "handlers/Sizes"])), 2);
}

#[test]
fn a_new_plugin_may_lie_anywhere_and_is_named_after_its_folder() {
    let desk = Desk::new();
    let path = desk.path("deep/handlers/sizes").display().to_string();
    for (place, lies) in [("handlers/sizes", "handlers/sizes"), ("./sizes/", "sizes"), (path.as_str(), "deep/handlers/sizes")] {
        let new = desk.run(&["plugin", "new", place, "--lang", "js"]);
        assert_eq!(code(&new), 0, "{}", words(&new));
        let package = fs::read_to_string(desk.path(lies).join("package.json")).expect("a package");
        assert!(package.contains("\"name\": \"sizes\"") && desk.path(lies).join("sizes.toml").is_file(), "{package}");
        assert!(words(&new).contains("hookyard plugin test "), "{}", words(&new));
    }
}

#[test]
fn a_rust_plugin_made_in_a_checkout_follows_the_checkouts_sdk() {
    let folder = tempfile::tempdir().expect("a folder");
    let new = Command::new(binary()).args(["plugin", "new", "sizes"]).current_dir(folder.path()).output().expect("the program runs");
    assert!(new.status.success(), "{new:?}");
    let cargo = fs::read_to_string(folder.path().join("sizes/Cargo.toml")).expect("the crate");
    assert!(cargo.contains(&repository().join("plugin-sdk").display().to_string()), "{cargo}");
    assert!(!folder.path().join("sizes/sdk").exists());
}

/// A folder as an author has it, with a shipped plugin's component; none, and a word about it, where the plugins were not built.
fn shipped(plugin: &str) -> Option<Desk> {
    let built = repository().join("target/plugins").join(plugin).with_extension("wasm");
    if !built.is_file() {
        skip(&format!("{}, which `cargo xtask plugins` builds", built.display()));
        return None;
    }
    let (desk, from) = (Desk::new(), repository().join("plugins").join(plugin));
    fs::create_dir_all(desk.path(plugin).join("fixtures")).expect("a folder");
    fs::copy(&built, desk.path(plugin).join(plugin).with_extension("wasm")).expect("the component");
    let manifest = format!("{plugin}.toml");
    let fixtures = fs::read_dir(from.join("fixtures")).into_iter().flatten().map(|entry| entry.expect("an entry").file_name());
    let fixtures = fixtures.map(|name| format!("fixtures/{}", name.display()));
    for file in [manifest, "Cargo.toml".to_owned()].into_iter().chain(fixtures) {
        fs::copy(from.join(&file), desk.path(plugin).join(&file)).expect("a copy");
    }
    Some(desk)
}

#[test]
fn a_fixture_answers_the_requests_of_the_handlers_and_checks_them() {
    for (plugin, passed) in [
        ("check-issues", 2),
        ("comment-commands", 3),
        ("deployment-report", 3),
        ("deployment-start", 2),
        ("issue-triage", 3),
        ("pr-merged", 2),
        ("pr-review", 2),
        ("pr-size", 3),
        ("push-deploy", 2),
        ("release-deploy", 2),
        ("repo-setup", 2),
        ("star-count", 3),
        ("status-alert", 3),
        ("workflow-alert", 3),
    ] {
        let Some(desk) = shipped(plugin) else { continue };
        let test = desk.run(&["plugin", "test", plugin, "--no-build"]);
        assert_eq!(code(&test), 0, "{}\n{}", data(&test), words(&test));
        assert!(data(&test).contains(&format!("{passed} passed, 0 failed")), "{}", data(&test));
    }
}

#[test]
fn a_request_a_fixture_does_not_expect_is_told_and_one_no_grant_covers_is_denied_as_in_a_host() {
    let Some(desk) = shipped("issue-triage") else { return };
    let place = "issue-triage/fixtures/error.toml";
    let fixture = fs::read_to_string(desk.path(place)).expect("the fixture");
    let only = ["plugin", "test", "issue-triage", "--no-build", "--only", "error"];
    fs::write(
        desk.path(place),
        fixture.replace("labels = [\"bug\"]", "labels = [\"feature\"]").replace("issues/3/assignees", "issues/4/assignees"),
    )
    .expect("a file");
    let test = desk.run(&only);
    assert_eq!(code(&test), 1, "{}", data(&test));
    for line in [
        "      http[1].body.labels\n        expected  [\"feature\"]\n        found     [\"bug\"]\n",
        "      http[2]\n        expected  POST https://api.github.com/repos/acme/harbour/issues/4/assignees\n",
        "      verdict\n        expected  ack\n        found     retry: ",
    ] {
        assert!(data(&test).contains(line), "{line:?} is not in {}", data(&test));
    }
    // A manifest that asks for less than its plugin needs fails here, not in production.
    fs::write(desk.path(place), &fixture).expect("a file");
    let manifest = fs::read_to_string(desk.path("issue-triage/issue-triage.toml")).expect("the manifest");
    fs::write(desk.path("issue-triage/issue-triage.toml"), manifest.replace("\"GET\", \"POST\"", "\"GET\"")).expect("a file");
    let test = desk.run(&only);
    assert!(data(&test).contains("found     reject: ") && data(&test).contains("the manifest asks for no"), "{}", data(&test));
}

#[test]
fn a_configuration_the_plugin_itself_objects_to_is_told_by_inspect() {
    let Some(desk) = shipped("repo-setup") else { return };
    let inspect = desk.run(&["plugin", "inspect", "repo-setup/repo-setup.wasm"]);
    assert_eq!(code(&inspect), 0, "{}", words(&inspect));
    let manifest = fs::read_to_string(desk.path("repo-setup/repo-setup.toml")).expect("the manifest");
    fs::write(desk.path("repo-setup/repo-setup.toml"), manifest.replace("d73a4a", "red")).expect("a file");
    let inspect = desk.run(&["plugin", "inspect", "repo-setup/repo-setup.wasm"]);
    assert_eq!(code(&inspect), 1, "{}", data(&inspect));
    assert!(words(&inspect).contains("config_invalid: the colour of the label `bug` is `red`"), "{}", words(&inspect));
}

#[test]
fn a_fixture_gives_keys_and_earlier_steps_and_is_shown_whole_by_a_run() {
    let desk = Desk::with_guest("sign", "[\"push\"]");
    let manifest = fs::read_to_string(desk.path("guest/guest.toml")).expect("the manifest");
    let granted = format!("{manifest}[[grants.secrets]]\ncredential = \"partner\"\npurposes = [\"sign\"]\n");
    fs::write(desk.path("guest/guest.toml"), granted).expect("a file");
    fs::create_dir(desk.path("guest/fixtures")).expect("a folder");
    let fixture = desk.path("guest/fixtures/signed.toml");
    fs::write(&fixture, "event = \"push\"\n[secrets]\npartner = \"a key of its own\"\n[expect]\nverdict = \"skip\"\n").expect("a file");
    assert_eq!(code(&desk.run(&["plugin", "test", "guest", "--no-build"])), 0);
    let shown = desk.run(&["plugin", "run", "guest/guest.wasm", "--fixture", "guest/fixtures/signed.toml", "--expect", "skip"]);
    assert_eq!(code(&shown), 0, "{}", words(&shown));
    assert!(data(&shown).contains("call      secrets.hmac-sha256(partner "), "{}", data(&shown));
    fs::write(&fixture, "event = \"push\"\n[expect]\nverdict = \"reject\"\nreason = \"no credential `partner`\"\n").expect("a file");
    assert_eq!(code(&desk.run(&["plugin", "test", "guest", "--no-build"])), 0, "a key is there only where the fixture gives it");
}

#[test]
fn every_event_there_is_a_handler_for_has_a_document_to_try() {
    let events = [
        "push",
        "pull_request",
        "issues",
        "issue_comment",
        "release",
        "workflow_run",
        "check_run",
        "deployment",
        "deployment_status",
        "status",
        "repository",
        "star",
        "watch",
        "fork",
    ];
    let desk = Desk::with_guest("ack", &format!("{events:?}"));
    let test = desk.run(&["plugin", "test", "guest", "--no-build"]);
    assert_eq!(code(&test), 0, "{}\n{}", data(&test), words(&test));
    for event in events {
        assert!(data(&test).contains(&format!("PASS  {event} (built in)  ack")), "{event}: {}", data(&test));
        let run = desk.run(&["plugin", "run", "guest/guest.wasm", "--event", event, "--expect", "ack"]);
        assert_eq!(code(&run), 0, "{event}: {}", words(&run));
    }
}

#[test]
fn a_test_tells_a_trap_and_a_limit_by_its_exit_code() {
    for (guest, expected) in [("trap", 70), ("loop", 75), ("memory-bomb", 75), ("reject", 0)] {
        let desk = Desk::with_guest(guest, "[\"push\"]");
        let test = desk.run(&["plugin", "test", "guest", "--no-build"]);
        assert_eq!(code(&test), expected, "{guest}: {}\n{}", data(&test), words(&test));
    }
    // A fault can be what is expected.
    let desk = Desk::with_guest("loop", "[\"push\"]");
    fs::create_dir(desk.path("guest/fixtures")).expect("a folder");
    fs::write(desk.path("guest/fixtures/endless.toml"), "event = \"push\"\n[expect]\nverdict = \"out_of_fuel\"\n").expect("a file");
    assert_eq!(code(&desk.run(&["plugin", "test", "guest", "--no-build"])), 0);
    fs::write(desk.path("guest/fixtures/endless.toml"), "event = \"push\"\n[expects]\n").expect("a file");
    assert_eq!(code(&desk.run(&["plugin", "test", "guest", "--no-build"])), 78, "a fixture that cannot be read is not passed over");
}

#[test]
fn completions_know_the_authors_commands() {
    let script = data(&Desk::new().run(&["completions", "bash"]));
    for verb in ["new", "build", "test", "dev", "run", "inspect"] {
        assert!(
            script.contains(&format!("hookyard__plugin__{verb}")) || script.contains(&format!("hookyard__subcmd__plugin__subcmd__{verb}")),
            "{verb}"
        );
    }
}
