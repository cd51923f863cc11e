//! Settings that change what is written, and what becomes of what can't be read.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use serde::{Deserialize, Serialize};
use session_native::{
    Client, Config, CoreError, Error, ManualClock, MemoryStore, Resilient, SessionData, Sessions, State,
    Store as _, Stored, store::Lookup, web::SessionLayer,
};
use support::{config, cookie_of, store::Outside};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Text {
    text: String,
}
impl SessionData for Text {}

/// The cookie of a session that was saved, and the bytes that the store holds.
async fn saved(config: Config, store: &Outside, text: &str) -> (String, Vec<u8>) {
    let sessions = Sessions::<Text, _>::new(config, store.clone()).unwrap();
    let mut session = sessions.create();
    session.data_mut().text = text.into();
    let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    let found = store.load(&session.key().unwrap(), Lookup::default()).await.unwrap().unwrap();
    (cookie, found.record.payload.to_vec())
}

fn shows(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Row 28.
#[tokio::test]
async fn a_record_has_as_many_bytes_as_may_be_and_not_one_more() {
    let commit = async |limit| {
        let mut config = config();
        config.max_record_len = limit;
        let sessions = Sessions::<Text, _>::new(config, MemoryStore::new()).unwrap();
        let sessions = sessions.clock(ManualClock::default());
        let mut session = sessions.create();
        session.data_mut().text = "x".repeat(1000);
        sessions.commit(&mut session).await
    };
    let too_large = |committed| match committed {
        Err(Error::Core(CoreError::RecordTooLarge { actual, limit })) => Some((actual, limit)),
        _ => None,
    };
    let (length, _) = too_large(commit(10).await).unwrap();
    assert!(length > 1000 && commit(length).await.is_ok());
    assert_eq!(too_large(commit(length - 1).await), Some((length, length - 1)));
}

/// Every way to write records; each reads what every other wrote, so a setting can be changed on a live site. Only demanding encryption refuses what is plain.
#[tokio::test]
async fn records_are_written_as_configured_and_read_whatever_was_configured() {
    let long = "compressible ".repeat(100);
    let ways = [(false, None), (false, Some(256)), (true, None), (true, Some(256))];
    let configured = |(encrypt_at_rest, compress_records_from)| Config {
        encrypt_at_rest,
        compress_records_from,
        ..config()
    };
    for way in ways {
        let store = Outside::default();
        let (cookie, bytes) = saved(configured(way), &store, &long).await;
        let (encrypted, deflated) = (way.0, way.1.is_some());
        assert_eq!(shows(&bytes, "compressible compressible"), !encrypted && !deflated, "{way:?}");
        assert_eq!(bytes.len() < 700, deflated, "{way:?}: {}", bytes.len());
        for other in ways.into_iter().filter(|other| encrypted || !other.0) {
            let sessions = Sessions::<Text, _>::new(configured(other), store.clone()).unwrap();
            let session = sessions.load(&cookie, &Client::default()).await.unwrap();
            assert_eq!(session.data().text, long, "{way:?} read by {other:?}");
        }
    }
}

#[tokio::test]
async fn short_records_are_not_compressed() {
    let store = Outside::default();
    let plain = Config { encrypt_at_rest: false, compress_records_from: Some(100_000), ..config() };
    let (_, bytes) = saved(plain, &store, &"compressible ".repeat(100)).await;
    assert!(shows(&bytes, "compressible compressible"));
}

#[tokio::test]
async fn cookies_are_compressed_if_that_is_asked_for() {
    let text = "compressible ".repeat(200);
    let mut lengths = Vec::new();
    for compress_cookies in [false, true] {
        let config = Config { compress_cookies, ..config() };
        let sessions = Sessions::<Text, _>::cookie(config).unwrap();
        let mut session = sessions.create();
        session.data_mut().text = text.clone();
        let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
        // Either is read, whatever is configured: the token says which it is.
        for config in [support::config(), Config { compress_cookies: true, ..support::config() }] {
            let reader = Sessions::<Text, _>::cookie(config).unwrap();
            assert_eq!(reader.load(&cookie, &Client::default()).await.unwrap().data().text, text);
        }
        lengths.push(cookie.len());
    }
    assert!(lengths[0] > text.len() && lengths[1] < 1000, "{lengths:?}");
}

/// The application changed its type so that older sessions don't fit.
#[tokio::test]
async fn a_session_that_cannot_be_read_is_an_error_or_a_visitor() {
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Other {
        text: u64,
    }
    impl SessionData for Other {}

    let store = Outside::default();
    let (cookie, _) = saved(config(), &store, "no number").await;
    for fail_on_unreadable in [true, false] {
        let config = Config { fail_on_unreadable, ..config() };
        let sessions = Sessions::<Other, _>::new(config, store.clone()).unwrap();
        let loaded = sessions.load(&cookie, &Client::default()).await;
        if fail_on_unreadable {
            assert!(matches!(loaded, Err(Error::Core(CoreError::Unreadable(_)))));
            continue;
        }
        let mut session = loaded.unwrap();
        assert_eq!(session.state(), State::Anonymous(None));
        assert_eq!(sessions.commit(&mut session).await.unwrap(), None, "its cookie is left alone");
    }
    let text = Sessions::<Text, _>::new(config(), store.clone()).unwrap();
    assert_eq!(text.load(&cookie, &Client::default()).await.unwrap().data().text, "no number");

    // Row 10: the visitor that it is may sign out all the same.
    let config = Config { fail_on_unreadable: false, ..config() };
    let other = Sessions::<Other, _>::new(config, store).unwrap();
    let mut session = other.load(&cookie, &Client::default()).await.unwrap();
    assert!(other.destroy(&mut session).await.unwrap().is_some());
    assert!(text.load(&cookie, &Client::default()).await.unwrap().is_new());
}

/// What an application keeps in a state of its own, which it wants to derive `Debug` for, shows how things are and no session, secret or address.
#[tokio::test]
async fn what_an_application_holds_can_be_shown() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "it is shown")]
    struct App {
        sessions: Sessions<Text, Stored<Resilient<MemoryStore>>>,
        layer: SessionLayer<Text>,
    }

    let store = Resilient::new(MemoryStore::builder().capacity(10).build());
    assert_eq!(format!("{store:?}"), r#"Resilient { store: "memory", breaker: Closed, .. }"#);
    assert!(
        format!("{:?}", store.get_ref())
            .starts_with("MemoryStore { stats: MemoryStats { sessions: 0, capacity: 10,")
    );
    let sessions = Sessions::new(config(), store).unwrap();
    let app = App { layer: SessionLayer::new(sessions.clone()), sessions };
    assert_eq!(
        format!("{app:?}"),
        r#"App { sessions: Sessions { store: "memory", cookie: "session", .. }, layer: SessionLayer { freshness: Cached, .. } }"#
    );
    let arrival = app.layer.arrive();
    let handle = arrival.session(None, &http::HeaderMap::new()).await.unwrap();
    assert_eq!(format!("{handle:?}"), "SessionHandle { .. }");
    #[cfg(feature = "cache")]
    {
        use session_native::store::cached::{CachedStore, MemoryChannel};

        let channel = MemoryChannel::default();
        let cached = CachedStore::new(channel.publishing(MemoryStore::new()), channel.feed());
        assert!(
            format!("{cached:?}")
                .starts_with(r#"CachedStore { store: "memory", stats: CacheStats { hits: 0,"#)
        );
    }
}
