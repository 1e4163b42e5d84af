//! A plugin in JavaScript: jco puts the source and an engine into one component.
//!
//! QuickJS is the engine unless `package.json` says `"hookyard": {"engine": "starlingmonkey"}`: `docs/components.md` has the figures of both.
//! jco comes with the project's own `npm install`; nothing is installed from here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    super::{
        exit::{Exit, Failure},
        output::say,
        read_bounded,
    },
    contract, optional,
    project::Project,
    tool,
};

/// What QuickJS lacks and a handler needs.
const PRELUDE: &str = include_str!("templates/javascript/prelude.js.in");
/// What turns an error into the verdict it means, and an exception into words.
const VERDICTS: &str = include_str!("templates/javascript/verdicts.js.in");

/// What interprets the source inside the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    QuickJs,
    StarlingMonkey,
}

/// The component of the project's `main`. Dropping the future ends the compiler.
pub(super) async fn component(project: &Project) -> Result<Vec<u8>, Failure> {
    let engine = Engine::of(project.setting("/hookyard/engine"))?;
    let main = absolute(&project.dir)?.join(project.setting("/main").unwrap_or("handler.js"));
    let source = String::from_utf8_lossy(&read_bounded(&main)?).into_owned();
    let compiler = compiler(&project.dir, engine.program())?;
    let scratch = tempfile::tempdir()?;
    // Under its own name, which its errors will tell.
    let whole = scratch.path().join(main.file_name().unwrap_or_default());
    fs::write(&whole, engine.completed(&source)?)?;
    let mut imports = contract::named_after("hookyard:plugin/", &source)?;
    imports.extend(engine.imports().map(str::to_owned));
    contract::write(scratch.path(), &imports)?;
    let output = scratch.path().join("component.wasm");
    say(&format!("compiling {} with {} and {}", project.name, compiler.display(), engine.describe()));
    let mut command = tokio::process::Command::new(&compiler);
    command.args(engine.command()).arg(&whole).arg("--wit").arg(scratch.path().join(contract::FILE));
    command.args(["--world-name", contract::WORLD, "--out"]).arg(&output).args(engine.options());
    tool::run(command.current_dir(&project.dir)).await?;
    read_bounded(&output)
}

impl Engine {
    fn of(setting: Option<&str>) -> Result<Self, Failure> {
        match setting {
            None | Some("quickjs") => Ok(Self::QuickJs),
            Some("starlingmonkey") => Ok(Self::StarlingMonkey),
            Some(other) => {
                let found = format!("package.json: `hookyard.engine` is `{other}`; expected `quickjs` or `starlingmonkey`");
                Err(Failure::new(Exit::ConfigInvalid, found))
            }
        }
    }

    /// jco 1.35 does not read our contract for StarlingMonkey ("failed to get path metadata"); the program it would call does.
    fn program(self) -> &'static str {
        match self {
            Self::QuickJs => "jco",
            Self::StarlingMonkey => "componentize-js",
        }
    }

    fn command(self) -> &'static [&'static str] {
        match self {
            Self::QuickJs => &["componentize"],
            Self::StarlingMonkey => &[],
        }
    }

    /// Without the asynchronous ABI, which this host does not take, and without what would reach outside.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::QuickJs => &["--backend", "qjs", "--backend-qjs-disable-async"],
            Self::StarlingMonkey => &["--disable", "http", "fetch-event"],
        }
    }

    /// What the completed source imports beyond its own: `console` writes to the log.
    fn imports(self) -> impl Iterator<Item = &'static str> {
        (self == Self::QuickJs).then_some("log").into_iter()
    }

    /// The source as this engine can run it, with the same line numbers.
    fn completed(self, source: &str) -> Result<String, Failure> {
        Ok(match self {
            Self::QuickJs => {
                PRELUDE.lines().map(str::trim).collect::<Vec<_>>().join(" ") + &optional::with_defaults(source)? + "\n" + VERDICTS
            }
            Self::StarlingMonkey => source.to_owned(),
        })
    }

    fn describe(self) -> &'static str {
        match self {
            Self::QuickJs => "QuickJS",
            Self::StarlingMonkey => "StarlingMonkey",
        }
    }
}

/// A program of the nearest `node_modules`, or of the path.
fn compiler(dir: &Path, program: &str) -> Result<PathBuf, Failure> {
    let dir = absolute(dir)?;
    let local = dir.ancestors().map(|dir| dir.join("node_modules/.bin").join(program)).find(|file| file.is_file());
    local.or_else(|| tool::in_path(program)).ok_or_else(|| {
        Failure::new(Exit::Failed, format!("JavaScript is compiled by {program}, which is not here"))
            .hint(format!("`npm install` in {} brings it: package.json names @bytecodealliance/jco", dir.display()))
    })
}

fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    dir.canonicalize().map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_quickjs_unless_the_package_says_otherwise() {
        assert_eq!(Engine::of(None), Ok(Engine::QuickJs));
        assert_eq!(Engine::of(Some("starlingmonkey")), Ok(Engine::StarlingMonkey));
        assert_eq!(Engine::of(Some("v8")).unwrap_err().exit, Exit::ConfigInvalid);
    }

    #[test]
    fn the_source_keeps_its_line_numbers() {
        let completed = Engine::QuickJs.completed("const a = 1;\nconst b = 2;\n").unwrap();
        let lines: Vec<&str> = completed.lines().collect();
        assert!(completed.starts_with("/* What") && lines[0].ends_with("const a = 1;") && lines[1] == "const b = 2;", "{completed}");
        assert!(!PRELUDE.contains("//"), "a comment to the end of the line would swallow the rest");
    }

    #[test]
    fn a_compiler_is_found_in_the_nearest_node_modules_and_asked_for_where_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let failure = compiler(dir.path(), "no-such-compiler").unwrap_err();
        assert!(failure.hint.unwrap().contains("npm install"));
        let bin = dir.path().join("node_modules/.bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("no-such-compiler"), "").unwrap();
        let plugin = dir.path().join("plugins/a");
        fs::create_dir_all(&plugin).unwrap();
        assert!(compiler(&plugin, "no-such-compiler").unwrap().ends_with("node_modules/.bin/no-such-compiler"));
    }
}
