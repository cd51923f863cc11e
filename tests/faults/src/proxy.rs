//! A network that misbehaves: a TCP proxy whose faults are switched while it runs.

use core::{net::SocketAddr, time::Duration};
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::net::sockopt::set_socket_linger;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    #[default]
    Pass,
    /// They pass so many at a time, with a pause after each.
    Drip(usize, Duration),
    /// They are held back, and pass when the fault is over: a stalled network.
    Hold,
    /// They vanish, and the connection looks whole: half-open. It stays so when the fault is over, as bytes are missing.
    Swallow,
}

/// What the network does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// From client to server.
    pub requests: Flow,
    /// From server to client.
    pub replies: Flow,
    /// How long bytes take, in each direction.
    pub delay: Duration,
    /// New connections are refused.
    pub refuse: bool,
}

/// A TCP proxy on a free port of 127.0.0.1. It ends when it is dropped, and its connections with it.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    faults: watch::Sender<Faults>,
    /// Every change cuts all connections.
    cuts: watch::Sender<u64>,
    /// Every change makes all present connections black holes.
    holes: watch::Sender<u64>,
    state: Mutex<State>,
}

struct State {
    target: SocketAddr,
    connections: usize,
    planned: Option<Planned>,
    lost: usize,
}

/// Requests that are to be lost.
struct Planned {
    needle: Vec<u8>,
    when: When,
    left: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    BeforeExecution,
    AfterExecution,
}

impl Proxy {
    /// A proxy before a server, without faults.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = State { target, connections: 0, planned: None, lost: 0 };
        let shared = Arc::new(Shared {
            faults: watch::Sender::default(),
            cuts: watch::Sender::default(),
            holes: watch::Sender::default(),
            state: Mutex::new(state),
        });
        let accepting = tokio::spawn(accept(listener, address, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// Sets the faults of all connections, those that are there and those to come.
    pub fn set(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// No faults any more. What was swallowed stays lost, and its connections dead.
    pub fn heal(&self) {
        self.set(Faults::default());
    }

    /// Resets all connections.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// All connections of this moment swallow everything from now on, in both directions; new ones are well. So a firewall forgets a flow.
    pub fn forget_connections(&self) {
        self.shared.holes.send_modify(|holes| *holes += 1);
    }

    /// The next `count` requests that contain `needle` are not forwarded; their connection is reset.
    pub fn lose_requests(&self, needle: &[u8], count: usize) {
        self.plan(needle, When::BeforeExecution, count);
    }

    /// The next `count` requests that contain `needle` are executed, and their connection is reset instead of the reply. What was sent
    /// along with them has the same fate.
    pub fn lose_replies(&self, needle: &[u8], count: usize) {
        self.plan(needle, When::AfterExecution, count);
    }

    /// Sends connections to come to another server.
    pub fn aim(&self, target: SocketAddr) {
        self.shared.state().target = target;
    }

    /// How many requests were lost, before or after execution, since the beginning.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.shared.state().lost
    }

    /// How many connections were accepted since the beginning.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// `redis://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    fn plan(&self, needle: &[u8], when: When, count: usize) {
        let needle = needle.to_vec();
        self.shared.state().planned = (count > 0).then_some(Planned { needle, when, left: count });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this request is one of those to be lost.
    fn losing(&self, request: &[u8]) -> Option<When> {
        let mut state = self.state();
        let planned = state.planned.as_mut()?;
        if !request.windows(planned.needle.len()).any(|window| window == planned.needle) {
            return None;
        }
        let when = planned.when;
        planned.left -= 1;
        if planned.left == 0 {
            state.planned = None;
        }
        state.lost += 1;
        Some(when)
    }

    /// How much of a request that didn't match may be the beginning of one that does.
    fn kept(&self) -> usize {
        self.state().planned.as_ref().map_or(0, |planned| planned.needle.len().saturating_sub(1))
    }
}

/// Accepts connections, and closes the socket while they are to be refused.
async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut faults = shared.faults.subscribe();
    let mut listener = Some(listener);
    loop {
        let refuse = faults.borrow_and_update().refuse;
        if refuse {
            listener = None;
        }
        match &listener {
            Some(open) => tokio::select! {
                accepted = open.accept() => if let Ok((client, _)) = accepted {
                    tokio::spawn(serve(client, Arc::clone(&shared)));
                },
                _ = faults.changed() => {}
            },
            None if refuse => drop(faults.changed().await),
            None => match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                Err(_) => sleep(Duration::from_millis(5)).await,
            },
        }
    }
}

/// One connection, until one side closes it or it is cut.
async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let mut holes = shared.holes.subscribe();
    // What was cut or forgotten before concerns others.
    cuts.mark_unchanged();
    holes.mark_unchanged();
    let target = {
        let mut state = shared.state();
        state.connections += 1;
        state.target
    };
    let Ok(server) = TcpStream::connect(target).await else {
        reset(&client);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // A reset ends both sides at once, with whatever is under way.
    reset(&client);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (lost, mut losing) = watch::channel(false);
    let requests = Direction { shared: &shared, flow: |faults| faults.requests, holes: holes.clone() };
    let replies = Direction { shared: &shared, flow: |faults| faults.replies, holes };
    tokio::select! {
        _ = cuts.changed() => {}
        _ = requests.requests(from_client, to_server, lost) => {}
        () = replies.replies(from_server, to_client, &mut losing) => {}
    }
}

/// Closing sends a reset.
fn reset(stream: &TcpStream) {
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

/// One direction of one connection.
struct Direction<'a> {
    shared: &'a Shared,
    flow: fn(&Faults) -> Flow,
    holes: watch::Receiver<u64>,
}

impl Direction<'_> {
    async fn requests(
        mut self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        lost: watch::Sender<bool>,
    ) -> io::Result<()> {
        let mut chunk = vec![0; 64 * 1024];
        // The end of what was read before: a needle may be cut in two.
        let mut tail = Vec::new();
        loop {
            let length = from.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            tail.extend_from_slice(&chunk[..length]);
            match self.shared.losing(&tail) {
                Some(When::BeforeExecution) => return Ok(()),
                Some(When::AfterExecution) => {
                    lost.send_replace(true);
                    tail.clear();
                }
                None => drop(tail.drain(..tail.len().saturating_sub(self.shared.kept()))),
            }
            self.forward(&chunk[..length], &mut to).await?;
        }
    }

    /// Ends when the server does, or when a reply has been lost.
    async fn replies(
        mut self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        losing: &mut watch::Receiver<bool>,
    ) {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let Ok(length @ 1..) = from.read(&mut chunk).await else { return };
            if *losing.borrow() {
                return swallow_the_rest(from, chunk).await;
            }
            if self.forward(&chunk[..length], &mut to).await.is_err() {
                return;
            }
        }
    }

    /// Passes bytes on, as the faults of the moment allow.
    async fn forward(&mut self, bytes: &[u8], to: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut faults = self.shared.faults.subscribe();
        let delay = faults.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.holes.has_changed().unwrap_or(true) {
                return core::future::pending().await;
            }
            let now = *faults.borrow_and_update();
            match (self.flow)(&now) {
                Flow::Pass => {
                    to.write_all(rest).await?;
                    rest = &[];
                }
                Flow::Drip(count, pause) => {
                    let (drop, left) = rest.split_at(count.clamp(1, rest.len()));
                    to.write_all(drop).await?;
                    rest = left;
                    sleep(pause).await;
                }
                Flow::Hold => drop(faults.changed().await),
                Flow::Swallow => return core::future::pending().await,
            }
        }
        Ok(())
    }
}

/// Reads replies away until the server has nothing more to say: then all that was asked has been executed.
async fn swallow_the_rest(mut from: OwnedReadHalf, mut chunk: Vec<u8>) {
    const QUIET: Duration = Duration::from_millis(30);
    while let Ok(Ok(1..)) = tokio::time::timeout(QUIET, from.read(&mut chunk)).await {}
}
