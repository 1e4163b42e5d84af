//! Disks that fail, fill up and come back, a log that nobody takes, and a host that was stopped in the middle: nothing that was answered is
//! lost, and nobody goes without an answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use hookyard::{
    clock::Clock,
    delivery::{DeliveryId, LegState},
};
use system_tests::{
    folder::{Folder, Layout, SECRET},
    guests,
    host::TestHost,
    load,
    process::{self, ProcessHost, Signal},
    sender::{Post, Sender},
    trace,
};

const SUBSCRIBED: &str = "sources = [\"github\"]\nevents = [\"*\"]\n";
/// A host ends within this time once its disk has failed.
const END_MAX: Duration = Duration::from_secs(30);

fn folder(hookyard_toml: &str) -> Folder {
    let plugin = (("default".to_owned(), "echo".to_owned()), (guests::component("publish-document"), SUBSCRIBED.to_owned()));
    Folder::lay(&Layout { hookyard_toml: hookyard_toml.to_owned(), plugins: BTreeMap::from([plugin]), ..Layout::default() })
}

fn sender(host: &ProcessHost) -> Sender {
    Sender::new(host.ingest, "default", "github", SECRET)
}

/// Starts a sound host on the folder: everything promised must be there, run to its end, and the books balance.
async fn assert_kept(folder: Folder, promised: &BTreeSet<DeliveryId>) {
    let host = TestHost::start_on(folder, Clock::system()).await;
    host.drained().await;
    for &id in promised {
        assert_eq!(host.delivery(id).await.legs[0].state, LegState::Acked);
    }
    let mut emitted = BTreeSet::new();
    for emit in host.emits().await {
        assert!(emitted.insert(emit.delivery_id), "{} was published twice", emit.delivery_id);
    }
}

/// Waits for the end that a failed disk must bring about, and says how it ended.
async fn ends_by_itself(host: ProcessHost) -> String {
    let ended = tokio::task::spawn_blocking(|| host.ended());
    let (status, log) = tokio::time::timeout(END_MAX, ended).await.expect("the host went on with a disk that had failed").expect("an end");
    assert!(!status.success(), "{log}");
    log
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn a_disk_that_fails_ends_the_host_and_nothing_that_was_answered_is_lost() {
    if !trace::is_possible() {
        return println!("skipped: strace is not here, or may not trace");
    }
    for fault in [
        "fdatasync:error=EIO:when=1+",
        "fdatasync:error=EIO:when=40+",
        "fdatasync:error=EIO:when=41",
        "pwrite64:error=EIO:when=300+",
        "pwrite64:error=EIO:when=333",
        "fsync:error=EIO:when=1+",
        "ftruncate:error=EIO:when=1+",
    ] {
        let folder = folder("");
        let mut promised = BTreeSet::new();
        match ProcessHost::try_start_under(&folder, &trace::injecting(fault)) {
            Err(log) => assert!(log.contains("error"), "{log}"),
            Ok(host) => {
                let (ids, stopped) = load::send(&sender(&host), 4, 200, 1000).await;
                assert_eq!(stopped, 4, "{fault}: the host went on accepting");
                promised = ids;
                let log = ends_by_itself(host).await;
                assert!(log.contains("ledger_poisoned"), "{fault}: {log}");
            }
        }
        println!("{fault}: {} answered before, all there after", promised.len());
        assert_kept(folder, &promised).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn writes_that_are_cut_short_lose_nothing() {
    let folder = folder("[ledger]\nwal_bytes_max = 4294967296\n");
    // Beyond 2 MiB a write is cut, then refused; the signal that would come with it is ignored, as the host inherits.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\""].map(Into::into);
    let host = ProcessHost::start_under(&folder, &limited);
    let (promised, stopped) = load::send(&sender(&host), 4, 500, 4000).await;
    assert!(stopped == 4 && !promised.is_empty(), "the limit was never met");
    println!("{} answered before a write was cut short", promised.len());
    host.kill();
    assert_kept(folder, &promised).await;
}

/// A disk of its own for a host's data; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "tmpfs"]).arg(at).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    /// Takes all but `bytes` of what is free.
    fn fill(&self, bytes: u64) {
        let mut filler = fs::File::create(self.0.join("filler")).expect("a file");
        let block = vec![1; 64 * 1024];
        while filler.write_all(&block).is_ok() {}
        let full = filler.metadata().expect("a size").len();
        filler.set_len(full.saturating_sub(bytes)).expect("a shorter file");
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("a file");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// With the mark at 0 the disk itself is met; with a mark of 4 MiB the host stops before it.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn a_disk_that_fills_up_and_is_freed_loses_nothing_and_goes_on_without_a_restart() {
    for free_bytes_min in [0, 4 << 20] {
        let folder = folder(&format!("[ledger]\nwal_bytes_max = 1048576\nfree_bytes_min = {free_bytes_min}\n"));
        let Some(disk) = SmallDisk::mount(&folder.path().join("data"), 48 << 20) else {
            return println!("skipped: no small disk can be mounted here; that takes root");
        };
        let host = ProcessHost::start(&folder);
        let sender = sender(&host);
        let (mut promised, _) = load::send(&sender, 2, 20, 4000).await;
        disk.fill(free_bytes_min + (1 << 20));
        let (before, stopped) = load::send(&sender, 4, 2000, 4000).await;
        assert_eq!(stopped, 4, "the disk was never full");
        let refused = sender.post("push", load::random_document(100_000)).await;
        refused.refused(503, "storage_full");
        disk.free();
        let accepted_again = async {
            loop {
                let answer = sender.post("push", load::random_document(4000)).await;
                if answer.status == 202 {
                    return answer.accepted();
                }
            }
        };
        promised.insert(tokio::time::timeout(END_MAX, accepted_again).await.expect("the host accepts again"));
        promised.extend(load::send(&sender, 2, 20, 4000).await.0);
        println!("mark {free_bytes_min}: {} answered until the disk was full", before.len());
        promised.extend(before);

        disk.fill(64 * 1024);
        host.kill();
        disk.free();
        assert_kept(folder, &promised).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_stopped_for_longer_than_its_runs_may_take_settles_each_leg_once() {
    let folder = folder("[defaults]\nwall_ms = 300\n");
    let host = ProcessHost::start(&folder);
    let sender = sender(&host);
    let load = load::send(&sender, 8, 100, 2000);
    let stops = async {
        for _ in 0..3 {
            tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await.unwrap_err();
            host.signal(Signal::STOP);
            tokio::time::timeout(Duration::from_millis(700), std::future::pending::<()>()).await.unwrap_err();
            host.signal(Signal::CONT);
        }
    };
    let ((promised, stopped), ()) = tokio::join!(load, stops);
    assert_eq!((promised.len(), stopped), (800, 0));
    host.signal(Signal::TERM);
    host.ended();
    assert_kept(folder, &promised).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_on_the_folder_is_refused_in_words_and_the_first_goes_on() {
    let folder = folder("");
    let host = ProcessHost::start(&folder);
    let refused = ProcessHost::try_start_under(&folder, &[]).expect_err("one host at a time");
    assert!(refused.contains("in use by another hookyard process"), "{refused}");
    sender(&host).send(Post::json("push", "{}")).await.accepted();
}

/// A host whose standard error is `log`, and where its two listeners are.
fn logging_to(log: Stdio, folder: &Folder) -> (Child, [SocketAddr; 2]) {
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let addresses = free.each_ref().map(|listener| listener.local_addr().expect("its address"));
    drop(free);
    let mut command = Command::new(process::binary());
    command.args(["serve", "--config"]).arg(folder.config_file()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.env("HOOKYARD_INGEST__LISTEN", addresses[0].to_string()).env("HOOKYARD_ADMIN__LISTEN", addresses[1].to_string());
    (command.spawn().expect("the host starts"), addresses)
}

/// Waits until a listener answers; its answer to `GET` of the path.
async fn get(address: SocketAddr, path: &str) -> String {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answered = async {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        loop {
            looks.tick().await;
            if let Ok(answer) = ask() {
                return answer;
            }
        }
    };
    tokio::time::timeout(END_MAX, answered).await.expect("the host answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_takes_costs_no_answer_and_no_orderly_end() {
    let (unread, to_unread) = io::pipe().expect("a pipe");
    let (gone, to_gone) = io::pipe().expect("a pipe");
    drop(gone);
    let full = fs::File::options().write(true).open("/dev/full").expect("a full disk");
    for (log, loses_lines) in [(Stdio::from(full), true), (to_gone.into(), true), (to_unread.into(), false)] {
        let folder = folder("");
        let (host, [ingest, admin]) = logging_to(log, &folder);
        assert!(get(ingest, "/readyz").await.starts_with("HTTP/1.1 200"));
        let sender = Sender::new(ingest, "default", "github", SECRET);
        // Each leaves two lines of some 400 bytes; a pipe holds 64 KiB.
        let (promised, stopped) = load::send(&sender, 4, 100, 100).await;
        assert_eq!((promised.len(), stopped), (400, 0), "senders without an answer");
        let metrics = get(admin, "/metrics").await;
        let dropped = metrics.lines().find_map(|line| line.strip_prefix("hookyard_log_lines_dropped_total ")).expect("a count");
        assert_eq!(dropped.parse::<u64>().expect("a number") > 0, loses_lines, "{dropped}");
        process::signal(&host, Signal::TERM);
        let ended = tokio::task::spawn_blocking(|| process::ended(host));
        let status = tokio::time::timeout(END_MAX, ended).await.expect("the host ends though nobody reads its log").expect("an end");
        assert!(status.success(), "{status}");
        assert_kept(folder, &promised).await;
    }
    drop(unread);
}
