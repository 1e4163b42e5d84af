//! The first hour: what the pages and `hookyard init` tell a newcomer to type is typed here, as it stands there.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use super::{Desk, code, data, repository, skip, words};

/// Someone at a desk who types what is written, with terminals as they are needed.
struct Newcomer {
    desk: Desk,
    folder: PathBuf,
    /// (ingest, admin): the pages have the usual ports, and several tests run beside each other.
    listeners: (String, String),
    hosts: Vec<Child>,
}

impl Newcomer {
    fn new() -> Self {
        let desk = Desk::new();
        let folder = desk.path("");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").to_string();
        Self { desk, folder, listeners: (free(), free()), hosts: Vec::new() }
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        let path = std::env::var("PATH").unwrap_or_default();
        command.arg("-c").arg(line).current_dir(&self.folder).stdin(Stdio::null());
        command.env("PATH", format!("{}:{path}", self.desk.path("bin").display()));
        command.env("HOOKYARD_INGEST__LISTEN", &self.listeners.0).env("HOOKYARD_ADMIN__LISTEN", &self.listeners.1);
        command.env("GITHUB_TOKEN", "ghp_0123456789abcdef").env("CARGO_TARGET_DIR", repository().join("target/wasm"));
        command
    }

    /// Types a command and waits for its end; a host is left running once its door is open.
    fn types(&mut self, line: &str) -> Output {
        if line.starts_with("hookyard serve") {
            return self.serves(line);
        }
        let place = self.desk.path("place");
        let output = self.shell(&format!("{line}\nended=$?; pwd > '{}'; exit $ended", place.display())).output().expect("a shell");
        if let Ok(place) = fs::read_to_string(&place) {
            self.folder = PathBuf::from(place.trim());
        }
        output
    }

    fn serves(&mut self, line: &str) -> Output {
        let mut host =
            self.shell(&format!("exec {line}")).env("HOOKYARD_LOG__FORMAT", "json").stderr(Stdio::piped()).spawn().expect("a host");
        let mut lines = BufReader::new(host.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let before: Vec<String> = lines.by_ref().take_while(|line| !line.contains("\"host_started\"")).collect();
        // It goes on logging, so somebody has to go on reading.
        std::thread::spawn(move || lines.for_each(drop));
        let ended = host.try_wait().expect("a process");
        assert!(ended.is_none(), "the host ended: {}", before.join("\n"));
        self.hosts.push(host);
        Output { status: Command::new("true").status().expect("true"), stdout: Vec::new(), stderr: Vec::new() }
    }

    /// Types a command again until its output has this in it: a delivery is handled a moment after it was accepted.
    fn types_until(&mut self, line: &str, part: &str) -> Output {
        loop {
            let output = self.types(line);
            assert!(output.status.success(), "{line}: {}", words(&output));
            if data(&output).contains(part) {
                return output;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            let _ = host.kill();
            let _ = host.wait();
        }
    }
}

/// The commands of a page's console blocks beneath a heading, each with its heredoc, without the remarks behind them.
fn commands(page: &str, headings: impl Fn(&str) -> bool) -> Vec<String> {
    let text = fs::read_to_string(repository().join(page)).expect("the page");
    let (mut found, mut is_meant, mut is_console, mut document) = (Vec::<String>::new(), false, false, None::<&str>);
    for line in text.lines() {
        match document {
            Some(end) => {
                let command = found.last_mut().expect("a command");
                command.push('\n');
                command.push_str(line);
                document = Some(end).filter(|end| line != *end);
            }
            None if line.starts_with("```") => is_console = line == "```console",
            None if line.starts_with("## ") => is_meant = headings(line),
            None if is_meant && is_console => {
                let Some(command) = line.strip_prefix("$ ") else { continue };
                found.push(command.split("  #").next().unwrap_or(command).trim_end().to_owned());
                document = line.contains("<<'END'").then_some("END");
            }
            None => {}
        }
    }
    assert!(!found.is_empty(), "no command in {page}");
    found
}

#[test]
fn the_commands_init_prints_end_with_a_handled_delivery() {
    let mut newcomer = Newcomer::new();
    let init = newcomer.types("hookyard init hooks");
    assert!(init.status.success() && init.stdout.is_empty(), "{}", words(&init));
    let said = words(&init);
    let printed: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  hookyard ")).collect();
    assert_eq!(printed.len(), 3, "{said}");
    newcomer.folder = newcomer.desk.path("hooks");
    for line in printed {
        let line = format!("hookyard {}", line.split('#').next().unwrap_or(line).trim_end());
        if line == "hookyard deliveries list" {
            let listed = newcomer.types_until(&line, "settled");
            assert!(data(&listed).contains("push") && data(&listed).contains("welcome"), "{}", data(&listed));
        } else {
            let output = newcomer.types(&line);
            assert!(output.status.success(), "{line}: {}", words(&output));
        }
    }
    // A second call changes nothing: the secret GitHub was told stays.
    let secret = || fs::read(newcomer.desk.path("hooks/tenants/default/secrets/github")).expect("the secret");
    let before = secret();
    let again = newcomer.desk.run(&["init", "hooks"]);
    assert_eq!(code(&again), 1);
    assert!(words(&again).contains("hookyard.toml") && words(&again).contains("nothing is written over"), "{}", words(&again));
    assert_eq!(secret(), before);
}

#[test]
fn the_quick_start_of_the_first_page_works_as_written() {
    let mut newcomer = Newcomer::new();
    let mut next = None::<String>;
    for command in commands("README.md", |heading| heading == "## Try it") {
        // What builds or drives the repository itself is not typed inside its own tests; the program is in the path already.
        if command.starts_with("cargo ") {
            continue;
        }
        let part = if command == "hookyard deliveries list" { "settled" } else { "" };
        let output = newcomer.types_until(&command, part);
        next = next.or_else(|| words(&output).lines().find_map(|line| line.strip_prefix("next: ").map(str::to_owned)));
    }
    // What `send` says is next, an id's first digits included.
    let show = next.expect("a command to go on with");
    let shown = newcomer.types(&show);
    assert!(data(&shown).contains("welcome: handled the event push"), "{show}: {}{}", data(&shown), words(&shown));
}

#[test]
fn the_authors_page_works_as_written() {
    let mut newcomer = Newcomer::new();
    for command in commands("docs/author.md", |_| true) {
        // It ends with Ctrl-C; `a_new_javascript_plugin_…` follows it.
        if command.starts_with("hookyard plugin dev") {
            continue;
        }
        if command == "hookyard deliveries list" {
            let listed = newcomer.types_until(&command, "settled");
            assert!(data(&listed).contains("skipped"), "{}", data(&listed));
            continue;
        }
        let output =
            if command.starts_with("hookyard plugins show") { newcomer.types_until(&command, "active") } else { newcomer.types(&command) };
        if words(&output).contains("no Rust toolchain") {
            return skip("a Rust toolchain for wasm32-unknown-unknown");
        }
        assert_eq!(code(&output), 0, "{command}: {}\n{}", data(&output), words(&output));
    }
    let fixture = newcomer.types("hookyard send --fixture review-wanted/fixtures/large.toml --json");
    assert!(fixture.status.success() && data(&fixture).contains("\"accepted\""), "{}{}", data(&fixture), words(&fixture));
    let set = newcomer.types("hookyard send --event pull_request --set /pull_request/additions=600 --json");
    assert!(set.status.success() && data(&set).contains("\"accepted\""), "{}{}", data(&set), words(&set));
    // Both large ones ask GitHub, which cannot be reached with this token from here: they are no skips.
    let shown = newcomer.types_until("hookyard deliveries list", "settled");
    let skipped = data(&shown).matches("skipped").count();
    assert_eq!(skipped, 1, "{}", data(&shown));
}

#[test]
fn a_secret_is_found_by_the_configuration_only_for_the_host_it_describes() {
    let mut newcomer = Newcomer::new();
    assert!(newcomer.types("hookyard init hooks && cd hooks").status.success());
    let elsewhere = newcomer.types("hookyard send --url http://127.0.0.1:1/webhooks/github --event push");
    assert_eq!(code(&elsewhere), 2, "a secret of this machine is never used for an address somebody names: {}", words(&elsewhere));
    let unknown = newcomer.types("hookyard send --tenant nobody --event push");
    assert_eq!(code(&unknown), 5, "{}", words(&unknown));
    assert!(words(&unknown).contains("tenants/nobody/tenant.toml"), "{}", words(&unknown));
    assert!(Path::new(&newcomer.folder).ends_with("hooks"));
}
