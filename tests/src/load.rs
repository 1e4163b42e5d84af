//! Load from several connections, and what was promised to them.

use std::collections::BTreeSet;

use hookyard::delivery::DeliveryId;

use crate::sender::{Post, Sender};

/// Sends `each` deliveries with bodies of `bytes` random bytes on each of `lanes` connections. A connection stops at the first answer that is
/// no 202, or at none. Returns the ids that were answered 202, and how many connections stopped early.
pub async fn send(sender: &Sender, lanes: usize, each: usize, bytes: usize) -> (BTreeSet<DeliveryId>, usize) {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..lanes {
        let sender = sender.clone();
        running.spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..each {
                match sender.try_send(Post::json("push", random_document(bytes))).await {
                    Ok(answer) if answer.status == 202 => ids.push(answer.accepted()),
                    _ => return (ids, true),
                }
            }
            (ids, false)
        });
    }
    let lanes = running.join_all().await;
    (lanes.iter().flat_map(|(ids, _)| ids).copied().collect(), lanes.iter().filter(|(_, stopped)| *stopped).count())
}

/// A document of so many bytes, and a few more, that nothing compresses to less than half.
pub fn random_document(bytes: usize) -> String {
    let digits: String = std::iter::repeat_with(|| format!("{:016x}", fastrand::u64(..))).take(bytes.div_ceil(16)).collect();
    format!("{{\"n\":\"{digits}\"}}")
}
