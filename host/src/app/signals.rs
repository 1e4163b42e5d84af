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
    /// Catches them from now on, before there is a runtime: what comes meanwhile waits for the one that asks. Starts no thread.
    ///
    /// # Errors
    /// The operating system refuses it.
    pub fn catch() -> anyhow::Result<Self> {
        // Handlers and what they note are the process's; this runtime is only asked whether it would hear of them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _entered = runtime.enter();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_of_before_the_runtime_is_heard_in_it() {
        let mut signals = Signals::catch().unwrap();
        // Without a handler this would end the test.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        assert!(!runtime.block_on(signals.next()), "it says reload");
    }
}
