//! A node starts, is killed, comes back with what it had confirmed, and ends with who started it.

use rabbit_node::{Node, Packages, Settings};

#[test]
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn a_killed_node_comes_back_on_the_same_data() {
    let packages = match Packages::find() {
        Ok(packages) => packages,
        Err(missing) => return println!("skipped: {missing}"),
    };
    let node = Node::start(packages, &Settings { management: true, ..Settings::default() }).unwrap();
    node.management().unwrap().add_vhost("kept").unwrap();
    node.kill().unwrap();
    assert!(!node.is_up());
    node.restart().unwrap();
    let vhosts = node.ctl(&["list_vhosts", "name"]).unwrap();
    assert!(vhosts.lines().any(|line| line == "kept"), "{vhosts}");
    node.management().unwrap().call("PUT", "/api/queues/kept/led", r#"{"durable":true,"arguments":{"x-queue-type":"quorum"}}"#).unwrap();
    assert_eq!(node.heal("led").unwrap(), 0, "a queue that is well costs no restart");
    node.ctl(&["eval", "ok = ra:stop_server(quorum_queues, {kept_led, node()})."]).unwrap();
    assert_eq!(node.heal("other").unwrap(), 0, "nobody asks for it");
    assert_eq!(node.heal("led").unwrap(), 1, "one without a leader costs one");
    node.management().unwrap().remove_vhost("kept").unwrap();
}

/// The way of a machine without RabbitMQ, on every machine that has Debian's packages within reach.
#[test]
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn a_node_starts_from_packages_that_were_only_unpacked() {
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("rabbitmq");
    let packages = match Packages::unpacked(&cache) {
        Ok(packages) => packages,
        Err(missing) => return println!("skipped: {missing}"),
    };
    let node = Node::start(packages, &Settings::default()).unwrap();
    let root = cache.canonicalize().unwrap().join("root/usr/lib/erlang");
    assert_eq!(node.ctl(&["eval", "code:root_dir()."]).unwrap().trim_matches('"'), root.to_str().unwrap());
}
