//! When to look: on what the file system tells, and from time to time without being told.
//!
//! Events are only a reason to look; what has changed is found by comparing. So nothing depends on an event being delivered, and network file
//! systems and `ConfigMap`s, which tell little or nothing, are merely slower. Opening and reading raise events too, our own among them;
//! they are no reason to look.

use std::{sync::Arc, time::Duration};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::Notify;

use super::{Inner, load::Seen};
use crate::tasks::Tasks;

/// The longest a stream of events may put off a look.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// How often to look where the file system tells nothing.
const POLL: Duration = Duration::from_secs(1);

pub(super) async fn run(inner: Arc<Inner>, mut seen: Seen, tasks: Tasks) {
    let changed = Arc::new(Notify::new());
    let watcher = watcher(&inner, &changed);
    let idle = if watcher.is_some() { inner.settings.rescan } else { POLL.min(inner.settings.rescan) };
    loop {
        let again = inner.pass(&mut seen, &tasks).await;
        inner.looked.cancel();
        inner.look_for_passed_over(&tasks);
        let due = seen.due_in(inner.parts.clock.instant()).map_or(idle, |due| due.max(inner.settings.settle).min(idle));
        let pause = if again { inner.settings.settle } else { due };
        tokio::select! {
            () = tasks.stopping() => return,
            () = changed.notified() => settle(&inner, &changed).await,
            // Others end soon after, when many files were put there at once.
            () = inner.loads.ended.notified() => inner.parts.clock.sleep(inner.settings.settle).await,
            () = inner.parts.clock.sleep(pause) => {}
        }
    }
}

/// Waits until nothing has happened for the settling time, but not for ever.
async fn settle(inner: &Inner, changed: &Notify) {
    let clock = &inner.parts.clock;
    let deadline = clock.instant() + SETTLE_MAX;
    while clock.instant() < deadline {
        tokio::select! {
            () = changed.notified() => {}
            () = clock.sleep(inner.settings.settle) => return,
        }
    }
}

fn watcher(inner: &Inner, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let tell = move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| is_change(event.kind)) {
            changed.notify_one();
        }
    };
    let folder = &inner.settings.tenants_dir;
    let watching = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watching.inspect_err(|error| tracing::warn!(folder = %folder.display(), %error, "folder_not_watched")).ok()
}

fn is_change(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Metadata(_))
    )
}
