//! The admin socket: its places, its times, and who is at the other end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use tower_service::Service as _;

use crate::{
    cidr,
    clock::Clock,
    listen::{self, Connection, Listener, Place, Places, Stream, Times},
    shares::Holder,
    tasks::Tasks,
};

/// Connections beyond the bound that are there for probes.
pub(super) const RESERVE: usize = 16;
/// A scraper asks more seldom and connects again; a person's tools do so by themselves.
const TIMES: Times =
    Times { head: Duration::from_secs(10), write: Duration::from_secs(10), bytes_per_s_min: 1024, head_bytes_max: 16 * 1024 };

/// Whose connection a request came on.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The other end of the socket.
    pub(super) address: SocketAddr,
    /// Its place; none where there is no connection, as in tests.
    pub(super) place: Option<Arc<Place>>,
}

impl Peer {
    /// Who has its shares.
    pub(super) fn holder(&self) -> Holder {
        Holder::Address(cidr::customer(self.address.ip()))
    }

    /// Whether it is on this machine.
    pub(super) fn is_here(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    /// Whether its place is one of those for probes.
    pub(super) fn is_reserved(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.is_reserved())
    }
}

/// Takes connections until told to stop, and serves the routes on each.
pub(super) async fn run(listener: Listener, routes: Router, (places, clock, tasks): (Places, Clock, Tasks)) {
    let until = (clock.clone(), tasks.clone());
    let welcome = |stream: Stream, address: SocketAddr| {
        let peer = Peer { address, place: None };
        // Without a place the connection is closed unread: an answer would cost what the bound is there to save.
        let Some(place) = places.enter(&peer.holder()).map(Arc::new) else { return };
        let peer = Peer { place: Some(Arc::clone(&place)), ..peer };
        let connection = Connection { place, times: TIMES, clock: clock.clone(), tasks: tasks.clone() };
        let routes = routes.clone();
        tasks.spawn_brief(async move {
            let respond = |mut routes: Router, request: axum::extract::Request| async move {
                match routes.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            };
            connection
                .serve(stream, move |request| {
                    let mut request = request.map(Body::new);
                    request.extensions_mut().insert(ConnectInfo(peer.clone()));
                    respond(routes.clone(), request)
                })
                .await;
        });
    };
    listen::accept(listener, until, welcome).await;
}
