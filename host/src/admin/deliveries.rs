//! Deliveries, dead letters and emitted events: what came, what died, what came of it.

use axum::{
    extract::{Path, State},
    http::{StatusCode, Uri},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Parts,
    json::Json,
    problem::Problem,
    query::{Named, known, limit, parse},
};
use crate::{
    broker::{DeadLetterChange, DeadLetterFilter},
    delivery::{
        DeliveryId, IdPrefix, LegId, LegState, ParseIdError, PluginName, SourceId, TenantId, Timestamp,
        view::{DeadLetterView, DeliveryStatus, DeliveryView, EmitView, Page},
    },
    ledger::{DeliveryFilter, Rerun, RunNow},
};

/// Ids that are named where a beginning fits several.
const MEANT_MAX: usize = 5;

type Answer<T> = Result<Json<T>, Problem>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DeliveryQuery {
    tenant: Option<TenantId>,
    source: Option<SourceId>,
    event: Option<String>,
    action: Option<String>,
    status: Option<DeliveryStatus>,
    plugin: Option<PluginName>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    q: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RerunQuery {
    plugin: Option<PluginName>,
    all_plugins: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PluginQuery {
    tenant: Option<TenantId>,
    plugin: Option<PluginName>,
    cursor: Option<String>,
    limit: Option<usize>,
}

impl PluginQuery {
    fn named(&self) -> Named {
        Named { tenant: self.tenant.clone(), source: None, plugin: self.plugin.clone() }
    }
}

/// What is to be done with a dead letter.
#[derive(Clone, Copy)]
enum Verb {
    Replay,
    Discard,
}

pub(super) async fn deliveries(State(parts): State<Parts>, uri: Uri) -> Answer<Page<DeliveryView>> {
    let query: DeliveryQuery = parse(&uri)?;
    let named = Named { tenant: query.tenant.clone(), source: query.source.clone(), plugin: query.plugin.clone() };
    let filter = DeliveryFilter {
        tenant: query.tenant,
        source: query.source,
        event: query.event,
        action: query.action,
        status: query.status,
        plugin: query.plugin,
        since: query.since,
        until: query.until,
        text: query.q,
    };
    let page = parts.ledger.deliveries(filter, query.cursor, limit(query.limit)?).await?;
    known(&parts, &named, page).map(Json)
}

pub(super) async fn delivery(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<DeliveryView> {
    Ok(Json(find(&parts, &id).await?))
}

pub(super) async fn replay_delivery(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let RerunQuery { plugin, all_plugins } = parse(&uri)?;
    let found = find(&parts, &id).await?;
    let matching = parts.catalog.route(&found.tenant, &found.source, &found.event, found.action.as_deref());
    let nothing = nothing_to_replay(&found, plugin.as_ref());
    match parts.ledger.rerun_delivery(found.delivery_id, Rerun { plugin, acked_too: all_plugins, matching }).await? {
        0 => Err(nothing),
        legs => Ok((StatusCode::ACCEPTED, Json(json!({"delivery_id": found.delivery_id, "legs": legs})))),
    }
}

/// Why no leg runs, and what could be meant instead.
fn nothing_to_replay(found: &DeliveryView, named: Option<&PluginName>) -> Problem {
    let legs: Vec<String> = found.legs.iter().map(|leg| format!("{}={}", leg.plugin, leg.state.slug())).collect();
    let legs = if legs.is_empty() { "it has no legs".to_owned() } else { format!("its legs: {}", legs.join(", ")) };
    let detail = match named {
        Some(plugin) => format!("no leg of `{plugin}` is settled, and it does not subscribe to this delivery ({legs})"),
        None => format!(
            "no leg is settled without being acked, and no other plugin subscribes to this delivery ({legs}); acked ones run again with \
             `--all-plugins` or `--plugin NAME`, one in `retry` with `hookyard legs run-now {}.PLUGIN`",
            found.delivery_id
        ),
    };
    Problem::new(StatusCode::CONFLICT, "nothing_to_replay", detail)
}

pub(super) async fn run_now(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<Value> {
    let leg = leg_of(&parts, &id).await?;
    match parts.ledger.run_now(&leg).await? {
        RunNow::Done => {
            let view = parts.ledger.delivery(leg.delivery).await?;
            let state = view.and_then(|view| view.legs.into_iter().find(|found| found.plugin == leg.plugin)).map(|found| found.state);
            Ok(Json(json!({"id": id, "state": state})))
        }
        RunNow::NotFound => Err(Problem::not_found("leg", &id)),
        RunNow::Elsewhere(state) => Err(Problem::new(StatusCode::CONFLICT, "leg_not_in_retry", not_in_retry(state))),
    }
}

/// Why a leg cannot be run now, and what to do instead.
fn not_in_retry(state: LegState) -> String {
    let instead = match state {
        LegState::Waiting | LegState::Leased => "it runs already, or next",
        LegState::Retry | LegState::Relayed => "it waits at RabbitMQ, which gives it out at its time",
        LegState::Parked => "its queue is held; `hookyard plugins show NAME` says why, and `plugins resume NAME` lets it run",
        LegState::Dead => "`hookyard dead-letters replay ID` runs it again",
        LegState::Acked | LegState::Skipped | LegState::Discarded => "`hookyard deliveries replay ID --plugin NAME` runs it again",
    };
    format!("the leg is `{}`, and only one that waits for its next attempt (`retry`) can be run now: {instead}", state.slug())
}

pub(super) async fn dead_letters(State(parts): State<Parts>, uri: Uri) -> Answer<Page<DeadLetterView>> {
    let query: PluginQuery = parse(&uri)?;
    dead_page(&parts, query).await.map(Json)
}

pub(super) async fn dead_letter(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<DeadLetterView> {
    Ok(Json(find_dead(&parts, &id).await?.1))
}

pub(super) async fn replay(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<Value> {
    change(&parts, &id, Verb::Replay).await
}

pub(super) async fn discard(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<Value> {
    change(&parts, &id, Verb::Discard).await
}

pub(super) async fn replay_many(State(parts): State<Parts>, uri: Uri) -> Answer<Value> {
    change_many(&parts, &uri, Verb::Replay).await
}

pub(super) async fn discard_many(State(parts): State<Parts>, uri: Uri) -> Answer<Value> {
    change_many(&parts, &uri, Verb::Discard).await
}

pub(super) async fn emits(State(parts): State<Parts>, uri: Uri) -> Answer<Page<EmitView>> {
    let query: PluginQuery = parse(&uri)?;
    let named = query.named();
    let page = parts.ledger.emits(query.tenant, query.plugin, query.cursor, limit(query.limit)?).await?;
    known(&parts, &named, page).map(Json)
}

async fn find(parts: &Parts, id: &str) -> Result<DeliveryView, Problem> {
    let meant = meant(parts, id).await?;
    parts.ledger.delivery(meant).await?.ok_or_else(|| Problem::not_found("delivery", id))
}

/// By Hookyard's id or its first digits, or by the provider's, where only one delivery has it (several hooks of one event may share it).
async fn meant(parts: &Parts, id: &str) -> Result<DeliveryId, Problem> {
    if let Ok(ours) = id.parse::<DeliveryId>() {
        return Ok(ours);
    }
    let mut found: Vec<_> = parts.ledger.by_provider_id(id).await?.iter().map(|view| view.delivery_id).collect();
    if let (true, Ok(prefix)) = (found.is_empty(), id.parse::<IdPrefix>()) {
        found = parts.ledger.by_prefix(prefix, MEANT_MAX).await?;
    }
    match &found[..] {
        [] => Err(Problem::not_found("delivery", id)),
        [one] => Ok(*one),
        several => {
            let ids: Vec<_> = several.iter().take(MEANT_MAX).map(DeliveryId::to_string).collect();
            let detail = format!("`{id}` is several deliveries; ask for one of {}", ids.join(", "));
            Err(Problem::new(StatusCode::CONFLICT, "id_ambiguous", detail))
        }
    }
}

/// A leg by its delivery, as [`meant`] finds it, and its plugin.
async fn leg_of(parts: &Parts, id: &str) -> Result<LegId, Problem> {
    let (delivery, plugin) = id.split_once('.').unwrap_or((id, ""));
    let plugin = match plugin {
        "" => return Err(Problem::bad_parameter(format!("`{id}` is not a leg id (<delivery_id>.<plugin>)"))),
        plugin => plugin.parse().map_err(|error: ParseIdError| Problem::bad_parameter(error.to_string()))?,
    };
    Ok(LegId { delivery: meant(parts, delivery).await?, plugin })
}

async fn find_dead(parts: &Parts, id: &str) -> Result<(LegId, DeadLetterView), Problem> {
    let leg = leg_of(parts, id).await?;
    match parts.ledger.dead_letter(&leg).await? {
        Some(view) => Ok((leg, view)),
        None => Err(Problem::not_found("dead letter", id)),
    }
}

async fn apply(parts: &Parts, verb: Verb, tenant: TenantId, leg: LegId) -> Result<DeadLetterChange, Problem> {
    Ok(match verb {
        Verb::Replay => parts.dead_letters.replay(tenant, leg).await?,
        Verb::Discard => parts.dead_letters.discard(tenant, leg).await?,
    })
}

async fn change(parts: &Parts, id: &str, verb: Verb) -> Answer<Value> {
    let (leg, view) = find_dead(parts, id).await?;
    match apply(parts, verb, view.tenant, leg).await? {
        DeadLetterChange::Done => Ok(Json(json!({"id": id, "changed": 1}))),
        // Somebody else was faster: for this caller there is no such dead letter any more.
        DeadLetterChange::NotFound => Err(Problem::not_found("dead letter", id)),
    }
}

/// One page of what the filter finds, at most 1,000, so that one call cannot hold the ledger. `next_cursor` goes on with what died before: what
/// dies again meanwhile is newer, and not found twice.
async fn change_many(parts: &Parts, uri: &Uri, verb: Verb) -> Answer<Value> {
    let page = dead_page(parts, parse(uri)?).await?;
    let mut changed = 0_usize;
    for view in page.items {
        let leg = LegId { delivery: view.delivery_id, plugin: view.plugin };
        changed += usize::from(apply(parts, verb, view.tenant, leg).await? == DeadLetterChange::Done);
    }
    Ok(Json(json!({"changed": changed, "more": page.next_cursor.is_some(), "next_cursor": page.next_cursor})))
}

async fn dead_page(parts: &Parts, query: PluginQuery) -> Result<Page<DeadLetterView>, Problem> {
    let named = query.named();
    let filter = DeadLetterFilter { tenant: query.tenant, plugin: query.plugin };
    let page = parts.dead_letters.page(filter, query.cursor, limit(query.limit)?).await?;
    known(parts, &named, page)
}
