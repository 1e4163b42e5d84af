//! `cargo xtask demo`: the main job in front of the reader, on a real host, each step checked.

mod desk;
mod github;

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};
use rabbit_node::{Shared, Vhost};
use serde_json::Value;

use self::desk::Desk;
use crate::{plugins, progress::Talk, say, succeed};

/// The plugins that are shown.
const SHOWN: [&str; 2] = ["push-deploy", "pr-size"];

/// How the demo is wished for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// It ends when all is shown; otherwise it keeps serving.
    once: bool,
    /// With RabbitMQ as the queue: that of `HOOKYARD_AMQP_URL`, or a private node.
    rabbitmq: bool,
    /// How much the compilers say.
    talk: Talk,
}

impl Wish {
    /// Reads what stands behind `demo`; nothing where it is not understood.
    pub(crate) fn read(mut words: &[&str]) -> Option<Self> {
        let mut wish = Self::default();
        loop {
            words = match words {
                [] => return Some(wish),
                ["--once", rest @ ..] => {
                    wish.once = true;
                    rest
                }
                ["-v" | "--verbose", rest @ ..] => {
                    wish.talk = Talk::Whole;
                    rest
                }
                ["--broker", kind @ ("embedded" | "rabbitmq"), rest @ ..] => {
                    wish.rabbitmq = *kind == "rabbitmq";
                    rest
                }
                _ => return None,
            };
        }
    }
}

/// Shows the main job.
pub(crate) fn run(root: &Path, wish: Wish) -> anyhow::Result<()> {
    plugins::run_some(root, &SHOWN, wish.talk)?;
    // Asked for by name, so its absence is a failure and no reason to skip.
    let rabbit = wish.rabbitmq.then(Shared::find).transpose().context("the demo on RabbitMQ needs one")?;
    let vhost = rabbit.as_ref().map(Shared::vhost).transpose()?;
    let desk = Desk::open(root, vhost.as_ref().map(Vhost::url))?;
    say(&format!("\nA host serves {} with two plugins, from {}", desk.url(), desk.folder().display()));
    if let Some(server) = vhost.as_ref().and_then(|vhost| vhost.url().rsplit_once('@')) {
        say(&format!("Its queue is RabbitMQ at {}", server.1));
    }
    say("");
    desk.until_active(&SHOWN)?;
    deliveries_are_handled(&desk)?;
    what_must_not_pass_does_not(&desk)?;
    a_plugin_is_replaced_while_it_serves(&desk)?;
    say("\nEverything was as it should be.");
    if wish.once {
        desk.close()?;
        say("\nNext: `cargo xtask demo` without --once keeps the host, to look at it; docs/author.md begins a plugin of your own.");
        return Ok(());
    }
    desk.keep_serving()
}

fn deliveries_are_handled(desk: &Desk) -> anyhow::Result<()> {
    say("Signed deliveries, as GitHub sends them:");
    let push = desk.handled("push", "push", "acked")?;
    desk.handled("push", "branch_push", "skipped")?;
    desk.handled("pull_request", "pull_request", "acked")?;
    say(&format!("\nWhat the plugins asked of GitHub, for which a stand-in on {} answers here:", desk.github().address()));
    for part in [
        "/deployments {",
        "PATCH /repos/acme/shop/issues/12 {",
        "PATCH /repos/acme/shop/issues/34 {",
        "/issues/57/labels {\"labels\":[\"size/S\"]}",
    ] {
        shown(desk, part)?;
    }
    say("\nThe same delivery again:");
    let again = desk.send("push", "push", Some(&push), "secret")?;
    ensure!(again["status"] == 200 && again["answer"]["status"] == "duplicate", "expected a duplicate, found {again}");
    say("  200 duplicate: it is done, nothing runs twice");
    Ok(())
}

/// Says the latest change with this in it that GitHub was asked for.
fn shown(desk: &Desk, part: &str) -> anyhow::Result<()> {
    let changes = desk.github().changes();
    let change = changes.iter().rev().find(|change| change.contains(part));
    say(&format!("  {}", change.with_context(|| format!("no call with `{part}` among {changes:?}"))?));
    Ok(())
}

fn what_must_not_pass_does_not(desk: &Desk) -> anyhow::Result<()> {
    say("\nA delivery signed with another secret:");
    let forged = desk.send("push", "push", None, "another-secret")?;
    ensure!(forged["status"] == 401 && forged["answer"]["code"] == "signature_mismatch", "expected a refusal, found {forged}");
    say("  401 signature_mismatch: nothing of it is kept");
    Ok(())
}

fn a_plugin_is_replaced_while_it_serves(desk: &Desk) -> anyhow::Result<()> {
    say("\npr-size is deployed again with other thresholds, by writing its file:");
    let before = desk.digest("pr-size")?.context("pr-size serves")?;
    desk.change_manifest("pr-size", &[("xs_below = 10", "xs_below = 5"), ("s_below = 50", "s_below = 20")])?;
    let after = desk.until("the new version", || Ok(desk.digest("pr-size")?.filter(|digest| *digest != before)))?;
    say(&format!("  {} serves instead of {}, no delivery was refused or lost", &after[..12], &before[..12]));
    desk.handled("pull_request", "pull_request", "acked")?;
    shown(desk, "DELETE /repos/acme/shop/issues/57/labels/size%2FS")?;
    shown(desk, "/issues/57/labels {\"labels\":[\"size/M\"]}")
}

/// The first string among `items` at `key`, for a line.
fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item[key].as_str().unwrap_or("-")
}

/// A command's standard output as JSON, whatever its exit code; the words it said where it is none.
fn json_of(command: &mut Command) -> anyhow::Result<Value> {
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    match serde_json::from_slice(&output.stdout) {
        Ok(value) => Ok(value),
        Err(_) => bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn terminate(pid: u32) -> anyhow::Result<()> {
    succeed(Command::new("kill").args(["-TERM", &pid.to_string()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_takes_its_words_in_any_order_and_no_others() {
        let read = |words: &[&str]| Wish::read(words).map(|wish| (wish.once, wish.rabbitmq));
        assert_eq!(read(&[]), Some((false, false)));
        assert_eq!(read(&["--once", "--broker", "rabbitmq"]), Some((true, true)));
        assert_eq!(read(&["--broker", "rabbitmq", "--once"]), Some((true, true)));
        assert_eq!(read(&["--broker", "embedded"]), Some((false, false)));
        assert_eq!(Wish::read(&["-v", "--once"]).map(|wish| (wish.once, wish.talk)), Some((true, Talk::Whole)));
        assert_eq!(read(&["--broker"]), None);
        assert_eq!(read(&["--broker", "kafka"]), None);
    }
}
