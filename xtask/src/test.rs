//! `cargo xtask test`: brings up what the tests need, says plainly what it skips, runs everything.

use std::{path::Path, process::Command};

use rabbit_node::Shared;

use crate::{
    cargo, debian, fixtures, plugins,
    progress::{self, Talk},
    say, succeed, suite, tools,
};

/// Debian's `redis-server` package only adds a link to this program, and a service that nobody here needs.
const REDIS_OF_DEBIAN: &str = "/usr/bin/redis-check-rdb";

/// Runs every test of the repository.
pub(crate) fn run(root: &Path, talk: Talk) -> anyhow::Result<()> {
    let examples = fixtures::fetch(root)?;
    plugins::run(root, talk)?;
    let traces = has_tracer();
    let (redis, compose) = (redis(), compose());
    // The binaries first: the scenarios that kill hosts start them as processes.
    progress::run(cargo().args(["build", "--workspace"]).current_dir(root), "building the workspace", talk)?;
    let rabbit = rabbit();
    let broker: Vec<(&str, String)> = rabbit.iter().flat_map(Shared::environment).collect();
    let path = tools::path_with_compilers(root);
    suite::run(root, |command| {
        command.envs(broker.iter().map(|(name, value)| (name, value))).env("PATH", &path);
    })?;
    // The plugins and their SDK, where their clippy and their components are built: what macros are made of is compiled once.
    let shipped = root.join("plugins");
    succeed(cargo().arg("test").env("CARGO_TARGET_DIR", root.join("target/wasm")).current_dir(shipped))?;
    if rabbit.is_none() {
        say("skipped: the tests against RabbitMQ, because there is none (see above)");
    }
    if !traces {
        say("skipped: power cuts and failing disks, because strace is not here, cannot be installed, or may not trace");
    }
    if !redis {
        say("skipped: the tests of streams, because there is no redis-server; `apt-get install redis-tools` brings it");
    }
    if !compose {
        say("skipped: the check of deploy/docker-compose.yml, because there is no compose; `apt-get install docker-compose` brings it");
    }
    if !examples {
        say("skipped: the tests against what GitHub publishes about itself, because npm is not here");
    }
    Ok(())
}

/// Whether `strace` can trace here; it is installed where that takes nobody's password.
fn has_tracer() -> bool {
    let traces = || Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    if traces() {
        return true;
    }
    say("installing strace");
    let install = Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends", "strace"]).status();
    install.is_ok_and(|status| status.success()) && traces()
}

/// Whether there is a Redis for the tests to start, installed now where that may be.
fn redis() -> bool {
    let is_there = || Path::new(REDIS_OF_DEBIAN).is_file() || starts("redis-server");
    brought("redis-tools", is_there)
}

/// Whether there is a compose for the tests to ask, installed now where that may be.
fn compose() -> bool {
    let is_there = || {
        starts("docker-compose") || Command::new("docker").args(["compose", "version"]).output().is_ok_and(|output| output.status.success())
    };
    brought("docker-compose", is_there)
}

fn starts(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn brought(package: &str, is_there: impl Fn() -> bool) -> bool {
    if !is_there() && debian::is_ours_to_change() {
        say(&format!("installing {package} with apt-get"));
        if let Err(error) = debian::install(&[package]) {
            say(&format!("{error:#}"));
        }
    }
    is_there()
}

/// The broker the tests share: the one of `HOOKYARD_AMQP_URL`, or a private one on ports of its own that ends with this value. Its absence is said.
fn rabbit() -> Option<Shared> {
    match Shared::find() {
        Ok(shared) => {
            let server = shared.url().rsplit_once('@').map_or(shared.url(), |(_, server)| server);
            say(&format!("tests against RabbitMQ run on {server}"));
            Some(shared)
        }
        Err(missing) => {
            say(&format!("skipped: no RabbitMQ: {missing:#}"));
            None
        }
    }
}
