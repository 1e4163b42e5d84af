//! The tables, step by step, from the first schema to this one.

/// What brings a database from each schema to the next: the first entry creates schema 1, the second leads from 1 to 2, and so on. A step that
/// was ever released is frozen; a change of the tables is a new step at the end.
pub(super) const STEPS: [&str; 11] =
    [CREATE, SHELVE_PLUGINS, STREAMS, KEEP_ASKED_DELAYS, RELAY, KEEPER, SEAL, STORED, CRASHED_PLUGINS, TRIED, KEPT_REPORTS];

/// `deliveries.id_reused` and the like are 0 or 1; states are the numbers of `rows::code`; times are Unix milliseconds.
const CREATE: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counters(
  id INTEGER PRIMARY KEY CHECK (id = 1), commits INTEGER NOT NULL, seq INTEGER NOT NULL, mark INTEGER NOT NULL,
  accepted INTEGER NOT NULL, routed INTEGER NOT NULL, unrouted INTEGER NOT NULL, legs INTEGER NOT NULL,
  gone INTEGER NOT NULL, gone_acked INTEGER NOT NULL, gone_skipped INTEGER NOT NULL, gone_dead INTEGER NOT NULL,
  gone_discarded INTEGER NOT NULL);
INSERT INTO counters VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
CREATE TABLE queues(id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, plugin TEXT NOT NULL, UNIQUE (tenant, plugin));
CREATE TABLE deliveries(
  seq INTEGER PRIMARY KEY, id BLOB NOT NULL, tenant TEXT NOT NULL, source TEXT NOT NULL, provider_id TEXT NOT NULL, hook_id TEXT,
  event TEXT NOT NULL, action TEXT, repository TEXT, installation_id INTEGER, received_ms INTEGER NOT NULL, form INTEGER NOT NULL,
  headers TEXT NOT NULL, body_sha256 BLOB NOT NULL, body_bytes INTEGER NOT NULL, leg_count INTEGER NOT NULL,
  id_reused INTEGER NOT NULL, body_seen INTEGER NOT NULL);
CREATE INDEX deliveries_provider ON deliveries(provider_id);
CREATE TABLE bodies(seq INTEGER PRIMARY KEY, checksum BLOB NOT NULL, document BLOB NOT NULL, raw BLOB);
CREATE TABLE dedup(id BLOB PRIMARY KEY, seq INTEGER NOT NULL, expires_ms INTEGER) WITHOUT ROWID;
CREATE INDEX dedup_expires ON dedup(expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE seen_bodies(body BLOB PRIMARY KEY, origin BLOB NOT NULL, seq INTEGER NOT NULL, expires_ms INTEGER) WITHOUT ROWID;
CREATE INDEX seen_bodies_expires ON seen_bodies(expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE legs(
  seq INTEGER NOT NULL, queue INTEGER NOT NULL, state INTEGER NOT NULL, generation INTEGER NOT NULL, attempts INTEGER NOT NULL,
  runs INTEGER NOT NULL, crashes INTEGER NOT NULL, body_bytes INTEGER NOT NULL, due_ms INTEGER, settled_ms INTEGER, mark INTEGER,
  reason TEXT, PRIMARY KEY (seq, queue)) WITHOUT ROWID;
CREATE INDEX legs_open ON legs(seq, queue, due_ms, body_bytes) WHERE state < 4;
CREATE INDEX legs_dead ON legs(mark, queue) WHERE state = 6;
CREATE TABLE attempts(
  seq INTEGER NOT NULL, queue INTEGER NOT NULL, run INTEGER NOT NULL, generation INTEGER NOT NULL, attempt INTEGER NOT NULL,
  started_ms INTEGER NOT NULL, duration_us INTEGER NOT NULL, outcome TEXT NOT NULL, settlement TEXT NOT NULL, detail TEXT NOT NULL,
  fuel INTEGER NOT NULL, memory_bytes INTEGER NOT NULL, digest BLOB, logs TEXT, host_calls TEXT,
  PRIMARY KEY (seq, queue, run)) WITHOUT ROWID;
CREATE TABLE emits(
  mark INTEGER PRIMARY KEY, seq INTEGER NOT NULL, queue INTEGER NOT NULL, generation INTEGER NOT NULL, position INTEGER NOT NULL,
  name TEXT NOT NULL, content_type TEXT NOT NULL, body BLOB NOT NULL, emitted_ms INTEGER NOT NULL);
CREATE INDEX emits_seq ON emits(seq);
CREATE TABLE kv(
  queue INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, value BLOB NOT NULL, expires_ms INTEGER,
  PRIMARY KEY (queue, key)) WITHOUT ROWID;
CREATE INDEX kv_expires ON kv(expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE kv_usage(queue INTEGER PRIMARY KEY, keys INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE once(
  seq INTEGER NOT NULL, queue INTEGER NOT NULL, key TEXT NOT NULL, answer BLOB, PRIMARY KEY (seq, queue, key)) WITHOUT ROWID;
CREATE TABLE kept_plugins(
  mark INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL, wasm BLOB NOT NULL, manifest BLOB NOT NULL);
CREATE INDEX kept_plugins_name ON kept_plugins(tenant, name, mark);
INSERT INTO meta VALUES ('schema', 1), ('clean', 1);
";

/// Versions get the time they began to serve at, ahead of their bytes, so that a list reads no blob; pauses and holds get a place.
const SHELVE_PLUGINS: &str = "
ALTER TABLE kept_plugins RENAME TO kept_plugins_1;
DROP INDEX kept_plugins_name;
CREATE TABLE kept_plugins(
  mark INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL, served_ms INTEGER NOT NULL,
  manifest BLOB NOT NULL, wasm BLOB NOT NULL);
INSERT INTO kept_plugins SELECT mark, tenant, name, digest, 0, manifest, wasm FROM kept_plugins_1;
DROP TABLE kept_plugins_1;
CREATE INDEX kept_plugins_name ON kept_plugins(tenant, name, mark);
CREATE TABLE plugin_pauses(tenant TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (tenant, name)) WITHOUT ROWID;
CREATE TABLE plugin_holds(
  tenant TEXT NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, name, digest)) WITHOUT ROWID;
";

/// How far each stream has come; `followed` is 0 for deliveries and 1 for emits, `held` is 1 while retention waits for it.
const STREAMS: &str = "
CREATE TABLE streams(
  name TEXT NOT NULL, followed INTEGER NOT NULL, position INTEGER NOT NULL, gap INTEGER NOT NULL, held INTEGER NOT NULL,
  PRIMARY KEY (name, followed)) WITHOUT ROWID;
";

/// The delay a plugin asks for is part of its verdict: a replay compares it.
const KEEP_ASKED_DELAYS: &str = "ALTER TABLE attempts ADD COLUMN retry_after_ms INTEGER;";

/// Legs may be in RabbitMQ's keeping, and deliveries may come from another host with a leg. `adopted` has the sequence of each of those,
/// `instance` tells this ledger from others.
const RELAY: &str = "
ALTER TABLE counters ADD COLUMN gone_relayed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN adopted INTEGER NOT NULL DEFAULT 0;
CREATE TABLE adopted(seq INTEGER PRIMARY KEY);
INSERT INTO meta VALUES ('instance', random() & 9223372036854775807);
";

/// Which RabbitMQ has the legs that are in RabbitMQ's keeping.
const KEEPER: &str = "CREATE TABLE keeper(id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL);";

/// The two columns that seal a row: `seal` over the columns that are named, and whether it still holds.
macro_rules! sealed {
    ($columns:literal) => {
        concat!(
            "seal INTEGER NOT NULL AS (seal_of(",
            $columns,
            ")) STORED, sound INTEGER NOT NULL AS (seal IS seal_of(",
            $columns,
            ")) VIRTUAL"
        )
    };
}

/// Rows that change after their delivery was accepted are sealed (`seal`). A stored column cannot be added to a table, so each is made anew.
/// What was accepted is under its body's checksum, but for the columns that are sealed here.
const SEAL: &str = concat!(
    "
ALTER TABLE counters RENAME TO counters_6;
CREATE TABLE counters(
  id INTEGER PRIMARY KEY CHECK (id = 1), commits INTEGER NOT NULL, seq INTEGER NOT NULL, mark INTEGER NOT NULL,
  accepted INTEGER NOT NULL, routed INTEGER NOT NULL, unrouted INTEGER NOT NULL, legs INTEGER NOT NULL,
  gone INTEGER NOT NULL, gone_acked INTEGER NOT NULL, gone_skipped INTEGER NOT NULL, gone_dead INTEGER NOT NULL,
  gone_discarded INTEGER NOT NULL, gone_relayed INTEGER NOT NULL, adopted INTEGER NOT NULL, ",
    sealed!(
        "id, commits, seq, mark, accepted, routed, unrouted, legs, gone, gone_acked, gone_skipped, gone_dead, gone_discarded, gone_relayed,
  adopted"
    ),
    ");
INSERT INTO counters SELECT * FROM counters_6;
DROP TABLE counters_6;

ALTER TABLE queues RENAME TO queues_6;
CREATE TABLE queues(
  id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, plugin TEXT NOT NULL, ",
    sealed!("id, tenant, plugin"),
    ", UNIQUE (tenant, plugin));
INSERT INTO queues SELECT * FROM queues_6;
DROP TABLE queues_6;

ALTER TABLE deliveries RENAME TO deliveries_6;
CREATE TABLE deliveries(
  seq INTEGER PRIMARY KEY, id BLOB NOT NULL, tenant TEXT NOT NULL, source TEXT NOT NULL, provider_id TEXT NOT NULL, hook_id TEXT,
  event TEXT NOT NULL, action TEXT, repository TEXT, installation_id INTEGER, received_ms INTEGER NOT NULL, form INTEGER NOT NULL,
  headers TEXT NOT NULL, body_sha256 BLOB NOT NULL, body_bytes INTEGER NOT NULL, leg_count INTEGER NOT NULL,
  id_reused INTEGER NOT NULL, body_seen INTEGER NOT NULL, ",
    sealed!("seq, id, body_bytes, leg_count, id_reused, body_seen"),
    ");
INSERT INTO deliveries SELECT * FROM deliveries_6;
DROP TABLE deliveries_6;
CREATE INDEX deliveries_provider ON deliveries(provider_id);

ALTER TABLE legs RENAME TO legs_6;
CREATE TABLE legs(
  seq INTEGER NOT NULL, queue INTEGER NOT NULL, state INTEGER NOT NULL, generation INTEGER NOT NULL, attempts INTEGER NOT NULL,
  runs INTEGER NOT NULL, crashes INTEGER NOT NULL, body_bytes INTEGER NOT NULL, due_ms INTEGER, settled_ms INTEGER, mark INTEGER,
  reason TEXT, ",
    sealed!("seq, queue, state, generation, attempts, runs, crashes, body_bytes, due_ms, settled_ms, mark, reason"),
    ", PRIMARY KEY (seq, queue)) WITHOUT ROWID;
INSERT INTO legs SELECT * FROM legs_6;
DROP TABLE legs_6;
CREATE INDEX legs_open ON legs(seq, queue, due_ms, body_bytes) WHERE state < 4;
CREATE INDEX legs_dead ON legs(mark, queue) WHERE state = 6;

ALTER TABLE attempts RENAME TO attempts_6;
CREATE TABLE attempts(
  seq INTEGER NOT NULL, queue INTEGER NOT NULL, run INTEGER NOT NULL, generation INTEGER NOT NULL, attempt INTEGER NOT NULL,
  started_ms INTEGER NOT NULL, duration_us INTEGER NOT NULL, outcome TEXT NOT NULL, settlement TEXT NOT NULL, detail TEXT NOT NULL,
  fuel INTEGER NOT NULL, memory_bytes INTEGER NOT NULL, digest BLOB, logs TEXT, host_calls TEXT, retry_after_ms INTEGER, ",
    sealed!(
        "seq, queue, run, generation, attempt, started_ms, duration_us, outcome, settlement, detail, fuel, memory_bytes, digest, logs,
  host_calls, retry_after_ms"
    ),
    ", PRIMARY KEY (seq, queue, run)) WITHOUT ROWID;
INSERT INTO attempts SELECT * FROM attempts_6;
DROP TABLE attempts_6;

ALTER TABLE emits RENAME TO emits_6;
CREATE TABLE emits(
  mark INTEGER PRIMARY KEY, seq INTEGER NOT NULL, queue INTEGER NOT NULL, generation INTEGER NOT NULL, position INTEGER NOT NULL,
  name TEXT NOT NULL, content_type TEXT NOT NULL, body BLOB NOT NULL, emitted_ms INTEGER NOT NULL, ",
    sealed!("mark, seq, queue, generation, position, name, content_type, body, emitted_ms"),
    ");
INSERT INTO emits SELECT * FROM emits_6;
DROP TABLE emits_6;
CREATE INDEX emits_seq ON emits(seq);

ALTER TABLE kv RENAME TO kv_6;
CREATE TABLE kv(
  queue INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, value BLOB NOT NULL, expires_ms INTEGER, ",
    sealed!("queue, key, version, value, expires_ms"),
    ", PRIMARY KEY (queue, key)) WITHOUT ROWID;
INSERT INTO kv SELECT * FROM kv_6;
DROP TABLE kv_6;
CREATE INDEX kv_expires ON kv(expires_ms) WHERE expires_ms IS NOT NULL;

ALTER TABLE once RENAME TO once_6;
CREATE TABLE once(
  seq INTEGER NOT NULL, queue INTEGER NOT NULL, key TEXT NOT NULL, answer BLOB, ",
    sealed!("seq, queue, key, answer"),
    ", PRIMARY KEY (seq, queue, key)) WITHOUT ROWID;
INSERT INTO once SELECT * FROM once_6;
DROP TABLE once_6;

ALTER TABLE streams RENAME TO streams_6;
CREATE TABLE streams(
  name TEXT NOT NULL, followed INTEGER NOT NULL, position INTEGER NOT NULL, gap INTEGER NOT NULL, held INTEGER NOT NULL, ",
    sealed!("name, followed, position, gap, held"),
    ", PRIMARY KEY (name, followed)) WITHOUT ROWID;
INSERT INTO streams SELECT * FROM streams_6;
DROP TABLE streams_6;
"
);

/// What each tenant has stored, counted from the rows this once. Ids that outlive their delivery say whose they are from here on; older ones
/// are nobody's. `removed_plugins` has when it was first seen that a plugin with values is gone.
const STORED: &str = concat!(
    "
ALTER TABLE dedup ADD COLUMN tenant TEXT;
ALTER TABLE seen_bodies ADD COLUMN tenant TEXT;
CREATE TABLE removed_plugins(tenant TEXT NOT NULL, name TEXT NOT NULL, since_ms INTEGER NOT NULL, PRIMARY KEY (tenant, name)) WITHOUT ROWID;
CREATE TABLE stored(
  tenant TEXT PRIMARY KEY, bytes INTEGER NOT NULL, ",
    sealed!("tenant, bytes"),
    ") WITHOUT ROWID;
INSERT INTO stored(tenant, bytes) SELECT tenant, sum(bytes) FROM (
  SELECT tenant, 512 + octet_length(headers) + octet_length(provider_id) + octet_length(event) + ifnull(octet_length(hook_id), 0)
    + ifnull(octet_length(action), 0) + ifnull(octet_length(repository), 0) AS bytes FROM deliveries
  UNION ALL SELECT d.tenant, octet_length(document) + ifnull(octet_length(raw), 0) FROM bodies JOIN deliveries d USING (seq)
  UNION ALL SELECT q.tenant, 256 FROM legs l JOIN queues q ON q.id = l.queue
  UNION ALL SELECT q.tenant, 256 + octet_length(detail) + ifnull(octet_length(logs), 0) + ifnull(octet_length(host_calls), 0)
    FROM attempts a JOIN queues q ON q.id = a.queue
  UNION ALL SELECT q.tenant, 128 + octet_length(name) + octet_length(content_type) + octet_length(body)
    FROM emits e JOIN queues q ON q.id = e.queue
  UNION ALL SELECT q.tenant, 64 + octet_length(key) + octet_length(value) FROM kv k JOIN queues q ON q.id = k.queue
  UNION ALL SELECT q.tenant, 64 + octet_length(key) + ifnull(octet_length(answer), 0) FROM once o JOIN queues q ON q.id = o.queue
  UNION ALL SELECT tenant, 256 + octet_length(manifest) + octet_length(wasm) FROM kept_plugins
) GROUP BY tenant;
"
);

/// Plugins that are parked because the host died twice in their runs; `seq` is the delivery of the second one.
const CRASHED_PLUGINS: &str = "
CREATE TABLE crashed_plugins(
  tenant TEXT NOT NULL, name TEXT NOT NULL, digest BLOB, seq INTEGER NOT NULL, detail TEXT NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)) WITHOUT ROWID;
";

/// When the first counted attempt of a leg's generation began: a leg is retried for a time. A table of its own, because most legs have none. What
/// waits for a retry now has had its first attempt as its records say.
const TRIED: &str = concat!(
    "
CREATE TABLE tried(
  seq INTEGER NOT NULL, queue INTEGER NOT NULL, generation INTEGER NOT NULL, began_ms INTEGER NOT NULL, ",
    sealed!("seq, queue, generation, began_ms"),
    ", PRIMARY KEY (seq, queue)) WITHOUT ROWID;
INSERT INTO tried(seq, queue, generation, began_ms) SELECT l.seq, l.queue, l.generation, min(a.started_ms)
  FROM legs l JOIN attempts a ON a.seq = l.seq AND a.queue = l.queue AND a.generation = l.generation
  WHERE l.state < 4 AND l.attempts > 0 GROUP BY l.seq, l.queue;
"
);

/// What the examination of a kept version found, as JSON; and why the version was taken back, where it was.
const KEPT_REPORTS: &str = "
ALTER TABLE kept_plugins ADD COLUMN report TEXT;
ALTER TABLE kept_plugins ADD COLUMN taken_back TEXT;
";
