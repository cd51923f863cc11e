//! A store that fails in every way, and what `Resilient` makes of it. The clock is paused: every time is exact.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::{future::pending, pin::pin, time::Duration};
use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use axum::{Router, body::Body, http, routing::get};
use futures_util::{FutureExt as _, future::join_all};
use proptest::prelude::*;
use session_conformance::Harness;
use session_native::{
    Client, Clock as _, Error, Key, ManualClock, MemoryStore, OsRandom, Query, Random, RandomError,
    Resilient, SessionHandle, Sessions, Store, StoreError, SubjectTag, Timestamp, Version,
    axum::SessionLayer,
    resilience::{BreakerPolicy, BreakerState, RetryPolicy},
    store::{Batch, Found, Lookup, Record, Saved},
};
use support::{Data, config, cookie_of};
use tokio::time::{Instant, advance};
use tower::ServiceExt as _;

/// What a store does with one command.
#[derive(Clone, Debug)]
enum Step {
    Answer,
    Fail,
    /// Does it, and the answer is lost.
    Lose,
    /// Fails, and knows when it will be back.
    FailFor(Duration),
    Hang,
    AnswerAfter(Duration),
}

/// A memory store that follows a script; at its end it does the same for ever.
struct Scripted {
    memory: MemoryStore,
    script: Mutex<Vec<Step>>,
    then: Mutex<Step>,
    calls: AtomicU32,
}

impl Scripted {
    fn new(script: impl Into<Vec<Step>>, then: Step) -> Self {
        let mut script = script.into();
        script.reverse();
        let (script, then) = (Mutex::new(script), Mutex::new(then));
        Self { memory: MemoryStore::new(), script, then, calls: AtomicU32::new(0) }
    }

    fn then(&self, step: Step) {
        *self.then.lock().unwrap() = step;
    }

    fn calls(&self) -> u32 {
        self.calls.swap(0, Ordering::SeqCst)
    }

    async fn perform<R>(
        &self,
        command: impl Future<Output = Result<R, StoreError>>,
    ) -> Result<R, StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let next = self.script.lock().unwrap().pop();
        let step = next.unwrap_or_else(|| self.then.lock().unwrap().clone());
        match step {
            Step::Answer => command.await,
            Step::Fail => Err(StoreError::unavailable("scripted")),
            Step::Lose => command.await.and(Err(StoreError::unavailable("lost"))),
            Step::FailFor(time) => {
                Err(StoreError::Unavailable { reason: "scripted".into(), retry_after: Some(time) })
            }
            Step::Hang => pending().await,
            Step::AnswerAfter(time) => {
                tokio::time::sleep(time).await;
                command.await
            }
        }
    }
}

impl Store for Scripted {
    const NAME: &'static str = "scripted";

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        self.perform(self.memory.create(key, record)).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        self.perform(self.memory.load(key, lookup)).await
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        self.perform(self.memory.save(key, record, expected)).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.perform(self.memory.delete(key)).await
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        self.perform(self.memory.epoch(subject)).await
    }

    async fn lease(&self, key: &Key, holder: u64, ttl: Duration) -> Result<bool, StoreError> {
        self.perform(self.memory.lease(key, holder, ttl)).await
    }

    async fn release(&self, key: &Key, holder: u64) -> Result<(), StoreError> {
        self.perform(self.memory.release(key, holder)).await
    }
}

impl Query for Scripted {
    async fn scan(&self, cursor: u64) -> Result<Batch, StoreError> {
        self.perform(self.memory.scan(cursor)).await
    }

    async fn by_subject(&self, subject: &SubjectTag) -> Result<Vec<(Key, Found)>, StoreError> {
        self.perform(self.memory.by_subject(subject)).await
    }

    async fn revoke_subject(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        self.perform(self.memory.revoke_subject(subject)).await
    }

    async fn len(&self) -> Result<u64, StoreError> {
        self.perform(self.memory.len()).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.perform(self.memory.clear()).await
    }
}

/// Makes every pause the longest.
struct Slowest;

impl Random for Slowest {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        buffer.fill(0);
        Ok(())
    }
}

fn resilient(script: impl Into<Vec<Step>>, then: Step) -> Resilient<Scripted> {
    Resilient::new(Scripted::new(script, then)).random(Slowest)
}

const KEY: Key = Key::from_bytes([7; 16]);

fn version(counter: u64) -> Version {
    Version { counter, nonce: counter ^ 0xabcd }
}

fn record(counter: u64) -> Record {
    Record::new(version(counter), Timestamp::MAX, "{}")
}

async fn load(store: &Resilient<Scripted>) -> Result<bool, StoreError> {
    Ok(store.load(&KEY, Lookup::default()).await?.is_some())
}

/// A store whose breaker is open.
async fn open() -> Resilient<Scripted> {
    let store = resilient([], Step::Fail);
    for _ in 0..5 {
        assert!(load(&store).await.is_err());
    }
    assert_eq!(store.breaker().state(), BreakerState::Open);
    store.get_ref().calls();
    store
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_not_noticed() {
    let begun = Instant::now();
    let store = resilient([Step::Fail, Step::Fail], Step::Answer);
    assert_eq!(load(&store).await, Ok(false));
    assert_eq!(store.get_ref().calls(), 3);
    assert_eq!(begun.elapsed(), ms(20 + 40));
    assert_eq!(store.breaker().failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_the_last_try_the_error_is_the_stores() {
    let store = resilient([], Step::Fail);
    assert_eq!(load(&store).await, Err(StoreError::unavailable("scripted")));
    assert_eq!((store.get_ref().calls(), store.breaker().failures()), (3, 1));
    let store = store.retry(RetryPolicy::never());
    assert!(load(&store).await.is_err());
    assert_eq!(store.get_ref().calls(), 1);
}

// In the seed unknown ids open the breaker.
#[tokio::test(start_paused = true)]
async fn answers_are_neither_repeated_nor_failures() {
    let memory = MemoryStore::builder().capacity(1).build();
    let scripted = Scripted { memory, ..Scripted::new([], Step::Answer) };
    let store = Resilient::new(scripted);
    assert_eq!(store.create(&KEY, &record(1)).await, Ok(true));
    store.get_ref().calls();
    for unknown in 0..100_u8 {
        let key = Key::from_bytes([unknown | 0x80; 16]);
        assert!(store.load(&key, Lookup::default()).await.unwrap().is_none());
        assert_eq!(store.save(&key, &record(2), version(1)).await, Ok(Saved::Gone));
        assert_eq!(store.delete(&key).await, Ok(false));
        assert_eq!(store.create(&key, &record(1)).await, Err(StoreError::Full { capacity: Some(1) }));
        assert_eq!(store.create(&KEY, &record(3)).await, Ok(false));
        let conflict = store.save(&KEY, &record(5), version(4)).await;
        assert_eq!(conflict, Ok(Saved::Conflict(record(1))));
    }
    assert_eq!(store.get_ref().calls(), 600);
    assert_eq!((store.breaker().state(), store.breaker().failures()), (BreakerState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_done_once() {
    let store = resilient([Step::Lose, Step::Answer, Step::Lose, Step::Answer, Step::Lose], Step::Answer);
    assert_eq!(store.create(&KEY, &record(1)).await, Ok(true));
    assert_eq!(store.save(&KEY, &record(2), version(1)).await, Ok(Saved::Stored));
    let found = store.get_ref().memory.load(&KEY, Lookup::default()).await.unwrap().unwrap();
    assert_eq!(found.record, record(2));
    assert_eq!(store.delete(&KEY).await, Ok(false), "it is gone, and nobody knows who did it");
    assert_eq!(store.get_ref().memory.stats().deleted, 1);
}

/// Whether a save without an answer lies beneath what others have saved since, nobody can say. Who were told of a conflict would do it again, on
/// top of theirs, and count twice.
#[tokio::test(start_paused = true)]
async fn a_save_that_may_lie_beneath_others_is_an_error() {
    for (first_try, is_beneath) in [(Step::Lose, true), (Step::Fail, false)] {
        let store = resilient([Step::Answer, first_try], Step::Answer);
        assert_eq!(store.create(&KEY, &record(1)).await, Ok(true));
        let (mine, before) = (record(2), version(1));
        let mut save = pin!(store.save(&KEY, &mine, before));
        assert!((&mut save).now_or_never().is_none(), "there is a pause before the second try");
        let memory = &store.get_ref().memory;
        let (theirs, expected) = if is_beneath {
            (record(3), version(2))
        } else {
            // Theirs is the second: so mine, which would be, was not done.
            (Record::new(Version { counter: 2, nonce: 1 }, Timestamp::MAX, "{}"), before)
        };
        assert_eq!(memory.save(&KEY, &theirs, expected).await, Ok(Saved::Stored));
        match save.await {
            Err(error) => assert!(is_beneath && error.to_string().contains("not known whether"), "{error}"),
            conflict => {
                assert!(!is_beneath);
                assert_eq!(conflict, Ok(Saved::Conflict(theirs)));
            }
        }
    }
    // A first answer is believed.
    let store = resilient([], Step::Answer);
    assert_eq!(store.create(&KEY, &record(3)).await, Ok(true));
    assert_eq!(store.save(&KEY, &record(2), version(1)).await, Ok(Saved::Conflict(record(3))));
}

#[tokio::test(start_paused = true)]
async fn a_hung_try_gives_way_to_the_next() {
    let begun = Instant::now();
    let store = resilient([Step::Hang], Step::Answer);
    assert_eq!(load(&store).await, Ok(false));
    assert_eq!(begun.elapsed(), ms(500 + 20));
}

#[tokio::test(start_paused = true)]
async fn an_operation_never_outlasts_its_deadline() {
    let begun = Instant::now();
    let store = resilient([], Step::Hang);
    assert_eq!(load(&store).await, Err(StoreError::TimedOut { after: ms(1500 - 520 - 540) }));
    assert_eq!(begun.elapsed(), ms(1500));
    assert_eq!(store.get_ref().calls(), 3);

    let store = store.command_timeout(ms(100)).deadline(ms(110));
    let begun = Instant::now();
    assert_eq!(load(&store).await, Err(StoreError::TimedOut { after: ms(100) }));
    assert_eq!(begun.elapsed(), ms(100), "no time is left for a pause and a try");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_knows_when_it_is_back_is_asked_then() {
    let begun = Instant::now();
    let store = resilient([Step::FailFor(ms(700))], Step::Answer);
    assert_eq!(load(&store).await, Ok(false));
    assert_eq!(begun.elapsed(), ms(700));

    let begun = Instant::now();
    let store = resilient([], Step::FailFor(ms(1500)));
    assert_eq!(load(&store).await.unwrap_err().retry_after(), Some(ms(1500)));
    assert_eq!((begun.elapsed(), store.get_ref().calls()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_gone_is_not_asked() {
    let store = open().await;
    for _ in 0..1000 {
        let error = load(&store).await.unwrap_err();
        assert_eq!(error, StoreError::CircuitOpen { retry_after: ms(1000) });
    }
    assert_eq!(store.get_ref().calls(), 0);
    advance(ms(999)).await;
    assert_eq!(load(&store).await.unwrap_err().retry_after(), Some(ms(1)));
    advance(ms(1)).await;
    store.get_ref().then(Step::Answer);
    assert_eq!(load(&store).await, Ok(false));
    assert_eq!(store.breaker().state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_still_gone_is_asked_once_a_time() {
    let store = open().await.retry(RetryPolicy::never());
    for _ in 0..10 {
        advance(ms(1000)).await;
        let errors = join_all((0..100).map(|_| load(&store))).await;
        assert_eq!(store.get_ref().calls(), 1);
        assert_eq!(
            errors.iter().filter(|&error| *error == Err(StoreError::unavailable("scripted"))).count(),
            1
        );
    }
}

// The seed lets one more through than allowed.
#[tokio::test(start_paused = true)]
async fn of_a_crowd_only_the_probes_get_through() {
    for probes in [1, 4] {
        let policy = BreakerPolicy { half_open_max_calls: probes, ..BreakerPolicy::default() };
        let store = resilient([], Step::Fail).circuit_breaker(policy);
        for _ in 0..5 {
            assert!(load(&store).await.is_err());
        }
        advance(ms(1000)).await;
        store.get_ref().calls();
        store.get_ref().then(Step::AnswerAfter(ms(300)));
        let answers = join_all((0..100).map(|_| load(&store))).await;
        assert_eq!(store.get_ref().calls(), probes);
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), probes as usize);
        assert_eq!(store.breaker().state(), BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_that_comes_back_at_once_opens_nothing() {
    let store = resilient(vec![Step::Fail; 64], Step::Answer);
    let answers = join_all((0..64).map(|_| load(&store))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(store.get_ref().calls(), 128);
    assert_eq!((store.breaker().state(), store.breaker().failures()), (BreakerState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_retries_once_the_breaker_is_open() {
    let store = resilient([], Step::Fail);
    let results = join_all((0..20).map(|_| load(&store))).await;
    assert!(results.iter().all(|result| *result == Err(StoreError::unavailable("scripted"))));
    // All had two tries; the five that came first to the third opened the breaker.
    assert_eq!(store.get_ref().calls(), 20 + 20 + 5);
    assert_eq!(store.breaker().failures(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_gives_its_place_back() {
    let store = open().await;
    store.get_ref().then(Step::Hang);
    advance(ms(1000)).await;
    for _ in 0..10 {
        let mut probe = pin!(load(&store));
        assert!(probe.as_mut().now_or_never().is_none());
        assert_eq!(load(&store).await.unwrap_err().code(), "circuit-open");
        assert_eq!(store.get_ref().calls(), 1);
        // Dropped here: its request was cancelled.
    }
    store.get_ref().then(Step::Answer);
    assert_eq!(load(&store).await, Ok(false));
    assert_eq!(store.breaker().state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_ends_at_the_deadline() {
    let store = open().await;
    store.get_ref().then(Step::Hang);
    advance(ms(1000)).await;
    let begun = Instant::now();
    assert_eq!(load(&store).await.unwrap_err().code(), "timed-out");
    assert_eq!(begun.elapsed(), ms(1500));
    assert_eq!(load(&store).await, Err(StoreError::CircuitOpen { retry_after: ms(1000) }));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_nobody_polls_holds_up_nobody() {
    let store = open().await;
    store.get_ref().then(Step::Hang);
    advance(ms(1000)).await;
    let mut forgotten = Box::pin(load(&store));
    assert!(forgotten.as_mut().now_or_never().is_none());
    store.get_ref().then(Step::Answer);
    assert_eq!(load(&store).await, Err(StoreError::CircuitOpen { retry_after: ms(3000) }));
    advance(ms(3000)).await;
    assert_eq!(load(&store).await, Ok(false));
    assert_eq!(store.breaker().state(), BreakerState::Closed);
    // What it says at last counts for nothing.
    assert!(forgotten.await.is_err());
    assert_eq!((store.breaker().state(), store.breaker().failures()), (BreakerState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_count_and_clear_whatever_the_breaker_says() {
    let store = open().await;
    store.get_ref().then(Step::AnswerAfter(Duration::from_secs(30)));
    assert_eq!(store.len().await, Ok(0));
    assert_eq!(store.clear().await, Ok(()));
    store.get_ref().then(Step::Hang);
    let begun = Instant::now();
    assert_eq!(store.clear().await, Err(StoreError::TimedOut { after: Duration::from_secs(60) }));
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
    let store = store.bulk_timeout(ms(50));
    assert_eq!(store.len().await, Err(StoreError::TimedOut { after: ms(50) }));
}

#[tokio::test(start_paused = true)]
async fn every_operation_is_wrapped() {
    let subject = SubjectTag::new("ada");
    // The first try of each fails.
    let script: Vec<_> = (0..10).flat_map(|_| [Step::Fail, Step::Answer]).collect();
    let store = resilient(script, Step::Hang);
    assert_eq!(store.create(&KEY, &record(1)).await, Ok(true));
    assert!(load(&store).await.unwrap());
    assert_eq!(store.save(&KEY, &record(2), version(1)).await, Ok(Saved::Stored));
    assert_eq!(store.epoch(&subject).await, Ok(0));
    assert_eq!(store.revoke_subject(&subject).await, Ok(1));
    assert!(store.by_subject(&subject).await.unwrap().is_empty());
    let found = store.scan(0).await.unwrap();
    assert!(found.next.is_some() || !found.found.is_empty());
    assert_eq!(store.len().await, Ok(1));
    assert_eq!(store.delete(&KEY).await, Ok(true));
    assert_eq!(store.clear().await, Ok(()));
    assert_eq!(store.get_ref().calls(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_tried_once_and_in_time() {
    let store = resilient([Step::Fail, Step::Fail], Step::Hang);
    assert_eq!(store.lease(&KEY, 1, ms(300)).await, Err(StoreError::unavailable("scripted")));
    assert_eq!(store.release(&KEY, 1).await, Err(StoreError::unavailable("scripted")));
    let begun = Instant::now();
    assert_eq!(store.lease(&KEY, 1, ms(300)).await, Err(StoreError::TimedOut { after: ms(500) }));
    assert_eq!(store.release(&KEY, 1).await, Err(StoreError::TimedOut { after: ms(500) }));
    assert_eq!(begun.elapsed(), ms(1000));
    assert_eq!((store.get_ref().calls(), store.breaker().failures()), (4, 0));
}

#[test]
fn what_a_store_says_of_itself_is_passed_on() {
    const { assert!(<Resilient<MemoryStore>>::IN_PROCESS && !<Resilient<Scripted>>::IN_PROCESS) };
    assert_eq!(<Resilient<MemoryStore>>::NAME, "memory");
    assert_eq!(<Resilient<Scripted>>::NAME, "scripted");
}

#[test]
fn errors_say_what_they_are() {
    let errors = [
        (StoreError::TimedOut { after: ms(500) }, "the session store did not answer within 500 ms"),
        (
            StoreError::CircuitOpen { retry_after: ms(700) },
            "the session store failed too often and is not asked now (circuit breaker open): try again in 700 ms",
        ),
    ];
    for (error, text) in errors {
        assert_eq!(error.to_string(), text);
        assert!(error.is_unavailable() && Error::from(error).is_unavailable());
    }
}

// P6: a store that is not asked is not a store that knows nobody.
#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_a_503_that_says_when_to_come_again() {
    let policy = BreakerPolicy { reset_timeout: ms(4200), ..BreakerPolicy::default() };
    let store = resilient([], Step::Answer).circuit_breaker(policy);
    let sessions = Sessions::<Data, _>::new(config(), store).unwrap();
    let mut session = sessions.create();
    let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    let app: Router = Router::new()
        .route("/", get(async |session: SessionHandle<Data>| session.data().visits.to_string()))
        .layer(SessionLayer::new(sessions.clone()));

    sessions.store().get_ref().then(Step::Fail);
    for failures in 0..6 {
        let request = http::Request::get("/").header(http::header::COOKIE, &cookie);
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), http::StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().get(http::header::SET_COOKIE).is_none());
        let wait = if failures < 5 { "1" } else { "5" };
        assert_eq!(response.headers()[http::header::RETRY_AFTER], wait);
    }
    sessions.store().get_ref().then(Step::Answer);
    sessions.store().breaker().reset();
    assert!(!sessions.load(&cookie, &Client::default()).await.unwrap().is_new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_the_store_does_the_answer_is_in_time(
        script in prop::collection::vec(
            prop_oneof![
                Just(Step::Answer), Just(Step::Fail), Just(Step::Lose), Just(Step::Hang),
                (0_u64..2000).prop_map(|millis| Step::FailFor(ms(millis))),
                (0_u64..2000).prop_map(|millis| Step::AnswerAfter(ms(millis))),
            ],
            1..40,
        ),
        attempts in 1_u32..8, each in 1_u64..800, all in 1_u64..2000, threshold in 1_u32..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let store = Resilient::new(Scripted::new(script, Step::Answer))
                .command_timeout(ms(each))
                .deadline(ms(all))
                .retry(RetryPolicy { max_attempts: attempts, ..RetryPolicy::default() })
                .circuit_breaker(BreakerPolicy { failure_threshold: threshold, ..BreakerPolicy::default() })
                .random(OsRandom);
            for _ in 0..10 {
                let begun = Instant::now();
                let answer = load(&store).await;
                // The clock of tokio counts milliseconds.
                assert!(begun.elapsed() <= ms(all + 1), "{:?} of {all} ms", begun.elapsed());
                let calls = store.get_ref().calls();
                match answer {
                    Err(StoreError::CircuitOpen { .. }) => {
                        assert_eq!((calls, begun.elapsed()), (0, Duration::ZERO));
                        advance(store.breaker().time_until_retry().unwrap()).await;
                    }
                    _ => assert!((1..=attempts).contains(&calls)),
                }
            }
        });
    }
}

mod contract {
    use super::*;

    struct Wrapped {
        clock: ManualClock,
        store: Resilient<MemoryStore>,
    }

    impl Wrapped {
        fn new() -> Self {
            let clock = ManualClock::default();
            let memory = MemoryStore::builder().clock(clock.clone()).build();
            // The machine may be busy: no test depends on its speed.
            let store = Resilient::new(memory).command_timeout(ms(60_000)).deadline(ms(60_000));
            Self { clock, store }
        }
    }

    impl Harness for Wrapped {
        type Store = Resilient<MemoryStore>;

        fn store(&self) -> &Self::Store {
            &self.store
        }

        fn now(&self) -> Timestamp {
            self.clock.now()
        }

        async fn advance(&self, by: Duration) {
            self.clock.advance(by);
        }
    }

    session_conformance::store_tests!(Wrapped::new());
    session_conformance::query_tests!(Wrapped::new());
}
