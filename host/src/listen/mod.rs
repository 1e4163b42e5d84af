//! The host's listeners: who gets a place, and one connection from its first byte to its last.
//!
//! Ingest and admin are served from here, so that what holds at one door holds at the other. A connection costs a descriptor and some
//! buffers, and whoever opens it need do nothing more. So each takes a place; where there is none, the one that has been idle for the longest
//! time is given up for the new one ([`Places`]). And each has its times: for a head, for being idle, for an answer to be read.
//!
//! The next request of a connection is begun once the answer to the one before has left the host. So what a client asks ahead (pipelining)
//! waits in its socket, not in the host's memory, and a client that reads nothing makes the host do nothing.

mod accept;
mod connection;
mod paced;
mod places;
mod socket;

use std::time::Duration;

pub use self::{
    accept::accept,
    connection::Connection,
    places::{Place, Places, Resting},
    socket::{Listen, Listener, Socket, Sockets, Stream},
};

/// What a connection may take of everybody's time.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From the beginning of the wait for a request until its head is there: the time for a slow head, and for an idle connection.
    pub head: Duration,
    /// How long an answer may wait for its reader.
    pub write: Duration,
    /// A reader is slow, not absent, while it takes so many bytes a second.
    pub bytes_per_s_min: usize,
    /// Bytes of a head.
    pub head_bytes_max: usize,
}
