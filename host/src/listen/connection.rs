//! One HTTP/1.1 connection: its requests one after the other, its times, its end.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    Times,
    paced::Paced,
    places::{Place, Working},
};
use crate::{clock::Clock, tasks::Tasks};

/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// What is read of a refused body, so that the client gets to read the answer before the connection is reset.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(1);

/// What one connection is served by.
pub struct Connection {
    /// Its place.
    pub place: Arc<Place>,
    /// What it may take.
    pub times: Times,
    /// The same time as everybody's.
    pub clock: Clock,
    /// Told to stop, it finishes the request under way.
    pub tasks: Tasks,
}

/// The body of an answer; while there is more of it to come, the host works for its connection.
struct Kept<B> {
    body: B,
    _working: Working,
}

type Served<B> = Pin<Box<dyn Future<Output = Result<Response<Kept<B>>, Infallible>> + Send>>;

impl Connection {
    /// Serves its requests with `respond`, then lets the client read the last answer. Ends where the client ends it, where a time is over, and
    /// where the place was given up.
    pub async fn serve<S, B, R>(self, stream: S, respond: impl Fn(Request<Incoming>) -> R + Clone + Send + Unpin + 'static)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        B: Body<Data: Send> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
        R: Future<Output = Response<B>> + Send + 'static,
    {
        let (stream, writes) = Paced::new(stream, self.clock.clone());
        let (place, before) = (Arc::clone(&self.place), Arc::clone(&writes));
        let service = service_fn(move |request| -> Served<B> {
            let (respond, place, before) = (respond.clone(), Arc::clone(&place), Arc::clone(&before));
            Box::pin(async move {
                before.are_done().await;
                let working = place.work();
                Ok(respond(request).await.map(|body| Kept { body, _working: working }))
            })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.times.head)
            .max_buf_size(self.times.head_bytes_max)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut is_draining = false;
        let ended = loop {
            tokio::select! {
                biased;
                () = self.place.given_up() => return,
                () = writes.stall(self.times) => return,
                ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
                () = self.tasks.stopping(), if !is_draining => {
                    is_draining = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        // A connection that ended in an error has been answered or has nobody to answer; lingering does it no harm.
        drop(ended);
        self.place.finish();
        tokio::select! {
            () = self.place.given_up() => {}
            () = linger(connection.into_parts().io.into_inner().into_inner(), &self.clock) => {}
        }
    }
}

impl<B: Body + Unpin> Body for Kept<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Says that nothing more comes, and reads a bounded rest: closing a socket with unread bytes resets it, and takes the answer along.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, clock: &Clock) {
    let drain = async {
        let (mut rest, mut buffer) = (LINGER_BYTES_MAX, [0; 4096]);
        if stream.shutdown().await.is_err() {
            return;
        }
        while let Ok(bytes) = stream.read(&mut buffer).await {
            rest = rest.saturating_sub(bytes);
            if bytes == 0 || rest == 0 {
                return;
            }
        }
    };
    tokio::select! {
        () = clock.sleep(LINGER) => {}
        () = drain => {}
    }
}
