//! Who may name what, and what is read of it.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;

/// A folder of tenants, beside a file that is the host's own.
struct House {
    dir: tempfile::TempDir,
    sources: SecretSources,
    env: BTreeMap<String, String>,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["red", "ab", "ab-c", "run/red", "run/blue", "red-only"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for (file, text) in [
            ("admin.token", "the host's own"),
            ("red/own", "mine\n"),
            ("run/red/github", "mine"),
            ("run/red.github", "mine"),
            ("run/blue/github", "theirs"),
            ("run/blue.github", "theirs"),
            ("run/shared", "theirs"),
            ("red-only/deep", "mine"),
        ] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let env = [
            ("HOOKYARD_SECRET_RED_GITHUB", "mine"),
            ("HOOKYARD_SECRET_BLUE_GITHUB", "theirs"),
            ("HOOKYARD_SECRET_AB_C_X", "ab"),
            ("HOOKYARD_SECRET_AB__C_X", "ab-c"),
            ("HOOKYARD_SECRET_RED_EMPTY", ""),
            ("HOOKYARD_ADMIN_TOKEN", "the host's own"),
            ("HOOKYARD_SECRET_ENV_ALLOW", "the host's own"),
            ("GITHUB_SECRET", "listed"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let all = SecretPlaces { env_allow: Vec::new(), dirs: vec![dir.path().join("run")] };
        Self { dir, sources: SecretSources { all, tenants: BTreeMap::new() }, env }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        format!("{{ file = \"{}\" }}", self.path(name).display())
    }

    fn resolved(&self, tenant: &str, value: &str) -> Result<String, String> {
        let (tenant, home): (TenantId, _) = (tenant.parse().unwrap(), self.path(tenant));
        let places = Places { sources: &self.sources, tenant: &tenant, home: &home, env: &self.env };
        let mut reader = Reader::new(Path::new("tenant.toml"), toml::Table::new());
        let value = format!("v = {value}").parse::<toml::Table>().unwrap()["v"].clone();
        let secret = resolve(&mut reader, "k", &value, places);
        let problem = || reader.problems.remove(0);
        secret
            .map(|secret| String::from_utf8(secret.expose().to_vec()).unwrap())
            .ok_or_else(problem)
            .map_err(|problem| format!("{}; expected {}; {}", problem.found, problem.expected, problem.hint.unwrap_or_default()))
    }
}

#[test]
fn a_syntax_error_tells_its_line_and_does_not_quote_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tenant.toml");
    fs::write(&file, "[sources.github]\nsecrets = [hunter2]\n").unwrap();
    for problem in [read_toml(&file).unwrap_err(), read_tenant_toml(dir.path()).unwrap_err()] {
        assert!(problem.found.starts_with("line 2: "), "{}", problem.found);
        assert!(!format!("{problem:?}").contains("hunter2"));
    }
}

#[test]
fn a_tenant_reaches_no_secret_but_its_own() {
    let house = House::new();
    symlink("../admin.token", house.path("red/link")).unwrap();
    symlink("../blue/github", house.path("run/red/link")).unwrap();
    for good in ["{ file = \"own\" }", "{ env = \"HOOKYARD_SECRET_RED_GITHUB\" }", &house.file("red/own")] {
        assert_eq!(house.resolved("red", good).as_deref(), Ok("mine"), "{good}");
    }
    for good in ["run/red/github", "run/red.github"] {
        assert_eq!(house.resolved("red", &house.file(good)).as_deref(), Ok("mine"), "{good}");
    }
    for (bad, part) in [
        ("{ env = \"HOOKYARD_ADMIN_TOKEN\" }", "may not name"),
        ("{ env = \"HOOKYARD_SECRET_BLUE_GITHUB\" }", "may not name"),
        ("{ env = \"HOOKYARD_SECRET_RED_\" }", "may not name"),
        ("{ env = \"GITHUB_SECRET\" }", "`[tenants.red]` with `secret_env_allow = [\"GITHUB_SECRET\"]`"),
        ("{ env = \"UNSET\" }", "may not name"),
        ("{ env = \"HOOKYARD_SECRET_RED_UNSET\" }", "not set"),
        ("{ env = \"HOOKYARD_SECRET_RED_EMPTY\" }", "empty"),
        ("{ file = \"../admin.token\" }", "leads out"),
        ("{ file = \"link\" }", "leads out"),
        ("{ file = \"/etc/hostname\" }", "move the file beneath"),
        ("{ file = \".\" }", "no regular file"),
        ("{ file = \"gone\" }", "readable file"),
        ("\"plain\"", "another shape"),
        (&house.file("run/blue/github"), "no file of this tenant"),
        (&house.file("run/blue.github"), "no file of this tenant"),
        (&house.file("run/shared"), "no file of this tenant"),
        (&house.file("run/red/../blue/github"), "no file of this tenant"),
        (&house.file("run/red/link"), "no file of this tenant"),
        (&house.file("run/red.x/../blue/github"), "no file of this tenant"),
        (&house.file("admin.token"), "no file of this tenant"),
    ] {
        let found = house.resolved("red", bad).unwrap_err();
        assert!(found.contains(part), "{bad}: {found}");
        assert!(!found.contains("plain") && !found.contains("the host's own (not"), "{found}");
    }
}

#[test]
fn no_two_tenants_have_a_variable_in_common() {
    let house = House::new();
    let of = |tenant: &str, name: &str| house.resolved(tenant, &format!("{{ env = \"{name}\" }}"));
    assert_eq!(of("ab", "HOOKYARD_SECRET_AB_C_X").as_deref(), Ok("ab"));
    assert_eq!(of("ab-c", "HOOKYARD_SECRET_AB__C_X").as_deref(), Ok("ab-c"));
    for (tenant, name) in [
        ("ab-c", "HOOKYARD_SECRET_AB_C_X"),
        ("ab", "HOOKYARD_SECRET_AB__C_X"),
        ("ab_c", "HOOKYARD_SECRET_AB_C_X"),
        ("ab_c", "HOOKYARD_SECRET_AB__C_X"),
        ("a", "HOOKYARD_SECRET_AB_C_X"),
        ("env", "HOOKYARD_SECRET_ENV_ALLOW"),
    ] {
        assert!(of(tenant, name).unwrap_err().contains("may not name"), "{tenant}: {name}");
    }
    // Of all names of four letters no two begin a variable in the same way.
    let letters = ["a", "b", "-", "9"];
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let names = (0..4_usize.pow(4)).map(|n| (0..4).map(|at| letters[n / 4_usize.pow(at) % 4]).collect::<String>());
    let tenants: Vec<TenantId> = names.filter_map(|name| name.parse().ok()).collect();
    for tenant in &tenants {
        let prefix = own_prefix(tenant).unwrap();
        for rest in ["X", "A_X", "9__B_X", "A___X"] {
            let name = format!("{prefix}{rest}");
            assert!(is_own(&prefix, &name));
            assert_eq!(owners.insert(name.clone(), tenant.to_string()), None, "{name}");
        }
    }
}

#[test]
fn what_the_operator_lists_for_one_tenant_is_that_tenants_alone() {
    let mut house = House::new();
    let places = SecretPlaces { env_allow: vec!["GITHUB_*".to_owned()], dirs: vec![house.path("red-only")] };
    house.sources.tenants.insert("red".parse().unwrap(), places);
    let (variable, file) = ("{ env = \"GITHUB_SECRET\" }", house.file("red-only/deep"));
    assert_eq!(house.resolved("red", variable).as_deref(), Ok("listed"));
    assert_eq!(house.resolved("red", &file).as_deref(), Ok("mine"));
    assert!(house.resolved("ab", variable).is_err() && house.resolved("ab", &file).is_err());
    house.sources.all.env_allow.push("*".to_owned());
    assert_eq!(house.resolved("ab", variable).as_deref(), Ok("listed"));
    assert!(house.resolved("ab", "{ env = \"HOOKYARD_ADMIN_TOKEN\" }").is_err(), "the host's own are in no list");
    assert!(house.resolved("ab", "{ env = \"HOOKYARD_SECRET_RED_GITHUB\" }").is_err());
}

#[test]
fn a_secret_file_swapped_for_a_link_to_the_admin_token_during_reloads_is_never_the_token() {
    let house = House::new();
    symlink("../admin.token", house.path("red/trap")).unwrap();
    let (done, own, trap) = (std::sync::atomic::AtomicBool::new(false), house.path("red/own"), house.path("red/trap"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                renameat_with(CWD, &own, CWD, &trap, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let (mut read, mut refused, mut stolen) = (0, 0, None);
        while stolen.is_none() && (read < 10_000 || refused < 10_000) {
            match house.resolved("red", "{ file = \"own\" }") {
                Ok(secret) if secret == "mine" => read += 1,
                Ok(secret) => stolen = Some(secret),
                Err(_) => refused += 1,
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(stolen, None, "after {read} and {refused}");
    });
}
