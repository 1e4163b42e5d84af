//! What `deploy/` hands to operators is held to what it says, with the tools they would use.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt as _,
            net::{UnixDatagram, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    time::Duration,
};

use system_tests::{
    folder::{Folder, Layout},
    process::{self, Signal, binary},
    sender::Sender,
};
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
    let socket = dir.path().join("hookyard.socket");
    fs::copy(deploy().join("systemd/hookyard.socket"), &socket).expect("a copied file");
    let verified = succeed(Command::new("systemd-analyze").arg("verify").arg(&socket));
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

/// The commands of "With systemd", as they stand on the page.
fn commands_of_the_page() -> Vec<String> {
    let page = lines(&deploy().join("README.md"));
    let section = page.iter().skip_while(|line| *line != "## With systemd").skip(1).take_while(|line| !line.starts_with("## "));
    section.filter_map(|line| line.strip_prefix("# ")).map(|line| line.split("     ").next().unwrap_or(line).trim().to_owned()).collect()
}

/// A machine in a folder: what the page's commands have put there, and what its unit says.
struct Machine {
    root: TempDir,
    unit: Vec<(String, String)>,
}

impl Machine {
    /// Follows the page. What makes a user, compiles or speaks to systemd is left out; everything else is done as written, beneath a folder.
    fn by_the_page() -> Self {
        let root = TempDir::with_prefix("hookyard-machine-").expect("a temporary folder");
        let there = |path: &str| format!("{}/{path}", root.path().display());
        for folder in ["usr/local/bin", "etc/systemd/system", "var/lib", "run/credentials/hookyard.service"] {
            fs::create_dir_all(there(folder)).expect("a folder");
        }
        let repository = deploy().parent().expect("the repository").to_owned();
        for command in commands_of_the_page() {
            let command = command.strip_prefix("cargo build --release -p hookyard && ").unwrap_or(&command);
            if command.starts_with("useradd ") || command.starts_with("systemctl ") {
                continue;
            }
            let command = command.replace("target/release/hookyard", &binary().display().to_string());
            let command = ["/usr/local/", "/etc/"]
                .iter()
                .fold(command, |command, path| command.replace(&format!(" {path}"), &format!(" {}", there(&path[1..]))));
            succeed(Command::new("sh").args(["-ec", &command]).current_dir(&repository));
        }
        let unit = lines(Path::new(&there("etc/systemd/system/hookyard.service")));
        let unit = unit.iter().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        let machine = Self { unit: unit.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(), root };
        for credential in machine.all("LoadCredential") {
            let (name, file) = credential.split_once(':').expect("a name and a file");
            fs::copy(machine.path(file), machine.path("/run/credentials/hookyard.service").join(name)).expect("a credential");
        }
        // What the example names by its whole path.
        let tenant = machine.path("/etc/hookyard/tenants/default/tenant.toml");
        let text = fs::read_to_string(&tenant).expect("a tenant");
        fs::write(&tenant, text.replace("/run/credentials", &machine.path("/run/credentials").display().to_string()))
            .expect("a written file");
        machine
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.root.path().join(absolute.trim_start_matches('/'))
    }

    fn all(&self, key: &str) -> Vec<&str> {
        self.unit.iter().filter(|(its, _)| its == key).map(|(_, value)| value.as_str()).collect()
    }

    /// What the unit starts, with its variables, in place of systemd: the door on descriptor 3, and a socket that hears what it says.
    fn start(&self, door: TcpListener) -> Child {
        let start = self.all("ExecStart");
        let words: Vec<String> = start[0]
            .split(' ')
            .map(|word| if word.starts_with('/') { self.path(word).display().to_string() } else { word.to_owned() })
            .collect();
        let mut command = Command::new("sh");
        command.args(["-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 0</dev/null"]).args(&words).env_clear();
        for variable in self.all("Environment") {
            let (name, value) = variable.split_once('=').expect("a name and a value");
            command.env(name, if value.starts_with('/') { self.path(value).into_os_string() } else { value.into() });
        }
        // Other places than a machine has, and a watchdog that is more impatient than the unit's.
        command.env("HOOKYARD_SECRET_DIRS", format!("[\"{}\"]", self.path("/run/credentials/hookyard.service").display()));
        command.env("HOOKYARD_ADMIN__LISTEN", "127.0.0.1:0").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "ingest");
        command.env("NOTIFY_SOCKET", self.path("/run/notify")).env("WATCHDOG_USEC", "200000");
        command.stdin(OwnedFd::from(door)).spawn().expect("a host")
    }
}

/// Waits until the host says this to systemd.
fn hears(systemd: &UnixDatagram, word: &str) {
    let mut said = [0; 4096];
    loop {
        let length = systemd.recv(&mut said).unwrap_or_else(|error| panic!("the host does not say {word}: {error}"));
        if String::from_utf8_lossy(&said[..length]).lines().any(|line| line == word) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_the_steps_for_systemd_has_a_host_that_takes_deliveries_and_says_how_it_is() {
    let machine = Machine::by_the_page();
    assert_eq!(machine.all("Type"), ["notify"]);
    let systemd = UnixDatagram::bind(machine.path("/run/notify")).expect("a socket");
    systemd.set_read_timeout(Some(Duration::from_mins(1))).expect("a patience");
    let door = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = door.local_addr().expect("its address");
    let host = machine.start(door);
    hears(&systemd, "READY=1");
    hears(&systemd, "WATCHDOG=1");
    let secret = fs::read_to_string(machine.path("/etc/hookyard/secrets/default.github")).expect("a secret");
    Sender::new(address, "default", "github", secret.trim()).post("push", "{}").await.accepted();
    assert_eq!(machine.all("ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    process::signal(&host, Signal::HUP);
    hears(&systemd, "RELOADING=1");
    hears(&systemd, "READY=1");
    process::signal(&host, Signal::TERM);
    hears(&systemd, "STOPPING=1");
    assert!(process::ended(host).success());

    // A start that cannot succeed is not repeated.
    fs::remove_file(machine.path("/run/credentials/hookyard.service/default.github")).expect("a credential");
    let host = machine.start(TcpListener::bind("127.0.0.1:0").expect("a free port"));
    assert_eq!(process::ended(host).code().map(|code| code.to_string()).as_deref(), Some("78"));
    assert_eq!(machine.all("RestartPreventExitStatus"), ["78"]);
}

#[test]
fn a_door_in_a_folder_is_open_to_who_may_enter_it_and_made_anew_where_a_killed_host_has_left_one() {
    let folder = Folder::lay(&Layout::default());
    let (door, notify) = (folder.path().join("ingest.sock"), folder.path().join("notify"));
    let systemd = UnixDatagram::bind(&notify).expect("a socket");
    systemd.set_read_timeout(Some(Duration::from_mins(1))).expect("a patience");
    for ends_by in [Signal::KILL, Signal::TERM] {
        let mut serve = Command::new(binary());
        serve.args(["serve", "--config"]).arg(folder.config_file()).stderr(std::process::Stdio::null());
        serve.env("HOOKYARD_INGEST__LISTEN", format!("unix:{}", door.display())).env("NOTIFY_SOCKET", &notify);
        let host = serve.spawn().expect("a host");
        hears(&systemd, "READY=1");
        let mut stream = UnixStream::connect(&door).expect("an open door");
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("a sent request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        process::signal(&host, ends_by);
        process::ended(host);
    }
}
