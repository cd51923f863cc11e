//! A steady stream of requests through a fault: how long errors took to come, how long recovery took, and what was acknowledged and is there.

use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::{collections::BTreeSet, fmt, sync::Arc, time::Instant};

use session_native::{Client, Config, Error, OsRandom, Secret, Sessions, Store, Stored};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    history::{Data, cookie_of},
    servers::until,
};

/// Sessions in a store, as in production: encrypted at rest.
///
/// # Panics
/// If the system gives no random bytes.
pub fn sessions_in<S: Store>(store: S) -> Sessions<Data, Stored<S>> {
    let secret = Secret::generate(&OsRandom).expect("random bytes of the system");
    Sessions::new(Config::production(secret), store).expect("the preset is valid")
}

/// Visitors who each load their session and count in it, one request after the other.
pub struct Pulse<S> {
    sessions: Sessions<Data, Stored<S>>,
    stop: Arc<AtomicBool>,
    visitors: JoinSet<Visitor>,
}

/// What the visitors saw.
#[derive(Debug, Default)]
pub struct Beats {
    beats: Vec<Beat>,
    /// Increments that were acknowledged.
    pub acknowledged: u64,
    /// Increments whose outcome is unknown.
    pub unknown: u64,
    /// Increments that are there in the end.
    pub present: u64,
    /// The most by which one session has less than was acknowledged, or more than was asked for.
    pub wrong: u64,
    /// What the errors said.
    pub messages: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug)]
struct Beat {
    begun: Instant,
    took: Duration,
    is_error: bool,
}

#[derive(Default)]
struct Visitor {
    cookie: String,
    beats: Vec<Beat>,
    acknowledged: u64,
    unknown: u64,
    messages: BTreeSet<String>,
}

/// Between two requests of a visitor.
const PAUSE: Duration = Duration::from_millis(4);

impl<S: Store> Pulse<S> {
    /// Signs so many visitors in, and lets them begin.
    ///
    /// # Panics
    /// If the store is not well.
    pub async fn start(sessions: &Sessions<Data, Stored<S>>, visitors: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut working = JoinSet::new();
        for number in 0..visitors {
            let mut session = sessions.create();
            session.authenticate(format!("visitor-{number}"));
            session.data_mut().owner = format!("visitor-{number}");
            let cookie = sessions.commit(&mut session).await.expect("the store is well");
            let visitor = Visitor {
                cookie: cookie.as_ref().map(cookie_of).expect("a new session has a cookie"),
                ..Visitor::default()
            };
            working.spawn(visitor.visit(sessions.clone(), Arc::clone(&stop)));
        }
        Self { sessions: sessions.clone(), stop, visitors: working }
    }

    /// Lets them finish, and looks at what is there.
    ///
    /// # Panics
    /// If the store is not well within a minute, or a visitor sees another session than its own.
    pub async fn stop(self) -> Beats {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Beats::default();
        for visitor in self.visitors.join_all().await {
            let mut count = 0;
            until("the store is well", async || {
                let loaded = self.sessions.load(&visitor.cookie, &Client::default()).await;
                loaded.is_ok_and(|session| {
                    count = session.data().count;
                    true
                })
            })
            .await;
            all.acknowledged += visitor.acknowledged;
            all.unknown += visitor.unknown;
            all.present += count;
            let lost = visitor.acknowledged.saturating_sub(count);
            let double = count.saturating_sub(visitor.acknowledged + visitor.unknown);
            all.wrong = all.wrong.max(lost).max(double);
            all.beats.extend(visitor.beats);
            all.messages.extend(visitor.messages);
        }
        all.beats.sort_by_key(|beat| beat.begun);
        all
    }
}

impl Visitor {
    async fn visit<S: Store>(mut self, sessions: Sessions<Data, Stored<S>>, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::SeqCst) {
            let begun = Instant::now();
            let done = self.request(&sessions).await;
            self.messages.extend(done.as_ref().err().map(ToString::to_string));
            self.beats.push(Beat { begun, took: begun.elapsed(), is_error: done.is_err() });
            sleep(PAUSE).await;
        }
        self
    }

    async fn request<S: Store>(&mut self, sessions: &Sessions<Data, Stored<S>>) -> Result<(), Error> {
        let mut session = sessions.load(&self.cookie, &Client::default()).await?;
        let owner = session.subject().map(str::to_owned);
        assert!(owner.is_some(), "a visitor is never taken for an anonymous one: {:?}", session.state());
        assert_eq!(owner.as_ref(), Some(&session.data().owner), "its own data");
        match sessions.update(&mut session, |data| data.count += 1).await {
            Ok(()) => self.acknowledged += 1,
            Err(Error::Store(error)) => {
                self.unknown += 1;
                return Err(error.into());
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }
}

impl Beats {
    /// The longest that a request took that failed; zero if none did.
    #[must_use]
    pub fn slowest_error(&self) -> Duration {
        self.beats.iter().filter(|beat| beat.is_error).map(|beat| beat.took).max().unwrap_or_default()
    }

    /// The longest that a request took.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        self.beats.iter().map(|beat| beat.took).max().unwrap_or_default()
    }

    /// How many requests failed.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.beats.iter().filter(|beat| beat.is_error).count()
    }

    /// How long after a moment the last failing request had its answer: from then on all is well. Zero if none failed after it.
    #[must_use]
    pub fn recovery_after(&self, moment: Instant) -> Duration {
        let failed = self.beats.iter().filter(|beat| beat.is_error);
        let last = failed.map(|beat| beat.begun + beat.took).max();
        last.map_or(Duration::ZERO, |last| last.saturating_duration_since(moment))
    }
}

/// A line of what was observed.
impl fmt::Display for Beats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, unknown, present, wrong, .. } = self;
        let milliseconds = self.slowest_error().as_millis();
        write!(
            f,
            "{} of {} requests failed, the slowest after {milliseconds} ms; {acknowledged} writes acknowledged, {unknown} unknown, \
             {present} present, {wrong} wrong",
            self.errors(),
            self.beats.len()
        )
    }
}
