//! What may become a plugin: the checks that need no compiler.
//!
//! The import list is the permission request, so a component is refused here, with everything it misses in one sentence, and not by a link
//! error at its first delivery.

use wasmparser::{ComponentExternalKind, Encoding, Instance, Parser, Payload, ValidPayload, Validator, WasmFeatures};

use super::{
    AdmissionError, Report, imports,
    limiter::{INSTANCES_MAX, MEMORIES_MAX},
    validate::LIFECYCLE,
};

/// Our package, and the versions of it this host offers: within a 0.x line the minor number is the promise.
const PACKAGE: &str = "hookyard:plugin/";
const VERSION: &str = "0.1.";
/// What a plugin must export.
const HANDLER: &str = "hookyard:plugin/handler@0.1.";
/// The packages of WASI 0.2 that are linked.
const WASI: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];
/// Interfaces that make a handler more than pure.
const PURE: [&str; 3] = ["config", "log", "types"];

impl AdmissionError {
    /// Every slug a component can be refused with.
    pub const SLUGS: [&str; 12] = [
        "not_a_component",
        "component_invalid",
        "component_too_large",
        "feature_unsupported",
        "import_not_granted",
        "import_unknown",
        "world_mismatch",
        "needs_too_much",
        "compile_failed",
        "compile_timeout",
        "compile_quarantined",
        "compile_time_used_up",
    ];

    pub(super) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        debug_assert!(Self::SLUGS.contains(&code), "{code} is in the table");
        Self { code, detail: detail.into(), again: None }
    }
}

/// What a component's own words say.
#[derive(Default)]
struct Outline {
    imports: Vec<String>,
    exports: Vec<String>,
    /// Linear memories of each core module, in order of definition.
    module_memories: Vec<u32>,
    core_instances: u32,
    memories: u32,
}

/// What is known of a component file, without compiling it.
pub(super) fn inspect(wasm: &[u8]) -> Result<Report, AdmissionError> {
    Ok(report(&outline(wasm)?, wasm.len() as u64))
}

/// Checks what a component imports, exports and needs. `granted` are the interfaces beyond the free ones.
pub(super) fn check(wasm: &[u8], granted: &[&str]) -> Result<Report, AdmissionError> {
    let outline = outline(wasm)?;
    let report = report(&outline, wasm.len() as u64);
    check_imports(&outline, granted)?;
    check_exports(&outline)?;
    check_needs("core instances", report.core_instances, INSTANCES_MAX)?;
    check_needs("linear memories", report.memories, MEMORIES_MAX)?;
    Ok(report)
}

/// One run of the component needs more than a slot of the pool holds.
pub(super) fn check_needs(what: &str, actual: u32, allowed: u32) -> Result<(), AdmissionError> {
    if actual <= allowed {
        return Ok(());
    }
    Err(AdmissionError::new("needs_too_much", format!("one run needs {actual} {what}, and this host has room for {allowed}")))
}

fn outline(wasm: &[u8]) -> Result<Outline, AdmissionError> {
    check_encoding(wasm)?;
    let mut outline = Outline::default();
    let mut validator = Validator::new_with_features(features());
    // How deep in nested components and modules the parser is.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|error| invalid(&error))?;
        match validator.payload(&payload).map_err(|error| unsupported_or_invalid(wasm, &error))? {
            ValidPayload::Parser(_) | ValidPayload::Func(..) | ValidPayload::Ok | ValidPayload::End(_) => {}
        }
        outline.note(&payload, &mut depth).map_err(|error| invalid(&error))?;
    }
    Ok(outline)
}

impl Outline {
    fn note(&mut self, payload: &Payload<'_>, depth: &mut u32) -> wasmparser::Result<()> {
        match payload {
            Payload::ModuleSection { .. } => {
                *depth += 1;
                if *depth == 1 {
                    self.module_memories.push(0);
                }
            }
            Payload::ComponentSection { .. } => *depth += 1,
            Payload::End(_) => *depth = depth.saturating_sub(1),
            Payload::MemorySection(section) if *depth == 1 => {
                if let Some(memories) = self.module_memories.last_mut() {
                    *memories += section.count();
                }
            }
            Payload::InstanceSection(section) if *depth == 0 => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.core_instances += 1;
                        self.memories += self.module_memories.get(module_index as usize).copied().unwrap_or(0);
                    }
                }
            }
            Payload::ComponentImportSection(section) if *depth == 0 => {
                for import in section.clone() {
                    self.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if *depth == 0 => {
                for export in section.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Instance {
                        self.exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the engine takes; the rest of the proposals is off.
fn features() -> WasmFeatures {
    let mut features = WasmFeatures::default();
    for off in [WasmFeatures::CM_ASYNC, WasmFeatures::THREADS, WasmFeatures::MEMORY64, WasmFeatures::GC, WasmFeatures::FUNCTION_REFERENCES]
    {
        features.remove(off);
    }
    features
}

fn check_encoding(wasm: &[u8]) -> Result<(), AdmissionError> {
    let refuse = |found: &str| {
        let detail = format!("this is {found}; expected a WebAssembly component (`hookyard plugin build`, or target wasm32-wasip2)");
        Err(AdmissionError::new("not_a_component", detail))
    };
    if wasm.starts_with(b"\x7fELF") {
        return refuse("native or precompiled code (.cwasm), which is never loaded");
    }
    if wasm.len() < 8 {
        if b"\0asm\x0d\0\x01\0".starts_with(wasm) && !wasm.is_empty() {
            return Err(AdmissionError::new("component_invalid", format!("the file ends after {} bytes, inside its header", wasm.len())));
        }
        return refuse("no WebAssembly at all");
    }
    if !wasm.starts_with(b"\0asm") {
        let text = wasm.iter().take(4096).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        return refuse(if text { "text" } else { "no WebAssembly at all" });
    }
    match Parser::new(0).parse_all(wasm).next() {
        Some(Ok(Payload::Version { encoding: Encoding::Component, .. })) => Ok(()),
        Some(Ok(Payload::Version { encoding: Encoding::Module, .. })) => refuse("a core module"),
        Some(Err(error)) => Err(invalid(&error)),
        _ => refuse("no WebAssembly at all"),
    }
}

fn invalid(error: &wasmparser::BinaryReaderError) -> AdmissionError {
    let detail = format!("{} at byte {}; is the file complete?", error.message(), error.offset());
    AdmissionError::new("component_invalid", detail)
}

fn unsupported_or_invalid(wasm: &[u8], error: &wasmparser::BinaryReaderError) -> AdmissionError {
    if Validator::new_with_features(WasmFeatures::all()).validate_all(wasm).is_err() {
        return invalid(error);
    }
    let detail = format!(
        "it uses a WebAssembly feature this host does not turn on: {} at byte {}; the asynchronous ABI of WASI 0.3, threads, 64-bit \
         memories and garbage collection are off: build for wasm32-wasip2 or wasm32-unknown-unknown",
        error.message(),
        error.offset()
    );
    AdmissionError::new("feature_unsupported", detail)
}

fn report(outline: &Outline, component_bytes: u64) -> Report {
    let (ours, theirs): (Vec<_>, Vec<_>) = outline.imports.iter().partition(|name| name.starts_with(PACKAGE));
    let imports: Vec<String> = ours.iter().filter(|name| interface(name) != "types").map(|name| interface(name).to_owned()).collect();
    let pure = imports.iter().all(|name| PURE.contains(&name.as_str()));
    Report {
        world: if pure { "pure-handler" } else { "webhook-handler" }.to_owned(),
        imports,
        wasi_imports: theirs.into_iter().filter(|name| name.starts_with("wasi:")).cloned().collect(),
        component_bytes,
        validates_config: outline.exports.iter().any(|name| name.starts_with(LIFECYCLE)),
        core_instances: outline.core_instances,
        memories: outline.memories,
    }
}

fn interface(name: &str) -> &str {
    let name = name.strip_prefix(PACKAGE).unwrap_or(name);
    name.split_once('@').map_or(name, |(interface, _)| interface)
}

fn check_imports(outline: &Outline, granted: &[&str]) -> Result<(), AdmissionError> {
    let unknown: Vec<_> = outline.imports.iter().filter(|name| !name.starts_with(PACKAGE) && !is_linked_wasi(name)).cloned().collect();
    if !unknown.is_empty() {
        let wasi3 = unknown.iter().any(|name| name.starts_with("wasi:") && name.contains("@0.3."));
        let hint = if wasi3 { "; components for WASI 0.3 are not taken: build for wasm32-wasip2" } else { "" };
        return Err(AdmissionError::new("import_unknown", format!("imports {}, which this host does not know{hint}", unknown.join(", "))));
    }
    let ours = || outline.imports.iter().filter(|name| name.starts_with(PACKAGE));
    let newer: Vec<_> =
        ours().filter(|name| name.split_once('@').is_none_or(|(_, version)| !version.starts_with(VERSION))).cloned().collect();
    if !newer.is_empty() {
        let detail = format!("imports {}, and this host offers version {VERSION}x of the contract", newer.join(", "));
        return Err(AdmissionError::new("world_mismatch", detail));
    }
    let is_offered = |name: &str| imports::FREE.contains(&name) || granted.contains(&name);
    let missing: Vec<_> = ours().filter(|name| !is_offered(interface(name))).map(|name| why_not(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(AdmissionError::new("import_not_granted", missing.join("; "))) }
}

fn why_not(name: &str) -> String {
    match interface(name) {
        interface @ ("http" | "secrets") => format!(
            "imports {name}, which is not granted: it needs a `[[grants.{interface}]]` in the plugin's manifest and one of the operator's in \
             `tenant.toml` that allows some of it"
        ),
        _ => format!("imports {name}, which this host does not offer"),
    }
}

fn is_linked_wasi(name: &str) -> bool {
    let Some((package, rest)) = name.strip_prefix("wasi:").and_then(|rest| rest.split_once('/')) else { return false };
    WASI.contains(&package) && rest.split_once('@').is_some_and(|(_, version)| version.starts_with("0.2."))
}

fn check_exports(outline: &Outline) -> Result<(), AdmissionError> {
    if outline.exports.iter().any(|name| name.starts_with(HANDLER)) {
        return Ok(());
    }
    let found = if outline.exports.is_empty() { "nothing".to_owned() } else { outline.exports.join(", ") };
    Err(AdmissionError::new("world_mismatch", format!("exports {found}; expected hookyard:plugin/handler@0.1.0 with `handle`")))
}
