//! A listener that can go away and connections that can be cut.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use axum::{Router, extract::connect_info::Connected, serve::IncomingStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::site::{Site, lock};

/// Whether a site listens. While it does not, connections are refused.
#[derive(Debug, Default)]
pub(crate) struct Listening(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    serving: JoinHandle<()>,
    all: CancellationToken,
}

impl Listening {
    pub(crate) fn is_up(&self) -> bool {
        lock(&self.0).is_some()
    }

    /// Serves a site on a listener that is already bound.
    pub(crate) fn start(&self, listener: TcpListener, site: Arc<Site>) {
        let all = CancellationToken::new();
        let accepting = Accepting {
            listener,
            all: all.clone(),
        };
        let router = Router::new()
            .fallback(super::serve::handle)
            .with_state(site);
        let service = router.into_make_service_with_connect_info::<Connection>();
        let serving = tokio::spawn(async move {
            // Serving ends only when the task is aborted.
            let _ = axum::serve(accepting, service).await;
        });
        if let Some(before) = lock(&self.0).replace(Running { serving, all }) {
            before.end();
        }
    }

    /// Listens again after `stop`.
    pub(crate) async fn restart(&self, address: SocketAddr, site: Arc<Site>) -> io::Result<()> {
        if self.is_up() {
            return Ok(());
        }
        // The task that held the old listener ends a moment after it was aborted.
        let mut attempts = 0;
        let listener = loop {
            match TcpListener::bind(address).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < 100 => {
                    attempts += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                bound => break bound?,
            }
        };
        self.start(listener, site);
        Ok(())
    }

    /// Refuses connections from now on and closes the open ones.
    pub(crate) fn stop(&self) {
        if let Some(running) = lock(&self.0).take() {
            running.end();
        }
    }
}

impl Running {
    fn end(self) {
        self.serving.abort();
        self.all.cancel();
    }
}

/// One connection, as the handler of a request sees it.
#[derive(Clone, Debug)]
pub(crate) struct Connection(CancellationToken);

impl Connection {
    /// Closes the connection; whatever is still written is lost.
    pub(crate) fn cut(&self) {
        self.0.cancel();
    }
}

impl Connected<IncomingStream<'_, Accepting>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Accepting>) -> Connection {
        stream.remote_addr().clone()
    }
}

/// Accepts connections that can be cut one at a time or all at once.
pub(crate) struct Accepting {
    listener: TcpListener,
    all: CancellationToken,
}

impl axum::serve::Listener for Accepting {
    type Io = Wire;
    type Addr = Connection;

    async fn accept(&mut self) -> (Wire, Connection) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // Answers are small; without this the client waits for a delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    let cut = self.all.child_token();
                    let wire = Wire {
                        stream,
                        cut: cut.clone(),
                        ended: Box::pin(cut.clone().cancelled_owned()),
                    };
                    return (wire, Connection(cut));
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Connection> {
        Ok(Connection(self.all.clone()))
    }
}

/// A TCP stream that reads its end and refuses writes once it is cut.
pub(crate) struct Wire {
    stream: TcpStream,
    cut: CancellationToken,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.is_cancelled() || self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
