//! Many runs again, by filter: what a plugin made of the deliveries of a time, after it was mended.
//!
//! One call looks at one page of deliveries, so that none can hold the ledger; the caller goes on with `next_cursor`, at the pace he wants.
//! A page goes back in time by position, so that what comes meanwhile is not found, and nothing is found twice.

use axum::{extract::State, http::Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Parts,
    json::Json,
    problem::Problem,
    query::{Named, known, limit, parse},
};
use crate::{
    delivery::{LegId, LegState, PluginName, SourceId, TenantId, Timestamp},
    ledger::{DeliveryFilter, LegChange},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayQuery {
    tenant: TenantId,
    plugin: PluginName,
    /// Slugs of settled states, apart by commas.
    state: String,
    source: Option<SourceId>,
    event: Option<String>,
    action: Option<String>,
    since: Timestamp,
    until: Option<Timestamp>,
    #[serde(default)]
    dry_run: bool,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// The states a leg may be in to run again, at least one: it is settled in each of them.
#[derive(Debug, PartialEq, Eq)]
struct Settled(Vec<LegState>);

impl Settled {
    const ALL: [LegState; 4] = [LegState::Acked, LegState::Skipped, LegState::Dead, LegState::Discarded];

    fn parse(text: &str) -> Result<Self, Problem> {
        let expected = Self::ALL.map(LegState::slug).join(", ");
        let state = |slug: &str| {
            let found = Self::ALL.into_iter().find(|state| state.slug() == slug);
            found.ok_or_else(|| Problem::bad_parameter(format!("`state` has `{}`; expected some of {expected}", slug.escape_debug())))
        };
        text.split(',').map(state).collect::<Result<_, _>>().map(Self)
    }
}

/// Runs the legs of a page again, or counts them.
pub(super) async fn replay_by_filter(State(parts): State<Parts>, uri: Uri) -> Result<Json<Value>, Problem> {
    let query: ReplayQuery = parse(&uri)?;
    let states = Settled::parse(&query.state)?;
    let named = Named { tenant: Some(query.tenant.clone()), source: query.source.clone(), plugin: Some(query.plugin.clone()) };
    let filter = DeliveryFilter {
        tenant: Some(query.tenant.clone()),
        source: query.source,
        event: query.event,
        action: query.action,
        plugin: Some(query.plugin.clone()),
        since: Some(query.since),
        until: query.until,
        ..DeliveryFilter::default()
    };
    let page = parts.ledger.deliveries(filter, query.cursor, limit(query.limit)?).await?;
    let page = known(&parts, &named, page)?;
    let (looked_at, mut matched, mut changed) = (page.items.len(), 0_usize, 0_usize);
    for view in page.items {
        let is_meant = view.legs.iter().any(|leg| leg.plugin == query.plugin && states.0.contains(&leg.state));
        if !is_meant {
            continue;
        }
        matched += 1;
        if !query.dry_run {
            let leg = LegId { delivery: view.delivery_id, plugin: query.plugin.clone() };
            changed += usize::from(parts.ledger.rerun(&query.tenant, &leg, true).await? == LegChange::Done);
        }
    }
    Ok(Json(json!({ "looked_at": looked_at, "matched": matched, "changed": changed, "next_cursor": page.next_cursor })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settled_legs_run_again_and_each_state_is_named() {
        assert_eq!(Settled::parse("acked,dead").unwrap(), Settled(vec![LegState::Acked, LegState::Dead]));
        for bad in ["", "waiting", "acked,", "acked dead", "retry", "Dead"] {
            assert!(Settled::parse(bad).is_err(), "{bad}");
        }
    }
}
