//! What is counted, measured and traced, and that nothing secret is in it.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::{
    fmt::{Debug, Write as _},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder},
};
use session_native::{
    Client, ClientBinding, CookieHeld, ManualClock, Rejection, Resilient, Sessions, Stored, observe,
};
use support::{
    Data, World, config, cookie_of,
    store::{Fault, Op, Stage, StagedStore},
};
use tracing::{
    Dispatch, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// What was recorded: `name{label=value}` to its value; of a histogram, the number of values.
type Recorded = BTreeMap<String, u64>;

/// Runs a scenario on a recorder of its own.
fn recorded(scenario: impl Future) -> Recorded {
    let recorder = DebuggingRecorder::new();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(async { drop(scenario.await) }));
    snapshot(&recorder)
}

fn snapshot(recorder: &DebuggingRecorder) -> Recorded {
    let metrics = recorder.snapshotter().snapshot().into_vec();
    let values = metrics.into_iter().map(|(key, _, _, value)| {
        let labels: Vec<_> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Gauge(value) => value.into_inner() as u64,
            DebugValue::Histogram(values) => {
                assert!(values.iter().all(|seconds| (0.0..60.0).contains(&seconds.into_inner())));
                values.len() as u64
            }
        };
        (format!("{}{{{}}}", key.key().name(), labels.join(",")), value)
    });
    values.collect()
}

fn expect(recorded: &Recorded, expected: &[(&str, u64)]) {
    let expected: Recorded = expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    assert_eq!(*recorded, expected);
}

#[test]
fn a_session_is_counted_from_its_begin_to_its_end() {
    let recorded = recorded(async {
        let world = World::new();
        let cookie = world.sign_in("ada").await;
        let mut session = world.load(&cookie).await.unwrap();
        session.data_mut().visits = 1;
        world.commit(&mut session).await.unwrap();
        session.regenerate();
        let new = world.commit(&mut session).await.unwrap().unwrap();
        world.load(&cookie).await.unwrap(); // superseded
        let mut unchanged = world.load(&new).await.unwrap();
        world.commit(&mut unchanged).await.unwrap();
        world.load("session=rubbish").await.unwrap();
        world.load("").await.unwrap();
        world.sessions.destroy(&mut session).await.unwrap();
        let expiring = world.sign_in("ada").await;
        world.sign_in("bob").await;
        assert_eq!(world.sessions.len().await.unwrap(), 2);
        let summary = world.sessions.by_subject("bob").await.unwrap().remove(0);
        assert!(world.sessions.revoke(&summary.key).await.unwrap());
        assert!(!world.sessions.revoke(&summary.key).await.unwrap());
        world.advance(3600);
        world.load(&expiring).await.unwrap();
    });
    expect(
        &recorded,
        &[
            ("session.created{store=custom}", 3),
            ("session.loaded{store=custom}", 2),
            ("session.saved{store=custom}", 2),
            ("session.issued{store=custom}", 4),
            ("session.regenerated{store=custom}", 1),
            ("session.deleted{store=custom}", 2),
            ("session.expired{store=custom}", 1),
            ("session.rejected{store=custom,reason=superseded}", 1),
            ("session.rejected{store=custom,reason=malformed}", 1),
            ("session.active_count{store=custom}", 2),
            ("session.load_time{store=custom}", 2),
            ("session.store_time{store=custom}", 5),
            ("session.command_time{store=custom,command=create}", 3),
            ("session.command_time{store=custom,command=load}", 3),
            ("session.command_time{store=custom,command=save}", 2),
            ("session.command_time{store=custom,command=delete}", 3),
            ("session.command_time{store=custom,command=epoch}", 3),
            ("session.command_time{store=custom,command=by_subject}", 1),
            ("session.command_time{store=custom,command=len}", 1),
        ],
    );
}

#[test]
fn sessions_in_cookies_are_counted_too() {
    let recorded = recorded(async {
        let config = config().client_binding(Some(ClientBinding::user_agent()));
        let sessions = Sessions::<Data, CookieHeld>::cookie(config).unwrap().clock(ManualClock::default());
        let [here, there] = [b"Mozilla/5.0".as_slice(), b"curl"]
            .map(|user_agent| Client { ip: None, user_agent: Some(user_agent) });
        let mut session = sessions.create_for(&here).unwrap();
        let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
        assert!(!sessions.load(&cookie, &here).await.unwrap().is_new());
        let refused = sessions.load(&cookie, &there).await.unwrap();
        assert_eq!(refused.rejection(), Some(Rejection::BoundElsewhere));
    });
    expect(
        &recorded,
        &[
            ("session.created{store=cookie}", 1),
            ("session.loaded{store=cookie}", 1),
            ("session.issued{store=cookie}", 1),
            ("session.rejected{store=cookie,reason=bound-elsewhere}", 1),
            ("session.load_time{store=cookie}", 1),
            ("session.store_time{store=cookie}", 1),
        ],
    );
}

#[test]
fn errors_are_counted_once_and_by_their_code() {
    let recorded = recorded(async {
        let world = World::new();
        let cookie = world.sign_in("ada").await;
        let mut session = world.load(&cookie).await.unwrap();
        session.data_mut().visits = 1;
        for op in [Op::Save, Op::Load, Op::Delete] {
            world.stage.fail(op, Fault::Before);
        }
        assert!(world.commit(&mut session).await.is_err());
        assert!(world.load(&cookie).await.is_err());
        assert!(world.sessions.destroy(&mut session).await.is_err());
    });
    assert_eq!(recorded.get("session.error{store=custom,error=unavailable}"), Some(&3));
    assert_eq!(recorded.keys().filter(|name| name.starts_with("session.error")).count(), 1);
    assert_eq!(recorded.get("session.command_time{store=custom,command=delete}"), Some(&1));
    assert_eq!(recorded.get("session.deleted{store=custom}"), None);
}

#[test]
fn errors_that_are_no_stores_are_counted_too() {
    let recorded = recorded(async {
        let mut config = config();
        config.max_record_len = 10;
        let world = World::with(config, |sessions| sessions);
        assert!(world.commit(&mut world.sessions.create()).await.unwrap_err().is_too_large());
    });
    expect(&recorded, &[("session.error{store=custom,error=record-too-large}", 1)]);
}

/// A staged store inside of `Resilient`.
fn resilient() -> (Sessions<Data, Stored<Resilient<StagedStore>>>, Arc<Stage>) {
    let stage = Arc::<Stage>::default();
    let store = StagedStore::new(session_native::MemoryStore::new(), Arc::clone(&stage));
    (Sessions::new(config(), Resilient::new(store)).unwrap(), stage)
}

#[test]
fn retries_and_the_breaker_are_counted() {
    let recorded = recorded(async {
        let (sessions, stage) = resilient();
        let mut session = sessions.create();
        stage.fail(Op::Create, Fault::After);
        let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
        stage.down(true);
        for _ in 0..7 {
            assert!(sessions.load(&cookie, &Client::default()).await.is_err());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        stage.down(false);
        assert!(!sessions.load(&cookie, &Client::default()).await.unwrap().is_new());
    });
    for (name, value) in [
        ("session.created{store=custom}", 1),
        ("session.retry.attempt{store=custom}", 1 + 5 * 2),
        ("session.circuit_breaker.open{store=custom}", 1),
        ("session.circuit_breaker.half_open{store=custom}", 1),
        ("session.error{store=custom,error=unavailable}", 5),
        ("session.error{store=custom,error=circuit-open}", 2),
        ("session.command_time{store=custom,command=load}", 8),
    ] {
        assert_eq!(recorded.get(name), Some(&value), "{name} in {recorded:#?}");
    }
}

#[test]
fn a_recorder_may_be_installed_after_the_provider_was_made() {
    let (sessions, _) = resilient();
    let recorded = recorded(async move {
        sessions.commit(&mut sessions.create()).await.unwrap();
    });
    assert_eq!(recorded.get("session.created{store=custom}"), Some(&1));
}

#[test]
fn every_metric_is_described_and_listed() {
    let source = include_str!("../src/observe/mod.rs");
    let names: Vec<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub(crate) const ")?.split('"').nth(1))
        .collect();
    assert_eq!(names.len(), 16);
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, || {
        observe::describe();
        // A description shows with the metric it describes, so each is recorded in each way.
        for &name in &names {
            metrics::counter!(name).increment(1);
            metrics::gauge!(name).set(1.0);
            metrics::histogram!(name).record(1.0);
        }
    });
    let mut kinds = BTreeMap::new();
    for (key, _, description, _) in recorder.snapshotter().snapshot().into_vec() {
        if description.is_some() {
            assert_eq!(kinds.insert(key.key().name().to_owned(), key.kind()), None);
        }
    }
    for name in names {
        assert!(source.contains(&format!("//! | `{name}` |")), "{name} is not in the table");
        let kind = kinds.remove(name).unwrap_or_else(|| panic!("{name} is not described"));
        let expected = match name.rsplit(['_', '.']).next() {
            Some("time") => MetricKind::Histogram,
            Some("count") => MetricKind::Gauge,
            _ => MetricKind::Counter,
        };
        assert_eq!(kind, expected, "{name}");
    }
    assert!(kinds.is_empty(), "{kinds:?}");
}

/// Writes down everything that is traced: spans and events of this library apart.
#[derive(Default)]
struct Scribe {
    spans: Mutex<String>,
    events: Mutex<String>,
    ids: AtomicU64,
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

fn of_this_library(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("session_")
}

impl Subscriber for Scribe {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        of_this_library(metadata)
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut spans = self.spans.lock().unwrap();
        write!(spans, "{}", attributes.metadata().name()).unwrap();
        attributes.record(&mut Line(&mut spans));
        spans.push('\n');
        span::Id::from_u64(self.ids.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Line(&mut self.spans.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Line(&mut self.events.lock().unwrap()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn nothing_secret_is_in_a_label_or_a_span() {
    const SUBJECT: &str = "ada-of-lovelace";
    const VALUE: u64 = 918_273_645_546_372_819;

    // For the whole process: other tests may add lines, and take none away.
    let scribe = Arc::<Scribe>::default();
    tracing::dispatcher::set_global_default(Dispatch::from(
        Arc::clone(&scribe) as Arc<dyn Subscriber + Send + Sync>
    ))
    .unwrap();
    let mut secrets = Vec::new();
    let recorded = recorded(async {
        let (sessions, stage) = resilient();
        let client = Client { ip: "203.0.113.77".parse().ok(), user_agent: Some(b"Mozilla/77.77") };
        let mut session = sessions.create();
        session.authenticate(SUBJECT);
        session.data_mut().visits = VALUE;
        let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
        let mut session = sessions.load(&cookie, &client).await.unwrap();
        sessions.update(&mut session, |data| data.fields.a = VALUE).await.unwrap();
        session.regenerate();
        let new = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
        let mut forged = new.clone();
        forged.pop();
        forged.push('!');
        for cookie in [&cookie, &forged] {
            assert!(sessions.load(cookie, &client).await.unwrap().is_new());
        }
        stage.down(true);
        for _ in 0..7 {
            assert!(sessions.load(&new, &client).await.is_err());
        }
        stage.down(false);
        sessions.store().breaker().reset();
        let listed = sessions.by_subject(SUBJECT).await.unwrap();
        let key = session.key().unwrap();
        assert_eq!(listed[0].key, key);
        assert_eq!(sessions.find(|_| true).await.unwrap().len(), 1);
        sessions.destroy(&mut session).await.unwrap();
        sessions.revoke_subject(SUBJECT).await.unwrap();
        sessions.clear().await.unwrap();

        secrets.push(key.to_string());
        secrets.push(session_native::SubjectTag::new(SUBJECT).to_string());
        secrets.push(SUBJECT.to_owned());
        secrets.push(VALUE.to_string());
        secrets.extend(["203.0.113.77", "Mozilla/77.77"].map(str::to_owned));
        for cookie in [cookie, new, forged] {
            let token = cookie.split_once('=').unwrap().1.to_owned();
            secrets.push(token[..24].to_owned());
            secrets.push(token);
        }
    });
    let labels = format!("{recorded:?}");
    let spans = scribe.spans.lock().unwrap().clone();
    for secret in &secrets {
        assert!(!labels.contains(secret), "{secret} in {labels}");
        assert!(!spans.contains(secret), "{secret} in {spans}");
    }
    // Neither are they in an event, but for the key, which is a session's public name.
    let events = scribe.events.lock().unwrap();
    for secret in &secrets[1..] {
        assert!(!events.contains(secret), "{secret} in {events}");
    }
    for span in [
        "session.load store=\"custom\"",
        "session.commit store=\"custom\"",
        "session.update store=\"custom\"",
        "session.destroy store=\"custom\"",
        "session.command store=\"custom\" command=\"revoke_subject\"",
    ] {
        assert!(spans.lines().any(|line| line == span), "{span} is not in:\n{spans}");
    }
}
