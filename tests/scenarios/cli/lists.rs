//! Lists, and commands about many deliveries at once.

use std::process::{Command, Output};

use serde_json::Value;
use system_tests::{guests, process::binary};

use super::{Desk, MANIFEST};

/// Standard output of a list, of which no line is wider than a terminal.
fn narrow(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.lines().all(|line| line.chars().count() <= 80), "{output:?}");
    text
}

#[test]
fn lists_fit_a_terminal_tell_whose_and_what_next_and_their_short_ids_are_taken() {
    let desk = Desk::with(&[("ack", "ack"), ("later", "retry"), ("no", "reject")]);
    // The newer files of a plugin that serves are no plugin.
    desk.folder.deploy("default", "ack", &guests::component("wrong-world"), MANIFEST);
    desk.first(&["plugins", "list", "--json"], |item| item["name"] == "ack" && item["refusal"].is_object());
    let plugins = desk.run(&["plugins", "list"]);
    let listed = narrow(&plugins);
    for part in ["TENANT", "default", "active (newer refused)", "refused: world_mismatch: "] {
        assert!(listed.contains(part), "{part:?} is not in {listed}");
    }
    assert!(String::from_utf8_lossy(&plugins.stderr).contains("next: hookyard plugins show ack"), "{plugins:?}");

    assert!(desk.send("pull_request").status.success());
    let waits = |item: &Value| {
        let state = |plugin: &str| {
            item["legs"].as_array().and_then(|legs| legs.iter().find(|leg| leg["plugin"] == plugin)).map(|leg| leg["state"].clone())
        };
        state("later") == Some("retry".into()) && state("no") == Some("dead".into())
    };
    let delivery = desk.first(&["deliveries", "list", "--json"], waits);
    let id = delivery["delivery_id"].as_str().unwrap();
    let deliveries = desk.run(&["deliveries", "list"]);
    let listed = narrow(&deliveries);
    for part in ["TENANT", &id[..12], "pull_request.opened", "ack=acked", "later=retry (", "next try "] {
        assert!(listed.contains(part), "{part:?} is not in {listed}");
    }
    let next = format!("next: hookyard deliveries show {}", &id[..12]);
    assert!(String::from_utf8_lossy(&deliveries.stderr).contains(&next), "{deliveries:?}");
    assert_eq!(desk.json(&["deliveries", "show", &id[..12], "--json"])["delivery_id"], id);

    let letters = desk.run(&["dead-letters", "list"]);
    let letter = format!("{}.no", &id[..12]);
    assert!(narrow(&letters).contains(&letter), "{letters:?}");
    assert_eq!(desk.json(&["dead-letters", "show", &letter, "--json"])["reason"], "rejected");
    assert!(desk.run(&["dead-letters", "replay", &letter]).status.success());
    assert_eq!(desk.run(&["deliveries", "show", "0000000"]).status.code(), Some(5));
}

#[test]
fn a_name_nobody_knows_is_not_found_instead_of_an_empty_list() {
    let desk = Desk::with(&[("ack", "ack")]);
    for list in ["deliveries", "dead-letters", "plugins", "emits"] {
        let unknown = desk.run(&[list, "list", "--tenant", "nobody"]);
        assert_eq!(unknown.status.code(), Some(5), "{list}: {unknown:?}");
    }
    for list in [
        ["deliveries", "list", "--plugin"],
        ["deliveries", "list", "--source"],
        ["dead-letters", "list", "--plugin"],
        ["emits", "list", "--plugin"],
    ] {
        assert_eq!(desk.run(&[list.as_slice(), &["akc"]].concat()).status.code(), Some(5), "{list:?}");
    }
    let empty = desk.run(&["dead-letters", "list", "--plugin", "ack"]);
    assert!(empty.status.success() && String::from_utf8_lossy(&empty.stderr).contains("nothing was given up on"), "{empty:?}");
    desk.folder.add_tenant("red", "");
    desk.folder.deploy("red", "own", &guests::component("ack"), MANIFEST);
    desk.first(&["plugins", "list", "--json"], |item| item["tenant"] == "red");
    let other = desk.run(&["plugins", "show", "own"]);
    assert_eq!(other.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&other.stderr).contains("hookyard plugins show own --tenant red"), "{other:?}");
}

#[test]
fn one_plugins_runs_of_a_time_are_repeated_by_filter_and_nothing_else_is() {
    let desk = Desk::with(&[("triage", "ack"), ("other", "ack")]);
    let send = |event: &str, count: &str| {
        let url = format!("http://{}/webhooks/github", desk.host.ingest);
        let sent =
            desk.run(&["send", "--url", &url, "--secret-file", "secret", "--event", event, "--payload", "payload.json", "--count", count]);
        assert!(sent.status.success(), "{sent:?}");
        let errors = String::from_utf8_lossy(&sent.stderr).into_owned();
        assert!(!errors.contains(['\r', '\x1b']), "no bar where standard error is no terminal: {errors:?}");
    };
    let settled = |wanted: usize| loop {
        let page = desk.json(&["deliveries", "list", "--json", "--status", "settled", "--limit", "500"]);
        let items = page["items"].as_array().expect("items").clone();
        if items.len() == wanted {
            return items;
        }
        std::thread::yield_now();
    };
    send("push", "30");
    send("issues", "3");
    settled(33);
    let replay = |more: &[&str]| {
        let base = ["deliveries", "replay", "--json", "--plugin", "triage", "--since", "1h", "--event", "push"];
        desk.json(&[base.as_slice(), more].concat())
    };
    let dry = replay(&["--state", "acked", "--dry-run"]);
    assert_eq!((&dry["matched"], &dry["changed"]), (&30.into(), &0.into()), "{dry}");
    assert_eq!(replay(&["--state", "dead,skipped"])["matched"], 0, "no run has ended so");
    assert_eq!(replay(&["--state", "acked", "--until", "1h"])["matched"], 0, "they came later");
    assert!(settled(33).iter().all(|item| item["legs"].as_array().unwrap().iter().all(|leg| leg["generation"] == 0)));

    // As few at a time as the pace allows: page after page, none twice, and no more than wanted.
    let cut = replay(&["--state", "acked", "--rate", "10000", "--limit", "5"]);
    assert_eq!((&cut["changed"], &cut["more"]), (&5.into(), &true.into()), "{cut}");
    settled(33);
    let all = replay(&["--state", "acked", "--rate", "7"]);
    assert_eq!((&all["changed"], &all["more"]), (&30.into(), &false.into()), "{all}");
    let generations = |items: &[Value], plugin: &str, event: &str| -> u64 {
        let legs = items.iter().filter(|item| item["event"] == event).flat_map(|item| item["legs"].as_array().unwrap());
        legs.filter(|leg| leg["plugin"] == plugin).map(|leg| leg["generation"].as_u64().unwrap()).sum()
    };
    let after = settled(33);
    assert_eq!(generations(&after, "triage", "push"), 35, "five of them twice");
    assert_eq!(generations(&after, "other", "push") + generations(&after, "triage", "issues"), 0, "and nothing that was not meant");

    let code = |arguments: &[&str]| desk.run(&[["deliveries", "replay"].as_slice(), arguments].concat()).status.code();
    assert_eq!(code(&["--plugin", "traige", "--since", "1h", "--state", "acked"]), Some(5), "a misspelt plugin is no empty success");
    assert_eq!(code(&["--plugin", "triage", "--state", "acked"]), Some(2), "from when is always said");
    assert_eq!(code(&["--plugin", "triage", "--since", "1h", "--state", "waiting"]), Some(2), "what is open runs anyway");
}

#[test]
fn long_work_has_a_bar_on_a_terminal() {
    let desk = Desk::with(&[("ack", "ack")]);
    let url = format!("http://{}/webhooks/github", desk.host.ingest);
    let line = format!("{} send --url {url} --secret-file secret --event push --count 2000 > sent", binary().display());
    // `script` gives a command a terminal; it comes with every Debian.
    let Ok(typed) = Command::new("script").args(["-qec", &line, "typed"]).current_dir(desk.folder.path()).output() else { return };
    let shown = std::fs::read_to_string(desk.folder.path().join("typed")).expect("what was on the screen");
    assert!(typed.status.success() && shown.contains("sending") && shown.contains(" of 2,000"), "{typed:?}: {shown:?}");
    assert!(shown.contains("2000 of 2000 accepted"), "{shown:?}");
}
