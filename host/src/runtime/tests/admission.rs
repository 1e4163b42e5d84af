//! What is let in, and why the rest is not.

use super::*;

#[tokio::test]
async fn what_is_no_component_is_called_by_its_name() {
    let module = wat::parse_str("(module)").unwrap();
    let engine = runtime().0.sandbox.engine.clone();
    let precompiled = engine.precompile_component(&guests::component("ack")).unwrap();
    for (wasm, found) in [
        (b"(component)".to_vec(), "text"),
        (module, "a core module"),
        (precompiled, "precompiled"),
        (vec![0xff; 64], "no WebAssembly"),
        (Vec::new(), "no WebAssembly"),
    ] {
        let error = refusal(wasm, &[]).await;
        assert_eq!(error.code, "not_a_component", "{error}");
        assert!(error.detail.contains(found), "{found}: {error}");
    }
}

#[tokio::test]
async fn a_half_written_file_is_refused_wherever_it_breaks_off() {
    let whole = guests::component("ack");
    for end in (1..whole.len()).step_by(7) {
        let error = refusal(whole[..end].to_vec(), &[]).await;
        assert!(matches!(error.code, "component_invalid" | "world_mismatch"), "{end} of {}: {error}", whole.len());
    }
}

#[tokio::test]
async fn flipped_bytes_never_get_further_than_a_refusal_or_a_fault() {
    let whole = guests::component("kv-own-writes");
    for at in (8..whole.len()).step_by(11) {
        let mut wasm = whole.clone();
        wasm[at] ^= 0x55;
        if let Ok(component) = runtime().admit(wasm.into(), &[]).await {
            runtime().invoke(&component, run()).await;
        }
    }
}

#[tokio::test]
async fn a_component_over_the_limit_is_refused_with_both_sizes() {
    let wasm = guests::component("ack");
    let bytes = wasm.len() as u64;
    let runtime = Runtime::new(Settings { component_bytes_max: bytes - 1, ..settings() }).unwrap();
    let error = runtime.admit(wasm.into(), &[]).await.unwrap_err();
    assert_eq!(error.code, "component_too_large");
    assert!(error.detail.contains(&bytes.to_string()) && error.detail.contains(&(bytes - 1).to_string()), "{error}");
}

#[tokio::test]
async fn every_missing_interface_is_listed_granted_or_not() {
    let wasm = guests::component("http-import");
    let error = refusal(wasm.clone(), &[]).await;
    assert_eq!(error.code, "import_not_granted");
    for name in ["hookyard:plugin/http@0.1.0", "hookyard:plugin/secrets@0.1.0"] {
        assert!(error.detail.contains(name), "{error}");
    }
    let half = refusal(wasm.clone(), &["http"]).await;
    assert!(half.detail.contains("[[grants.secrets]]") && !half.detail.contains("[[grants.http]]"), "{half}");
    assert!(runtime().admit(wasm.into(), &["http", "secrets"]).await.is_ok());
    assert!(refusal(guests::component("unknown-import"), &[]).await.detail.contains("acme:tools/stranger@1.0.0"));
    assert!(refusal(guests::component("wrong-world"), &[]).await.detail.contains("expected hookyard:plugin/handler@0.1.0"));
}

#[tokio::test]
async fn the_asynchronous_abi_is_refused_in_words() {
    let text = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 0) (func (export "cb") (param i32 i32 i32) (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (type $t (func async))
        (func $f (type $t) (canon lift (core func $i "f") async (callback (core func $i "cb"))))
        (export "f" (func $f)))"#;
    let error = refusal(wat::parse_str(text).unwrap(), &[]).await;
    assert_eq!(error.code, "feature_unsupported", "{error}");
    assert!(error.detail.contains("wasm32-wasip2"), "{error}");
}

#[tokio::test]
async fn a_handler_of_another_shape_is_a_world_mismatch() {
    let text = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (instance $handler (export "handle" (func $f)))
        (export "hookyard:plugin/handler@0.1.0" (instance $handler)))"#;
    let error = refusal(wat::parse_str(text).unwrap(), &[]).await;
    assert_eq!(error.code, "world_mismatch", "{error}");
}

#[tokio::test]
async fn a_type_that_doubles_at_every_level_is_told_in_two_kib() {
    let levels = (1..=7).map(|i| format!("(type $t{i} (tuple $t{0} $t{0} $t{0} $t{0}))", i - 1)).collect::<Vec<_>>().concat();
    let text = format!(
        r#"(component
        (core module $m (memory (export "memory") 1) (func (export "f") (param i32))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (type $t0 string) {levels}
        (type $f (func (param "p" $t7)))
        (func $f (type $f) (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
        (instance $handler (export "handle" (func $f)))
        (export "hookyard:plugin/handler@0.1.0" (instance $handler)))"#
    );
    let error = refusal(wat::parse_str(&text).unwrap(), &[]).await;
    assert_eq!(error.code, "world_mismatch", "{error}");
    assert!(error.detail.len() < 4_096, "{} bytes", error.detail.len());
}

#[tokio::test]
async fn a_component_with_more_memories_than_a_slot_holds_needs_too_much() {
    let memories = "(memory 1)".repeat(5);
    let text =
        format!("(func (export \"hookyard:plugin/handler@0.1.0#handle\") (param i32) (result i32) (call $ack))\n{}", memories.as_str());
    let error = refusal(guests::encode(&text), &[]).await;
    assert_eq!(error.code, "needs_too_much", "{error}");
    assert!(error.detail.contains("6 linear memories") && error.detail.contains("room for 4"), "{error}");
}

#[tokio::test]
async fn the_report_tells_world_imports_and_needs_without_compiling() {
    let pure = Runtime::inspect(&guests::component("config")).unwrap();
    assert_eq!((pure.world.as_str(), pure.imports), ("pure-handler", vec!["config".to_owned()]));
    let effects = Runtime::inspect(&guests::component("kv-own-writes")).unwrap();
    assert_eq!((effects.world.as_str(), effects.imports), ("webhook-handler", vec!["kv".to_owned()]));
    let sleeper = Runtime::inspect(&guests::component("sleep")).unwrap();
    assert_eq!(sleeper.wasi_imports, ["wasi:io/poll@0.2.0", "wasi:clocks/monotonic-clock@0.2.0"]);
    assert_eq!((sleeper.memories, sleeper.component_bytes), (1, guests::component("sleep").len() as u64));
    assert!(sleeper.core_instances >= 1);
    assert_eq!(admit("sleep").await.report().memories, sleeper.memories);
}

#[test]
fn every_slug_is_used_and_written_once() {
    let source = concat!(
        include_str!("../admit.rs"),
        include_str!("../compile.rs"),
        include_str!("../compile/cell.rs"),
        include_str!("../compile/marker.rs"),
        include_str!("../../runtime/mod.rs")
    );
    for slug in AdmissionError::SLUGS {
        assert!(source.matches(&format!("\"{slug}\"")).count() >= 2, "{slug} is in the table and nowhere else");
    }
}
