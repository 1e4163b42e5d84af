//! The start, one part after the other.

use std::sync::Arc;

use anyhow::Context as _;

use super::{
    Host, Options,
    queue::Queue,
    reload::{self, Reloader},
    upkeep,
};
use crate::{
    admin::{self, Admin},
    broker::amqp,
    catalog::{self, Catalog},
    config::{self, Config},
    egress::Egress,
    ingest::{self, Door},
    ledger::Ledger,
    observe::{Observer, Readiness, StreamBoard},
    runtime::{self, Runtime},
    streams,
    tasks::Tasks,
    tenants::{Directory, Tenants},
    work::{self, Workers},
};

/// What every later part is built from.
struct Foundation {
    config: Arc<Config>,
    options: Options,
    ledger: Ledger,
    queue: Queue,
    tenants: Tenants,
    observer: Observer,
    readiness: Readiness,
    board: StreamBoard,
    runtime: Runtime,
    egress: Egress,
    catalog: Catalog,
    reloader: Reloader,
}

pub(super) async fn start(config: Config, options: Options) -> anyhow::Result<Host> {
    let parts = lay(config, options).await?;
    parts.readiness.block("starting", "what subscribes is being read");
    let roles = parts.config.roles;
    let admin = if roles.admin {
        Some(Admin::open(parts.config.admin.clone(), parts.for_admin()).await.context("the admin listener")?)
    } else {
        None
    };
    let tasks = Tasks::new();
    parts.catalog.load(&tasks).await;
    parts.catalog.watch(&tasks);
    streams::start(&parts.config.streams, &parts.for_streams(), &tasks).await.context("the cursors of the streams")?;
    upkeep::start(&tasks, &parts.ledger, &parts.options.clock);
    upkeep::inspect(&tasks, &parts.ledger, &parts.readiness);
    parts.reloader.watch(&tasks, &parts.options.clock);
    upkeep::note_crashed(&tasks, &parts.catalog, &parts.readiness);
    upkeep::note_compiling(&tasks, &parts.catalog, &parts.readiness);
    upkeep::tell_loaded(&tasks, &parts.catalog, &parts.options.clock);
    let workers = if roles.work { Some(Workers::start(&parts.config.work, parts.for_work())?) } else { None };
    let door = if roles.ingest {
        Some(Door::open(parts.config.ingest.clone(), parts.for_ingest()).await.context("the ingest listener")?)
    } else {
        None
    };
    parts.readiness.clear("starting");
    let (ingest_at, admin_at) = (door.as_ref().map(|door| &door.listen), admin.as_ref().map(|admin| admin.address));
    let (ingest, admin_listener) = (ingest_at.map(tracing::field::display), admin_at.map(tracing::field::display));
    tracing::info!(ingest, admin = admin_listener, %roles, "host_started");
    let clock = parts.options.clock.clone();
    let Foundation { config, ledger, queue, observer, readiness, board, catalog, reloader, .. } = parts;
    Ok(Host { ledger, catalog, reloader, clock, observer, readiness, board, config, tasks, queue, workers, admin, door })
}

async fn lay(config: Config, options: Options) -> anyhow::Result<Foundation> {
    let observer = Observer::of(options.clock.clone(), options.dropped_lines.clone());
    config::keep_admin_token(&config).context("the admin token")?;
    config::keep_amqp_key(&config).context("the key of messages at RabbitMQ")?;
    let ledger = {
        let (settings, clock) = (config.ledger.clone(), options.clock.clone());
        // Recovery reads and checkpoints the whole log: not on a thread that others wait for.
        tokio::task::spawn_blocking(move || Ledger::open(settings, clock)).await??
    };
    let books = ledger.books().await?;
    anyhow::ensure!(books.gap == 0, "the books of the ledger do not balance after recovery (gap {}); restore a backup", books.gap);
    let tenants = Tenants::default();
    let (directory, problems) = config::load_tenants(&config, &options.env, &Directory::default());
    if !problems.is_empty() {
        reload::say(&problems, &observer);
    }
    ledger.allow(directory.quotas());
    tenants.replace(directory);
    let runtime = Runtime::new(runtime::Settings { compiler: options.compiler.clone(), ..config.runtime.clone() })?;
    runtime.prove_bounds().await.context("the sandbox failed its self-test")?;
    let egress = Egress::new(config.egress.clone(), options.clock.clone())?;
    let catalog = Catalog::new(
        config.catalog.clone(),
        catalog::Parts {
            runtime: runtime.clone(),
            tenants: tenants.clone(),
            ledger: ledger.clone(),
            observer: observer.clone(),
            clock: options.clock.clone(),
        },
    );
    let (readiness, board) = (Readiness::new(), StreamBoard::default());
    if !options.unconfined.is_empty() {
        readiness.note("not_confined", options.unconfined.join("; "));
    }
    let for_queue =
        amqp::Parts { ledger: ledger.clone(), clock: options.clock.clone(), observer: observer.clone(), readiness: readiness.clone() };
    let queue = Queue::start(&config.broker, config.roles, for_queue).await?;
    let config = Arc::new(config);
    let renewed = reload::Parts { tenants: tenants.clone(), ledger: ledger.clone(), egress: egress.clone(), observer: observer.clone() };
    let reloader = Reloader::new(&config, (options.env.clone(), options.config_file.clone()), renewed);
    Ok(Foundation { config, options, ledger, queue, tenants, observer, readiness, board, runtime, egress, catalog, reloader })
}

impl Foundation {
    fn for_admin(&self) -> admin::Parts {
        admin::Parts {
            ledger: self.ledger.clone(),
            broker: self.queue.broker(),
            shares: self.config.shares.clone(),
            dead_letters: self.queue.dead_letters(),
            catalog: self.catalog.clone(),
            tenants: self.tenants.clone(),
            observer: self.observer.clone(),
            readiness: self.readiness.clone(),
            streams: self.board.clone(),
            clock: self.options.clock.clone(),
            reload: {
                let reloader = self.reloader.clone();
                Arc::new(move || reloader.reload())
            },
            sockets: self.options.sockets.clone(),
        }
    }

    fn for_streams(&self) -> streams::Parts {
        streams::Parts {
            ledger: self.ledger.clone(),
            observer: self.observer.clone(),
            board: self.board.clone(),
            clock: self.options.clock.clone(),
        }
    }

    fn for_work(&self) -> work::Parts {
        work::Parts {
            broker: self.queue.broker(),
            catalog: self.catalog.clone(),
            runtime: self.runtime.clone(),
            ledger: self.ledger.clone(),
            egress: self.egress.clone(),
            observer: self.observer.clone(),
            clock: self.options.clock.clone(),
        }
    }

    fn for_ingest(&self) -> ingest::Parts {
        ingest::Parts {
            tenants: self.tenants.clone(),
            catalog: self.catalog.clone(),
            broker: self.queue.broker(),
            observer: self.observer.clone(),
            clock: self.options.clock.clone(),
            readiness: self.readiness.clone(),
            sockets: self.options.sockets.clone(),
        }
    }
}
