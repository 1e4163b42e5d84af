//! The way to a broker, with the sieve in it. The client library takes a transport of another's making only as the stream of a reactor; so this is
//! tokio's reactor in all but its stream.

use std::{
    future::Future,
    io::{self, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties,
    tcp::{AMQPUriTcpExt as _, OwnedTLSConfig},
    uri::AMQPUri,
};

use super::sieve::Sieve;

/// Tokio's stream, whatever it is.
type Tcp = <Tokio as Reactor>::TcpStream;

/// Tokio's reactor, with the sieve over what its streams give.
#[derive(Clone, Debug)]
struct Sifting(Tokio);

impl Reactor for Sifting {
    type TcpStream = Sieve<AsyncTcpStream<Tcp>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, delay: Duration) -> Self::Sleep {
        self.0.sleep(delay)
    }

    fn interval(&self, between: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(between)
    }

    fn tcp_connect_addr(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(Sieve::new(AsyncTcpStream::Plain(connecting.await?))) }
    }
}

/// Opens a connection whose library reads only what it survives.
pub(super) async fn connect(uri: AMQPUri, tls: OwnedTLSConfig, properties: ConnectionProperties) -> lapin::Result<Connection> {
    let tokio = Tokio::current();
    let parts = Runtime::new(RuntimeParts::new(tokio.clone(), Sifting(tokio.clone())));
    let plain = Runtime::new(tokio);
    // The sieve is above the encryption, which the library's own transport brings.
    let open = async move |uri: AMQPUri, _parts: Runtime<RuntimeParts<Tokio, Sifting>>| {
        let stream = uri.connect_with_config_async(tls.as_ref(), &plain).await?;
        Ok(AsyncTcpStream::Plain(Sieve::new(stream)))
    };
    Connection::connector(uri, parts, open, properties).await
}
