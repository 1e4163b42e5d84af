//! `[streams.NAME]` tables.

use super::*;
use crate::{
    ledger::{Followed, StreamStart},
    streams::{Envelope, OptIn, OutletSettings},
};

const URL: &str = "redis://:hunter2@127.0.0.1:6379/0";

fn read(text: &str) -> Result<Config, Vec<Problem>> {
    let folder = Folder::with(&[("hookyard.toml", text), ("redis.url", URL)]);
    let env = BTreeMap::from([("HOOKYARD_REDIS_URL".to_owned(), URL.to_owned())]);
    load(Some(&folder.0.path().join("hookyard.toml")), &env)
}

/// The keys of all problems, and all of their words.
fn problems(text: &str) -> (Vec<String>, String) {
    let problems = read(text).unwrap_err();
    let words = format!("{problems:?}");
    assert!(!words.contains("hunter2"), "{words}");
    (problems.into_iter().map(|problem| problem.key).collect(), words)
}

#[test]
fn a_stream_needs_a_kind_a_place_and_the_tenants_that_may_leave() {
    let config = read("[streams.a]\nkind = \"redis\"\nurl = { env = \"HOOKYARD_REDIS_URL\" }\ntenants = [\"default\"]\n").unwrap();
    let stream = &config.streams[0];
    assert_eq!((stream.name.as_str(), stream.followed, stream.start), ("a", Followed::Deliveries, StreamStart::Newest));
    assert_eq!((stream.envelope, stream.opt_in.mixes_tenants(), stream.outlet.kind()), (Envelope::Native, false, "redis"));
    let OutletSettings::Redis(redis) = &stream.outlet else { panic!("{stream:?}") };
    assert_eq!((redis.maxlen, redis.channel.is_some(), redis.url.expose()), (10_000, true, URL.as_bytes()));
    assert!(!format!("{:?} {config:?}", config.effective).contains("hunter2"));
    assert_eq!(problems("[streams.a]\n").0, ["streams.a.kind", "streams.a.tenants", "streams.a.url"]);
    assert_eq!(problems("[streams.A]\nkind = \"redis\"\n").0[0], "streams.A");
}

#[test]
fn a_stream_that_could_mix_tenants_must_part_them() {
    let stream =
        |tenants: &str, more: &str| format!("[streams.a]\nkind = \"redis\"\nurl = {{ file = \"redis.url\" }}\ntenants = {tenants}\n{more}");
    for tenants in ["[\"red\", \"blue\"]", "[\"*\"]"] {
        assert_eq!(problems(&stream(tenants, "")).0, ["streams.a.stream", "streams.a.channel"]);
        assert_eq!(problems(&stream(tenants, "stream = \"x:{tenant}\"\n")).0, ["streams.a.channel"]);
        assert!(read(&stream(tenants, "stream = \"x:{tenant}\"\nchannel = \"\"\n")).is_ok());
        assert!(read(&stream(tenants, "follows = \"emits\"\n")).is_ok(), "the defaults for emits part tenants");
    }
    assert_eq!(read(&stream("[\"*\"]", "follows = \"emits\"\n")).unwrap().streams[0].opt_in, OptIn::Everyone);
}

#[test]
fn a_stream_to_rabbitmq_has_keys_of_its_own() {
    let stream = |url: &str, more: &str| {
        let folder = Folder::with(&[
            ("hookyard.toml", &format!("[streams.a]\nkind = \"rabbitmq\"\nurl = {{ file = \"url\" }}\ntenants = [\"*\"]\n{more}")),
            ("url", url),
            ("ca.pem", include_str!("../../../../tests/fixtures/tls/first.pem")),
        ]);
        folder.load()
    };
    let config = stream("amqp://hook:hunter2@127.0.0.1/%2f", "").unwrap();
    let OutletSettings::Rabbitmq(rabbitmq) = &config.streams[0].outlet else { panic!("{:?}", config.streams) };
    assert_eq!((rabbitmq.message_bytes_max, rabbitmq.address.vhost()), (16 << 20, "/"));
    for (url, more, key) in [
        ("redis://:hunter2@x", "", "streams.a.url"),
        ("amqp://hook:hunter2@x", "[streams.a.tls]\nca = \"ca.pem\"\n", "streams.a.url"),
        ("amqp://hook:hunter2@x", "maxlen = 10\n", "streams.a.maxlen"),
    ] {
        let problems = stream(url, more).unwrap_err();
        assert_eq!(problems[0].key, key, "{problems:?}");
        assert!(!format!("{problems:?}").contains("hunter2"));
    }
}

#[test]
fn what_a_stream_cannot_be_is_told_key_by_key() {
    let text = "[streams.a]\nkind = \"kafka\"\nurl = \"redis://:hunter2@x\"\ntenants = [\"No Tenant\"]\nfollows = \"emits\"\nevents = [\"push\"]\n\
                stream = \"{event_type}\"\nmaxlen = 0\n[streams.a.tls]\nca = \"not/there.pem\"\n";
    let (keys, _) = problems(text);
    for key in ["kind", "url", "tenants", "events", "stream", "maxlen", "tls.ca"] {
        assert!(keys.contains(&format!("streams.a.{key}")), "{key} in {keys:?}");
    }
    let plain =
        "[streams.a]\nkind = \"redis\"\nurl = { file = \"redis.url\" }\ntenants = [\"default\"]\n[streams.a.tls]\nca = \"redis.url\"\n";
    let (keys, words) = problems(plain);
    assert_eq!(keys, ["streams.a.tls.ca", "streams.a.url"]);
    assert!(words.contains("rediss://"), "{words}");
}
