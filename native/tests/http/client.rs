//! A client over real sockets, and what it looks at.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, UnixStream},
};

use crate::app::App;

/// Starts applications.
pub(crate) trait Framework {
    /// Serves an application on a free port.
    fn start(app: App) -> Server;

    /// Serves it in a way in which clients have no address.
    fn start_without_addresses(app: App) -> Server;
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) place: Place,
    pub(crate) stop: Option<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop();
        }
        if let Place::Unix(path) = &self.place {
            drop(std::fs::remove_file(path));
        }
    }
}

impl Server {
    pub(crate) async fn get(&self, path: &str, cookie: &str) -> Answer {
        self.place.send(request(Method::GET, path, cookie)).await
    }

    pub(crate) async fn post(&self, path: &str, cookie: &str) -> Answer {
        self.place.send(request(Method::POST, path, cookie)).await
    }

    pub(crate) async fn send(&self, request: Request<String>) -> Answer {
        self.place.send(request).await
    }

    /// Sends a request from one of the machine's own addresses.
    pub(crate) async fn send_from(&self, client: Ipv4Addr, request: Request<String>) -> Answer {
        self.place.send_from(client, request).await
    }

    /// Sends a request that is waited for later.
    pub(crate) fn spawn(&self, request: Request<String>) -> tokio::task::JoinHandle<Answer> {
        let place = self.place.clone();
        tokio::spawn(async move { place.send(request).await })
    }
}

impl Place {
    async fn send(&self, request: Request<String>) -> Answer {
        self.send_from(Ipv4Addr::LOCALHOST, request).await
    }

    async fn send_from(&self, client: Ipv4Addr, request: Request<String>) -> Answer {
        match self {
            Self::Tcp(address) => {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind((IpAddr::from(client), 0).into()).unwrap();
                exchange(socket.connect(*address).await.unwrap(), request).await
            }
            Self::Unix(path) => exchange(UnixStream::connect(path).await.unwrap(), request).await,
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<String>,
) -> Answer {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub(crate) fn request(method: Method, path: &str, cookie: &str) -> Request<String> {
    let mut request = Request::new(String::new());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    request.headers_mut().insert(header::HOST, "app.example".parse().unwrap());
    if !cookie.is_empty() {
        request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    }
    request
}

/// What a client got; the body may still be on its way.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

impl Answer {
    pub(crate) async fn text(self) -> String {
        String::from_utf8(self.body.collect().await.unwrap().to_bytes().into()).unwrap()
    }

    pub(crate) fn values(&self, name: HeaderName) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// The `Cookie` header after the only `Set-Cookie` of this answer; empty if the cookie was removed.
    pub(crate) fn new_cookie(&self) -> Option<String> {
        let all = self.values(header::SET_COOKIE);
        assert!(all.len() < 2, "one Set-Cookie at most");
        let first = *all.first()?;
        let pair = first.split(';').next().unwrap();
        assert_eq!(pair.ends_with('='), first.contains("Max-Age=0"), "an empty value is a removal");
        Some(if pair.ends_with('=') { String::new() } else { pair.to_owned() })
    }

    /// What a client gets that must not believe it is signed out.
    pub(crate) fn assert_unavailable(&self) {
        assert_eq!(self.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(self.new_cookie(), None, "the cookie is left alone");
        assert_eq!(self.values(header::RETRY_AFTER), ["1"]);
        assert_eq!(self.values(header::CACHE_CONTROL), ["no-store"]);
    }
}
