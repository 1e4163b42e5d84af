//! Hands the optimisation level on, so that the report tells how the measured code was compiled instead of how it should have been.

fn main() {
    let level = std::env::var("OPT_LEVEL").unwrap_or_else(|_| "unknown".to_owned());
    writeln(&format!("cargo::rustc-env=BENCH_OPT_LEVEL={level}"));
    writeln("cargo::rerun-if-changed=build.rs");
}

/// Cargo reads instructions on standard output.
fn writeln(instruction: &str) {
    use std::io::Write as _;
    // A build script that cannot speak to cargo has nobody to tell.
    let _ = std::io::stdout().write_all(format!("{instruction}\n").as_bytes());
}
