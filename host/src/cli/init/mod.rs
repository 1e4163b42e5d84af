//! `init`: a folder in which a host runs at once. A tenant with a source and a secret of its own, and a plugin that handles what comes.
//!
//! Nothing that is there is written over: every file is looked for first, and then made as a new one. The secret is random, and readable by its
//! owner only from its first byte on.

mod welcome;

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    exit::{Exit, Failure},
    output::say,
};
use crate::delivery::Digest;

/// Bytes of the secret; it is written as twice as many hexadecimal digits.
const SECRET_BYTES: usize = 32;
const SECRET: &str = "tenants/default/secrets/github";
/// Who may read what.
const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// What the folder has whatever was generated.
const TEXTS: [(&str, &str); 3] = [
    ("hookyard.toml", include_str!("hookyard.toml.in")),
    ("tenants/default/tenant.toml", include_str!("tenant.toml.in")),
    ("tenants/default/plugins/welcome.toml", include_str!("welcome.toml.in")),
];
/// What a folder under version control often has; a host runs without them, so one that is there is kept.
const BESIDE: [(&str, &str); 2] = [("README.md", include_str!("README.md.in")), (".gitignore", "/data/\nsecrets/\n")];
const COMPONENT: &str = "tenants/default/plugins/welcome.wasm";

/// What to type next; the README of the folder has the same commands.
const NEXT: [(&str, &str); 3] = [
    ("hookyard serve", "the host, until Ctrl-C; the other two in a second terminal"),
    ("hookyard send --event push", "a delivery, signed as GitHub signs"),
    ("hookyard deliveries list", "what came of it"),
];

/// The arguments of `init`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The folder; it is made where it is not there
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// One file that is to be made.
struct Planned {
    place: &'static str,
    bytes: Vec<u8>,
    mode: u32,
}

/// Makes the folder.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let is_there = |place: &str| args.dir.join(place).symlink_metadata().is_ok();
    let mut planned = plan()?;
    let there: Vec<&str> = planned.iter().map(|file| file.place).filter(|place| is_there(place)).collect();
    if !there.is_empty() {
        let found = format!("{} has {} already, and nothing is written over; no file was made", shown(&args.dir), there.join(", "));
        return Err(Failure::new(Exit::Failed, found).hint("name another folder: `hookyard init DIR`"));
    }
    let (kept, missing): (Vec<_>, Vec<_>) = BESIDE.into_iter().partition(|(place, _)| is_there(place));
    planned.extend(missing.into_iter().map(Planned::text));
    for file in &planned {
        let path = args.dir.join(file.place);
        write(&path, file).map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))?;
    }
    let places: Vec<&str> = planned.iter().map(|file| file.place).collect();
    say(&format!("created in {}: {}", shown(&args.dir), places.join(", ")));
    for (place, _) in kept {
        say(&format!("kept {place}, which is there; `data/` and `secrets/` should not come under version control"));
    }
    say(&if args.dir == Path::new(".") { "next:".to_owned() } else { format!("next, after `cd {}`:", args.dir.display()) });
    for (command, words) in NEXT {
        say(&format!("  {command:30}# {words}"));
    }
    Ok(())
}

impl Planned {
    fn text((place, text): (&'static str, &str)) -> Self {
        Self { place, bytes: text.as_bytes().to_vec(), mode: PUBLIC }
    }
}

fn plan() -> Result<Vec<Planned>, Failure> {
    let texts = TEXTS.map(Planned::text);
    let component = Planned { place: COMPONENT, bytes: welcome::component()?, mode: PUBLIC };
    let secret = Planned { place: SECRET, bytes: secret()?.into_bytes(), mode: PRIVATE };
    Ok(texts.into_iter().chain([component, secret]).collect())
}

/// A secret nobody has had before, from the system's random numbers.
fn secret() -> io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{}\n", Digest::from_bytes(bytes)))
}

fn write(path: &Path, file: &Planned) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mode = if file.mode == PRIVATE { 0o700 } else { 0o755 };
        fs::DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    }
    let mut opened = fs::OpenOptions::new().write(true).create_new(true).mode(file.mode).open(path)?;
    opened.write_all(&file.bytes)
}

fn shown(dir: &Path) -> String {
    if dir == Path::new(".") { "this folder".to_owned() } else { dir.display().to_string() }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::{config, tenants::Directory};

    fn made() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        run(&Args { dir: dir.path().to_owned() }).unwrap();
        dir
    }

    #[test]
    fn the_folder_is_one_a_host_takes_and_its_secret_is_its_owners_alone() {
        let (dir, other) = (made(), made());
        let config = config::load(Some(&dir.path().join("hookyard.toml")), &BTreeMap::new()).unwrap();
        let (directory, problems) = config::load_tenants(&config, &BTreeMap::new(), &Directory::default());
        assert!(problems.is_empty(), "{problems:?}");
        let reading = config::read(Some(&dir.path().join("hookyard.toml")), &BTreeMap::new());
        let survey = config::survey(&reading, &BTreeMap::new());
        assert!(survey.problems.is_empty() && survey.plugins == 1, "`hookyard check` is content with it: {survey:?}");
        assert_eq!(directory.tenants.values().map(|tenant| tenant.sources.len()).sum::<usize>(), 1);
        let mode = |place: &str| fs::metadata(dir.path().join(place)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(SECRET), mode("tenants/default/secrets")), (0o600, 0o700));
        let secret = |dir: &tempfile::TempDir| fs::read_to_string(dir.path().join(SECRET)).unwrap();
        assert!(secret(&dir) != secret(&other) && secret(&dir).trim().len() == 2 * SECRET_BYTES);
    }

    #[test]
    fn nothing_that_is_there_is_written_over_and_nothing_is_written_beside_it() {
        for (place, _) in TEXTS.iter().chain([&(SECRET, ""), &(COMPONENT, "")]) {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join(place);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            // A link to nowhere is something that is there, too.
            std::os::unix::fs::symlink("nowhere", &file).unwrap();
            let failure = run(&Args { dir: dir.path().to_owned() }).unwrap_err();
            assert!(failure.exit == Exit::Failed && failure.message.contains(place), "{failure}");
            let others = TEXTS.iter().filter(|(other, _)| other != place && dir.path().join(other).exists()).count();
            assert_eq!(others, 0, "{place}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("README.md"), "years of work").unwrap();
        run(&Args { dir: dir.path().to_owned() }).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("README.md")).unwrap(), "years of work");
        assert!(dir.path().join(SECRET).is_file() && dir.path().join(".gitignore").is_file());
    }

    #[test]
    fn the_grant_that_is_commented_out_is_one_a_host_takes() {
        let dir = made();
        let file = dir.path().join("tenants/default/tenant.toml");
        let text = fs::read_to_string(&file).unwrap();
        let (before, stub) = text.split_once("# [credentials.github]").unwrap();
        let stub: Vec<&str> = stub.lines().map(|line| line.trim_start_matches("# ")).collect();
        fs::write(&file, format!("{before}[credentials.github]{}\n", stub.join("\n"))).unwrap();
        fs::write(dir.path().join("tenants/default/secrets/token"), "ghp_0123456789").unwrap();
        let config = config::load(Some(&dir.path().join("hookyard.toml")), &BTreeMap::new()).unwrap();
        let (directory, problems) = config::load_tenants(&config, &BTreeMap::new(), &Directory::default());
        assert!(problems.is_empty() && directory.tenants.len() == 1, "{problems:?}");
    }

    #[test]
    fn the_readme_of_the_folder_has_the_commands_that_are_printed() {
        let (_, readme) = BESIDE[0];
        for (command, _) in NEXT {
            assert!(readme.contains(&format!("$ {command}")), "{command}");
        }
    }
}
