//! The registered metrics. `docs/metrics.md` has a row for each, held to this file by a test.
//!
//! Series are bounded twice: label values come from closed sets (see `labels`), and together they never grow past [`SERIES_MAX`]; what would
//! be a new series beyond it is not made but counted. `plugin_info` keeps one series a plugin: the old version's is dropped by the swap.
//!
//! Queue depths, dead letters and the books are not kept up by events but read at the scrape: a gauge that is recomputed cannot drift.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, family::MetricConstructor, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{
    broker_gauges::BrokerGauges,
    labels::{AttemptLabels, DeliveryLabels, HostCallLabels, Known, PluginLabels, QueueLabels, ResultLabels, StreamLabels, VersionLabels},
    lines::DroppedLines,
    share_gauges::ShareGauges,
};
use crate::{
    delivery::{
        Digest, PluginName, SourceId, StreamName, TenantId,
        view::{QueueView, StreamView},
    },
    shares::Shares,
};

/// Series of counters and histograms in all: far above an honest host (its plugins times a dozen outcomes), far below what hurts a scraper.
pub const SERIES_MAX: usize = 50_000;

/// The gauges that are read when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// The queues, where the broker answered; their absence is what `broker_connected` 0 means.
    pub queues: Option<Vec<QueueView>>,
    /// `Books::gap`, where the ledger answered.
    pub books_gap: Option<u64>,
    /// Bytes in the ledger's write-ahead log.
    pub ledger_log_bytes: u64,
    /// The streams and how far they have come.
    pub streams: Vec<StreamView>,
    /// Plugins whose breaker is not closed.
    pub broken: Vec<(TenantId, PluginName)>,
    /// Parked queues, and how old their oldest leg is.
    pub oldest_parked: Vec<(TenantId, PluginName, Duration)>,
    /// Legs that RabbitMQ is to get; none with the embedded queue.
    pub relay_lag: u64,
    /// What is shared, and what is used of it.
    pub shares: Shares,
}

type Histograms = Family<PluginLabels, Histogram, Buckets>;

/// The registered metrics.
pub struct Metrics {
    registry: Registry,
    deliveries: Family<DeliveryLabels, Counter>,
    accept_duration: Histogram,
    attempts: Family<AttemptLabels, Counter>,
    attempt_duration: Histograms,
    attempt_fuel: Histograms,
    event_age: Histograms,
    queue_depth: Family<QueueLabels, Gauge>,
    dead_letters: Family<PluginLabels, Gauge>,
    plugin_swaps: Family<ResultLabels, Counter>,
    plugin_info: Family<VersionLabels, Gauge>,
    plugin_broken: Family<PluginLabels, Gauge>,
    oldest_parked: Family<PluginLabels, Gauge>,
    breaker_moves: Family<ResultLabels, Counter>,
    circuit_moves: Family<ResultLabels, Counter>,
    host_calls: Family<HostCallLabels, Counter>,
    settlements_void: Family<ResultLabels, Counter>,
    settings_reloads: Family<ResultLabels, Counter>,
    admin_refused: Family<ResultLabels, Counter>,
    stream_published: Family<StreamLabels, Counter>,
    stream_refused: Family<StreamLabels, Counter>,
    stream_failures: Family<StreamLabels, Counter>,
    stream_connected: Family<StreamLabels, Gauge>,
    stream_lag: Family<StreamLabels, Gauge>,
    stream_gap: Family<StreamLabels, Gauge>,
    broker: BrokerGauges,
    shares: ShareGauges,
    books_gap: Gauge,
    ledger_log_bytes: Gauge,
    log_lines_suppressed: Counter,
    log_lines_dropped: DroppedLines,
    series_refused: Counter,
    series: AtomicUsize,
    serving: Mutex<HashMap<PluginLabels, Digest>>,
    scraping: Mutex<()>,
}

/// Makes histograms with these bucket bounds.
#[derive(Clone, Copy)]
struct Buckets(&'static [f64]);

/// From a cached 202 (half a millisecond on an idle disk) to our own deadline (8 s) and GitHub's (10 s), dense where a disk's sync lies.
const ACCEPT_SECONDS: Buckets = Buckets(&[0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 8.0, 10.0]);
/// An empty guest takes some 25 µs, a parsed push 100 µs; the default wall-clock limit is 5 s.
const ATTEMPT_SECONDS: Buckets =
    Buckets(&[0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
/// Half decades up to the default ceiling of a tenant (10^10).
const FUEL: Buckets = Buckets(&[1e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10]);
/// From an idle host (milliseconds) through the back-off (1 s to 1 h a step) to the 72 h after which a leg without a plugin dies.
const AGE_SECONDS: Buckets =
    Buckets(&[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 259_200.0]);

impl Default for Metrics {
    fn default() -> Self {
        Self::new(DroppedLines::default())
    }
}

impl Metrics {
    /// Nothing counted yet but what is counted elsewhere: lines of the log that were dropped.
    pub(super) fn new(dropped: DroppedLines) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("hookyard"),
            deliveries: Family::default(),
            accept_duration: ACCEPT_SECONDS.new_metric(),
            attempts: Family::default(),
            attempt_duration: Family::new_with_constructor(ATTEMPT_SECONDS),
            attempt_fuel: Family::new_with_constructor(FUEL),
            event_age: Family::new_with_constructor(AGE_SECONDS),
            queue_depth: Family::default(),
            dead_letters: Family::default(),
            plugin_swaps: Family::default(),
            plugin_info: Family::default(),
            plugin_broken: Family::default(),
            oldest_parked: Family::default(),
            breaker_moves: Family::default(),
            circuit_moves: Family::default(),
            host_calls: Family::default(),
            settlements_void: Family::default(),
            settings_reloads: Family::default(),
            admin_refused: Family::default(),
            stream_published: Family::default(),
            stream_refused: Family::default(),
            stream_failures: Family::default(),
            stream_connected: Family::default(),
            stream_lag: Family::default(),
            stream_gap: Family::default(),
            broker: BrokerGauges::default(),
            books_gap: Gauge::default(),
            shares: ShareGauges::default(),
            ledger_log_bytes: Gauge::default(),
            log_lines_suppressed: Counter::default(),
            log_lines_dropped: dropped,
            series_refused: Counter::default(),
            series: AtomicUsize::new(0),
            serving: Mutex::default(),
            scraping: Mutex::default(),
        };
        metrics.register_pipeline();
        metrics.register_host();
        metrics.register_streams();
        metrics.shares.register(&mut metrics.registry);
        metrics
    }

    fn register_pipeline(&mut self) {
        let registry = &mut self.registry;
        registry.register("deliveries", "Calls at the door, by answer", self.deliveries.clone());
        registry.register_with_unit(
            "accept_duration",
            "From the first byte of the head to a 2xx; refusals are not in it",
            Unit::Seconds,
            self.accept_duration.clone(),
        );
        registry.register("attempts", "Runs that were settled, by outcome and settlement", self.attempts.clone());
        registry.register_with_unit("attempt_duration", "Time of one run", Unit::Seconds, self.attempt_duration.clone());
        registry.register("attempt_fuel", "Fuel used by one run", self.attempt_fuel.clone());
        registry.register_with_unit("event_age", "From receipt to the leg's settlement", Unit::Seconds, self.event_age.clone());
        registry.register("queue_depth", "Open legs by state", self.queue_depth.clone());
        registry.register_with_unit("oldest_parked", "Age of the oldest leg of a parked queue", Unit::Seconds, self.oldest_parked.clone());
        registry.register("dead_letters", "Dead letters that wait for an operator", self.dead_letters.clone());
        registry.register("host_calls", "What runs asked of the host, by answer", self.host_calls.clone());
        registry.register("settlements_void", "Settlements that changed nothing, by cause", self.settlements_void.clone());
    }

    fn register_host(&mut self) {
        let registry = &mut self.registry;
        registry.register("plugin_swaps", "Plugin versions that came, were refused or went", self.plugin_swaps.clone());
        registry.register("plugin_info", "1 for the version of each plugin that serves", self.plugin_info.clone());
        registry.register("plugin_broken", "1 for each plugin whose queue is parked by its faults or crashes", self.plugin_broken.clone());
        registry.register("plugin_breaker_moves", "Breakers that opened, tried again or closed, and crashes", self.breaker_moves.clone());
        registry.register("upstream_circuit_moves", "Circuits to servers that plugins call, moved", self.circuit_moves.clone());
        registry.register("settings_reloads", "Times the settings files were read again", self.settings_reloads.clone());
        registry.register("admin_refused", "Calls the admin listener refused, by cause", self.admin_refused.clone());
        self.broker.register(registry);
        registry.register("books_gap", "What does not add up between the two counts of everything; must be 0", self.books_gap.clone());
        registry.register_with_unit("ledger_log", "In the write-ahead log after a commit", Unit::Bytes, self.ledger_log_bytes.clone());
        registry.register("log_lines_suppressed", "Sampled log lines that were not written", self.log_lines_suppressed.clone());
        registry.register(
            "log_lines_dropped",
            "Log lines that nobody took in time, or that could not be written",
            self.log_lines_dropped.0.clone(),
        );
        registry.register("series_refused", "Observations dropped because their metric has too many series", self.series_refused.clone());
    }

    fn register_streams(&mut self) {
        let registry = &mut self.registry;
        registry.register("stream_published", "Deliveries and emits that were sent on and confirmed", self.stream_published.clone());
        registry.register("stream_refused", "Of them, what a full queue of an onlooker refused", self.stream_refused.clone());
        registry.register("stream_failures", "Connections of a stream that were given up", self.stream_failures.clone());
        registry.register("stream_connected", "Whether the stream has a connection at this scrape", self.stream_connected.clone());
        registry.register("stream_lag", "Positions between a stream and the newest", self.stream_lag.clone());
        registry.register("stream_gap", "What a stream will never publish", self.stream_gap.clone());
    }

    /// Applies `act` to the series with these labels, unless it would be one too many.
    fn with<L, M, C>(&self, family: &Family<L, M, C>, labels: &L, act: impl Fn(&M))
    where
        L: Clone + Eq + Hash,
        C: MetricConstructor<M>,
    {
        if let Some(metric) = family.get(labels) {
            return act(&metric);
        }
        // The guard is gone here: taking the family's lock again under it could deadlock with a waiting writer.
        if self.series.fetch_add(1, Ordering::Relaxed) < SERIES_MAX {
            act(&family.get_or_create(labels));
        } else {
            self.series.fetch_sub(1, Ordering::Relaxed);
            self.series_refused.inc();
        }
    }

    pub(super) fn delivery(&self, tenant: Option<&TenantId>, source: Option<&SourceId>, code: &'static str) {
        let labels = DeliveryLabels { tenant: Known::of(tenant), source: Known::of(source), code };
        self.with(&self.deliveries, &labels, |counter| _ = counter.inc());
    }

    pub(super) fn accepted_in(&self, took: Duration) {
        self.accept_duration.observe(took.as_secs_f64());
    }

    pub(super) fn attempt(&self, plugin: &PluginLabels, outcome: &'static str, settlement: &'static str) {
        let labels = AttemptLabels { tenant: plugin.tenant.clone(), plugin: plugin.plugin.clone(), outcome, settlement };
        self.with(&self.attempts, &labels, |counter| _ = counter.inc());
    }

    #[expect(clippy::cast_precision_loss, reason = "fuel is put into buckets half a decade wide")]
    pub(super) fn run(&self, plugin: &PluginLabels, took: Duration, fuel: u64) {
        self.with(&self.attempt_duration, plugin, |histogram| histogram.observe(took.as_secs_f64()));
        self.with(&self.attempt_fuel, plugin, |histogram| histogram.observe(fuel as f64));
    }

    pub(super) fn settled_at_age(&self, plugin: &PluginLabels, age: Duration) {
        self.with(&self.event_age, plugin, |histogram| histogram.observe(age.as_secs_f64()));
    }

    pub(super) fn host_calls(&self, call: &str, result: &'static str, count: u64) {
        let labels = HostCallLabels { call: call.to_owned(), result };
        self.with(&self.host_calls, &labels, |counter| _ = counter.inc_by(count));
    }

    pub(super) fn settlement_void(&self, result: &'static str) {
        self.with(&self.settlements_void, &ResultLabels { result }, |counter| _ = counter.inc());
    }

    pub(super) fn plugin_swap(&self, result: &'static str) {
        self.with(&self.plugin_swaps, &ResultLabels { result }, |counter| _ = counter.inc());
    }

    pub(super) fn breaker_move(&self, result: &'static str) {
        self.with(&self.breaker_moves, &ResultLabels { result }, |counter| _ = counter.inc());
    }

    pub(super) fn circuit_move(&self, result: &'static str) {
        self.with(&self.circuit_moves, &ResultLabels { result }, |counter| _ = counter.inc());
    }

    pub(super) fn settings_reload(&self, result: &'static str) {
        self.with(&self.settings_reloads, &ResultLabels { result }, |counter| _ = counter.inc());
    }

    pub(super) fn admin_refused(&self, result: &'static str) {
        self.with(&self.admin_refused, &ResultLabels { result }, |counter| _ = counter.inc());
    }

    /// What is counted and read of RabbitMQ.
    pub(super) fn broker(&self) -> &BrokerGauges {
        &self.broker
    }

    pub(super) fn stream_published(&self, stream: &StreamName, count: usize) {
        self.with(&self.stream_published, &StreamLabels { stream: stream.clone() }, |counter| _ = counter.inc_by(count as u64));
    }

    pub(super) fn stream_refused(&self, stream: &StreamName, count: usize) {
        self.with(&self.stream_refused, &StreamLabels { stream: stream.clone() }, |counter| _ = counter.inc_by(count as u64));
    }

    pub(super) fn stream_failed(&self, stream: &StreamName) {
        self.with(&self.stream_failures, &StreamLabels { stream: stream.clone() }, |counter| _ = counter.inc());
    }

    pub(super) fn log_line_suppressed(&self) {
        self.log_lines_suppressed.inc();
    }

    /// The version that serves now; none where the plugin is gone. Whatever served before loses its series.
    pub(super) fn serves(&self, tenant: &TenantId, plugin: &PluginName, digest: Option<Digest>) {
        let key = PluginLabels { tenant: tenant.clone(), plugin: plugin.clone() };
        let version = |digest| VersionLabels { tenant: tenant.clone(), plugin: plugin.clone(), digest };
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match digest {
            Some(digest) => serving.insert(key, digest),
            None => serving.remove(&key),
        };
        if let Some(before) = before.filter(|before| Some(*before) != digest) {
            self.plugin_info.remove(&version(before));
        }
        if let Some(digest) = digest {
            self.plugin_info.get_or_create(&version(digest)).set(1);
        }
    }

    /// Everything in the `OpenMetrics` text format, the gauges as of `scrape`.
    pub(super) fn encode(&self, scrape: &Scrape) -> String {
        // One scrape at a time: another one must not see the queue gauges between their removal and their return.
        let _one = self.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_gauges(scrape);
        let mut text = String::with_capacity(16 * 1024);
        match text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(fmt::Error) => "# EOF\n".to_owned(),
        }
    }

    fn set_gauges(&self, scrape: &Scrape) {
        self.broker.set(scrape.queues.is_some(), scrape.relay_lag);
        if let Some(gap) = scrape.books_gap {
            self.books_gap.set(i64::try_from(gap).unwrap_or(i64::MAX));
        }
        let value = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.ledger_log_bytes.set(value(scrape.ledger_log_bytes));
        for stream in &scrape.streams {
            let labels = StreamLabels { stream: stream.name.clone() };
            self.stream_connected.get_or_create(&labels).set(i64::from(stream.connected));
            self.stream_lag.get_or_create(&labels).set(value(stream.lag));
            self.stream_gap.get_or_create(&labels).set(value(stream.gap));
        }
        self.shares.set(&scrape.shares);
        self.plugin_broken.clear();
        for (tenant, plugin) in &scrape.broken {
            self.plugin_broken.get_or_create(&PluginLabels { tenant: tenant.clone(), plugin: plugin.clone() }).set(1);
        }
        self.oldest_parked.clear();
        for (tenant, plugin, age) in &scrape.oldest_parked {
            let labels = PluginLabels { tenant: tenant.clone(), plugin: plugin.clone() };
            self.oldest_parked.get_or_create(&labels).set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        }
        self.queue_depth.clear();
        self.dead_letters.clear();
        for queue in scrape.queues.iter().flatten() {
            let open = [
                ("waiting", queue.waiting),
                ("leased", queue.leased),
                ("retry", queue.retry),
                ("parked", queue.parked),
                ("relayed", queue.relayed),
            ];
            for (state, count) in open {
                let labels = QueueLabels { tenant: queue.tenant.clone(), plugin: queue.plugin.clone(), state };
                self.queue_depth.get_or_create(&labels).set(value(count));
            }
            let labels = PluginLabels { tenant: queue.tenant.clone(), plugin: queue.plugin.clone() };
            self.dead_letters.get_or_create(&labels).set(value(queue.dead));
        }
    }
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
