//! The watched folder, as other people leave it: odd things in it, files that come and go, folders that vanish. Whatever happens there,
//! nothing that is accepted meanwhile is unrouted or lost, and nothing but whole versions runs.

use std::{
    collections::BTreeSet,
    fs,
    future::Future,
    os::unix::{fs::symlink, net::UnixListener},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hookyard::delivery::{Digest, LegState};
use system_tests::{folder, guests, host::TestHost};

const MANIFEST: &str = "sources = [\"github\"]\nevents = [\"*\"]\n";

async fn host() -> TestHost {
    let host = TestHost::builder().plugin_of("default", "p", guests::component("ack"), MANIFEST).start().await;
    host.plugin("default", "p", |plugin| plugin.status == "active").await;
    host
}

fn plugins(host: &TestHost) -> PathBuf {
    host.folder().plugins("default")
}

/// The version of these files.
fn version(guest: &str) -> String {
    Digest::of(&[&guests::component(guest), MANIFEST.as_bytes()]).to_string()
}

/// So many deliveries, one after the other; each must find its plugin. Also what gives the host time to look.
async fn send(host: &TestHost, count: usize) {
    for _ in 0..count {
        let id = host.sender().post("push", format!("{{\"n\":\"{:032x}\"}}", fastrand::u128(..))).await.accepted();
        assert_eq!(host.delivery(id).await.legs.len(), 1, "{id} is unrouted");
    }
}

/// Sends deliveries while `change` goes on; every one must be handled by `p`, by one of these versions, whole: what ran is what the digest
/// says, and `publish-document` is the only one that emits.
#[expect(clippy::disallowed_methods, reason = "the traffic is this test's own")]
async fn under_traffic(host: &TestHost, versions: &[String], change: impl Future<Output = ()>) {
    let (done, sender) = (Arc::new(AtomicBool::new(false)), host.sender());
    let traffic = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let mut ids = Vec::new();
            while !done.load(Ordering::Relaxed) || ids.len() < 50 {
                let document = format!("{{\"n\":\"{:032x}\"}}", fastrand::u128(..));
                ids.push(sender.post("push", document).await.accepted());
            }
            ids
        }
    });
    change.await;
    done.store(true, Ordering::Relaxed);
    let ids = traffic.await.expect("the traffic");
    host.drained().await;
    let emitted: BTreeSet<_> = host.emits().await.into_iter().map(|emit| emit.delivery_id).collect();
    for id in ids {
        let view = host.delivery(id).await;
        let found: Vec<_> = view.legs.iter().map(|leg| (leg.plugin.as_str(), leg.state)).collect();
        assert_eq!(found, [("p", LegState::Acked)], "{view:?}");
        let digest = view.legs[0].digest.clone().expect("it has run");
        assert!(versions.contains(&digest), "{digest} is none of {versions:?}");
        assert_eq!(emitted.contains(&id), digest == version("publish-document"), "{id}: the code is not the digest's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_things_in_the_folder_are_refused_by_name_and_stop_nobody() {
    let host = host().await;
    host.folder().add_tenant("red", "");
    host.folder().deploy("red", "secret", &guests::component("ack"), MANIFEST);
    let here = plugins(&host);
    let odd = ["fifo", "device", "socket", "dir", "theirs", "loop"];
    for name in odd {
        fs::write(here.join(format!("{name}.toml")), MANIFEST).unwrap();
    }
    assert!(Command::new("mkfifo").arg(here.join("fifo.wasm")).status().unwrap().success());
    symlink("/dev/zero", here.join("device.wasm")).unwrap();
    let _socket = UnixListener::bind(here.join("socket.wasm")).unwrap();
    fs::create_dir(here.join("dir.wasm")).unwrap();
    symlink("../../red/plugins/secret.wasm", here.join("theirs.wasm")).unwrap();
    symlink("loop.wasm", here.join("loop.wasm")).unwrap();
    for strange in ["Upper.wasm", "two.dots.wasm", ".hidden.wasm", "spa ce.wasm", "noext"] {
        fs::write(here.join(strange), b"x").unwrap();
    }
    for (name, code) in [
        ("fifo", "not_a_regular_file"),
        ("device", "link_leaves_tenant"),
        ("socket", "file_unreadable"),
        ("dir", "not_a_regular_file"),
        ("theirs", "link_leaves_tenant"),
        ("loop", "file_unreadable"),
    ] {
        let is_refused = |refusal: &Option<_>| {
            refusal.as_ref().is_some_and(|refusal: &hookyard::delivery::view::PluginRefusalView| refusal.code == code)
        };
        host.plugin("default", name, |plugin| is_refused(&plugin.refusal)).await;
    }
    let known: BTreeSet<_> = host.inner().catalog().views(None).into_iter().map(|view| view.name.to_string()).collect();
    assert!(known.iter().all(|name| name == "p" || name == "secret" || odd.contains(&name.as_str())), "{known:?}");
    under_traffic(&host, &[version("ack")], async {}).await;
}

/// What is no component: each is refused by its own name, and forgotten when it goes or is mended.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_refused_by_name_and_its_refusal_ends_with_it() {
    let host = host().await;
    let (here, whole) = (plugins(&host), guests::component("ack"));
    let odd: [(&str, &[u8], &str); 5] = [
        ("text", b"not a component, but words", "not_a_component"),
        ("compiled", b"\x7fELF\x02\x01\x01", "not_a_component"),
        ("half", &whole[..whole.len() / 2], "component_invalid"),
        ("empty", b"", "not_a_component"),
        ("huge", b"\0asm\x0d\0\x01\0", "component_too_large"),
    ];
    let refused = async {
        for (name, bytes, _) in odd {
            fs::write(here.join(format!("{name}.toml")), MANIFEST.replace('*', "star")).unwrap();
            fs::write(here.join(format!("{name}.wasm")), bytes).unwrap();
        }
        fs::File::options().write(true).open(here.join("huge.wasm")).unwrap().set_len(200 << 20).unwrap();
        // Compiled code under its own ending is no plugin's file at all.
        fs::write(here.join("other.cwasm"), b"\x7fELF\x02\x01\x01").unwrap();
        for (name, _, code) in odd {
            host.plugin("default", name, |plugin| plugin.refusal.as_ref().is_some_and(|refusal| refusal.code == code)).await;
        }
    };
    under_traffic(&host, &[version("ack")], refused).await;
    let is_known = |name: &str| host.inner().catalog().views(None).iter().any(|view| view.name.as_str() == name);
    assert!(!is_known("other"));
    folder::write(&here.join("text.wasm"), &whole);
    host.plugin("default", "text", |plugin| plugin.status == "active" && plugin.refusal.is_none()).await;
    for name in ["compiled", "half", "empty", "huge"] {
        fs::remove_file(here.join(format!("{name}.wasm"))).unwrap();
        fs::remove_file(here.join(format!("{name}.toml"))).unwrap();
        host.until("the end of the refusal", || async { (!is_known(name)).then_some(()) }).await;
    }
    send(&host, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_renames_under_traffic_runs_whole_versions_only() {
    let host = host().await;
    let here = plugins(&host);
    let storm = async {
        for n in 0..300 {
            let guest = ["publish-document", "ack"][n % 2];
            folder::write(&here.join("p.wasm"), &guests::component(guest));
            if n % 10 == 0 {
                send(&host, 1).await;
            }
        }
    };
    under_traffic(&host, &[version("ack"), version("publish-document")], storm).await;
    host.plugin("default", "p", |plugin| plugin.digest == Some(version("ack"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_grows_under_the_readers_hands_is_taken_when_it_is_whole() {
    let host = host().await;
    let (here, whole) = (plugins(&host), guests::component("publish-document"));
    let slowly = async {
        for round in 1..=20 {
            fs::write(here.join("p.wasm"), &whole[..whole.len() * round / 20]).unwrap();
            send(&host, 2).await;
        }
    };
    under_traffic(&host, &[version("ack"), version("publish-document")], slowly).await;
    host.plugin("default", "p", |plugin| plugin.digest == Some(version("publish-document"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_by_removing_first_unroutes_nothing() {
    let host = TestHost::builder()
        // Long enough for three deliveries between the removal and the new file, beside other tests.
        .hookyard_toml("[plugins]\nsettle_ms = 1000\n")
        .plugin_of("default", "p", guests::component("ack"), MANIFEST)
        .start()
        .await;
    let here = plugins(&host);
    let replaced = async {
        for n in 0..20 {
            fs::remove_file(here.join("p.wasm")).unwrap();
            if n % 2 == 0 {
                fs::remove_file(here.join("p.toml")).unwrap();
            }
            send(&host, 3).await;
            fs::write(here.join("p.toml"), MANIFEST).unwrap();
            fs::write(here.join("p.wasm"), guests::component(["publish-document", "ack"][n % 2])).unwrap();
        }
    };
    under_traffic(&host, &[version("ack"), version("publish-document")], replaced).await;
    host.plugin("default", "p", |plugin| plugin.digest == Some(version("ack"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_vanishes_or_cannot_be_read_removes_nothing() {
    let host = TestHost::builder()
        .hookyard_toml("[plugins]\nrescan_ms = 100\n")
        .plugin_of("default", "p", guests::component("ack"), MANIFEST)
        .start()
        .await;
    let (here, away) = (plugins(&host), host.folder().path().join("away"));
    let vanished = async {
        fs::rename(&here, &away).unwrap();
        send(&host, 100).await;
        // What stands in its place is no folder, which is what a failed mount looks like to a reader.
        fs::write(&here, b"not a folder").unwrap();
        send(&host, 100).await;
        fs::remove_file(&here).unwrap();
        fs::rename(&away, &here).unwrap();
        send(&host, 20).await;
    };
    under_traffic(&host, &[version("ack")], vanished).await;
}

/// Kubernetes swaps a `ConfigMap` by a rename of one link; the names in the folder never change.
#[tokio::test(flavor = "multi_thread")]
async fn the_dance_of_links_of_a_config_map_is_a_deploy() {
    let host = TestHost::builder().hookyard_toml("[plugins]\nrescan_ms = 100\n").start().await;
    let here = plugins(&host);
    let lay = |generation: usize, guest: &str| {
        let data = format!("..data_{generation}");
        fs::create_dir(here.join(&data)).unwrap();
        fs::write(here.join(&data).join("p.wasm"), guests::component(guest)).unwrap();
        fs::write(here.join(&data).join("p.toml"), MANIFEST).unwrap();
        symlink(&data, here.join("..data_tmp")).unwrap();
        fs::rename(here.join("..data_tmp"), here.join("..data")).unwrap();
    };
    lay(0, "ack");
    for name in ["p.wasm", "p.toml"] {
        symlink(format!("..data/{name}"), here.join(name)).unwrap();
    }
    host.plugin("default", "p", |plugin| plugin.status == "active").await;
    let dance = async {
        for generation in 1..=4 {
            let guest = ["ack", "publish-document"][generation % 2];
            lay(generation, guest);
            host.plugin("default", "p", |plugin| plugin.digest == Some(version(guest))).await;
            fs::remove_dir_all(here.join(format!("..data_{}", generation - 1))).unwrap();
        }
    };
    under_traffic(&host, &[version("ack"), version("publish-document")], dance).await;
}

/// On a network file system one of the two files may be seen long before the other.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_come_into_sight_one_after_the_other_are_one_version_when_both_are_there() {
    let host = host().await;
    let here = plugins(&host);
    let late = async {
        fs::write(here.join("q.wasm"), guests::component("ack")).unwrap();
        host.plugin("default", "q", |plugin| plugin.refusal.as_ref().is_some_and(|refusal| refusal.code == "manifest_missing")).await;
        fs::write(here.join("q.toml"), MANIFEST.replace('*', "star")).unwrap();
        host.plugin("default", "q", |plugin| plugin.status == "active" && plugin.refusal.is_none()).await;
    };
    under_traffic(&host, &[version("ack")], late).await;
    let star = host.settled(host.sender().post("star", "{}").await.accepted()).await;
    assert_eq!(star.legs.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn among_ten_thousand_files_a_deploy_is_found_and_more_than_can_be_looked_at_remove_nothing() {
    let host = TestHost::builder()
        .hookyard_toml("[plugins]\nrescan_ms = 100\n")
        .plugin_of("default", "p", guests::component("ack"), MANIFEST)
        .start()
        .await;
    let here = plugins(&host);
    let flood = |from: usize, to: usize| {
        for n in from..to {
            fs::write(here.join(format!("junk-{n}.txt")), b"").unwrap();
        }
    };
    flood(0, 10_000);
    let deployed = async {
        folder::write(&here.join("p.wasm"), &guests::component("publish-document"));
        host.plugin("default", "p", |plugin| plugin.digest == Some(version("publish-document"))).await;
        flood(10_000, 20_100);
        send(&host, 50).await;
    };
    under_traffic(&host, &[version("ack"), version("publish-document")], deployed).await;
    send(&host, 1).await;
}
