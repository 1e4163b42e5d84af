//! A tenant that would fill the disk, the schedule or the disk's time, beside a neighbour that must not notice; and files that others may not read.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use hookyard::{
    clock::Clock,
    delivery::{DeliveryId, LegState},
};
use system_tests::{
    folder::{Folder, Layout},
    guests,
    host::TestHost,
    process::{self, ProcessHost},
    sender::Answer,
};

const PUSHES: &str = "sources = [\"github\"]\nevents = [\"push\"]\n";
const KIB: u64 = 1024;

/// A document that hardly compresses.
fn noise(bytes: usize) -> String {
    let digits: String = (0..bytes).map(|_| fastrand::alphanumeric()).collect();
    format!("{{\"noise\":\"{digits}\"}}")
}

fn refusal(answer: &Answer) -> Option<String> {
    answer.body["code"].as_str().map(str::to_owned)
}

/// Sends something for the neighbour's plugin and waits until it is handled.
async fn handled(host: &TestHost) -> (DeliveryId, Duration) {
    let (clock, began) = (Clock::system(), Clock::system().instant());
    let id = host.sender().post("push", noise(100)).await.accepted();
    assert_eq!(host.settled(id).await.legs[0].state, LegState::Acked);
    (id, clock.instant().saturating_duration_since(began))
}

/// Bytes of every file in a folder.
fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).expect("a folder").map(|file| file.and_then(|file| file.metadata()).expect("a file"));
    files.filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_no_plugin_wants_fill_their_tenants_share_of_the_disk_and_the_neighbour_does_not_notice() {
    let host = TestHost::builder()
        .hookyard_toml("[shares]\nstored_bytes_max = 16777216\ntenant_stored_bytes_max = 4194304\n")
        .plugin_of("default", "p", guests::component("ack"), PUSHES)
        .plugin_of("red", "p", guests::component("ack"), PUSHES)
        .start()
        .await;
    let red = host.sender_to("red");
    let (mut taken, mut refused) = (0, 0);
    for n in 0..60 {
        let answer = red.post("star", noise(256 * 1024)).await;
        match refusal(&answer) {
            None => taken += 1,
            Some(code) => {
                assert_eq!((answer.status.as_u16(), code.as_str(), answer.retry_after.is_some()), (503, "tenant_storage_full", true));
                refused += 1;
            }
        }
        if n % 10 == 0 {
            handled(&host).await;
        }
    }
    assert!(taken >= 10 && refused >= 30, "{taken} taken, {refused} refused");
    let stored = host.inner().ledger().stored_bytes(&"red".parse().unwrap());
    assert!(stored <= 4096 * KIB, "{stored}");
    let on_disk = size(&host.folder().path().join("data"));
    assert!(on_disk < 4 * 4096 * KIB, "{on_disk} bytes of ledger and log, of which neither may be without bound");
    handled(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_operator_lets_the_oldest_go_the_newest_are_taken_without_end() {
    let host = TestHost::builder()
        .hookyard_toml("[shares]\nstored_bytes_max = 16777216\ntenant_stored_bytes_max = 4194304\n")
        .tenant_toml("[limits]\nat_stored_bytes_max = \"drop_oldest\"\n")
        .plugin_of("default", "p", guests::component("ack"), PUSHES)
        .plugin_of("red", "p", guests::component("ack"), PUSHES)
        .start()
        .await;
    let (mine, _) = handled(&host).await;
    let mut sent = Vec::new();
    for _ in 0..60 {
        sent.push(host.sender_to("red").post("star", noise(256 * 1024)).await.accepted());
    }
    assert!(host.inner().ledger().stored_bytes(&"red".parse().unwrap()) <= 4096 * KIB);
    assert!(!is_there(&host, sent[0]).await && is_there(&host, sent[59]).await && is_there(&host, mine).await);
}

async fn is_there(host: &TestHost, id: DeliveryId) -> bool {
    host.inner().ledger().delivery(id).await.expect("a readable ledger").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_one_byte_for_many_plugins_are_refused_when_their_legs_are_too_many() {
    let mut builder = TestHost::builder().hookyard_toml("[shares]\nlegs_max = 1000\ntenant_legs_max = 25\n").plugin_of(
        "default",
        "p",
        guests::component("ack"),
        PUSHES,
    );
    for n in 0..10 {
        builder = builder.plugin_of("red", &format!("again-{n}"), guests::component("retry"), PUSHES);
    }
    let host = builder.start().await;
    let red = host.sender_to("red");
    let answers = [red.post("push", "1").await, red.post("push", "2").await, red.post("push", "3").await];
    let codes = answers.map(|answer| refusal(&answer));
    assert_eq!(codes, [None, None, Some("tenant_quota_exceeded".to_owned())], "ten legs each, and all of them or none");
    assert_eq!(host.inner().ledger().books().await.unwrap().legs, 20);
    handled(&host).await;
}

/// Begins sixty steps, one after the other, without a pause.
const STEPS: &str = r#"(import "hookyard:plugin/once@0.1.0" "begin" (func $begin (param i32 i32 i32)))
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (local $i i32)
  (loop $steps
    (i32.store8 $memory (i32.const 0) (i32.add (i32.const 0x30) (local.get $i)))
    (call $begin (i32.const 0) (i32.const 1) (i32.const 256))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $steps (i32.lt_u (local.get $i) (i32.const 60))))
  (call $ack))"#;

#[tokio::test(flavor = "multi_thread")]
async fn steps_in_a_loop_cost_the_disk_their_tenants_budget_and_the_neighbour_nothing() {
    const BUDGET: u64 = 64 * KIB;
    let host = TestHost::builder()
        .hookyard_toml(&format!("[ledger]\ntenant_settled_bytes_per_s_max = {BUDGET}\n"))
        .plugin_of("default", "p", guests::component("ack"), PUSHES)
        .plugin_of("red", "steps", guests::encode(STEPS), &format!("{PUSHES}[limits]\nwall_ms = 4000\n[retry]\nattempts_max = 1\n"))
        .start()
        .await;
    let (_, alone) = handled(&host).await;
    let (clock, before) = (Clock::system(), host.inner().ledger().log_bytes());
    let began = clock.instant();
    let mut looping = Vec::new();
    for n in 0..8 {
        looping.push(host.sender_to("red").post("push", n.to_string()).await.accepted());
    }
    let (_, beside) = handled(&host).await;
    for id in looping {
        let view = host.settled(id).await;
        assert_eq!(view.legs[0].state, LegState::Dead, "its wall clock goes on while it waits for its budget");
    }
    let took = clock.instant().saturating_duration_since(began);
    // Eight offers and settlements, the neighbour's one, and steps.
    let (written, most) = (host.inner().ledger().log_bytes() - before, BUDGET * (took.as_secs() + 2) + 40 * 64 * KIB);
    assert!(written <= most, "{written} bytes of log in {took:?}, at most {most}");
    assert!(beside < alone + Duration::from_secs(2), "{beside:?} beside the loop, {alone:?} alone");
}

/// Every file and folder beneath, with what group and others may do.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mut open = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let mode = fs::symlink_metadata(&path).expect("a file").permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            open.push(format!("{} {mode:04o}", path.display()));
        }
        if path.is_dir() {
            open.extend(open_to_others(&path));
        }
    }
    open
}

/// A program under a mask that takes nothing away.
fn unmasked() -> [std::ffi::OsString; 4] {
    ["sh", "-c", "umask 0; exec \"$@\"", "sh"].map(Into::into)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_writes_is_its_owners_whatever_the_mask_and_the_folder_were() {
    let mut layout = Layout::default();
    layout.plugins.insert(("default".to_owned(), "p".to_owned()), (guests::component("ack"), PUSHES.to_owned()));
    let folder = Folder::lay(&layout);
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let host = ProcessHost::start_under(&folder, &unmasked());
    let sender = system_tests::sender::Sender::new(host.ingest, "default", "github", system_tests::folder::SECRET);
    sender.post("push", noise(1000)).await.accepted();
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(host.log().contains("data_dir_closed_to_others"), "{}", host.log());
    assert_eq!(open_to_others(&data), Vec::<String>::new());

    let copy = folder.path().join("copy.db");
    let backup = || {
        let wrapper = unmasked();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(process::binary()).arg("backup").arg(&copy).arg("--config").arg(folder.config_file());
        command.output().unwrap()
    };
    let made = backup();
    assert!(made.status.success(), "{made:?}");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let again = backup();
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("exists already"), "{again:?}");
    host.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confined_host_with_more_than_it_sorts_in_memory_starts_again_and_stays() {
    let folder = Folder::lay(&Layout { hookyard_toml: "[log]\nfilter = \"info,hookyard=debug\"\n".to_owned(), ..Layout::default() });
    let send = async |host: &ProcessHost| {
        let sender = system_tests::sender::Sender::new(host.ingest, "default", "github", system_tests::folder::SECRET);
        sender.post("push", noise(1024 * 1024)).await.accepted()
    };
    let host = ProcessHost::start(&folder);
    for _ in 0..32 {
        send(&host).await;
    }
    host.signal(process::Signal::TERM);
    assert!(host.ended().0.success());
    // Behind each start every row is looked at and weighed: nothing of that may need a file outside the folder.
    let host = ProcessHost::start(&folder);
    let (clock, began) = (Clock::system(), Clock::system().instant());
    while !host.log().contains("ledger_inspected") {
        assert!(!host.log().contains("ledger_poisoned"), "{}", host.log());
        assert!(clock.instant().saturating_duration_since(began) < Duration::from_mins(1), "not inspected: {}", host.log());
        clock.sleep(Duration::from_millis(20)).await;
    }
    send(&host).await;
    assert!(!host.log().contains("stored_bytes_"), "nothing is miscounted, nothing uncounted: {}", host.log());
}
