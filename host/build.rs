//! Puts the SDK's sources into the binary, so that `hookyard plugin new` makes a plugin that builds anywhere.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    let mut files = vec![root.join("plugin-sdk/Cargo.toml"), root.join("wit/plugin.wit")];
    sources(&root.join("plugin-sdk/src"), &mut files)?;
    files.sort();
    let mut list = String::from("[\n");
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let (place, whole) = (literal(file.strip_prefix(&root)?)?, literal(file)?);
        writeln!(list, "({place}, include_str!({whole})),")?;
    }
    list.push(']');
    println!("cargo::rerun-if-changed={}", root.join("plugin-sdk/src").display());
    fs::write(Path::new(&env::var("OUT_DIR")?).join("sdk.rs"), list)?;
    Ok(())
}

/// A path as a string of Rust's.
fn literal(path: &Path) -> Result<String, String> {
    path.to_str().map(|path| format!("{path:?}")).ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
