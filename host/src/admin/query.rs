//! Query strings, checked: an unknown or malformed parameter is refused, not passed over, so that a misspelt filter never shows everything.

use axum::{extract::Query, http::Uri};
use http_body::Body as _;
use serde::de::DeserializeOwned;

use super::{Parts, problem::Problem};
use crate::{
    delivery::{PluginName, SourceId, TenantId, view::Page},
    ledger::PAGE_MAX,
};

/// Items of a page where the caller does not say.
const LIMIT_DEFAULT: usize = 100;
/// Characters of a query that are quoted.
const SHOWN_MAX: usize = 80;

pub(super) fn parse<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    Query::try_from_uri(uri).map(|Query(query)| query).map_err(|error| Problem::bad_parameter(error.body_text()))
}

pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=PAGE_MAX => Ok(limit),
        other => Err(Problem::bad_parameter(format!("`limit` is {other}; expected 1 to {PAGE_MAX}"))),
    }
}

/// A route that reads no parameter refuses every one: a filter in the wrong place must not look as if it had been obeyed.
pub(super) fn refuse_any(uri: &Uri) -> Result<(), Problem> {
    match uri.query().filter(|query| !query.is_empty()) {
        None => Ok(()),
        Some(query) => {
            let found: String = query.chars().take(SHOWN_MAX).collect();
            Err(Problem::bad_parameter(format!("`?{}`: this route reads no parameter; leave it out", found.escape_debug())))
        }
    }
}

/// No route reads a body, so one that is sent is a misunderstanding: what stands in it would be passed over.
pub(super) fn refuse_body(body: &axum::body::Body) -> Result<(), Problem> {
    if body.is_end_stream() {
        return Ok(());
    }
    Err(Problem::body_unexpected())
}

/// What a filter names that has to exist.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    pub(super) tenant: Option<TenantId>,
    pub(super) source: Option<SourceId>,
    pub(super) plugin: Option<PluginName>,
}

/// A page in which nothing is, of a tenant, a source or a plugin nobody knows, is a misspelt name rather than an empty answer.
pub(super) fn known<T>(parts: &Parts, named: &Named, page: Page<T>) -> Result<Page<T>, Problem> {
    if !page.items.is_empty() || page.next_cursor.is_some() {
        return Ok(page);
    }
    let (tenants, plugins) = (parts.tenants.snapshot(), parts.catalog.views(named.tenant.as_ref()));
    let unknown = |kind: &str, name: &str| Err(Problem::not_found(kind, name));
    if let Some(tenant) = named.tenant.as_ref().filter(|tenant| !tenants.tenants.contains_key(*tenant) && plugins.is_empty()) {
        return unknown("tenant", tenant.as_str());
    }
    let has = |source: &SourceId| {
        tenants
            .tenants
            .values()
            .any(|tenant| tenant.sources.contains_key(source) && named.tenant.as_ref().is_none_or(|named| *named == tenant.id))
    };
    if let Some(source) = named.source.as_ref().filter(|source| !has(source)) {
        return unknown("source", source.as_str());
    }
    if let Some(plugin) = named.plugin.as_ref().filter(|name| !plugins.iter().any(|plugin| plugin.name == **name)) {
        return unknown("plugin", plugin.as_str());
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        tenant: Option<TenantId>,
        limit: Option<usize>,
    }

    fn read(uri: &str) -> Result<Filter, Problem> {
        parse(&uri.parse().unwrap())
    }

    #[test]
    fn a_query_is_read_into_checked_values() {
        let filter = read("/x?tenant=acme&limit=5").unwrap();
        assert_eq!((filter.tenant.unwrap().as_str(), filter.limit), ("acme", Some(5)));
        assert!(read("/x").unwrap().tenant.is_none());
    }

    #[test]
    fn a_misspelt_or_malformed_parameter_is_refused() {
        for uri in ["/x?tenat=acme", "/x?tenant=No%20Slug", "/x?limit=many", "/x?limit=-1", "/x?tenant=a&tenant=b"] {
            assert!(read(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_route_without_parameters_refuses_each_of_them() {
        let refused = |uri: &str| refuse_any(&uri.parse().unwrap()).is_err();
        assert!(!refused("/x") && !refused("/x?"));
        assert!(refused("/x?tenant=acme") && refused("/x?a"));
    }

    #[test]
    fn a_page_has_1_to_1000_items() {
        assert_eq!(limit(None).unwrap(), 100);
        assert_eq!(limit(Some(1000)).unwrap(), 1000);
        assert!(limit(Some(0)).is_err());
        assert!(limit(Some(1001)).is_err());
    }
}
