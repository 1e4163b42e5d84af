//! Query strings, checked: an unknown or malformed parameter is refused, not passed over, so that a misspelt filter never shows everything.

use axum::{extract::Query, http::Uri};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Items of a page where the caller does not say.
const LIMIT_DEFAULT: usize = 100;
/// Items of a page at most.
const LIMIT_MAX: usize = 1000;

pub(super) fn parse<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    Query::try_from_uri(uri).map(|Query(query)| query).map_err(|error| Problem::bad_parameter(error.body_text()))
}

pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        other => Err(Problem::bad_parameter(format!("`limit` is {other}; expected 1 to {LIMIT_MAX}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::TenantId;

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
    fn a_page_has_1_to_1000_items() {
        assert_eq!(limit(None).unwrap(), 100);
        assert_eq!(limit(Some(1000)).unwrap(), 1000);
        assert!(limit(Some(0)).is_err());
        assert!(limit(Some(1001)).is_err());
    }
}
