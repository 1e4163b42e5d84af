//! The streams: where each goes, whether it is connected, how far it has come.

use std::collections::BTreeMap;

use axum::extract::State;

use super::{Parts, host::whole, json::Json, problem::Problem};
use crate::{
    delivery::{
        StreamName,
        view::{Page, StreamView},
    },
    ledger::LedgerError,
};

pub(super) async fn streams(State(parts): State<Parts>) -> Result<Json<Page<StreamView>>, Problem> {
    Ok(Json(whole(views(&parts).await?)))
}

/// The streams that have no connection, and why. They speak against nothing: deliveries are taken all the same.
pub(super) fn failures(parts: &Parts) -> BTreeMap<StreamName, String> {
    parts.streams.streams().into_iter().filter_map(|(name, status)| Some((name, status.failure?))).collect()
}

/// Every stream that has a cursor: the board knows how the ones of this host are doing, the ledger how far each one came.
pub(super) async fn views(parts: &Parts) -> Result<Vec<StreamView>, LedgerError> {
    let heads = parts.ledger.heads();
    let board = parts.streams.streams();
    let cursors = parts.ledger.stream_cursors().await?;
    let view = |cursor: crate::ledger::StreamCursor| {
        let status = board.get(&cursor.name).filter(|status| status.followed == cursor.followed);
        let position = status.map_or(cursor.position, |status| status.position.max(cursor.position));
        StreamView {
            name: cursor.name,
            kind: status.map(|status| status.kind.to_owned()),
            follows: cursor.followed.slug().to_owned(),
            connected: status.is_some_and(|status| status.failure.is_none()),
            failure: status.and_then(|status| status.failure.clone()),
            position,
            lag: heads.of(cursor.followed).saturating_sub(position),
            published: status.map_or(0, |status| status.published),
            gap: cursor.gap,
        }
    };
    Ok(cursors.into_iter().map(view).collect())
}
