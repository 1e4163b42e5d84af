//! Folders that do not answer.

use std::{
    pin::pin,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
};

use super::*;
use crate::{
    catalog::look::LOOK_MAX,
    shares::{Limits, Machine, Resource},
};

/// As where a network file system hangs: every thread of the tenant waits in its folder.
#[tokio::test]
async fn a_folder_that_does_not_answer_delays_its_own_tenant_only() {
    let stage = Stage::new(10).await;
    stage.put_plugin("p", "ack");
    let (catalog, stuck): (_, TenantId) = (&stage.catalog.0, "stuck".parse().unwrap());
    let share = Limits::of(Machine::here()).get(Resource::BlockingThreads).share;
    let (begun, end) = (Arc::new(AtomicU64::new(0)), Arc::new(Barrier::new(usize::try_from(share).unwrap() + 1)));
    for _ in 0..share {
        let (threads, begun, end) = (catalog.parts.runtime.threads(&stuck), Arc::clone(&begun), Arc::clone(&end));
        let hang = move || {
            begun.fetch_add(1, Ordering::Relaxed);
            end.wait();
        };
        stage.tasks.spawn("hangs", async move { threads.run(hang).await.unwrap() });
    }
    while begun.load(Ordering::Relaxed) < share {
        tokio::task::yield_now().await;
    }
    let mut waits = pin!(catalog.look_at(stuck));
    tokio::select! {
        biased;
        _ = &mut waits => panic!("it has no thread"),
        (_, found) = catalog.look_at(red()) => assert_eq!(found.unwrap().len(), 1),
    }
    stage.clock.advance(LOOK_MAX);
    assert_eq!(waits.await.1, None, "left as it was known");
    tokio::task::spawn_blocking(move || end.wait()).await.unwrap();
}
