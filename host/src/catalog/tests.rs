//! Deploys as they happen: real files, the real sandbox, a real ledger; only time is moved by hand.

mod look;
mod memory;
mod notes;
mod pairs;
mod rollback;
mod start;

use std::{collections::BTreeMap, fs};

use super::*;
use crate::{
    delivery::Timestamp,
    egress::HttpGrant,
    runtime::{self, Compiler, tests::guests},
    tenants::{Directory, Tenant},
};

const MANIFEST: &str = "sources = [\"github\"]\nevents = [\"push\"]\n";

/// A tenant's folder, and a catalog that looks at it when told to.
struct Stage {
    folder: tempfile::TempDir,
    clock: Clock,
    ledger: Ledger,
    catalog: Catalog,
    seen: load::Seen,
    tasks: Tasks,
}

impl Stage {
    async fn new(plugins_max: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("tenants/red/plugins")).unwrap();
        let clock = Clock::manual(Timestamp::from_unix_ms(1_700_000_000_000));
        let data_dir = folder.path().join("data");
        let ledger =
            Ledger::open(crate::ledger::Settings { free_bytes_min: 0, ..crate::ledger::Settings::new(data_dir) }, clock.clone()).unwrap();
        let catalog = catalog(folder.path().join("tenants"), plugins_max, (&ledger, &clock));
        let mut stage = Self { folder, clock, ledger, catalog, seen: load::Seen::default(), tasks: Tasks::new() };
        stage.restart().await;
        stage
    }

    /// A new catalog over the same ledger and files, as after a restart.
    async fn restart(&mut self) {
        self.start().await;
        self.pass().await;
    }

    /// The same as far as the door waits for it.
    async fn start(&mut self) {
        let plugins_max = self.catalog.0.settings.plugins_max;
        self.catalog = catalog(self.folder.path().join("tenants"), plugins_max, (&self.ledger, &self.clock));
        self.catalog.load(&self.tasks).await;
        self.seen = self.catalog.0.seen.lock().await.take().unwrap();
    }

    fn plugins(&self) -> PathBuf {
        self.folder.path().join("tenants/red/plugins")
    }

    fn put(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.plugins().join(name), contents).unwrap();
    }

    fn put_plugin(&self, name: &str, guest: &str) {
        self.put(&format!("{name}.wasm"), guests::component(guest));
        self.put(&format!("{name}.toml"), MANIFEST);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.plugins().join(name)).unwrap();
    }

    async fn pass(&mut self) -> bool {
        self.catalog.0.whole_pass(&mut self.seen, &self.tasks).await
    }

    async fn pass_after(&mut self, span: Duration) -> bool {
        self.clock.advance(span);
        self.pass().await
    }

    fn routes(&self) -> Vec<String> {
        let found = self.catalog.route(&red(), &"github".parse().unwrap(), "push", None);
        found.iter().map(ToString::to_string).collect()
    }

    fn digest(&self, name: &str) -> Option<Digest> {
        Some(self.catalog.plugin(&red(), &name.parse().unwrap())?.digest)
    }

    fn view(&self, name: &str) -> Option<PluginView> {
        self.catalog.views(Some(&red())).into_iter().find(|view| view.name.as_str() == name)
    }

    fn refusal(&self, name: &str) -> Option<String> {
        self.view(name)?.refusal.map(|refusal| refusal.code)
    }

    fn allow(&self, allowed: Allowed) {
        let ceiling = self.catalog.0.settings.ceiling;
        let tenant = Tenant {
            id: red(),
            sources: BTreeMap::new(),
            ceiling,
            approve_new_grants: false,
            waiting_bytes_max: 1,
            quota: crate::ledger::Quota::default(),
            allowed: Arc::new(allowed),
            origin: crate::tenants::Origin::default(),
        };
        self.catalog.0.parts.tenants.replace(Directory { tenants: BTreeMap::from([(red(), Arc::new(tenant))]) });
    }

    async fn kept(&self) -> usize {
        self.ledger.shelf().await.unwrap().len()
    }
}

fn catalog(tenants_dir: PathBuf, plugins_max: usize, (ledger, clock): (&Ledger, &Clock)) -> Catalog {
    let budget =
        Budget { fuel: 1000, fuel_per_body_byte: 10, memory_bytes_max: 1 << 26, memory_per_body_byte: 8, wall: Duration::from_secs(5) };
    let settings = Settings {
        tenants_dir,
        settle: Duration::from_millis(50),
        rescan: Duration::from_secs(10),
        plugins_max,
        component_bytes_max: 1 << 20,
        tenant_concurrency_max: 4,
        shared_work: false,
        ceiling: budget,
        default_budget: budget,
        watch: Duration::from_mins(5),
        breaker: BreakerPolicy { faults_min: 3, parked_for: Duration::from_secs(30) },
        approve_new_grants: false,
        shares: Shares::default(),
    };
    let (runtime, tenants, observer) = (sandbox(), Tenants::default(), Observer::new(clock.clone()));
    Catalog::new(settings, Parts { runtime, tenants, ledger: ledger.clone(), observer, clock: clock.clone() })
}

fn sandbox() -> Runtime {
    static SANDBOX: std::sync::OnceLock<Runtime> = std::sync::OnceLock::new();
    let settings = runtime::Settings {
        concurrency_max: 2,
        cache_dir: None,
        compiler: Compiler::InProcess,
        component_bytes_max: 1 << 20,
        compile_timeout: Duration::from_mins(1),
        compile_memory_bytes_max: 1 << 30,
        shares: Shares::default(),
    };
    SANDBOX.get_or_init(|| Runtime::new(settings).unwrap()).clone()
}

fn red() -> TenantId {
    "red".parse().unwrap()
}

#[tokio::test]
async fn a_dropped_pair_serves_and_a_replaced_file_is_another_version() {
    let mut stage = Stage::new(10).await;
    let mut queues = stage.catalog.queues();
    stage.put_plugin("p", "ack");
    stage.pass().await;
    let first = stage.digest("p").unwrap();
    assert_eq!(stage.routes(), ["p"]);
    assert_eq!(queues.borrow_and_update().queues.len(), 1);
    let in_flight = stage.catalog.plugin(&red(), &"p".parse().unwrap()).unwrap();
    stage.put("p.toml", format!("{MANIFEST}[config]\na = 1\n"));
    stage.pass().await;
    assert_ne!(stage.digest("p").unwrap(), first);
    assert_eq!(in_flight.digest, first, "a run under way keeps its version");
    assert_eq!(stage.catalog.plugin(&red(), &"p".parse().unwrap()).unwrap().config["a"], 1);
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_version_even_through_a_restart_and_says_why() {
    let mut stage = Stage::new(10).await;
    stage.put_plugin("p", "ack");
    stage.pass().await;
    let good = stage.digest("p");
    stage.put("p.wasm", b"\0asm half a file");
    stage.pass().await;
    let refused = stage.refusal("p");
    assert!(refused.is_some());
    assert_eq!((stage.digest("p"), stage.routes()), (good, vec!["p".to_owned()]));
    stage.restart().await;
    assert_eq!((stage.digest("p"), stage.routes(), stage.refusal("p")), (good, vec!["p".to_owned()], refused));
    stage.put("p.toml", "sources = 1");
    stage.pass().await;
    assert_eq!((stage.digest("p"), stage.refusal("p").as_deref()), (good, Some("manifest_invalid")));
    stage.put_plugin("p", "ack");
    stage.pass().await;
    assert_eq!((stage.digest("p"), stage.refusal("p")), (good, None));
}

#[tokio::test]
async fn a_file_that_is_replaced_by_removing_it_first_removes_nothing() {
    let mut stage = Stage::new(10).await;
    stage.put_plugin("p", "ack");
    stage.pass().await;
    stage.remove("p.wasm");
    assert!(stage.pass().await, "it is looked at again soon");
    stage.pass_after(Duration::from_millis(400)).await;
    assert_eq!((stage.routes(), stage.refusal("p")), (vec!["p".to_owned()], None));
    stage.put_plugin("p", "skip");
    assert!(!stage.pass_after(Duration::from_millis(400)).await);
    assert_eq!((stage.routes(), stage.kept().await), (vec!["p".to_owned()], 1));
}

#[tokio::test]
async fn a_plugin_whose_file_is_gone_for_good_routes_no_more_and_its_name_can_come_back() {
    let mut stage = Stage::new(10).await;
    let queues = stage.catalog.queues();
    for lost in ["p.wasm", "p.toml"] {
        stage.put_plugin("p", "ack");
        stage.pass().await;
        assert_eq!(stage.routes(), ["p"]);
        stage.remove(lost);
        stage.pass().await;
        stage.pass_after(Duration::from_millis(500)).await;
        assert!(!stage.pass().await, "there is nothing to look at again");
        assert!(stage.routes().is_empty() && stage.digest("p").is_none());
        assert!(queues.borrow().queues.is_empty(), "its open legs are parked");
        assert_eq!(stage.kept().await, 0);
    }
}

#[tokio::test]
async fn half_a_plugin_is_refused_once_and_forgotten_with_its_file() {
    let mut stage = Stage::new(10).await;
    stage.put("p.wasm", guests::component("ack"));
    assert!(!stage.pass().await);
    let told = stage.view("p").unwrap().refusal.unwrap();
    assert_eq!(told.code, "manifest_missing");
    for _ in 0..3 {
        assert!(!stage.pass_after(Duration::from_mins(1)).await, "there is nothing to look at again");
        assert_eq!(stage.view("p").unwrap().refusal.unwrap().at, told.at, "it is told once");
    }
    stage.remove("p.wasm");
    stage.pass().await;
    assert!(stage.view("p").is_none());
    stage.put("p.toml", MANIFEST);
    stage.pass().await;
    assert_eq!(stage.refusal("p").as_deref(), Some("component_missing"));
}

#[tokio::test]
async fn a_folder_that_goes_away_is_no_removal_and_one_that_empties_at_once_is_looked_at_twice() {
    let mut stage = Stage::new(10).await;
    stage.put_plugin("p", "ack");
    stage.put_plugin("q", "ack");
    stage.pass().await;
    let (here, away) = (stage.plugins(), stage.folder.path().join("away"));
    fs::rename(&here, &away).unwrap();
    stage.pass().await;
    stage.pass_after(Duration::from_hours(1)).await;
    assert_eq!(stage.routes(), ["p", "q"]);
    // An unmounted volume leaves an empty folder behind.
    fs::create_dir(&here).unwrap();
    stage.pass().await;
    stage.pass_after(Duration::from_secs(9)).await;
    assert_eq!(stage.routes(), ["p", "q"]);
    fs::remove_dir(&here).unwrap();
    fs::rename(&away, &here).unwrap();
    assert!(!stage.pass_after(Duration::from_secs(9)).await);
    assert_eq!(stage.routes(), ["p", "q"]);
}

#[tokio::test]
async fn what_was_removed_while_the_host_was_down_stays_removed() {
    let mut stage = Stage::new(10).await;
    stage.put_plugin("p", "ack");
    stage.pass().await;
    stage.remove("p.wasm");
    stage.remove("p.toml");
    stage.restart().await;
    stage.pass_after(Duration::from_millis(500)).await;
    assert!(stage.routes().is_empty());
    assert_eq!(stage.kept().await, 0);
}

#[tokio::test]
async fn a_tenant_has_no_more_plugins_than_its_bound_and_newcomers_push_nobody_out() {
    let mut stage = Stage::new(1).await;
    stage.put_plugin("z", "ack");
    stage.pass().await;
    stage.put_plugin("a", "ack");
    stage.put_plugin("b", "ack");
    stage.pass().await;
    stage.pass_after(Duration::from_mins(1)).await;
    assert_eq!(stage.routes(), ["z"]);
    assert_eq!(stage.refusal("a").as_deref(), Some("too_many_plugins"));
    stage.remove("z.wasm");
    stage.remove("z.toml");
    stage.pass().await;
    stage.pass_after(Duration::from_millis(500)).await;
    stage.pass().await;
    assert_eq!(stage.routes(), ["a"], "the room that was made is taken");
}

#[tokio::test]
async fn a_changed_ceiling_fits_every_budget_without_a_deploy() {
    let mut stage = Stage::new(10).await;
    stage.put_plugin("p", "ack");
    stage.pass().await;
    let before = stage.catalog.plugin(&red(), &"p".parse().unwrap()).unwrap();
    let ceiling = Budget { fuel: 7, ..before.budget };
    let tenant = Tenant {
        id: red(),
        sources: BTreeMap::new(),
        ceiling,
        approve_new_grants: false,
        waiting_bytes_max: 1,
        quota: crate::ledger::Quota::default(),
        allowed: Arc::default(),
        origin: crate::tenants::Origin::default(),
    };
    stage.catalog.0.parts.tenants.replace(Directory { tenants: BTreeMap::from([(red(), Arc::new(tenant))]) });
    stage.pass().await;
    let after = stage.catalog.plugin(&red(), &"p".parse().unwrap()).unwrap();
    assert_eq!((before.budget.fuel, after.budget.fuel, after.digest), (1000, 7, before.digest));
}

#[tokio::test]
async fn a_paused_plugin_is_routed_to_and_not_worked_on() {
    let mut stage = Stage::new(10).await;
    stage.put_plugin("p", "ack");
    stage.pass().await;
    let queues = stage.catalog.queues();
    assert!(stage.catalog.pause(&red(), &"p".parse().unwrap(), true).await.unwrap());
    assert!(queues.borrow().queues.is_empty());
    assert_eq!((stage.routes(), stage.view("p").unwrap().status), (vec!["p".to_owned()], "paused".to_owned()));
    assert!(stage.catalog.pause(&red(), &"p".parse().unwrap(), false).await.unwrap());
    assert_eq!(queues.borrow().queues.len(), 1);
    assert!(!stage.catalog.pause(&red(), &"nobody".parse().unwrap(), true).await.unwrap());
}

#[tokio::test]
async fn what_the_operator_does_not_grant_is_not_admitted_until_he_does() {
    let mut stage = Stage::new(10).await;
    let grant = "[[grants.http]]\nhost = \"api.github.com\"\nmethods = [\"GET\"]\n";
    stage.put("p.wasm", guests::component("fetch"));
    stage.put("p.toml", format!("{MANIFEST}{grant}"));
    stage.pass().await;
    assert_eq!(stage.refusal("p").as_deref(), Some("import_not_granted"));
    let http: Vec<_> = parse_manifest(format!("{MANIFEST}{grant}").as_bytes()).unwrap().asked.http;
    let elsewhere = Allowed { http: vec![HttpGrant { host: Some("example.com".to_owned()), ..http[0].clone() }], ..Allowed::default() };
    stage.allow(elsewhere);
    stage.pass().await;
    assert_eq!(stage.refusal("p").as_deref(), Some("import_not_granted"));
    stage.allow(Allowed { http, ..Allowed::default() });
    stage.pass().await;
    assert_eq!(stage.refusal("p"), None);
    assert!(stage.digest("p").is_some());
}

#[tokio::test]
async fn a_component_whose_manifest_asks_for_nothing_gets_nothing_however_much_is_allowed() {
    let mut stage = Stage::new(10).await;
    let http = HttpGrant {
        host: Some("api.github.com".into()),
        methods: vec!["GET".into()],
        path_prefix: None,
        credential: None,
        headers: Vec::new(),
        allow_http: true,
    };
    stage.allow(Allowed { http: vec![http], ..Allowed::default() });
    stage.put_plugin("p", "fetch");
    stage.pass().await;
    assert_eq!(stage.refusal("p").as_deref(), Some("import_not_granted"));
}
