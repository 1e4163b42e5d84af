//! The command line, as a user types it: against a running host, with real exit codes.

mod lists;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use system_tests::{
    folder::{self, Folder, Layout, SECRET},
    guests,
    process::{ProcessHost, binary},
};

const MANIFEST: &str = "sources = [\"github\"]\nevents = [\"*\"]\n";

struct Desk {
    folder: Folder,
    host: ProcessHost,
}

impl Desk {
    fn with(plugins: &[(&str, &str)]) -> Self {
        let plugins = plugins
            .iter()
            .map(|(name, guest)| (("default".to_owned(), (*name).to_owned()), (guests::component(guest), MANIFEST.to_owned())))
            .collect::<BTreeMap<_, _>>();
        let folder = Folder::lay(&Layout { plugins, ..Layout::default() });
        folder::write(&folder.path().join("secret"), SECRET.as_bytes());
        folder::write(&folder.path().join("payload.json"), br#"{"action":"opened"}"#);
        let host = ProcessHost::start(&folder).with_plugins();
        Self { folder, host }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let token = std::fs::read_to_string(self.folder.path().join("data/admin.token")).expect("a token");
        hookyard(self.folder.path())
            .args(arguments)
            .env("HOOKYARD_ADMIN_URL", format!("http://{}", self.host.admin))
            .env("HOOKYARD_ADMIN_TOKEN", token.trim())
            .output()
            .expect("a command")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
    }

    fn send(&self, event: &str) -> Output {
        let url = format!("http://{}/webhooks/github", self.host.ingest);
        self.run(&["send", "--url", &url, "--source", "github", "--secret-file", "secret", "--event", event, "--payload", "payload.json"])
    }

    /// The first item of a list, once there is one that `wanted` holds for.
    fn first(&self, list: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let page = self.json(list);
            if let Some(item) = page["items"].as_array().and_then(|items| items.iter().find(|item| wanted(item))) {
                return item.clone();
            }
            std::thread::yield_now();
        }
    }
}

fn hookyard(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(folder).env_clear();
    command
}

#[test]
fn what_is_sent_is_listed_and_shown() {
    let desk = Desk::with(&[("ack", "ack")]);
    assert!(desk.send("pull_request").status.success());

    let delivery = desk.first(&["deliveries", "list", "--json"], |item| item["status"] == "settled");
    assert_eq!((&delivery["event"], &delivery["action"]), (&"pull_request".into(), &"opened".into()));
    let shown = desk.json(&["deliveries", "show", delivery["delivery_id"].as_str().unwrap(), "--json"]);
    assert_eq!(shown["legs"][0]["state"], "acked");
    assert_eq!(shown["legs"][0]["history"][0]["outcome"], "ack");

    let words = desk.run(&["deliveries", "list"]);
    assert!(String::from_utf8_lossy(&words.stdout).contains("pull_request"));
}

#[test]
fn a_dead_letter_is_listed_shown_replayed_and_discarded() {
    let desk = Desk::with(&[("no", "reject")]);
    desk.send("push");
    let letter = desk.first(&["dead-letters", "list", "--json"], |_| true);
    let id = letter["id"].as_str().unwrap();
    assert_eq!(letter["reason"], "rejected");
    assert_eq!(desk.json(&["dead-letters", "show", id, "--json"])["id"], id);

    assert!(desk.run(&["dead-letters", "replay", id]).status.success());
    let again = desk.first(&["dead-letters", "list", "--json"], |item| item["generation"] == 1);
    assert_eq!(again["id"], id);

    assert!(desk.run(&["dead-letters", "discard", id]).status.success());
    assert_eq!(desk.json(&["dead-letters", "list", "--json"])["items"].as_array().unwrap().len(), 0);
    assert_eq!(desk.run(&["dead-letters", "discard", id]).status.code(), Some(5), "there is nothing left to discard");
}

#[test]
fn a_replay_leaves_acked_legs_alone_unless_they_are_asked_for_and_a_waiting_leg_can_run_now() {
    let desk = Desk::with(&[("good", "ack"), ("later", "retry"), ("no", "reject")]);
    desk.send("push");
    let generation = |item: &Value, plugin: &str| {
        item["legs"].as_array().and_then(|legs| legs.iter().find(|leg| leg["plugin"] == plugin)).map(|leg| leg["generation"].clone())
    };
    let delivery = desk.first(&["deliveries", "list", "--json"], |item| item.to_string().contains("\"dead\""));
    let id = delivery["delivery_id"].as_str().unwrap();
    assert_eq!(desk.json(&["deliveries", "replay", id, "--json"])["legs"], 1, "the dead one");
    let again = desk.first(&["deliveries", "list", "--json"], |item| generation(item, "no") == Some(1.into()));
    assert_eq!(generation(&again, "good"), Some(0.into()));
    assert_eq!(desk.json(&["deliveries", "replay", id, "--plugin", "good", "--json"])["legs"], 1);
    desk.first(&["deliveries", "list", "--json"], |item| generation(item, "good") == Some(1.into()));

    let words = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let acked = desk.run(&["legs", "run-now", &format!("{id}.good")]);
    assert!(acked.status.code() == Some(1) && words(&acked).contains("deliveries replay"), "{acked:?}");
    assert_eq!(desk.run(&["legs", "run-now", &format!("{id}.nobody")]).status.code(), Some(5));
    let later = format!("{}.later", &id[..12]);
    // It asks for a second and a half each time, and may just be running.
    while !desk.run(&["legs", "run-now", &later]).status.success() {}
    assert!(desk.run(&["deliveries", "replay", id, "--all-plugins", "--plugin", "no"]).status.code() == Some(2));
}

#[test]
fn plugins_are_listed_with_digest_and_last_refusal() {
    let desk = Desk::with(&[("ack", "ack"), ("broken", "wrong-world")]);
    let list = desk.json(&["plugins", "list", "--json"]);
    let of = |name: &str| list["items"].as_array().unwrap().iter().find(|item| item["name"] == name).unwrap().clone();
    assert_eq!(of("ack")["status"], "active");
    assert_eq!(of("broken")["refusal"]["code"], "world_mismatch");
}

#[test]
fn a_folder_of_plugins_is_deployed_as_one_and_what_has_a_wrong_name_is_told() {
    let desk = Desk::with(&[("size", "ack")]);
    let out = desk.folder.path().join("out");
    folder::write(&out.join("size.wasm"), &guests::component("skip"));
    folder::write(&out.join("size.toml"), MANIFEST.as_bytes());
    folder::write(&out.join("new.wasm"), &guests::component("ack"));
    folder::write(&out.join("new.toml"), MANIFEST.as_bytes());
    let deploy = |more: &[&str]| desk.run(&[&["plugins", "deploy", "out", "--config", "hookyard.toml"], more].concat());
    let done = deploy(&[]);
    let words = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && words.contains("size serves ") && words.contains("new serves "), "{done:?}");
    let shown = desk.json(&["plugins", "show", "size", "--json"]);
    assert!(words.contains(shown["digest"].as_str().unwrap()), "{shown}");
    assert!(!desk.host.log().contains("component_differs"), "both came as one: {}", desk.host.log());

    folder::write(&out.join("new.wasm"), &guests::component("wrong-world"));
    let refused = deploy(&[]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("new was not taken: world_mismatch"), "{refused:?}");
    assert_eq!(deploy(&["--tenant", "nobody"]).status.code(), Some(5));

    folder::write(&desk.folder.plugins("default").join("MyPlugin.wasm"), b"x");
    desk.first(&["plugins", "list", "--json"], |_| desk.host.log().contains("name_passed_over"));
    let list = desk.run(&["plugins", "list"]);
    let words = String::from_utf8_lossy(&list.stderr).into_owned();
    assert!(words.contains("not looked at: default/plugins/MyPlugin.wasm") && words.contains("my-plugin.wasm"), "{list:?}");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let desk = Desk::with(&[]);
    let admin = format!("http://{}", desk.host.admin);
    let code = |command: &mut Command| command.output().unwrap().status.code();
    let here = desk.folder.path();

    assert_eq!(code(hookyard(here).args(["deliveries", "list", "--admin", &admin]).env("HOOKYARD_ADMIN_TOKEN", "wrong")), Some(4));
    assert_eq!(desk.run(&["deliveries", "show", &"0".repeat(32)]).status.code(), Some(5));
    assert_eq!(
        code(hookyard(here).args(["deliveries", "list", "--admin", "http://127.0.0.1:1"]).env("HOOKYARD_ADMIN_TOKEN", "x")),
        Some(69)
    );
    assert_eq!(code(hookyard(here).args(["no-such-command"])), Some(2));
    let wrong_secret = [
        "send",
        "--url",
        &format!("http://{}/webhooks/github", desk.host.ingest),
        "--source",
        "github",
        "--secret-file",
        "payload.json",
        "--event",
        "push",
        "--payload",
        "payload.json",
    ];
    assert_eq!(desk.run(&wrong_secret).status.code(), Some(1));
}

#[test]
fn check_names_every_problem_with_file_key_found_and_expected() {
    let folder = Folder::lay(&Layout::default());
    let sound = hookyard(folder.path()).args(["check", "--config", "hookyard.toml"]).output().unwrap();
    assert!(sound.status.success(), "{sound:?}");
    let line = String::from_utf8_lossy(&sound.stdout).into_owned();
    assert!(line.starts_with("ok: 1 tenant, 0 plugins, POST to http://127.0.0.1:") && line.lines().count() == 1, "{line}");
    let all = hookyard(folder.path()).args(["check", "--config", "hookyard.toml", "--all"]).output().unwrap();
    let table = String::from_utf8_lossy(&all.stdout).into_owned();
    assert!(table.contains("run_memory") && table.lines().last().unwrap().starts_with("ok: "), "{table}");

    folder::write(&folder.path().join("tenants/default/tenant.toml"), b"[sources.github]\nscheme = \"github\"\nsecrets = []\n");
    folder::write(
        &folder.path().join("bad.toml"),
        b"data_dir = \"data\"\ntenants_dir = \"tenants\"\n[ingest]\nlisten = \"nowhere\"\nlissten = 1\n",
    );
    let checked = hookyard(folder.path()).args(["check", "--config", "bad.toml", "--json"]).output().unwrap();
    assert_eq!(checked.status.code(), Some(78));
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    for part in ["ingest.listen", "nowhere", "lissten", "sources.github.secrets"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let in_words = hookyard(folder.path()).args(["check", "--config", "bad.toml"]).output().unwrap();
    let errors = String::from_utf8_lossy(&in_words.stderr).into_owned();
    assert!(in_words.stdout.is_empty() && errors.trim_end().ends_with("error: 3 problems in 2 files"), "{errors}");
    let empty = hookyard(folder.path()).args(["check", "--config", "hookyard.toml"]).output().unwrap();
    assert_eq!(empty.status.code(), Some(78), "a source without a secret is no open door");
}

#[test]
fn a_reload_tells_what_was_taken_what_was_refused_and_what_takes_a_restart() {
    let desk = Desk::with(&[]);
    let reload = || {
        let output = desk.run(&["reload"]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = reload();
    assert!(code == Some(0) && text.contains("taken: nothing"), "{text}");

    let file = desk.folder.path().join("tenants/default/tenant.toml");
    let sound = std::fs::read_to_string(&file).unwrap();
    folder::write(&file, format!("{sound}refuse_replays = true\n").as_bytes());
    let (code, text) = reload();
    assert!(code == Some(0) && text.contains("taken: tenant default"), "{text}");

    folder::write(&file, b"[sources.github\n");
    let host = desk.folder.path().join("hookyard.toml");
    let before = std::fs::read_to_string(&host).unwrap();
    folder::write(&host, format!("grace_ms = 1\n{before}").as_bytes());
    let (code, text) = reload();
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("after a restart: grace_ms") && text.contains("tenant.toml: found line 1"), "{text}");
    assert!(desk.send("push").status.success(), "what was before goes on");

    // A secret that is renewed is taken without a word from anybody.
    folder::write(&file, sound.as_bytes());
    let renewed = SECRET.replace("Secret", "renewed secret");
    folder::write(&desk.folder.path().join("tenants/default/secrets/github"), renewed.as_bytes());
    folder::write(&desk.folder.path().join("secret"), renewed.as_bytes());
    while !desk.send("push").status.success() {
        std::thread::yield_now();
    }
}

#[test]
fn a_backup_is_restored_into_a_new_folder_with_everything_in_it() {
    let desk = Desk::with(&[("ack", "ack")]);
    desk.send("push");
    desk.first(&["deliveries", "list", "--json"], |item| item["status"] == "settled");
    let backup = desk.folder.path().join("copy.backup");
    let made = desk.run(&["backup", backup.to_str().unwrap(), "--config", "hookyard.toml"]);
    assert!(made.status.success(), "{made:?}");

    let elsewhere = Folder::lay(&Layout::default());
    let restored = hookyard(elsewhere.path()).args(["restore", backup.to_str().unwrap(), "--config", "hookyard.toml"]).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    let desk = Desk { host: ProcessHost::start(&elsewhere), folder: elsewhere };
    assert_eq!(desk.json(&["deliveries", "list", "--json"])["items"].as_array().unwrap().len(), 1);
}

#[test]
fn one_tenants_bad_file_does_not_keep_the_others_from_being_served() {
    let folder = Folder::lay(&Layout::default());
    folder.add_tenant("red", "");
    folder::write(&folder.path().join("tenants/red/tenant.toml"), b"[sources.github]\nscheme = \"github\"\nsecrets = []\n");
    let host = ProcessHost::start(&folder);
    folder::write(&folder.path().join("secret"), SECRET.as_bytes());
    let url = format!("http://{}/webhooks/github", host.ingest);
    let sent =
        hookyard(folder.path()).args(["send", "--url", &url, "--source", "github", "--secret-file", "secret", "--event", "push"]).output();
    assert!(sent.unwrap().status.success());
    assert!(host.log().contains("tenants/red/tenant.toml"), "{}", host.log());

    folder::write(&folder.path().join("tenants/default/tenant.toml"), b"nonsense");
    let none = hookyard(folder.path()).args(["serve", "--config", "hookyard.toml"]).output().unwrap();
    assert_eq!(none.status.code(), Some(78), "without a sound tenant there is nothing to serve");
}
