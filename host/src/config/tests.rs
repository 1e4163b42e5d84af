//! Whole files, as an operator writes them.

mod streams;
mod survey;

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::delivery::TenantId;
use crate::egress::Credential;

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn load(&self) -> Result<Config, Vec<Problem>> {
        load(Some(&self.0.path().join("hookyard.toml")), &BTreeMap::new())
    }

    fn tenants(&self, env: &[(&str, &str)]) -> (Directory, Vec<Problem>) {
        let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        load_tenants(&self.load().unwrap(), &env, &Directory::default())
    }
}

const CONTRACT: &str = r#"
data_dir = "data"
tenants_dir = "tenants"
[ingest]
listen = "127.0.0.1:8080"
trusted_proxies = []
[admin]
listen = "127.0.0.1:9090"
token = { env = "HOOKYARD_ADMIN_TOKEN" }
[broker]
kind = "embedded"
ack_after = "disk"
[broker.rabbitmq]
url = { env = "HOOKYARD_AMQP_URL" }
"#;

const TENANT: &str = r#"
[sources.github]
scheme = "github"
secrets = [{ env = "HOOKYARD_SECRET_DEFAULT_GITHUB" }, { file = "secrets/github-next" }]
[credentials.github]
kind = "github-app"
app_id = 12345
private_key = { file = "secrets/app.pem" }
installations = [678]
[[grants.http]]
host = "api.github.com"
methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
credential = "github"
[limits]
fuel = 10_000_000_000
memory_bytes_max = 268_435_456
"#;

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

#[test]
fn the_files_of_the_contract_are_taken_as_they_stand() {
    let folder = Folder::with(&[
        ("hookyard.toml", CONTRACT),
        ("tenants/default/tenant.toml", TENANT),
        ("tenants/default/secrets/github-next", "the-next-secret-0123\n"),
        ("tenants/default/secrets/app.pem", include_str!("../../../tests/fixtures/github-app.pem")),
    ]);
    let (directory, problems) = folder.tenants(&[("HOOKYARD_SECRET_DEFAULT_GITHUB", "the-secret-of-now-45")]);
    assert_eq!(problems, []);
    let tenant = &directory.tenants[&tenant()];
    let source = &tenant.sources[&"github".parse().unwrap()];
    assert_eq!(
        source.secrets.iter().map(Secret::expose).collect::<Vec<_>>(),
        [b"the-secret-of-now-45".as_slice(), b"the-next-secret-0123"]
    );
    assert_eq!(tenant.ceiling.fuel, 10_000_000_000);
    assert_eq!(tenant.allowed.http[0].credential.as_deref(), Some("github"));
    assert!(matches!(tenant.allowed.credentials["github"], Credential::GithubApp(_)));
}

#[test]
fn an_empty_file_and_no_file_are_defaults() {
    let config = Folder::with(&[("hookyard.toml", "")]).load().unwrap();
    assert_eq!(config.ingest.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.ingest.json_bytes_max, 26_214_400);
    assert!(config.effective.iter().any(|(key, value)| key == "retention.dedup_ms" && value == "259200000"));
}

#[test]
fn all_problems_of_a_file_are_told_at_once_and_no_secret_with_them() {
    let text = "[ingest]\nlisten = \"nowhere\"\nlissten = 1\ntrusted_proxies = [\"10.0.0.0/99\"]\n[retention]\ndedup_ms = 1\n\
                [admin]\ntoken = \"hunter2\"\n[broker]\nkind = \"rabbitmq\"\n\
                [broker.rabbitmq]\nmanagement_url = \"ftp://adm:hunter2@rabbit\"\n";
    let problems = Folder::with(&[("hookyard.toml", text)]).load().unwrap_err();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    for key in ["ingest.listen", "ingest.lissten", "ingest.trusted_proxies", "retention.dedup_ms", "admin.token"] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    for key in ["broker.rabbitmq.url", "broker.rabbitmq.management_url"] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    assert!(!format!("{problems:?}").contains("hunter2"));
    let syntax = Folder::with(&[("hookyard.toml", "[ingest\n")]).load().unwrap_err();
    assert!(syntax[0].found.contains("line 1"), "{syntax:?}");
}

#[test]
fn a_host_alone_makes_its_own_key_and_one_of_several_is_told_that_it_needs_the_others() {
    let rabbit = |more: &str| format!("[broker]\nkind = \"rabbitmq\"\n[broker.rabbitmq]\nurl = \"amqp://localhost\"\n{more}\n");
    let alone = Folder::with(&[("hookyard.toml", &rabbit(""))]);
    let config = alone.load().unwrap();
    assert_eq!(config.own_amqp_key.as_ref().unwrap().expose().len(), 64);
    keep_amqp_key(&config).unwrap();
    let file = config.data_dir.join("amqp.key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(alone.load().unwrap().own_amqp_key, config.own_amqp_key, "the next start has the same");
    fs::write(&file, "short").unwrap();
    assert!(alone.load().unwrap_err()[0].found.contains("shorter than 32"));
    let key = "k".repeat(32);
    for (more, found) in [
        ("shared_work = true", Some("nothing")),
        ("archive = false", Some("nothing")),
        ("keys = []", Some("0 keys")),
        ("keys = [{ file = \"short\" }]", Some("shorter than 32 bytes")),
        ("keys = [{ file = \"gone\" }]", Some("gone")),
        ("keys = [\"in-clear-text-in-the-configuration-file\"]", Some("another shape")),
        ("keys = [{ file = \"key\" }]\nshared_work = true", None),
    ] {
        let folder = Folder::with(&[("hookyard.toml", &rabbit(more)), ("key", &key), ("short", "short")]);
        match (folder.load(), found) {
            (Ok(config), None) => assert!(config.own_amqp_key.is_none()),
            (Err(problems), Some(found)) => {
                assert!(problems[0].key.starts_with("broker.rabbitmq.keys") && problems[0].found.contains(found), "{more}: {problems:?}");
                assert!(!format!("{problems:?}").contains("clear-text"));
            }
            (loaded, _) => panic!("{more}: {loaded:?}"),
        }
    }
}

#[test]
fn a_wrong_variable_is_told_of_by_its_name_and_with_the_one_that_was_meant() {
    let folder = Folder::with(&[("hookyard.toml", "[streams.s]\nurl = { env = \"HOOKYARD_INGESTLISTEN\" }\n")]);
    let env = [
        ("HOOKYARD_INGEST_LISTEN", "127.0.0.1:1"),
        ("HOOKYARD_INGEST__LISTENN", "127.0.0.1:1"),
        ("HOOKYARD_GRACE_MS", "soon"),
        ("HOOKYARD_INGESTLISTEN", "redis://named.in.the.file"),
        ("HOOKYARD_SERVICE_PORT", "8080"),
        ("HOOKYARD_ADMIN_URL", "http://elsewhere"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let problems = load(Some(&folder.0.path().join("hookyard.toml")), &env).unwrap_err();
    let told = |variable: &str| {
        let problem = problems.iter().find(|problem| problem.file.ends_with(format!("the variable {variable}")))?;
        Some((problem.key.as_str(), problem.hint.as_deref().unwrap_or_default()))
    };
    assert_eq!(told("HOOKYARD_INGEST_LISTEN"), Some(("ingest.listen", "did you mean `HOOKYARD_INGEST__LISTEN`?")));
    assert_eq!(told("HOOKYARD_INGEST__LISTENN"), Some(("ingest.listenn", "did you mean `HOOKYARD_INGEST__LISTEN`?")));
    assert_eq!(told("HOOKYARD_GRACE_MS"), Some(("grace_ms", "")));
    for unconcerned in ["HOOKYARD_INGESTLISTEN", "HOOKYARD_SERVICE_PORT", "HOOKYARD_ADMIN_URL"] {
        assert_eq!(told(unconcerned), None);
    }
}

#[test]
fn a_time_or_size_that_another_number_cuts_off_is_a_problem() {
    for (text, key) in [
        ("body_timeout_ms = 30000", "ingest.body_timeout_ms"),
        ("accept_timeout_ms = 5000\nbody_timeout_ms = 8000", "ingest.body_timeout_ms"),
        ("body_budget_bytes_max = 1048576\nform_bytes_max = 1024", "ingest.json_bytes_max"),
    ] {
        let problems = Folder::with(&[("hookyard.toml", &format!("[ingest]\n{text}\n"))]).load().unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), [key], "{text}: {problems:?}");
    }
    let config = Folder::with(&[("hookyard.toml", "[ingest]\naccept_timeout_ms = 5000\n")]).load().unwrap();
    assert_eq!(config.ingest.body_timeout.as_millis(), 5000, "the one follows the other");
    // On the smallest machine a form has half of the budget, or what GitHub's own documents need.
    let small = "[ingest]\nbody_budget_bytes_max = 67108864\n";
    let config = Folder::with(&[("hookyard.toml", small)]).load().unwrap();
    assert_eq!(config.ingest.form_bytes_max, 26_214_400 * 3 / 2);
}

#[test]
fn what_an_editor_adds_to_a_secret_is_left_out_of_a_file_and_refused_in_a_variable() {
    let secret = "a-secret-of-enough-bytes";
    let around = [("\n", true), ("\r\n", true), ("\u{feff}", true), ("\"", false)];
    for (what, is_taken_from_a_file) in around {
        let before = if matches!(what, "\"" | "\u{feff}") { what } else { "" };
        let after = if what == "\u{feff}" { "" } else { what };
        let text = format!("{before}{secret}{after}");
        let source = |value: &str| format!("[sources.github]\nscheme = \"github\"\nsecrets = [{value}]\n");
        let (by_file, by_variable) = (source("{ file = \"s\" }"), source("{ env = \"HOOKYARD_SECRET_DEFAULT_S\" }"));
        let of_file = Folder::with(&[("hookyard.toml", ""), ("tenants/default/tenant.toml", &by_file), ("tenants/default/s", &text)]);
        let (directory, problems) = of_file.tenants(&[]);
        assert_eq!(problems.is_empty(), is_taken_from_a_file, "{text:?}: {problems:?}");
        if is_taken_from_a_file {
            assert_eq!(directory.tenants[&tenant()].sources[&"github".parse().unwrap()].secrets[0].expose(), secret.as_bytes());
        }
        let of_variable = Folder::with(&[("hookyard.toml", ""), ("tenants/default/tenant.toml", &by_variable)]);
        let problems = of_variable.tenants(&[("HOOKYARD_SECRET_DEFAULT_S", &text)]).1;
        assert!(problems[0].found.contains("HOOKYARD_SECRET_DEFAULT_S` with "), "{text:?}: {problems:?}");
        let env = BTreeMap::from([("HOOKYARD_ADMIN_TOKEN".to_owned(), text.clone())]);
        let admin = load(Some(&of_variable.0.path().join("hookyard.toml")), &env).unwrap_err();
        assert!(admin.len() == 1 && admin[0].key == "admin.token" && !format!("{admin:?}{problems:?}").contains(secret), "{admin:?}");
    }
    // A key in PEM ends with a line end wherever it comes from.
    let key = Folder::with(&[("hookyard.toml", "[broker]\nkind = \"rabbitmq\"\n[broker.rabbitmq]\nurl = { file = \"url\" }\n")]);
    fs::write(key.0.path().join("url"), "amqp://user:password@rabbit:5672/%2f\r\n").unwrap();
    assert!(key.load().is_ok(), "the broker's URL is read like every other secret");
}

#[test]
fn what_takes_a_restart_is_named_and_what_does_not_is_not() {
    let rabbit = "[broker]\nkind = \"rabbitmq\"\n[broker.rabbitmq]\nurl = { file = \"url\" }\nkeys = [{ file = \"key\" }]\n";
    let key = "k".repeat(32);
    let files = [("hookyard.toml", rabbit), ("url", "amqp://u:one@rabbit"), ("key", key.as_str())];
    let folder = Folder::with(&files);
    let before = folder.load().unwrap().read_from;
    let after = |file: &str, text: &str| {
        let folder = Folder::with(&files);
        fs::write(folder.0.path().join(file), text).unwrap();
        before.needs_restart(&folder.load().unwrap().read_from)
    };
    assert!(after("url", "amqp://u:two@rabbit").is_empty(), "the next connection has it");
    assert_eq!(after("key", &"l".repeat(32)), ["broker.rabbitmq.keys[0]"]);
    assert_eq!(after("hookyard.toml", &format!("[ingest]\nlisten = \"127.0.0.1:1\"\n{rabbit}")), ["ingest.listen"]);
    assert!(after("hookyard.toml", &format!("secret_env_allow = [\"X\"]\n{rabbit}")).is_empty());
    assert!(after("hookyard.toml", &format!("# a comment\n{rabbit}")).is_empty());
}

#[test]
fn a_token_of_an_earlier_start_that_cannot_be_read_is_not_replaced() {
    let folder = Folder::with(&[("hookyard.toml", "")]);
    fs::create_dir_all(folder.0.path().join("data/admin.token")).unwrap();
    let problems = folder.load().unwrap_err();
    assert!(problems.len() == 1 && problems[0].key == "admin.token" && problems[0].found.contains("admin.token"), "{problems:?}");
}

#[test]
fn a_source_without_a_secret_is_no_open_door() {
    for text in ["[sources.github]\nscheme = \"github\"\n", "[sources.github]\nscheme = \"github\"\nsecrets = []\n"] {
        let folder = Folder::with(&[("hookyard.toml", ""), ("tenants/default/tenant.toml", text)]);
        let (directory, problems) = folder.tenants(&[]);
        assert!(problems[0].expected.contains("open door"), "{problems:?}");
        assert!(directory.tenants.is_empty());
    }
}

#[test]
fn a_tenant_whose_file_goes_bad_keeps_what_it_had() {
    let folder = Folder::with(&[
        ("hookyard.toml", ""),
        ("tenants/default/tenant.toml", "[sources.github]\nscheme = \"github\"\nsecrets = [{ file = \"s\" }]\n"),
        ("tenants/default/s", "a-secret-of-enough-bytes"),
    ]);
    let (before, _) = folder.tenants(&[]);
    fs::write(folder.0.path().join("tenants/default/tenant.toml"), "[sources.github\n").unwrap();
    let (after, problems) = load_tenants(&folder.load().unwrap(), &BTreeMap::new(), &before);
    assert_eq!(problems.len(), 1);
    assert_eq!(after.tenants[&tenant()].sources.len(), 1);
    // There, and not readable: a link to a volume that is not mounted.
    fs::remove_file(folder.0.path().join("tenants/default/tenant.toml")).unwrap();
    std::os::unix::fs::symlink("../nowhere", folder.0.path().join("tenants/default/tenant.toml")).unwrap();
    let (after, problems) = load_tenants(&folder.load().unwrap(), &BTreeMap::new(), &after);
    assert_eq!((problems.len(), after.tenants[&tenant()].sources.len()), (1, 1));
}

#[test]
fn a_tenants_ceiling_is_never_above_the_hosts() {
    let folder = Folder::with(&[
        ("hookyard.toml", "[limits]\nfuel = 1000\nwall_ms = 2000\n"),
        ("tenants/default/tenant.toml", "[limits]\nfuel = 999999\nwall_ms = 1000\n"),
    ]);
    let ceiling = folder.tenants(&[]).0.tenants[&tenant()].ceiling;
    assert_eq!((ceiling.fuel, ceiling.wall.as_millis()), (1000, 1000));
}

#[test]
fn the_admin_token_is_made_once_and_for_the_owner_only() {
    let folder = Folder::with(&[("hookyard.toml", "")]);
    let config = folder.load().unwrap();
    keep_admin_token(&config).unwrap();
    let file = admin_token_file(&config.data_dir);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&file).unwrap(), config.admin.token.expose());
    let again = folder.load().unwrap();
    keep_admin_token(&again).unwrap();
    assert_eq!(again.admin.token, config.admin.token);
    assert_eq!(config.admin.token.expose().len(), 64);
    // What a power cut leaves of a token that was being written is no token.
    fs::write(&file, "").unwrap();
    let after_cut = folder.load().unwrap();
    keep_admin_token(&after_cut).unwrap();
    assert_eq!(folder.load().unwrap().admin.token, after_cut.admin.token);
}

#[test]
fn the_example_file_names_every_key_and_is_sound() {
    let example = include_str!("../../../hookyard.example.toml");
    let folder = Folder::with(&[("hookyard.toml", example)]);
    let config = folder.load().unwrap();
    let defaults = Folder::with(&[("hookyard.toml", "")]).load().unwrap();
    assert_eq!(config.ingest.form_bytes_max, defaults.ingest.form_bytes_max);
    let uncommented: String = example.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    for (key, _) in &defaults.effective {
        let name = key.rsplit('.').next().unwrap();
        assert!(uncommented.contains(&format!("{name} = ")), "{key} is in hookyard.example.toml");
    }
    let documents = include_str!("../../../docs/configuration.md");
    for (key, _) in &defaults.effective {
        assert!(documents.contains(&format!("`{key}`")), "{key} is in docs/configuration.md");
    }
}

#[test]
fn a_secret_or_token_that_is_guessed_by_trying_is_a_problem() {
    let tenant = "[sources.github]\nscheme = \"github\"\nsecrets = [{ file = \"s\" }]\n";
    for (secret, is_sound) in [("x", false), ("fifteen-bytes-x", false), ("sixteen-bytes-xy", true)] {
        let files = [("hookyard.toml", ""), ("tenants/default/tenant.toml", tenant), ("tenants/default/s", secret)];
        let (directory, problems) = Folder::with(&files).tenants(&[]);
        assert_eq!((directory.tenants.len() == 1, problems.is_empty()), (is_sound, is_sound), "{problems:?}");
        let files = [("hookyard.toml", "[admin]\ntoken = { file = \"token\" }\n"), ("token", secret)];
        let loaded = Folder::with(&files).load();
        assert_eq!(loaded.is_ok(), is_sound, "{loaded:?}");
        for problem in problems.iter().chain(loaded.as_ref().err().into_iter().flatten()) {
            assert!(problem.expected.contains("at least 16") && !format!("{problem:?}").contains("fifteen-"), "{problem:?}");
        }
    }
}

#[test]
fn a_tenants_file_that_leads_out_of_its_folder_is_not_read() {
    let folder = Folder::with(&[("hookyard.toml", ""), ("tenants/bob/x", ""), ("tenants/acme/tenant.toml", "[limits]\nfuel = 7\n")]);
    std::os::unix::fs::symlink("../acme/tenant.toml", folder.0.path().join("tenants/bob/tenant.toml")).unwrap();
    let (directory, problems) = folder.tenants(&[]);
    assert_eq!((directory.tenants.len(), problems.len()), (1, 1));
    assert!(problems[0].found.contains("leads out"), "{problems:?}");
}
