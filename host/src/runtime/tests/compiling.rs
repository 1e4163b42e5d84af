//! Compiling in this process, in a child, and not at all.

use std::{fs, io::Write as _, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use super::*;
use crate::{
    runtime::compile::in_cell,
    shares::{Limit, Limits, Machine, Resource},
};

/// Where the child of a test finds what it must not reach: a folder with a file in it.
const FOLDER: &str = "HOOKYARD_TEST_FOLDER";
/// The port of a listener it must not reach.
const PORT: &str = "HOOKYARD_TEST_PORT";

fn with_cache(dir: &Path, compiler: Compiler) -> Runtime {
    Runtime::new(Settings { cache_dir: Some(dir.to_owned()), compiler, ..settings() }).unwrap()
}

fn script(dir: &Path, body: &str) -> Compiler {
    let path = dir.join("compiler");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    Compiler::Child(path)
}

/// This test's own binary as the compile child. It says things on standard output, so the code goes out through a descriptor of its own.
fn child(dir: &Path, before: &str) -> Compiler {
    let (exe, test) = (std::env::current_exe().unwrap(), "runtime::tests::compiling::the_compile_child");
    script(dir, &format!("{before}\nexec 3>&1 >/dev/null\nexec '{}' --exact {test} --ignored", exe.display()))
}

fn names(dir: &Path, begin: &str) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(begin)).collect()
}

/// The body of the child of these tests: an ordinary run of the tests has nothing to do here.
#[test]
#[ignore = "run as the compile child by its neighbours"]
fn the_compile_child() {
    let mut out = fs::OpenOptions::new().write(true).open("/proc/self/fd/3").unwrap();
    let reached = || {
        let (Some(folder), Ok(port)) = (std::env::var_os(FOLDER), std::env::var(PORT)) else { return Ok(()) };
        let reached = reached(Path::new(&folder), port.parse()?);
        anyhow::ensure!(reached.is_empty(), "it reached {}", reached.join(", "));
        Ok(())
    };
    if let Err(error) = in_cell(&mut out, reached) {
        std::io::stderr().write_all(format!("{error:#}").as_bytes()).unwrap();
        std::process::exit(1);
    }
}

/// What a process that was taken over would try, and what of it works.
fn reached(folder: &Path, port: u16) -> Vec<&'static str> {
    let here = std::net::Ipv4Addr::LOCALHOST;
    let tries = [
        ("a file of the host", fs::read(folder.join("admin.token")).is_ok()),
        ("a folder", fs::read_dir(folder).is_ok()),
        ("a file of its own", fs::write(folder.join("new"), "x").is_ok()),
        ("the removal of a file", fs::remove_file(folder.join("old")).is_ok()),
        ("a program", Command::new("/bin/true").status().is_ok()),
        ("a connection", std::net::TcpStream::connect((here, port)).is_ok()),
        ("a listener", TcpListener::bind((here, 0)).is_ok()),
        ("a datagram", std::net::UdpSocket::bind((here, 0)).is_ok()),
        ("a local socket", std::os::unix::net::UnixStream::pair().is_ok()),
        ("the environment of another process", fs::read("/proc/1/environ").is_ok()),
        ("a signal", rustix::process::test_kill_process(rustix::process::Pid::INIT).is_ok()),
    ];
    tries.into_iter().filter(|(_, works)| *works).map(|(what, _)| what).collect()
}

#[tokio::test]
async fn a_compile_child_that_was_taken_over_reaches_no_file_no_network_and_no_process() {
    if !crate::confine::missing().is_empty() {
        std::io::stderr().write_all(b"skipped: this kernel has no landlock or no seccomp\n").unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("host");
    fs::create_dir(&folder).unwrap();
    for file in ["admin.token", "old"] {
        fs::write(folder.join(file), "secret").unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let compiler = child(dir.path(), &format!("export {FOLDER}='{}' {PORT}={port}", folder.display()));
    let admitted = with_cache(&dir.path().join("cache"), compiler).admit(guests::component("ack").into(), &[]).await;
    assert!(admitted.is_ok(), "{:?}", admitted.err());
    assert!(folder.join("old").exists() && !folder.join("new").exists());
    // The same tries outside of a cell: they are real ones.
    assert!(reached(&folder, port).len() >= 9, "{:?}", reached(&folder, port));
}

#[tokio::test]
async fn a_second_runtime_loads_what_the_first_one_compiled() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let first = with_cache(&cache, Compiler::InProcess);
    first.admit(guests::component("ack").into(), &[]).await.unwrap();
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    let second = with_cache(&cache, Compiler::Child("/nowhere".into()));
    second.admit(guests::component("ack").into(), &[]).await.unwrap();
    assert!(second.0.sandbox.cache_hits() > 0);
    assert!(names(&cache, "compiling-").is_empty());
}

#[tokio::test]
async fn a_child_compiles_and_its_code_runs_and_is_loaded_without_a_child_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, calls) = (dir.path().join("cache"), dir.path().join("calls"));
    let compiler = child(dir.path(), &format!("echo called >> '{}'", calls.display()));
    let called = || fs::read_to_string(&calls).map_or(0, |calls| calls.lines().count());
    for (guest, expected) in [("ack", 1), ("ack", 1), ("skip", 2)] {
        // Another runtime each time, as after a restart.
        let runtime = with_cache(&cache, compiler.clone());
        let component = runtime.admit(guests::component(guest).into(), &[]).await.unwrap();
        assert_eq!(runtime.invoke(&component, run()).await.outcome.slug(), guest);
        assert_eq!(called(), expected, "{guest}");
    }
    for note in names(&cache, "compiled-") {
        fs::write(cache.join(note), "another compiler").unwrap();
    }
    with_cache(&cache, compiler).admit(guests::component("ack").into(), &[]).await.unwrap();
    assert_eq!(called(), 3, "another version of the compiler is held to its bounds anew");
}

#[tokio::test]
async fn the_same_bytes_of_many_tenants_at_once_are_compiled_once_and_put_nobody_in_quarantine() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, calls) = (dir.path().join("cache"), dir.path().join("calls"));
    let compiler = child(dir.path(), &format!("echo called >> '{}'", calls.display()));
    let mut limits = Limits::of(Machine::here());
    limits.set(Resource::CompileSlots, Limit::new(8, 1));
    let settings = Settings { cache_dir: Some(cache.clone()), compiler, shares: Shares::new(&limits), ..settings() };
    let runtime = Runtime::new(settings).unwrap();
    let admit = |tenant: &str| {
        let (runtime, account) = (runtime.clone(), Account::Tenant(tenant.parse().unwrap()));
        async move { runtime.admit_in(&runtime.turn(account).await, guests::component("ack").into(), &[]).await.map(drop) }
    };
    let (one, two, three, four) = tokio::join!(admit("a"), admit("b"), admit("c"), admit("d"));
    assert_eq!([one, two, three, four], [Ok(()), Ok(()), Ok(()), Ok(())]);
    assert_eq!(fs::read_to_string(&calls).unwrap().lines().count(), 1);
    assert!(names(&cache, "compiling-").is_empty());
}

#[tokio::test]
async fn code_that_was_changed_on_the_disk_is_compiled_anew_and_never_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    with_cache(&cache, Compiler::InProcess).admit(guests::component("ack").into(), &[]).await.unwrap();
    let shelf = fs::read_dir(cache.join("code/modules")).unwrap().next().unwrap().unwrap().path();
    let other = {
        let apart = dir.path().join("apart");
        with_cache(&apart, Compiler::InProcess).admit(guests::component("skip").into(), &[]).await.unwrap();
        let shelf = fs::read_dir(apart.join("code/modules")).unwrap().next().unwrap().unwrap().path();
        fs::read_dir(shelf).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).max_by_key(Vec::len).unwrap()
    };
    // Sound code of another component, under the names of all that is kept.
    for entry in fs::read_dir(&shelf).unwrap().flatten() {
        fs::write(entry.path(), &other).unwrap();
    }
    let runtime = with_cache(&cache, Compiler::InProcess);
    let component = runtime.admit(guests::component("ack").into(), &[]).await.unwrap();
    assert_eq!(runtime.invoke(&component, run()).await.outcome.slug(), "ack", "not the other component's code");
}

#[tokio::test]
async fn what_a_child_hands_over_that_is_no_code_is_refused_and_not_compiled_by_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    for (body, words) in [("echo no code at all", "does not load"), ("true", "wrote nothing"), ("cat /dev/zero", "is larger than")] {
        let compiler = script(dir.path(), body);
        let settings = Settings { cache_dir: Some(cache.clone()), compiler, compile_memory_bytes_max: 16 * MIB, ..settings() };
        let error = Runtime::new(settings).unwrap().admit(guests::component("ack").into(), &[]).await.unwrap_err();
        assert_eq!(error.code, "compile_failed", "{body}: {error}");
        assert!(error.detail.contains(words) || body.starts_with("cat"), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_child_that_runs_into_its_limits_leaves_its_digest_in_quarantine_until_the_file_changes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let runtime = with_cache(&cache, script(dir.path(), "kill -ABRT $$"));
    let error = runtime.admit(guests::component("ack").into(), &[]).await.unwrap_err();
    assert_eq!(error.code, "compile_failed", "{error}");
    assert!(error.detail.contains("signal"), "{error}");
    let again = with_cache(&cache, Compiler::InProcess).admit(guests::component("ack").into(), &[]).await.unwrap_err();
    assert_eq!(again.code, "compile_quarantined", "{again}");
    with_cache(&cache, Compiler::InProcess).admit(guests::component("skip").into(), &[]).await.unwrap();
}

#[tokio::test]
async fn a_child_that_somebody_killed_may_try_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = with_cache(&dir.path().join("cache"), script(dir.path(), "kill -9 $$"));
    for code in ["compile_failed", "compile_failed", "compile_quarantined"] {
        let error = runtime.admit(guests::component("ack").into(), &[]).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
    }
}

#[tokio::test]
async fn a_compilation_that_is_called_off_leaves_no_marker() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let runtime = with_cache(&cache, script(dir.path(), "exec sleep 60"));
    let wasm = guests::component("ack");
    let mut compiling = Box::pin(runtime.admit(wasm.into(), &[]));
    // As a host that is told to stop in the middle of it.
    while names(&cache, "compiling-").is_empty() {
        let step = tokio::time::timeout(Duration::from_millis(10), &mut compiling).await;
        assert!(step.is_err(), "{step:?}");
    }
    drop(compiling);
    assert!(names(&cache, "compiling-").is_empty());
}

#[tokio::test]
async fn a_child_that_fails_in_words_is_quoted_and_may_try_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let runtime = with_cache(&cache, script(dir.path(), "echo 'no room on device' >&2; exit 1"));
    for _ in 0..2 {
        let error = runtime.admit(guests::component("ack").into(), &[]).await.unwrap_err();
        assert_eq!(error.code, "compile_failed");
        assert!(error.detail.contains("no room on device"), "{error}");
    }
}

#[tokio::test]
async fn a_child_that_does_not_end_is_killed_at_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let compiler = script(dir.path(), "exec sleep 60");
    let settings = Settings { cache_dir: Some(cache.clone()), compiler, compile_timeout: Duration::from_millis(100), ..settings() };
    let error = Runtime::new(settings).unwrap().admit(guests::component("ack").into(), &[]).await.unwrap_err();
    assert_eq!(error.code, "compile_timeout", "{error}");
    assert_eq!(names(&cache, "compiling-").len(), 1);
}

#[tokio::test]
async fn a_tenant_that_has_used_up_its_compile_time_is_refused_in_words_and_only_he() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::of(Machine::here());
    limits.set(Resource::CompileTime, Limit::new(3_600_000, 1));
    let settings = Settings { cache_dir: Some(dir.path().join("cache")), shares: Shares::new(&limits), ..settings() };
    let runtime = Runtime::new(settings).unwrap();
    let admit = |tenant: &str, guest: &str, kept: bool| {
        let (tenant, wasm, runtime): (TenantId, _, _) = (tenant.parse().unwrap(), guests::component(guest), runtime.clone());
        async move {
            let account = if kept { Account::Kept(tenant) } else { Account::Tenant(tenant) };
            runtime.admit_in(&runtime.turn(account).await, wasm.into(), &[]).await.map(drop)
        }
    };
    admit("red", "ack", false).await.unwrap();
    let refused = admit("red", "skip", false).await.unwrap_err();
    assert_eq!(refused.code, "compile_time_used_up");
    assert!(refused.detail.contains("tried again by itself in 3"), "{refused}");
    assert!(matches!(refused.again, Some(Again::At(_))));
    admit("red", "ack", false).await.unwrap();
    admit("blue", "reject", false).await.unwrap();
    admit("red", "retry", true).await.unwrap();
}
