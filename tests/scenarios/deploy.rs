//! What `deploy/` hands to operators is held to what it says, with the tools they would use.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use system_tests::process::binary;
use tempfile::TempDir;

/// What the examples name in the environment.
const ENV: [(&str, &str); 4] = [
    ("HOOKYARD_SECRET_DEFAULT_GITHUB", "a-secret-of-enough-bytes"),
    ("HOOKYARD_REDIS_URL", "redis://:secret@127.0.0.1:6379/0"),
    ("HOOKYARD_AMQP_URL", "amqp://hookyard:secret@127.0.0.1:5672/%2f"),
    ("HOOKYARD_AMQP_KEY", "of-all-hosts-that-share-this-rabbitmq"),
];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").join("deploy")
}

/// A copy of `deploy/`, with its secrets made.
fn copy() -> TempDir {
    let dir = TempDir::with_prefix("hookyard-deploy-").expect("a temporary folder");
    succeed(Command::new("cp").arg("-r").arg(deploy().join(".")).arg(dir.path()));
    succeed(Command::new("sh").arg(dir.path().join("make-secrets.sh")));
    dir
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("a program that starts");
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn skip(what: &str) {
    println!("skipped: {what}");
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("a readable file").lines().map(str::to_owned).collect()
}

#[test]
fn every_example_is_a_configuration_that_check_accepts() {
    let copy = copy();
    let secrets = copy.path().join("secrets");
    let mut examples = 0;
    for example in fs::read_dir(copy.path().join("examples")).expect("examples") {
        let example = example.expect("an example").path();
        // The container's secrets and systemd's credentials lie where this machine has none.
        for file in ["hookyard.toml", "tenants/default/tenant.toml"] {
            let text = fs::read_to_string(example.join(file)).expect("a readable file");
            let here = secrets.display().to_string();
            let text = text.replace("/run/secrets", &here).replace("/run/credentials/hookyard.service", &here);
            fs::write(example.join(file), text).expect("a written file");
        }
        let mut check = Command::new(binary());
        check.arg("check").arg("--config").arg(example.join("hookyard.toml")).envs(ENV);
        check.env("HOOKYARD_SECRET_DIRS", format!("[\"{}\"]", secrets.display()));
        // Another user's, on the machines these are for.
        check.env("HOOKYARD_DATA_DIR", copy.path().join("data"));
        succeed(&mut check);
        let without =
            check.env_remove("HOOKYARD_SECRET_DEFAULT_GITHUB").env_remove("HOOKYARD_SECRET_DIRS").output().expect("a program that starts");
        assert_eq!(without.status.code(), Some(78), "{} is checked, not only read: {without:?}", example.display());
        examples += 1;
    }
    assert!(examples >= 6, "{examples} examples");
}

#[test]
fn the_compose_file_is_taken_by_compose() {
    let copy = copy();
    let file = copy.path().join("docker-compose.yml");
    let mut compose = match () {
        () if Command::new("docker").args(["compose", "version"]).output().is_ok_and(|output| output.status.success()) => {
            let mut docker = Command::new("docker");
            docker.arg("compose");
            docker
        }
        () if is_there("docker-compose") => Command::new("docker-compose"),
        () => return skip("neither `docker compose` nor docker-compose is here; `apt-get install docker-compose` brings it"),
    };
    let output = succeed(compose.arg("-f").arg(&file).arg("config"));
    let config = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["read_only: true", "no-new-privileges:true", "user: 10001:10001", "default.github", "rabbitmq:3", "redis:7"] {
        assert!(config.contains(part), "no `{part}` in {config}");
    }
    let broken = fs::read_to_string(&file).expect("a readable file").replace("read_only: true", "read_onyl: true");
    fs::write(&file, broken).expect("a written file");
    assert!(!compose.output().expect("a program that starts").status.success(), "a wrong key is found");
}

#[test]
fn secrets_are_random_made_once_and_for_the_owner_only() {
    let copy = copy();
    let secrets = copy.path().join("secrets");
    assert_eq!(fs::metadata(&secrets).expect("a folder").permissions().mode() & 0o777, 0o700);
    let read = |name: &str| fs::read_to_string(secrets.join(name)).expect("a secret");
    let (first, redis) = (read("default.github"), read("redis_url"));
    assert!(first.len() == 48 && !redis.contains(&first), "{first} {redis}");
    let password = redis.split([':', '@']).nth(2).expect("a password");
    assert!(read("redis.conf").contains(&format!("requirepass {password}\n")));
    succeed(Command::new("sh").arg(copy.path().join("make-secrets.sh")));
    assert_eq!((read("default.github"), read("redis_url")), (first, redis));
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_is_shut_in() {
    if !is_there("systemd-analyze") {
        return skip("systemd-analyze is not here");
    }
    let dir = TempDir::with_prefix("hookyard-unit-").expect("a temporary folder");
    let unit = dir.path().join("hookyard.service");
    let text = fs::read_to_string(deploy().join("systemd/hookyard.service")).expect("a unit");
    assert!(!text.lines().any(|line| line.starts_with("MemoryDenyWriteExecute")), "wasmtime would be stopped");
    // It looks for the program too.
    fs::write(&unit, text.replace("/usr/local/bin/hookyard", &binary().display().to_string())).expect("a written file");
    let verified = succeed(Command::new("systemd-analyze").arg("verify").arg(&unit));
    assert!(verified.stderr.is_empty(), "{verified:?}");
    succeed(Command::new("systemd-analyze").args(["security", "--no-pager", "--offline=true", "--threshold=20"]).arg(&unit));
}

#[test]
fn the_image_is_built_on_pinned_bases_and_runs_as_nobody_in_particular() {
    let dockerfile = lines(&deploy().join("Dockerfile"));
    let bases: Vec<_> = dockerfile.iter().filter_map(|line| line.strip_prefix("ARG ")?.split_once("_IMAGE=")).collect();
    assert_eq!(bases.len(), 2);
    for (_, image) in bases {
        let (_, tag) = image.split_once(':').expect("a tag");
        assert!(tag.matches('.').count() >= 1 && tag.starts_with(|first: char| first.is_ascii_digit()), "{image} is a release");
    }
    let stages: Vec<_> = dockerfile.iter().filter(|line| line.starts_with("FROM ")).collect();
    assert_eq!(stages, ["FROM ${BUILD_IMAGE} AS build", "FROM ${RUN_IMAGE}"]);
    assert!(dockerfile.iter().any(|line| line == "USER 10001:10001"));
    // What it runs, the program has.
    let help = String::from_utf8(succeed(Command::new(binary()).arg("--help")).stdout).expect("a text");
    for word in ["serve", "streams"] {
        assert!(dockerfile.iter().any(|line| line.contains(&format!("\"{word}\""))) && help.contains(word), "{word}");
    }
}
