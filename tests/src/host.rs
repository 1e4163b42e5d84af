//! A whole host in this process, on real sockets and a real store, whose drop checks the books.

use std::{collections::BTreeMap, future::Future, time::Duration};

use hookyard::{
    app::{Host, Options},
    clock::Clock,
    config,
    delivery::{
        DeliveryId, PluginName, TenantId,
        view::{DeliveryView, EmitView, LegView, PluginView},
    },
    listen::Sockets,
    observe::DroppedLines,
    runtime::Compiler,
};

use crate::{
    folder::{Folder, Layout, SECRET},
    rabbit::Queue,
    sender::Sender,
};

/// How long a test waits for a fact before it calls it missing.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it looks though nothing was stated.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a test's host is made of.
#[derive(Clone, Debug)]
pub struct Builder {
    layout: Layout,
    clock: Clock,
    env: BTreeMap<String, String>,
}

/// A running host. When it is dropped, it is stopped and its books are checked.
#[derive(Debug)]
pub struct TestHost {
    host: Option<Host>,
    folder: Option<Folder>,
    clock: Clock,
}

impl Builder {
    /// A plugin of the tenant `default`, subscribed to everything.
    #[must_use]
    pub fn plugin(self, name: &str, wasm: Vec<u8>) -> Self {
        self.plugin_of("default", name, wasm, "sources = [\"github\"]\nevents = [\"*\"]\n")
    }

    /// A plugin of a tenant with its manifest.
    #[must_use]
    pub fn plugin_of(mut self, tenant: &str, name: &str, wasm: Vec<u8>, manifest: &str) -> Self {
        self.layout.plugins.insert((tenant.to_owned(), name.to_owned()), (wasm, manifest.to_owned()));
        self
    }

    /// Lines at the top of `hookyard.toml`.
    #[must_use]
    pub fn hookyard_toml(mut self, lines: &str) -> Self {
        self.layout.hookyard_toml.push_str(lines);
        self
    }

    /// Lines at the end of every `tenant.toml`.
    #[must_use]
    pub fn tenant_toml(mut self, lines: &str) -> Self {
        self.layout.tenant_toml.push_str(lines);
        self
    }

    /// With RabbitMQ as the queue.
    #[must_use]
    pub fn on(mut self, queue: Queue) -> Self {
        self.layout.rabbitmq = Some(queue);
        self
    }

    /// A variable that secrets may be named by.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Under a clock that the test moves.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the host; when this returns, its door is open, and its plugins serve or were refused.
    pub async fn start(self) -> TestHost {
        let folder = Folder::lay(&self.layout);
        TestHost::start_in(folder, self.clock, self.env).await
    }
}

impl TestHost {
    /// A host without plugins, on the machine's clock.
    pub fn builder() -> Builder {
        Builder { layout: Layout::default(), clock: Clock::system(), env: BTreeMap::new() }
    }

    /// Starts a host on a folder that is there already.
    pub async fn start_on(folder: Folder, clock: Clock) -> Self {
        Self::start_in(folder, clock, BTreeMap::new()).await
    }

    async fn start_in(folder: Folder, clock: Clock, env: BTreeMap<String, String>) -> Self {
        let file = folder.config_file();
        let config = config::load(Some(&file), &env).unwrap_or_else(|problems| panic!("configuration: {problems:#?}"));
        let options = Options {
            clock: clock.clone(),
            compiler: Compiler::InProcess,
            env,
            config_file: Some(file),
            unconfined: Vec::new(),
            dropped_lines: DroppedLines::default(),
            sockets: Sockets::default(),
        };
        let host = Host::start(config, options).await.expect("the host starts");
        tokio::time::timeout(PATIENCE, host.catalog().loaded()).await.expect("the plugins are loaded");
        Self { host: Some(host), folder: Some(folder), clock }
    }

    fn host(&self) -> &Host {
        self.host.as_ref().expect("the host runs until it is dropped")
    }

    /// The folder the host lives in.
    pub fn folder(&self) -> &Folder {
        self.folder.as_ref().expect("the folder is there until the host stops")
    }

    /// The running host.
    pub fn inner(&self) -> &Host {
        self.host()
    }

    /// A sender to the source `github` of the tenant `default`.
    pub fn sender(&self) -> Sender {
        self.sender_to("default")
    }

    /// A sender to the source `github` of a tenant.
    pub fn sender_to(&self, tenant: &str) -> Sender {
        Sender::new(self.host().ingest_address().expect("a host that takes deliveries"), tenant, "github", SECRET)
    }

    /// Moves the test's clock.
    pub fn let_time_pass(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// Waits until `look` finds what it looks for, looking again whenever the host states a fact.
    pub async fn until<T, F>(&self, what: &str, mut look: impl FnMut() -> F) -> T
    where
        F: Future<Output = Option<T>>,
    {
        let mut facts = self.host().observer().subscribe();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                // A burst may overrun the channel: that, too, is a reason to look again. And not everything that changes is a fact.
                let _ = tokio::time::timeout(LOOK_EVERY, facts.recv()).await;
            }
        });
        if let Ok(found) = found.await {
            return found;
        }
        let queues = self.host().ledger().queues().await;
        panic!("{what} did not happen within {PATIENCE:?}; the queues: {queues:?}")
    }

    /// The delivery, once none of its legs is open.
    pub async fn settled(&self, id: DeliveryId) -> DeliveryView {
        self.until(&format!("the settlement of {id}"), || async {
            let view = self.delivery(id).await;
            view.legs.iter().all(|leg| !leg.state.is_open()).then_some(view)
        })
        .await
    }

    /// The delivery as it stands.
    pub async fn delivery(&self, id: DeliveryId) -> DeliveryView {
        self.host().ledger().delivery(id).await.expect("a readable ledger").unwrap_or_else(|| panic!("{id} is in the ledger"))
    }

    /// Waits until every accepted leg is settled.
    pub async fn drained(&self) {
        self.until("the end of all work", || async {
            let queues = self.host().ledger().queues().await.expect("a readable ledger");
            queues.iter().all(|queue| queue.waiting + queue.leased + queue.retry + queue.parked + queue.relayed == 0).then_some(())
        })
        .await;
    }

    /// One leg of a delivery, once it has made its attempts.
    pub async fn leg(&self, id: DeliveryId, plugin: &str) -> LegView {
        let view = self.delivery(id).await;
        view.legs.into_iter().find(|leg| leg.plugin.as_str() == plugin).unwrap_or_else(|| panic!("{id} has a leg for {plugin}"))
    }

    /// Everything the plugins have emitted, oldest first.
    pub async fn emits(&self) -> Vec<EmitView> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.host().ledger().emits(None, None, cursor, 1000).await.expect("a readable ledger");
            all.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                all.reverse();
                return all;
            }
        }
    }

    /// What is known of a plugin, once `wanted` holds for it.
    pub async fn plugin(&self, tenant: &str, name: &str, wanted: impl Fn(&PluginView) -> bool) -> PluginView {
        let tenant: TenantId = tenant.parse().expect("a tenant name");
        let name: PluginName = name.parse().expect("a plugin name");
        self.until(&format!("the wanted state of {name}"), || async {
            let views = self.host().catalog().views(Some(&tenant));
            views.into_iter().find(|view| view.name == name).filter(&wanted)
        })
        .await
    }

    /// Stops the host, checks the books, and gives the folder for another start.
    pub async fn stop(mut self) -> Folder {
        self.close().await;
        self.folder.take().expect("the folder is there until the host stops")
    }

    async fn close(&mut self) {
        let Some(host) = self.host.take() else { return };
        let books = host.ledger().books().await.expect("readable books");
        assert_eq!(books.gap, 0, "the books do not balance: {books:?}");
        assert_eq!(books.accepted, books.routed + books.unrouted, "{books:?}");
        assert_eq!(books.legs, books.by_state.iter().sum::<u64>(), "{books:?}");
        let wrong = host.ledger().recount_stored_bytes().await.expect("countable rows");
        assert_eq!(wrong, 0, "the sums of what tenants have stored are not those of the rows");
        let orphans = host.stop().await;
        assert!(orphans.is_empty(), "runs were still under way: {orphans:?}");
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.host.is_some() {
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(self.close()));
        }
    }
}
