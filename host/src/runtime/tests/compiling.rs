//! Compiling in this process, in a child, and not at all.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::*;

const CACHE: &str = "HOOKYARD_TEST_CACHE";

fn with_cache(dir: &Path, compiler: Compiler) -> Runtime {
    Runtime::new(Settings { cache_dir: Some(dir.to_owned()), compiler, ..settings() }).unwrap()
}

fn script(dir: &Path, body: &str) -> Compiler {
    let path = dir.join("compiler");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    Compiler::Child(path)
}

fn markers(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("compiling-")).count()
}

#[tokio::test]
async fn a_second_runtime_loads_what_the_first_one_compiled() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let first = with_cache(&cache, Compiler::InProcess);
    first.admit(guests::component("ack").into(), &[]).await.unwrap();
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    let second = with_cache(&cache, Compiler::InProcess);
    second.admit(guests::component("ack").into(), &[]).await.unwrap();
    assert!(first.0.sandbox.cache_hits() == 0 && second.0.sandbox.cache_hits() > 0);
    assert_eq!(markers(&cache), 0);
}

/// The body of the child of the next test: an ordinary run of the tests has nothing to do here.
#[test]
#[ignore = "run as the compiling child by `a_child_fills_the_cache_the_host_loads_from`"]
fn the_compiling_child() {
    let cache = std::env::var_os(CACHE).unwrap();
    compile_child(Path::new(&cache), &mut std::io::stdin().lock()).unwrap();
}

#[tokio::test]
async fn a_child_fills_the_cache_the_host_loads_from() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let exe = std::env::current_exe().unwrap();
    let test = "runtime::tests::compiling::the_compiling_child";
    let body = format!("{CACHE}=\"$3\" exec '{}' --exact {test} --ignored", exe.display());
    let runtime = with_cache(&cache, script(dir.path(), &body));
    let component = runtime.admit(guests::component("ack").into(), &[]).await.unwrap();
    assert!(runtime.0.sandbox.cache_hits() > 0, "the host compiled it again");
    assert_eq!(runtime.invoke(&component, run()).await.outcome.slug(), "ack");
    assert_eq!(markers(&cache), 0);
}

#[tokio::test]
async fn what_went_well_once_is_loaded_without_a_child() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let calls = dir.path().join("calls");
    // The child compiles nothing, so the host does, after it: what is counted is how often it is started.
    let body = format!("cat > /dev/null; echo called >> '{}'", calls.display());
    let called = || fs::read_to_string(&calls).map_or(0, |calls| calls.lines().count());
    let compiler = script(dir.path(), &body);
    for (guest, expected) in [("ack", 1), ("ack", 1), ("skip", 2)] {
        // Another runtime each time, as after a restart.
        with_cache(&cache, compiler.clone()).admit(guests::component(guest).into(), &[]).await.unwrap();
        assert_eq!(called(), expected, "{guest}");
    }
    for note in fs::read_dir(&cache).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("compiled-")) {
        fs::write(note.path(), "another compiler").unwrap();
    }
    with_cache(&cache, compiler).admit(guests::component("ack").into(), &[]).await.unwrap();
    assert_eq!(called(), 3, "another version of the compiler is held to its bounds anew");
}

#[tokio::test]
async fn a_child_that_is_killed_leaves_its_digest_in_quarantine_until_the_file_changes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let runtime = with_cache(&cache, script(dir.path(), "kill -9 $$"));
    let error = runtime.admit(guests::component("ack").into(), &[]).await.unwrap_err();
    assert_eq!(error.code, "compile_failed", "{error}");
    assert!(error.detail.contains("signal"), "{error}");
    let again = with_cache(&cache, Compiler::InProcess).admit(guests::component("ack").into(), &[]).await.unwrap_err();
    assert_eq!(again.code, "compile_quarantined", "{again}");
    with_cache(&cache, Compiler::InProcess).admit(guests::component("skip").into(), &[]).await.unwrap();
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
    assert_eq!(markers(&cache), 1);
}

#[test]
fn the_child_refuses_a_component_over_its_limit_before_it_lowers_anything() {
    let head = br#"{"memory_bytes":1073741824,"cpu_s":1,"component_bytes":4}"#;
    let dir = tempfile::tempdir().unwrap();
    let mut input = [&head[..], b"\n12345"].concat();
    let error = compile_child(dir.path(), &mut &input[..]).unwrap_err();
    assert!(error.to_string().contains("larger than 4 bytes"), "{error}");
    input.truncate(20);
    assert!(compile_child(dir.path(), &mut &input[..]).unwrap_err().to_string().contains("does not begin with a line"));
}
