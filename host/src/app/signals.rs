//! The signals a host answers to, caught before it starts: who is told to stop while it starts is not killed in the middle of something.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP, caught.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// The operating system refuses it.
    pub fn catch() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one: true where it says stop, false where it says reload.
    pub(super) async fn next(&mut self) -> bool {
        tokio::select! {
            () = received(&mut self.terminate) => true,
            () = received(&mut self.interrupt) => true,
            () = received(&mut self.hangup) => false,
        }
    }

    /// Waits for one that says stop; a SIGHUP waits until somebody reloads.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            () = received(&mut self.terminate) => {}
            () = received(&mut self.interrupt) => {}
        }
    }
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        // The stream can only end with the runtime, which is then ending this future too.
        std::future::pending::<()>().await;
    }
}
