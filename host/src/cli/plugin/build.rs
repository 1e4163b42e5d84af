//! `plugin build`: the component is made by the tools of its language, and both files land whole or not at all.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    super::{
        exit::{Exit, Failure},
        output::{next, say},
    },
    javascript,
    project::{Language, Project},
    python, refused, rust, words,
};
use crate::runtime::{Report, Runtime};

/// The arguments of `plugin build`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The plugin's folder, with Cargo.toml, package.json or pyproject.toml, and NAME.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The component; by default `NAME.wasm` in the plugin's folder
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Builds; nothing is written unless the manifest is valid and the component can be read. The whole admission is `plugin run`'s.
pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let project = Project::open(&args.dir)?;
    let file = args.output.clone().unwrap_or_else(|| project.component());
    build(&project, &file).await?;
    say(&next(&format!("hookyard plugin run {} --event {}", file.display(), words::first_event(&project.manifest))));
    Ok(())
}

/// Makes the component and puts it, with its manifest beside it, where it is wanted.
pub(super) async fn build(project: &Project, file: &Path) -> Result<Report, Failure> {
    let component = match project.language {
        Language::Rust => rust::component(project).await?,
        Language::JavaScript => javascript::component(project).await?,
        Language::Python => python::component(project).await?,
    };
    let report = Runtime::inspect(&component).map_err(|error| refused(&error))?;
    // The host looks when files have been quiet for a while: the manifest first, so that a new component never meets an old one.
    let manifest = file.with_extension("toml");
    if fs::read(&manifest).ok().as_ref() != Some(&project.manifest_bytes) {
        write_whole(&manifest, &project.manifest_bytes)?;
    }
    write_whole(file, &component)?;
    let asks = if report.imports.is_empty() { "nothing".to_owned() } else { report.imports.join(", ") };
    say(&format!("wrote {}: {}, {}, asks for {asks}", file.display(), words::bytes(report.component_bytes), report.world));
    Ok(report)
}

/// Writes beside, then renames: who watches the folder sees the old file or the new one.
pub(in crate::cli) fn write_whole(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", file.display()));
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(failed)?;
    let mut beside = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    beside.write_all(bytes).and_then(|()| beside.as_file().sync_all()).map_err(failed)?;
    // A temporary file is its owner's only; a host under another user has to read this one.
    beside.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(failed)?;
    beside.persist(file).map(drop).map_err(|error| failed(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_readable_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/sizes.wasm");
        write_whole(&file, b"one").unwrap();
        write_whole(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }
}
