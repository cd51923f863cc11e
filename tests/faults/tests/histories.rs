//! Histories of clients on one server, without faults and with all that the proxy and signals can do.

use core::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
    time::Duration,
};
use std::sync::Arc;

use fastrand::Rng;
use session_faults::{
    chaos::befall,
    history::{Data, Outcome, Workload, assert_clean, cookie_of, run},
    proxy::Proxy,
    pulse::sessions_in,
    report::{report, scaled},
    servers::{RedisServer, until},
};
use session_native::{Client, Error, RedisStore, Sessions, Store as _, Stored, SubjectTag};
use tokio::{task::JoinSet, time::sleep};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_faults_nothing_is_wrong() {
    let server = RedisServer::start().await;
    let sessions = sessions_in(RedisStore::connect(&server.url()).await.expect("the server is well"));
    let operations = scaled(200_000);
    let workload = Workload { clients: 32, sessions: 16, operations, ..Workload::default() };
    let history = run(&sessions, workload, async |_| {}).await;
    report("history without faults", "0 violations", history.summary());
    assert_clean(&history);
    assert!(history.operations.len() >= operations && history.count(Outcome::Unknown) == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_faults_nothing_is_wrong() {
    let mut server = RedisServer::builder().durable().start().await;
    let proxy = Proxy::before(server.address()).await;
    let sessions = sessions_in(RedisStore::connect(&proxy.url()).await.expect("the server is well"));
    let operations = scaled(50_000);
    let mut rng = Rng::with_seed(7);
    let mut faults = 0;
    let workload = Workload { clients: 32, sessions: 16, operations, ..Workload::default() };
    let history = run(&sessions, workload, async |now| {
        // Until enough was done: a moment comes at the beginning and at the end of each operation.
        while now() < 2 * operations as u64 {
            befall(&mut rng, &mut server, &proxy).await;
            faults += 1;
            proxy.heal();
            let store = sessions.store();
            until("the store is well", async || store.epoch(&SubjectTag::new("nobody")).await.is_ok()).await;
            sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let observed = format!("{faults} faults; {}", history.summary());
    report("history with kills, stops, cuts, lost replies, black holes, drips", "0 violations", observed);
    assert_clean(&history);
    assert!(history.operations.len() >= operations && history.count(Outcome::Unknown) > 0 && faults > 5);
}

/// Requests that are dropped while they wait for Redis, beside others that aren't: nobody is given another's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_requests_leave_others_alone() {
    let server = RedisServer::start().await;
    let sessions = sessions_in(RedisStore::connect(&server.url()).await.expect("the server is well"));
    let enough = scaled(100_000);
    let cancelled = Arc::new(AtomicUsize::new(0));
    let mut visitors = JoinSet::new();
    for number in 0..32 {
        let visitor = Visitor { number, sessions: sessions.clone(), cancelled: Arc::clone(&cancelled) };
        visitors.spawn(visitor.visit(enough));
    }
    let answered: u64 = visitors.join_all().await.iter().sum();
    let cancelled = cancelled.load(Ordering::SeqCst);
    let observed = format!("{cancelled} cancelled, {answered} answered, 0 of another session, counts exact");
    report("requests cancelled at random", "no answer of another session, nothing lost or doubled", observed);
    assert!(cancelled >= enough && answered > 0);
}

struct Visitor {
    number: u64,
    sessions: Sessions<Data, Stored<RedisStore>>,
    cancelled: Arc<AtomicUsize>,
}

impl Visitor {
    /// Gives the number of answers; panics at one that is another's.
    async fn visit(self, enough: usize) -> u64 {
        let (sessions, owner) = (&self.sessions, format!("visitor-{}", self.number));
        let mut rng = Rng::with_seed(self.number);
        let mut session = sessions.create();
        session.authenticate(owner.clone());
        session.data_mut().owner.clone_from(&owner);
        let cookie = sessions.commit(&mut session).await.expect("the store is well");
        let cookie = cookie.as_ref().map(cookie_of).expect("a new session has a cookie");
        let (mut answers, mut acknowledged, mut unknown) = (0, 0, 0);
        while self.cancelled.load(Ordering::SeqCst) < enough {
            let polls = rng.u32(1..8);
            let is_write = rng.u32(..4) == 0;
            let request = async {
                let mut session = sessions.load(&cookie, &Client::default()).await?;
                assert_eq!(
                    (session.subject(), &session.data().owner),
                    (Some(&*owner), &owner),
                    "its own session"
                );
                if is_write {
                    let mine = sessions.update(&mut session, |data| {
                        data.count += 1;
                        data.owner.clone()
                    });
                    assert_eq!(mine.await?, owner, "its own session");
                }
                Ok::<(), Error>(())
            };
            match poll_some(polls, request).await {
                Some(done) => {
                    done.expect("the store is well");
                    answers += 1;
                    acknowledged += u64::from(is_write);
                }
                None => {
                    self.cancelled.fetch_add(1, Ordering::SeqCst);
                    unknown += u64::from(is_write);
                }
            }
        }
        let session = sessions.load(&cookie, &Client::default()).await.expect("the store is well");
        let count = session.data().count;
        assert!((acknowledged..=acknowledged + unknown).contains(&count), "{acknowledged} {count} {unknown}");
        answers
    }
}

/// Polls a future so often at most, whenever it is woken or others had a turn, and drops it.
async fn poll_some<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(done) = polled {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}
