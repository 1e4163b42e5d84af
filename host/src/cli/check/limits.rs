//! The numbers in force, and the table of shares.

use serde_json::{Value, json};

use crate::{
    cli::{exit::Failure, output::Output},
    config::Config,
    shares::{Holder, Resource, Shares},
};

/// Every key and the value in force, then the table, for people.
pub(super) fn print(config: &Config, output: Output) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = config.effective.iter().map(|(key, value)| vec![key.clone(), value.clone()]).collect();
    output.table(&["limit", "value"], &rows)?;
    output.line("")?;
    output.table(&["resource", "for all", "share", "of each", "at the bound"], &rows_of(&config.shares))?;
    let own = own(&config.shares);
    if !own.is_empty() {
        output.line("")?;
        let row = |(holder, resource, share): &(Holder, Resource, u64)| {
            vec![holder.to_string(), resource.row().name.to_owned(), resource.row().unit.shown(*share)]
        };
        output.table(&["holder", "resource", "share of its own"], &own.iter().map(row).collect::<Vec<_>>())?;
    }
    output.line("")
}

/// Every key and the value in force, for programs.
pub(super) fn in_force(config: &Config) -> Value {
    config.effective.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

fn rows_of(shares: &Shares) -> Vec<Vec<String>> {
    let row = |resource: Resource| {
        let (row, limit) = (resource.row(), shares.pool(resource).limit());
        let words = [row.name.to_owned(), row.unit.shown(limit.bound), row.unit.shown(limit.share), row.holder.to_owned()];
        words.into_iter().chain([row.at_bound.words().to_owned()]).collect()
    };
    Resource::ALL.into_iter().map(row).collect()
}

/// Shares that were given by name.
fn own(shares: &Shares) -> Vec<(Holder, Resource, u64)> {
    let of =
        |resource: Resource| shares.pool(resource).own().map(move |(holder, share)| (holder.clone(), resource, share)).collect::<Vec<_>>();
    Resource::ALL.into_iter().flat_map(of).collect()
}

/// The table for programs: plain numbers, and the keys that change them.
pub(super) fn objects(shares: &Shares) -> Vec<Value> {
    let object = |resource: Resource| {
        let (row, limit) = (resource.row(), shares.pool(resource).limit());
        json!({
            "resource": row.name, "bound": limit.bound, "share": limit.share, "holder": row.holder,
            "at_bound": row.at_bound.words(), "bound_key": row.bound_key, "share_key": row.share_key,
            "own": shares.pool(resource).own().map(|(holder, share)| (holder.to_string(), json!(share))).collect::<serde_json::Map<_, _>>(),
        })
    };
    Resource::ALL.into_iter().map(object).collect()
}
