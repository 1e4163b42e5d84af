//! What `hookyard check` finds beside the keys of a file.

use super::Folder;
use crate::config::{Problem, Survey, read, survey as look};
use std::{collections::BTreeMap, fs};

const FIRST: &str = include_str!("../../../../tests/fixtures/tls/first.pem");
const FIRST_KEY: &str = include_str!("../../../../tests/fixtures/tls/first.key");
const SECOND_KEY: &str = include_str!("../../../../tests/fixtures/tls/second.key");

fn surveyed(folder: &Folder) -> Survey {
    let env = BTreeMap::from([("HOOKYARD_SECRET_DEFAULT_TOKEN".to_owned(), "ghp_0123456789abcdef".to_owned())]);
    look(&read(Some(&folder.0.path().join("hookyard.toml")), &env), &env)
}

/// The host's file, and the files beside it.
fn with_host(text: &str, more: &[(&str, &str)]) -> Folder {
    let folder = Folder::with(&[&[("hookyard.toml", text)], more].concat());
    fs::create_dir_all(folder.0.path().join("tenants")).unwrap();
    folder
}

fn words(problems: &[Problem]) -> Vec<String> {
    problems
        .iter()
        .map(|problem| format!("{}: {}; {}; {}", problem.key, problem.found, problem.expected, problem.hint.as_deref().unwrap_or_default()))
        .collect()
}

fn one(survey: &Survey, parts: &[&str]) {
    let found = words(&survey.problems);
    assert_eq!(found.len(), 1, "{found:#?}");
    for part in parts {
        assert!(found[0].contains(part), "{part} in {found:#?}");
    }
}

#[test]
fn a_pair_for_tls_is_opened_and_its_key_is_that_of_its_certificate() {
    const TLS: &str = "[ingest.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    let of = |certificate: &str, key: &str| surveyed(&with_host(TLS, &[("cert.pem", certificate), ("key.pem", key)]));
    assert!(of(FIRST, FIRST_KEY).problems.is_empty());
    one(&of(FIRST, SECOND_KEY), &["ingest.tls", "the key of another one", "key.pem"]);
    one(&of(FIRST_KEY, FIRST_KEY), &["a private key, and no certificate"]);
    one(&of(FIRST, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), &["encrypted with a passphrase", "openssl pkey"]);
    one(&of(FIRST, FIRST), &["a certificate, and its key is needed"]);
    one(&surveyed(&with_host(TLS, &[("cert.pem", FIRST)])), &["ingest.tls.key", "key.pem", "No such file"]);
}

#[test]
fn authorities_and_the_pairs_of_brokers_and_streams_are_opened_too() {
    one(&surveyed(&with_host("[egress]\nca_file = \"ca.pem\"\n", &[("ca.pem", "nothing")])), &["egress.ca_file", "no certificate in PEM"]);
    let rabbit = "[broker]\nkind = \"rabbitmq\"\n[broker.rabbitmq]\nurl = \"amqps://u:p@rabbit\"\n";
    let redis = "[streams.s]\nkind = \"redis\"\ntenants = [\"*\"]\nstream = \"{tenant}\"\nchannel = \"\"\nurl = { file = \"url\" }\n";
    let files = [("cert.pem", FIRST), ("key.pem", SECOND_KEY), ("ca.pem", FIRST_KEY), ("url", "rediss://redis")];
    for (text, key) in [
        (format!("{rabbit}ca = \"ca.pem\"\n"), "broker.rabbitmq.ca"),
        (format!("{rabbit}certificate = \"cert.pem\"\nkey = \"key.pem\"\n"), "broker.rabbitmq.certificate"),
        (format!("{redis}tls = {{ ca = \"ca.pem\" }}\n"), "streams.s.tls.ca"),
        (format!("{redis}tls = {{ certificate = \"cert.pem\", key = {{ file = \"key.pem\" }} }}\n"), "streams.s.tls.certificate"),
    ] {
        let problems = with_host(&text, &files).load().unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), [key], "{problems:?}");
    }
}

#[test]
fn a_volume_with_less_than_the_reserve_is_told_with_both_numbers() {
    let survey = surveyed(&with_host("[ledger]\nfree_bytes_min = 1099511627776\n", &[]));
    one(&survey, &["ledger.free_bytes_min", "free on the file system of", "at least 1024 GiB", "storage_full"]);
    let folder = with_host("data_dir = \"file/data\"\n", &[("file", "")]);
    one(&surveyed(&folder), &["data_dir", "is no folder"]);
}

#[test]
fn addresses_are_this_machines_and_not_the_same() {
    let same = "[ingest]\nlisten = \"127.0.0.1:18080\"\n[admin]\nlisten = \"127.0.0.1:18080\"\n";
    one(&surveyed(&with_host(same, &[])), &["admin.listen", "another address than `ingest.listen`"]);
    // An address for documents only (RFC 5737): no machine has it.
    one(&surveyed(&with_host("[ingest]\nlisten = \"192.0.2.1:8080\"\n", &[])), &["ingest.listen", "192.0.2.1:8080"]);
}

const TENANT: &str = r#"
[sources.github]
scheme = "github"
secrets = [{ env = "HOOKYARD_SECRET_DEFAULT_TOKEN" }]
[credentials.github]
kind = "github-token"
token = { env = "HOOKYARD_SECRET_DEFAULT_TOKEN" }
[[grants.http]]
host = "api.github.com"
methods = ["GET"]
credential = "github"
"#;

fn with_manifest(manifest: &str) -> Survey {
    let files =
        [("tenants/default/tenant.toml", TENANT), ("tenants/default/plugins/p.wasm", ""), ("tenants/default/plugins/p.toml", manifest)];
    surveyed(&with_host("", &files))
}

#[test]
fn a_manifest_that_can_never_run_is_told_with_the_word_that_was_meant() {
    const GRANT: &str = "[[grants.http]]\nhost = \"api.github.com\"\nmethods = [\"GET\"]\n";
    let good =
        with_manifest(&format!("sources = [\"github\"]\nevents = [\"pull_request.opened\", \"*\"]\n{GRANT}credential = \"github\"\n"));
    assert!(good.problems.is_empty() && good.notes.is_empty(), "{good:?}");
    assert_eq!((good.tenants, good.plugins, good.doors.join(" ").as_str()), (1, 1, "http://127.0.0.1:8080/webhooks/github"));
    let head = "sources = [\"github\"]\nevents = [\"push\"]\n";
    for (manifest, parts) in [
        ("sources = [\"gitub\"]\nevents = [\"push\"]\n".to_owned(), ["sources", "`gitub`", "did you mean `github`"]),
        ("sources = [\"github\"]\nevents = [\"pull_requests\"]\n".to_owned(), ["events", "`pull_requests`", "did you mean `pull_request`"]),
        (format!("{head}{GRANT}credential = \"githb\"\n"), ["grants.http", "`githb`", "did you mean `github`"]),
        (format!("{head}[[grants.secrets]]\ncredential = \"other\"\npurposes = [\"sign\"]\n"), ["grants.secrets", "`other`", "github"]),
        (
            format!("{head}{}", GRANT.replace("api.github", "api.gitub")),
            ["grants.http", "`api.gitub.com`", "did you mean `api.github.com`"],
        ),
        (format!("{head}[limits]\nwall = 5\n"), ["unknown field `wall`", "line 4", "did you mean `wall_ms`"]),
        ("sources = [\"github\"]\nevents = [\"push.\"]\n".to_owned(), ["`push.`", "pull_request.opened", ""]),
    ] {
        one(&with_manifest(&manifest), &parts);
    }
    let unknown = with_manifest("sources = [\"github\"]\nevents = [\"invoice\"]\n");
    assert!(unknown.problems.is_empty() && unknown.notes[0].contains("`invoice`"), "it may be another provider's: {unknown:?}");
}

#[test]
fn halves_and_names_that_no_host_looks_at_are_told() {
    for (file, part) in [
        ("tenants/default/plugins/half.wasm", "a component without"),
        ("tenants/default/plugins/half.toml", "a manifest without"),
        ("tenants/default/plugins/MyPlugin.wasm", "no plugin's name"),
        ("tenants/Acme/tenant.toml", "no tenant's name"),
    ] {
        let text = if file.ends_with("half.toml") { "sources = [\"github\"]\nevents = [\"push\"]\n" } else { "" };
        one(&surveyed(&with_host("", &[("tenants/default/tenant.toml", TENANT), (file, text)])), &[part]);
    }
    for nobodys in ["tenants/lost+found/x", "tenants/default/plugins/.Hidden.wasm", "tenants/default/plugins/README.md"] {
        let survey = surveyed(&with_host("", &[("tenants/default/tenant.toml", TENANT), (nobodys, "")]));
        assert!(survey.problems.is_empty(), "{:?}", survey.problems);
    }
}

#[test]
fn no_file_hides_the_problems_of_another() {
    let files = [
        ("tenants/default/tenant.toml", "[sources.github]\nscheme = \"github\"\nsecrets = []\n"),
        ("tenants/default/plugins/p.wasm", ""),
        ("tenants/default/plugins/p.toml", "sources = [\"github\"]\nevents = [\"pull_requests\"]\n"),
    ];
    for (host, is_whole) in [("[ingest]\nlisten = \"nowhere\"\n", true), ("[ingest\n", false)] {
        let folder = with_host(host, &files);
        let reading = read(Some(&folder.0.path().join("hookyard.toml")), &BTreeMap::new());
        assert_eq!((reading.problems.len(), reading.is_whole), (1, is_whole), "{:?}", reading.problems);
        let found = words(&look(&reading, &BTreeMap::new()).problems);
        assert!(found.len() == 2 && found[0].contains("open door") && found[1].contains("pull_requests"), "{found:#?}");
    }
}

#[test]
fn tenants_and_events_that_the_hosts_file_names_are_there() {
    let stream = "[streams.s]\nkind = \"redis\"\nurl = { file = \"url\" }\ntenants = [\"defualt\"]\n";
    let files = [("tenants/default/tenant.toml", TENANT), ("url", "redis://redis")];
    one(&surveyed(&with_host(stream, &files)), &["streams.s.tenants", "`defualt`", "did you mean `default`"]);
    let table = "[tenants.acme]\nsecret_env_allow = [\"X\"]\n";
    one(&surveyed(&with_host(table, &files)), &["tenants.acme", "a tenant with a folder"]);
    let events = stream.replace("defualt", "default") + "events = [\"isues\"]\n";
    one(&surveyed(&with_host(&events, &files)), &["streams.s.events", "did you mean `issues`"]);
}
