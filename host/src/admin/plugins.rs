//! Plugins: what serves and why not, and the operator's word about it.

use axum::{
    extract::{Path, State},
    http::{StatusCode, Uri},
};

use super::{
    Parts,
    host::{Answer, whole},
    json::Json,
    problem::Problem,
    query::{Named, known, parse},
};
use crate::{
    catalog::{ApprovalError, RollbackError},
    delivery::{
        PluginName, TenantId,
        view::{Page, PassedOverView, PluginView},
    },
};

/// The two names in a path.
type Names = Path<(String, String)>;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    tenant: Option<TenantId>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    to: Option<String>,
}

/// All plugins, and beside them what was probably meant to be one.
#[derive(serde::Serialize)]
pub(super) struct Plugins {
    #[serde(flatten)]
    page: Page<PluginView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<PassedOverView>,
}

pub(super) async fn plugins(State(parts): State<Parts>, uri: Uri) -> Answer<Plugins> {
    let filter: Filter = parse(&uri)?;
    let (page, passed_over) = (whole(parts.catalog.views(filter.tenant.as_ref())), parts.catalog.passed_over(filter.tenant.as_ref()));
    let page = known(&parts, &Named { tenant: filter.tenant, ..Named::default() }, page)?;
    Ok(Json(Plugins { page, passed_over }))
}

pub(super) async fn plugin(State(parts): State<Parts>, Path((tenant, name)): Names) -> Answer<PluginView> {
    view(&parts, &names(&tenant, &name)?).await
}

pub(super) async fn pause(State(parts): State<Parts>, names: Names) -> Answer<PluginView> {
    set_paused(&parts, names, true).await
}

pub(super) async fn resume(State(parts): State<Parts>, names: Names) -> Answer<PluginView> {
    set_paused(&parts, names, false).await
}

pub(super) async fn roll_back(State(parts): State<Parts>, Path((tenant, name)): Names, uri: Uri) -> Answer<PluginView> {
    let (key, target): (_, Target) = (names(&tenant, &name)?, parse(&uri)?);
    let bad = parts.catalog.roll_back(&key.0, &key.1, target.to.as_deref()).await.map_err(|error| refused(error, &key))?;
    let warning = bad.map(|why| format!("the version that serves now was taken back before: {why}"));
    let Json(view) = view(&parts, &key).await?;
    Ok(Json(PluginView { warning, ..view }))
}

pub(super) async fn approve(State(parts): State<Parts>, Path((tenant, name)): Names) -> Answer<PluginView> {
    let key = names(&tenant, &name)?;
    parts.catalog.approve(&key.0, &key.1).await.map_err(|error| match error {
        ApprovalError::NoPlugin => unknown(&tenant, &name),
        other => Problem::new(StatusCode::CONFLICT, "not_approved", other.to_string()),
    })?;
    view(&parts, &key).await
}

async fn set_paused(parts: &Parts, Path((tenant, name)): Names, paused: bool) -> Answer<PluginView> {
    let key = names(&tenant, &name)?;
    if !parts.catalog.pause(&key.0, &key.1, paused).await? {
        return Err(unknown(&tenant, &name));
    }
    view(parts, &key).await
}

async fn view(parts: &Parts, (tenant, name): &(TenantId, PluginName)) -> Answer<PluginView> {
    let found = parts.catalog.view(tenant, name).await?;
    found.map(Json).ok_or_else(|| unknown(tenant.as_str(), name.as_str()))
}

fn refused(error: RollbackError, (tenant, name): &(TenantId, PluginName)) -> Problem {
    let words = error.to_string();
    match error {
        RollbackError::NoPlugin => unknown(tenant.as_str(), name.as_str()),
        RollbackError::NoVersion(_) => Problem::new(StatusCode::CONFLICT, "no_version", words),
        RollbackError::Refused { .. } => Problem::new(StatusCode::CONFLICT, "version_refused", words),
        RollbackError::Ledger(error) => error.into(),
    }
}

/// A name that cannot be a plugin's is one that does not exist.
fn names(tenant: &str, name: &str) -> Result<(TenantId, PluginName), Problem> {
    let missing = || unknown(tenant, name);
    Ok((tenant.parse().map_err(|_| missing())?, name.parse().map_err(|_| missing())?))
}

fn unknown(tenant: &str, name: &str) -> Problem {
    Problem::not_found("plugin", &format!("{tenant}/{name}"))
}
