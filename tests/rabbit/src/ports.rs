//! Ports that are free now, below the range the system gives to outgoing connections, so that nobody takes them while a node restarts.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::Context as _;

/// A port of 20000 to 31999 that nobody listens on.
pub(crate) fn free() -> anyhow::Result<u16> {
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000))
        .take(1000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("found no free port from 20000 to 31999")
}

/// Whether a broker answers an AMQP greeting here.
pub(crate) fn speaks_amqp(port: u16) -> bool {
    const FRAME_METHOD: u8 = 1;
    let greet = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first[0] == FRAME_METHOD)
    };
    greet().unwrap_or(false)
}
