//! Past runs, made again: on the command line, against a running host, and without it.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use system_tests::{
    folder::{self, Folder, Layout, SECRET},
    guests,
    process::{ProcessHost, binary},
};

/// A host whose plugin `fetch` skips with what a server answered: `one`, then `two`, and so on.
struct Desk {
    folder: Folder,
    host: ProcessHost,
    manifest: String,
    requests: Arc<AtomicUsize>,
}

const WORDS: [&str; 4] = ["one", "two", "three", "four"];

impl Desk {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&requests);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let word = WORDS[count.fetch_add(1, Ordering::SeqCst) % WORDS.len()];
                let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{word}", word.len());
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        let manifest = format!(
            "sources = [\"github\"]\nevents = [\"*\"]\n[config]\nurl = \"http://127.0.0.1:{port}/words\"\n\
             [[grants.http]]\nhost = \"127.0.0.1:{port}\"\nmethods = [\"GET\"]\ncredential = \"github\"\n"
        );
        let tenant_toml = format!(
            "[credentials.github]\nkind = \"github-token\"\ntoken = {{ file = \"secrets/github\" }}\n\
             [[grants.http]]\nhost = \"127.0.0.1:{port}\"\nmethods = [\"GET\"]\ncredential = \"github\"\nallow_http = true\n\
             [egress]\nallow_addresses = [\"127.0.0.1\"]\n"
        );
        let plugins = [(("default".to_owned(), "fetch".to_owned()), (guests::component("fetch"), manifest.clone()))].into();
        let folder = Folder::lay(&Layout { plugins, tenant_toml, ..Layout::default() });
        folder::write(&folder.path().join("secret"), SECRET.as_bytes());
        let host = ProcessHost::start(&folder);
        Self { folder, host, manifest, requests }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let token = std::fs::read_to_string(self.folder.path().join("data/admin.token")).expect("a token");
        let mut command = Command::new(binary());
        command.current_dir(self.folder.path()).env_clear().args(arguments);
        command.env("HOOKYARD_ADMIN_URL", format!("http://{}", self.host.admin)).env("HOOKYARD_ADMIN_TOKEN", token.trim());
        command.output().expect("a command")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
    }

    /// Sends `count` deliveries and waits until they are settled.
    fn deliver(&self, count: usize) -> Vec<String> {
        folder::write(&self.folder.path().join("payload.json"), b"{\"action\":\"opened\"}");
        let url = format!("http://{}/webhooks/github", self.host.ingest);
        for _ in 0..count {
            let sent = self.run(&[
                "send",
                "--url",
                &url,
                "--source",
                "github",
                "--secret-file",
                "secret",
                "--event",
                "issues",
                "--payload",
                "payload.json",
            ]);
            assert!(sent.status.success(), "{sent:?}");
        }
        loop {
            let page = self.json(&["deliveries", "list", "--status", "settled", "--json"]);
            let items = page["items"].as_array().expect("a list");
            if items.len() == count {
                return items.iter().map(|item| item["delivery_id"].as_str().expect("an id").to_owned()).collect();
            }
            std::thread::yield_now();
        }
    }

    fn candidate(&self, name: &str, guest: &str, manifest: &str) -> String {
        folder::write(&self.folder.path().join(format!("{name}.toml")), manifest.as_bytes());
        folder::write(&self.folder.path().join(format!("{name}.wasm")), &guests::component(guest));
        format!("{name}.wasm")
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_past_run_is_repeated_byte_for_byte_with_its_answers_and_without_a_socket() {
    let desk = Desk::open();
    let id = desk.deliver(1).remove(0);
    assert_eq!(desk.requests.load(Ordering::SeqCst), 1);
    // The files the host serves, and what it has kept: the answer was `one`, the server would say `two` now.
    let same = desk.candidate("fetch", "fetch", &desk.manifest);
    let output = desk.run(&["plugin", "run", &same, "--replay", &id]);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout(&output).contains("skip: one") && stdout(&output).contains("the same version, and the same to the byte"), "{output:?}");
    // From a file, with no host to ask.
    let shown = desk.run(&["deliveries", "show", &id, "--json"]);
    folder::write(&desk.folder.path().join("past.json"), &shown.stdout);
    let mut command = Command::new(binary());
    let offline = command.current_dir(desk.folder.path()).env_clear().args(["plugin", "run", &same, "--replay", "past.json", "--json"]);
    let offline: Value = serde_json::from_slice(&offline.output().expect("a command").stdout).expect("an object");
    assert_eq!((offline["same"].as_bool(), offline["same_version"].as_bool()), (Some(true), Some(true)), "{offline:#}");
    // Another version shows what it would have done.
    let other = desk.candidate("other", "ack", "sources = [\"github\"]\nevents = [\"*\"]\n");
    let output = desk.run(&["plugin", "run", &other, "--replay", &id, "--plugin", "fetch"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for line in ["  - skip: one", "  + ack", "  - http.send GET"] {
        assert!(stdout(&output).contains(line), "{line}: {output:?}");
    }
    assert_eq!(desk.requests.load(Ordering::SeqCst), 1, "no replay has sent anything");
}

#[test]
fn stored_traffic_goes_through_a_candidate_and_every_change_is_shown() {
    let desk = Desk::open();
    desk.deliver(3);
    let sent = desk.requests.load(Ordering::SeqCst);
    let many = |file: &str, more: &[&str]| {
        let mut arguments = vec!["deliveries", "replay", "--since", "24h", "--plugin", "fetch", "--with", file, "--dry-run"];
        arguments.extend(more);
        desk.run(&arguments)
    };
    let same = desk.candidate("fetch", "fetch", &desk.manifest);
    let output = many(&same, &["--diff"]);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout(&output).contains("3  would end and act as they did"), "{output:?}");

    let other = desk.candidate("other", "emit-then-ack", "sources = [\"github\"]\nevents = [\"*\"]\n");
    let output = many(&other, &["--diff"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for part in ["3  would get another verdict", "3  skip → ack", "  + emit.publish labelled", "  - http.send GET", "issues.opened"] {
        assert!(stdout(&output).contains(part), "{part}: {}", stdout(&output));
    }
    let output = many(&other, &["--json"]);
    let object: Value = serde_json::from_slice(&output.stdout).expect("an object");
    assert_eq!((object["deliveries"].as_u64(), object["same"].as_u64()), (Some(3), Some(0)));
    assert_eq!(object["changed"][0]["was"]["outcome"], "skip");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(desk.requests.load(Ordering::SeqCst), sent, "a dry run has sent nothing");
    assert_eq!(desk.json(&["deliveries", "list", "--json"])["items"].as_array().map(Vec::len), Some(3), "and changed nothing");
}

#[test]
fn a_candidate_needs_a_dry_run_and_stays_within_its_tenant() {
    let desk = Desk::open();
    let id = desk.deliver(1).remove(0);
    let same = desk.candidate("fetch", "fetch", &desk.manifest);
    let unsaid = desk.run(&["deliveries", "replay", "--since", "1h", "--plugin", "fetch", "--with", &same]);
    assert_eq!(unsaid.status.code(), Some(2), "{unsaid:?}");
    let stranger = desk.run(&["plugin", "run", &same, "--replay", &id, "--tenant", "blue"]);
    assert_eq!(stranger.status.code(), Some(5), "{stranger:?}");
    let other_plugin = desk.run(&["plugin", "run", &same, "--replay", &id, "--plugin", "other"]);
    assert_eq!(other_plugin.status.code(), Some(5), "{other_plugin:?}");
    let nothing = desk.run(&[
        "deliveries",
        "replay",
        "--since",
        "1h",
        "--plugin",
        "fetch",
        "--with",
        &same,
        "--dry-run",
        "--tenant",
        "blue",
        "--json",
    ]);
    assert_eq!(nothing.status.code(), Some(5), "there is no such tenant: {nothing:?}");
}
