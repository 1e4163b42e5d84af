//! The loop that takes connections.

use std::{fs::File, io, net::SocketAddr, time::Duration};

use super::socket::{Listener, Stream};
use crate::{clock::Clock, tasks::Tasks};

/// How long the loop rests when the process is out of descriptors.
const REST: Duration = Duration::from_millis(50);

/// Takes connections until `tasks` are told to stop, and hands each to `welcome`.
///
/// When the process is out of descriptors, a reserved one is spent to take the waiting connection and close it, so that the loop does not spin
/// and the client learns at once.
pub async fn accept(listener: Listener, (clock, tasks): (Clock, Tasks), mut welcome: impl FnMut(Stream, SocketAddr)) {
    let mut reserve = File::open("/dev/null").ok();
    loop {
        let accepted = tokio::select! {
            () = tasks.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => welcome(stream, address),
            Err(error) if is_out_of_descriptors(&error) => {
                drop(reserve.take());
                let _ = tokio::time::timeout(REST, listener.accept()).await;
                reserve = File::open("/dev/null").ok();
                clock.sleep(REST).await;
            }
            // The peer was gone before it was taken: nothing to do for it, and the next one waits.
            Err(_) => {}
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.raw_os_error().is_some_and(|code| [Errno::MFILE, Errno::NFILE].iter().any(|errno| errno.raw_os_error() == code))
}
