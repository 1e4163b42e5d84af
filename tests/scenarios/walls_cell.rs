//! Walls around the compiler and around what commands do for one tenant: no tenant's compilations keep another waiting, the author's commands
//! are bounded as a host is, a host opens only what its configuration names, and a filter reaches what it names and nothing else.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Output},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use hookyard::{clock::Clock, delivery::DeliveryId};
use serde_json::Value;
use system_tests::{
    bomb::compiler_bomb,
    folder::{self, Folder, Layout, SECRET},
    guests,
    process::{ProcessHost, Signal, binary},
    sender::Sender,
};

const MANIFEST: &str = "sources = [\"github\"]\nevents = [\"*\"]\n";
/// A compilation that does not end by itself is ended after so long.
const SLOW: &str = "[plugins]\ncompile_memory_bytes_max = 1073741824\ncompile_timeout_ms = 12000\n";
/// Far less than one compilation of the slow ones, and far more than one of the quick ones on a busy machine.
const SOON: Duration = Duration::from_secs(10);

fn since(begun: Instant) -> Duration {
    Clock::system().instant().saturating_duration_since(begun)
}

fn hookyard(folder: &Folder, host: &ProcessHost, arguments: &[&str]) -> Output {
    let token = fs::read_to_string(folder.path().join("data/admin.token")).expect("a token");
    let mut command = Command::new(binary());
    command.current_dir(folder.path()).env_clear().args(arguments);
    command.env("HOOKYARD_ADMIN_URL", format!("http://{}", host.admin)).env("HOOKYARD_ADMIN_TOKEN", token.trim());
    command.output().expect("a command")
}

fn json(folder: &Folder, host: &ProcessHost, arguments: &[&str]) -> Value {
    let output = hookyard(folder, host, arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
}

/// A plugin's status; empty where there is none.
fn status(folder: &Folder, host: &ProcessHost, tenant: &str, name: &str) -> String {
    let shown = json(folder, host, &["plugins", "list", "--tenant", tenant, "--json"]);
    let found = shown["items"].as_array().into_iter().flatten().find(|item| item["name"] == name);
    found.and_then(|item| item["status"].as_str()).unwrap_or_default().to_owned()
}

fn remove(folder: &Folder, tenant: &str, name: &str) {
    for extension in ["wasm", "toml"] {
        fs::remove_file(folder.plugins(tenant).join(format!("{name}.{extension}"))).expect("a file");
    }
}

/// How long it takes until `is_so`.
fn takes(what: &str, host: &ProcessHost, is_so: impl Fn() -> bool) -> Duration {
    let begun = Clock::system().instant();
    while !is_so() {
        assert!(since(begun) < Duration::from_mins(2), "{what} does not happen: {}", host.log());
        thread::yield_now();
    }
    since(begun)
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
fn five_slow_components_of_one_tenant_keep_no_deploy_no_removal_and_no_pause_waiting() {
    let folder = Folder::lay(&Layout { hookyard_toml: SLOW.to_owned(), ..Layout::default() });
    for tenant in ["red", "blue"] {
        folder.add_tenant(tenant, "");
        folder.deploy(tenant, "old", &guests::component("ack"), MANIFEST);
    }
    let host = ProcessHost::start(&folder);
    for n in 0..5 {
        folder.deploy("red", &format!("slow-{n}"), &compiler_bomb(1000, 1000 + n), MANIFEST);
    }
    takes("a slow compilation", &host, || status(&folder, &host, "red", "slow-4") == "compiling");
    let shown = json(&folder, &host, &["plugins", "show", "slow-4", "--tenant", "red", "--json"]);
    assert!(shown["compiling_since"].is_string(), "{shown}");

    folder.deploy("blue", "new", &guests::component("skip"), MANIFEST);
    let deployed = takes("blue's deploy", &host, || status(&folder, &host, "blue", "new") == "active");
    remove(&folder, "blue", "old");
    let removed = takes("blue's removal", &host, || status(&folder, &host, "blue", "old").is_empty());
    let begun = Clock::system().instant();
    assert!(hookyard(&folder, &host, &["plugins", "pause", "old", "--tenant", "red"]).status.success());
    let paused = since(begun);
    remove(&folder, "red", "old");
    let own = takes("red's own removal", &host, || status(&folder, &host, "red", "old").is_empty());
    assert_eq!(status(&folder, &host, "red", "slow-4"), "compiling", "all of this was beside it");
    // What is not wanted any more is not compiled to its end.
    for n in 0..5 {
        remove(&folder, "red", &format!("slow-{n}"));
    }
    let forgotten = takes("the end of what is gone", &host, || status(&folder, &host, "red", "slow-4").is_empty());
    println!("beside five slow compilations of another tenant: deploy {deployed:?}, removal {removed:?}, pause {paused:?}");
    println!("beside its own: removal {own:?}, end of what was removed {forgotten:?}");
    for took in [deployed, removed, paused, own, forgotten] {
        assert!(took < SOON, "{took:?}: {}", host.log());
    }
}

#[test]
fn a_tenant_that_has_used_up_its_compile_time_waits_alone_and_is_tried_again_in_words() {
    let limits = "[shares]\ntenant_compile_ms_per_hour_max = 1\n";
    let folder = Folder::lay(&Layout { hookyard_toml: limits.to_owned(), ..Layout::default() });
    for tenant in ["red", "blue"] {
        folder.add_tenant(tenant, "");
    }
    let host = ProcessHost::start(&folder);
    folder.deploy("red", "first", &guests::component("ack"), MANIFEST);
    takes("the first deploy", &host, || status(&folder, &host, "red", "first") == "active");
    folder.deploy("red", "second", &guests::component("skip"), MANIFEST);
    takes("the refusal", &host, || status(&folder, &host, "red", "second") == "refused");
    let refusal = json(&folder, &host, &["plugins", "show", "second", "--tenant", "red", "--json"])["refusal"].clone();
    assert_eq!(refusal["code"], "compile_time_used_up", "{refusal}");
    assert!(refusal["reason"].as_str().expect("words").contains("tried again by itself in"), "{refusal}");
    folder.deploy("blue", "other", &guests::component("reject"), MANIFEST);
    takes("the other tenant's deploy", &host, || status(&folder, &host, "blue", "other") == "active");
}

#[test]
fn a_quarantined_plugin_is_tried_again_as_soon_as_the_marker_is_removed_as_its_words_say() {
    let folder = Folder::lay(&Layout::default());
    let host = ProcessHost::start(&folder);
    let wasm = guests::component("ack");
    let marker = folder.path().join("data/compiled").join(format!("compiling-{}", hookyard::delivery::Digest::of(&[&wasm])));
    fs::write(&marker, "2").expect("a marker");
    folder.deploy("default", "p", &wasm, MANIFEST);
    takes("the quarantine", &host, || status(&folder, &host, "default", "p") == "refused");
    let refusal = json(&folder, &host, &["plugins", "show", "p", "--json"])["refusal"].clone();
    assert_eq!(refusal["code"], "compile_quarantined", "{refusal}");
    assert!(refusal["reason"].as_str().expect("words").contains(&marker.display().to_string()), "{refusal}");
    fs::remove_file(&marker).expect("a marker");
    takes("the deploy", &host, || status(&folder, &host, "default", "p") == "active");
}

#[test]
fn a_running_host_compiles_though_its_program_was_replaced_by_removing_it() {
    let folder = Folder::lay(&Layout::default());
    let program = folder.path().join("bin/hookyard");
    fs::create_dir(program.parent().expect("a folder")).expect("a folder");
    fs::copy(binary(), &program).expect("a copy");
    let host = ProcessHost::start_from(&program, &folder);
    fs::remove_file(&program).expect("a file");
    fs::write(&program, "another program").expect("a file");
    folder.deploy("default", "p", &guests::component("ack"), MANIFEST);
    takes("the deploy", &host, || ["active", "refused"].contains(&status(&folder, &host, "default", "p").as_str()));
    assert_eq!(status(&folder, &host, "default", "p"), "active", "{}", host.log());
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
fn the_authors_commands_end_on_a_compiler_bomb_within_the_compilers_bounds() {
    let dir = tempfile::tempdir().expect("a folder");
    let bomb = dir.path().join("bomb.wasm");
    folder::write(&bomb, &compiler_bomb(3000, 3000));
    folder::write(&bomb.with_extension("toml"), MANIFEST.as_bytes());
    for arguments in [&["plugin", "inspect", "bomb.wasm"][..], &["plugin", "run", "bomb.wasm", "--event", "push"]] {
        let begun = Clock::system().instant();
        let mut command = Command::new(binary());
        command.current_dir(dir.path()).env_clear().args(arguments);
        command.env("HOOKYARD_PLUGINS__COMPILE_MEMORY_BYTES_MAX", (512 << 20).to_string());
        let output = command.output().expect("a command");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{arguments:?} ended after {:?}", since(begun));
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {words}");
        assert!(words.contains("compile_failed") && words.contains("the compiler ended with signal"), "{arguments:?}: {words}");
        assert!(since(begun) < Duration::from_mins(1), "{arguments:?}");
    }
}

#[test]
fn a_host_gives_up_new_privileges_and_still_renews_secrets_deploys_backs_up_and_reloads() {
    let folder = Folder::lay(&Layout::default());
    let host = ProcessHost::start(&folder);
    let process = fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("a running process");
    if hookyard::confine::missing().is_empty() {
        assert!(process.contains("NoNewPrivs:\t1"), "{process}");
    }
    // A secret that is renewed as tools do it: a new file, renamed over the old one.
    folder::write(&folder.path().join("tenants/default/secrets/github"), b"another secret of theirs");
    folder.add_tenant("late", "");
    host.signal(Signal::HUP);
    let sender = Sender::new(host.ingest, "default", "github", "another secret of theirs");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    takes("the reload", &host, || runtime.block_on(sender.post("push", "{}")).status == 202);
    let late = Sender::new(host.ingest, "late", "github", SECRET);
    assert_eq!(runtime.block_on(late.post("push", "{}")).status, 202, "a tenant's folder that was made since");
    folder.deploy("late", "p", &guests::component("ack"), MANIFEST);
    takes("the deploy", &host, || status(&folder, &host, "late", "p") == "active");
    let copy = folder.path().join("copy.db");
    assert!(hookyard(&folder, &host, &["backup", "--config", "hookyard.toml", &copy.display().to_string()]).status.success());
    assert!(copy.is_file());
}

const MANY: usize = 200;

/// A handler like the others, and a component of its own.
fn distinct(n: usize) -> Vec<u8> {
    let text = format!("{}\n(func (export \"number-{n}\") (result i32) (i32.const {n}))", include_str!("../guests/ack.wat"));
    guests::encode(&text)
}

/// What a probe is answered: everything, or nothing where it is not answered within its second.
fn probed(address: SocketAddr, path: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().unwrap_or_default()
}

/// Asks both listeners whether the host lives, once a second until `done` is dropped: how often, and how often nobody said yes.
fn probe(host: &ProcessHost, done: mpsc::Receiver<()>) -> thread::JoinHandle<(usize, Vec<String>)> {
    let probes = [(host.admin, "/livez"), (host.admin, "/readyz"), (host.ingest, "/health")];
    thread::spawn(move || {
        let (mut asked, mut failed) = (0, Vec::new());
        while done.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let wrong = probes.iter().map(|(at, path)| probed(*at, path)).filter(|answer| !answer.starts_with("HTTP/1.1 200 "));
            failed.extend(wrong);
            asked += probes.len();
        }
        (asked, failed)
    })
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
fn a_cold_start_with_two_hundred_plugins_answers_every_probe_and_takes_what_comes_for_all_of_them() {
    let plugin = |n: usize| (("default".to_owned(), format!("p-{n:03}")), (distinct(n), MANIFEST.to_owned()));
    let folder = Folder::lay(&Layout { plugins: (0..MANY).map(plugin).collect(), ..Layout::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let post = |host: &ProcessHost, body: &str| {
        runtime.block_on(Sender::new(host.ingest, "default", "github", SECRET).post("push", body.to_owned())).accepted()
    };
    let legs = |host: &ProcessHost, id: DeliveryId| {
        let shown = json(&folder, host, &["deliveries", "show", &id.to_string(), "--json"]);
        let legs = shown["legs"].as_array().cloned().unwrap_or_default();
        (legs.len(), legs.iter().filter(|leg| leg["state"] == "acked").count())
    };
    let begun = Clock::system().instant();
    let host = ProcessHost::start(&folder);
    let opened = since(begun);
    let note = probed(host.admin, "/readyz");
    assert!(note.starts_with("HTTP/1.1 200 ") && note.contains("of 200 plugins are being compiled"), "{note}");
    let (done, probes) = mpsc::channel();
    let probes = probe(&host, probes);
    let first = post(&host, "{\"n\":1}");
    assert_eq!(legs(&host, first).0, MANY, "of plugins that never served, too");
    takes("the last plugin", &host, || host.log().contains("plugins_loaded"));
    takes("the last run", &host, || legs(&host, first).1 == MANY);
    println!("the door opened after {opened:?}, the last of {MANY} plugins served after {:?}", since(begun));
    drop(done);
    let (asked, failed) = probes.join().expect("probes");
    assert!(asked >= 3 && failed.is_empty(), "{} of {asked}: {failed:?}", failed.len());
    assert!(!probed(host.admin, "/readyz").contains("plugins_compiling"), "the note is gone");
    host.kill();

    // Now they are known from the ledger, and nothing of what was compiled is there.
    fs::remove_dir_all(folder.path().join("data/compiled")).expect("a folder");
    let host = ProcessHost::start(&folder);
    let second = post(&host, "{\"n\":2}");
    assert_eq!(legs(&host, second).0, MANY);
    host.signal(Signal::TERM);
    let (status, log) = host.ended();
    assert!(status.success(), "{status}: {log}");
    let host = ProcessHost::start(&folder);
    takes("the first run", &host, || legs(&host, second).1 > 0);
    assert!(!host.log().contains("compile_quarantined"), "nobody pays for an orderly stop: {}", host.log());
}

/// One request with a body, as a program sends it that takes the API for one that reads bodies.
fn posted(host: &ProcessHost, folder: &Path, path: &str, body: &str) -> String {
    let token = fs::read_to_string(folder.join("data/admin.token")).expect("a token");
    let mut stream = TcpStream::connect(host.admin).expect("a connection");
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nconnection: close\r\n", token.trim());
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn of_two_tenants_dead_letters_a_replay_of_all_reaches_every_one_of_its_tenant_and_none_of_the_other() {
    const LETTERS: usize = 1200;
    const OTHERS: usize = 20;
    let folder = Folder::lay(&Layout::default());
    for tenant in ["red", "blue"] {
        folder.add_tenant(tenant, "");
        folder.deploy(tenant, "no", &guests::component("reject"), MANIFEST);
    }
    let host = ProcessHost::start(&folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (tenant, letters) in [("blue", LETTERS), ("red", OTHERS)] {
        let sender = Sender::new(host.ingest, tenant, "github", SECRET);
        for n in 0..letters {
            assert_eq!(runtime.block_on(sender.post("push", format!("{{\"n\":{n}}}"))).status, 202);
        }
    }
    let letters = |tenant: &str, generation: u64| {
        let (mut found, mut cursor) = (0, String::new());
        loop {
            let all = ["dead-letters", "list", "--tenant", tenant, "--limit", "400", "--json", "--cursor", &cursor];
            let page = json(&folder, &host, if cursor.is_empty() { &all[..7] } else { &all[..] });
            found += page["items"].as_array().into_iter().flatten().filter(|item| item["generation"] == generation).count();
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return found,
            }
        }
    };
    takes("the last rejection", &host, || letters("red", 0) == OTHERS && letters("blue", 0) == LETTERS);
    let unknown = hookyard(&folder, &host, &["dead-letters", "replay", "--all", "--tenant", "bleu"]);
    assert_eq!(unknown.status.code(), Some(5), "{unknown:?}");
    for path in ["/api/v1/dead-letters/replay", "/api/v1/dead-letters/replay?tenant=blue&limit=1"] {
        let answer = posted(&host, folder.path(), path, r#"{"tenant":"blue"}"#);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("body_unexpected"), "{answer}");
    }
    for path in ["/api/v1/dead-letters/replay?tenat=blue", "/api/v1/plugins/red/no/pause?until=tomorrow"] {
        let answer = posted(&host, folder.path(), path, "");
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("parameter_invalid"), "{answer}");
    }
    let changed = json(&folder, &host, &["dead-letters", "replay", "--all", "--tenant", "blue", "--json"]);
    assert_eq!(changed["changed"], LETTERS, "all means all");
    takes("the second rejections", &host, || letters("blue", 1) == LETTERS);
    assert_eq!((letters("red", 0), letters("red", 1)), (OTHERS, 0), "nobody else's ran again");
    for list in [&["dead-letters", "list"][..], &["deliveries", "list"], &["plugins", "list"], &["emits", "list"]] {
        let unknown = hookyard(&folder, &host, &[list, &["--tenant", "bleu"]].concat());
        assert_eq!(unknown.status.code(), Some(5), "{list:?}: {unknown:?}");
    }
}
