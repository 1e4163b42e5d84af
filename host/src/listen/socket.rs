//! Where a listener listens: an address of the network, a socket in a folder, or one that whoever started the process has opened for it.
//!
//! A socket that a supervisor opened (`LISTEN_FDS`) takes the place of what is configured under the same name: `ingest` or `admin`. It stays
//! open while the host is started anew, so senders wait for a restart instead of being refused. Whoever connects through a folder is on this
//! machine, and is known as 127.0.0.1.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

/// What stands before the path of a socket.
const UNIX: &str = "unix:";
/// The owner and the group may connect.
const MODE: u32 = 0o660;
/// Who is at the other end of a socket in a folder.
const THIS_MACHINE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Names of sockets a supervisor may open.
const NAMES: [&str; 2] = ["ingest", "admin"];

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and port.
    Tcp(SocketAddr),
    /// A socket at this path.
    Unix(PathBuf),
}

/// Listening sockets that are there before their listener is: opened by a supervisor, or in a folder the process is about to give up. Cheap to
/// clone; each socket is taken once.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Arc<Mutex<Vec<(String, Socket)>>>);

/// A socket that listens, and is watched by nobody yet.
#[derive(Debug)]
pub struct Socket {
    /// Where, with the real port.
    pub listen: Listen,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// A listener of this runtime.
#[derive(Debug)]
pub enum Listener {
    /// Of the network.
    Tcp(TcpListener),
    /// In a folder.
    Unix(UnixListener),
}

/// One connection, whichever way it came.
pub type Stream = Either<TcpStream, UnixStream>;

impl Listen {
    /// The address, where it is one of the network.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "an address and port, such as 127.0.0.1:8080 or [::1]:8080, or the whole path of a socket, such as \
                                unix:/run/hookyard/ingest.sock";
        match text.strip_prefix(UNIX) {
            // What the kernel holds of a path.
            Some(path) if path.starts_with('/') && path.len() < 108 => Ok(Self::Unix(path.into())),
            Some(_) => Err(EXPECTED),
            None => text.parse().map(Self::Tcp).map_err(|_| EXPECTED),
        }
    }
}

impl Sockets {
    /// What the process was started with. To be asked once, before there is a second thread.
    ///
    /// # Errors
    /// A socket has a name that is none of ours, or is no listening stream socket.
    pub fn inherited() -> anyhow::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let (sockets, mut given) = (Self::default(), ListenFd::from_env());
        for at in 0..given.len() {
            let name = match names.split(':').nth(at) {
                Some(name) if NAMES.contains(&name) => name,
                // systemd calls a socket after its unit where nobody has named it; one alone can only be the door.
                _ if given.len() == 1 => NAMES[0],
                name => anyhow::bail!(
                    "socket {} of LISTEN_FDS is called `{}`; expected `FileDescriptorName=ingest` or `admin` in its unit",
                    at + 1,
                    name.unwrap_or_default()
                ),
            };
            let kind = match given.take_unix_listener(at) {
                Ok(Some(socket)) => Kind::Unix(socket),
                _ => Kind::Tcp(given.take_tcp_listener(at)?.with_context(|| format!("the socket `{name}` of LISTEN_FDS is gone"))?),
            };
            sockets.put(name, kind.listening().with_context(|| format!("the socket `{name}` of LISTEN_FDS"))?);
        }
        Ok(sockets)
    }

    /// Opens a socket in a folder now, where nobody has opened one of this name before.
    ///
    /// # Errors
    /// It cannot be made, or somebody listens there.
    pub fn open(&self, name: &str, listen: &Listen) -> anyhow::Result<()> {
        if let Listen::Unix(path) = listen
            && !self.has(name)
        {
            self.put(name, in_folder(path)?);
        }
        Ok(())
    }

    /// The socket of this name, else one that is opened now.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn take(&self, name: &str, listen: &Listen) -> anyhow::Result<Socket> {
        let at_hand = {
            let mut sockets = self.lock();
            sockets.iter().position(|(its, _)| its == name).map(|at| sockets.swap_remove(at).1)
        };
        match (at_hand, listen) {
            (Some(socket), _) => Ok(socket),
            (None, Listen::Unix(path)) => in_folder(path),
            (None, Listen::Tcp(address)) => {
                let bound = TcpListener::bind(address).await.and_then(TcpListener::into_std);
                bound.and_then(|listener| Kind::Tcp(listener).listening()).with_context(|| format!("cannot listen on {address}"))
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.lock().iter().any(|(its, _)| its == name)
    }

    fn put(&self, name: &str, socket: Socket) {
        self.lock().push((name.to_owned(), socket));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Socket)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    /// Has the runtime watch it.
    pub fn watched(self) -> io::Result<Listener> {
        match self.kind {
            Kind::Tcp(listener) => TcpListener::from_std(listener).map(Listener::Tcp),
            Kind::Unix(listener) => UnixListener::from_std(listener).map(Listener::Unix),
        }
    }
}

impl Kind {
    fn listening(self) -> io::Result<Socket> {
        let listen = match &self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Listen::Tcp(listener.local_addr()?)
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
                Listen::Unix(path.unwrap_or_default())
            }
        };
        Ok(Socket { listen, kind: self })
    }
}

impl Listener {
    /// The next connection, and who is at its other end.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are one small write; waiting for more to send only delays them. A socket that refuses the option still works.
                let _ = stream.set_nodelay(true);
                Ok((Either::Left(stream), address))
            }
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| (Either::Right(stream), THIS_MACHINE)),
        }
    }
}

/// A socket in a folder. One that a host before has left is removed; one that somebody listens on is not.
fn in_folder(path: &Path) -> anyhow::Result<Socket> {
    let shown = path.display();
    match StdUnixStream::connect(path) {
        Ok(_) => anyhow::bail!("somebody listens on {shown} already; is another host running?"),
        // A file that is no socket refuses as well, and is not ours to remove.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused && is_socket(path) => {
            fs::remove_file(path).with_context(|| format!("cannot remove {shown}, which an earlier host has left"))?;
        }
        // Nothing is there, or nothing one may connect to: what is wrong shows when it is made.
        Err(_) => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)
        .with_context(|| format!("cannot make the socket {shown}; its folder must be there, and this user may write to it"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).with_context(|| format!("cannot let the group connect to {shown}"))?;
    Kind::Unix(listener).listening().with_context(|| format!("cannot listen on {shown}"))
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn an_address_and_a_whole_path_are_places_and_nothing_else_is() {
        for text in ["127.0.0.1:8080", "[::1]:8080", "unix:/run/hookyard.sock"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        let too_long = format!("unix:/{}", "x".repeat(107));
        for text in ["", "8080", "localhost:8080", "unix:", "unix:hookyard.sock", "/run/hookyard.sock", &too_long] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_socket_in_a_folder_is_for_owner_and_group_and_its_callers_are_of_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ingest.sock");
        let socket = Sockets::default().take("ingest", &Listen::Unix(path.clone())).await.unwrap();
        assert_eq!(socket.listen, Listen::Unix(path.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let listener = socket.watched().unwrap();
        let mut client = UnixStream::connect(&path).await.unwrap();
        let (mut stream, address) = listener.accept().await.unwrap();
        assert!(address.ip().is_loopback());
        stream.write_all(b"!").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
    }

    #[test]
    fn a_file_in_the_place_of_a_socket_is_left_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Sockets::default().open("ingest", &Listen::Unix(file.path().to_owned())).is_err());
        assert!(file.path().exists());
    }

    #[tokio::test]
    async fn a_socket_that_was_left_is_replaced_and_one_that_is_listened_on_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let listen = Listen::Unix(dir.path().join("ingest.sock"));
        let first = Sockets::default();
        first.open("ingest", &listen).unwrap();
        let error = Sockets::default().open("ingest", &listen).unwrap_err();
        assert!(error.to_string().contains("somebody listens"), "{error}");
        // What was opened is what the listener gets.
        drop(first.take("ingest", &listen).await.unwrap());
        Sockets::default().open("ingest", &listen).unwrap();
    }
}
