//! The life of a session over a store: what is written, what survives, and what must not.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::collections::{BTreeMap, HashMap};

use common::{Seeded, Site, one_in};
use proptest::{collection::vec as vec_of, prelude::*};
use serde::{Deserialize, Serialize};
use session_core::{
    Error, Kind, Plaintext, Rejection, Session, SessionData, Timestamp, TokenCodec, Unreadable,
    lifecycle::CommitContext,
};

#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Floats {
    x: f64,
    saves: u32,
}
impl SessionData for Floats {}

#[test]
fn floats_do_not_drift_from_save_to_save() {
    // The first is one that a fast reader takes for its neighbour.
    for x in [31.245_270_191_439_438, 0.1 + 0.2, 5e-324, f64::MAX, -0.0, 1e21, 123_456_789.123_456_79]
        .into_iter()
        .step_by(one_in(6))
    {
        let site = Site::new();
        let mut token = site.start(|session| *session.data_mut() = Floats { x, saves: 0 });
        for saves in 1..=3 {
            token = site.visit::<Floats>(&token, |session| session.data_mut().saves = saves);
            let read = site.load::<Floats>(&token).unwrap().data().clone();
            assert_eq!((read.x.to_bits(), read.saves), (x.to_bits(), saves), "{x}");
        }
    }
}

#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Wide {
    id: u128,
    saves: u32,
}
impl SessionData for Wide {}

#[test]
fn an_integer_beyond_64_bits_is_refused_rather_than_rounded() {
    let site = Site::new();
    let token = site.start::<Wide>(|session| session.data_mut().id = u128::MAX);
    let mut session = site.load::<Wide>(&token).unwrap();
    session.data_mut().saves = 1;
    assert!(matches!(site.commit(&mut session), Err(Error::Serialize(_))));
    assert_eq!(site.load::<Wide>(&token).unwrap().data().id, u128::MAX, "what was stored is as it was");
}

#[test]
fn counters_at_their_end_do_not_overflow() {
    let site = Site::new();
    let token = site.start::<()>(|session| session.authenticate("1"));
    let key = site.load::<()>(&token).unwrap().key().unwrap();
    let codec = TokenCodec::new(&site.ring, Kind::CookieHeld, "session");
    let last = u64::MAX;
    let payload = format!("{key}.{last}.{last}.{last}.{last}\n\nnull");
    let token = codec.seal(Plaintext::from(&payload), Timestamp::MAX, false, &Seeded::new(1)).unwrap();
    let mut session = Session::<()>::from_cookie(codec.open(token.as_bytes(), site.now()).unwrap()).unwrap();
    session.regenerate();
    let context = CommitContext { kind: Kind::CookieHeld, ..site.context() };
    assert!(session.draft(&context).unwrap().is_some());
}

#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Cart {
    owner: String,
    items: BTreeMap<String, u32>,
}
impl SessionData for Cart {}

#[test]
fn nothing_of_a_former_subject_reaches_the_next() {
    let site = Site::new();
    let first = site.start::<Cart>(|session| {
        session.authenticate("anna");
        session.data_mut().owner = "anna".into();
        session.flash_mut().set_notice("for anna");
    });
    let key = site.load::<Cart>(&first).unwrap().key().unwrap();
    // A field that this program doesn't know.
    site.edit(key, |text| text.replace(r#""owner":"#, r#""secret":"of anna","owner":"#));

    let mut session = site.load::<Cart>(&first).unwrap();
    session.authenticate("bert");
    session.data_mut().owner = "bert".into();
    // Another request of anna's is faster: it adds an item and a message.
    site.visit::<Cart>(&first, |session| {
        session.data_mut().items.insert("of anna".into(), 1);
        session.flash_mut().set_alert("for anna too");
    });
    let second = site.commit(&mut session).unwrap().unwrap();

    assert!(!site.stored(key).contains("anna"), "{}", site.stored(key));
    let session = site.load::<Cart>(&second).unwrap();
    assert_eq!(session.data(), &Cart { owner: "bert".into(), items: BTreeMap::new() });
    assert!(session.flash().is_empty());
    assert_eq!(site.load::<Cart>(&first).err(), Some(Rejection::Superseded.into()));
}

#[test]
fn an_exact_update_after_a_change_of_subject_starts_from_nothing() {
    let site = Site::new();
    let token = site.start::<Cart>(|session| {
        session.authenticate("anna");
        session.data_mut().items.insert("of anna".into(), 1);
    });
    let mut session = site.load::<Cart>(&token).unwrap();
    let (version, expires_at) = (session.version(), session.expires_at());
    session.authenticate("bert");
    let theirs = site.stored(session.key().unwrap()).into_bytes();
    session.reload(version, expires_at, theirs.into()).unwrap();
    assert_eq!(session.data(), &Cart::default());
}

/// Four fields, each of another shape.
#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Profile {
    name: String,
    visits: u64,
    theme: Option<String>,
    cart: BTreeMap<String, u32>,
}
impl SessionData for Profile {}

/// Writes `value` into the field of this number.
fn write(profile: &mut Profile, field: usize, value: u32) {
    match field {
        0 => profile.name = value.to_string(),
        1 => profile.visits = value.into(),
        2 => profile.theme = Some(value.to_string()),
        _ => _ = profile.cart.insert(format!("item {field}"), value),
    }
}

proptest! {
    #![proptest_config(common::laws())]

    /// Each request loads before any of them commits, and all write different fields.
    #[test]
    fn concurrent_changes_of_different_fields_all_survive(
        order in Just((0_usize..7).collect::<Vec<_>>()).prop_shuffle(), values in vec_of(1_u32..1_000, 7),
    ) {
        let site = Site::new();
        let token = site.start::<Profile>(|session| session.authenticate("1"));
        let mut requests: Vec<_> = order.iter().map(|_| site.load::<Profile>(&token).unwrap()).collect();
        let mut expected = Profile::default();
        for (session, field) in requests.iter_mut().zip(&order) {
            write(session.data_mut(), *field, values[*field]);
            write(&mut expected, *field, values[*field]);
        }
        for session in &mut requests {
            site.commit(session).unwrap();
        }
        let stored = site.load::<Profile>(&token).unwrap();
        prop_assert_eq!(stored.data(), &expected);
        // The last one to commit has seen all the others.
        prop_assert_eq!(requests[6].data(), &expected);
    }

    #[test]
    fn equal_writes_and_reads_save_nothing(fields in vec_of((0_usize..7, 0_u32..9), 0..12)) {
        let site = Site::new();
        let token = site.start::<Profile>(|session| {
            session.authenticate("1");
            fields.iter().for_each(|(field, value)| write(session.data_mut(), *field, *value));
        });
        let writes = site.writes.get();
        site.visit::<Profile>(&token, |session| _ = (session.data().clone(), session.flash().notice().is_some()));
        site.visit::<Profile>(&token, |session| *session.data_mut() = session.data().clone());
        prop_assert_eq!(site.writes.get(), writes);
        site.visit::<Profile>(&token, |session| session.data_mut().visits += 1);
        prop_assert_eq!(site.writes.get(), writes + 1);
    }

    /// A message is shown by the first request that looks after the one that set it, and by no other.
    #[test]
    fn a_message_is_seen_exactly_once(requests in vec_of((any::<bool>(), any::<bool>()), 1..20)) {
        let site = Site::new();
        let mut token = site.start::<Profile>(|session| session.authenticate("1"));
        let (mut waiting, mut seen) = (Vec::new(), Vec::new());
        for (number, (looks, sets)) in requests.iter().enumerate() {
            token = site.visit::<Profile>(&token, |session| {
                let found: Vec<_> = if *looks { session.flash().keys().map(String::from).collect() } else { vec![] };
                if *looks {
                    assert_eq!(found, waiting, "request {number}");
                    waiting.clear();
                }
                seen.extend(found);
                if *sets {
                    session.flash_mut().set(number.to_string(), "message");
                    waiting.push(number.to_string());
                }
            });
        }
        seen.extend(waiting);
        let set: Vec<_> = (0..requests.len()).filter(|i| requests[*i].1).map(|i| i.to_string()).collect();
        prop_assert_eq!(seen, set);
    }

    /// Requests that run at the same time: what each sets arrives, and what one of them showed is gone.
    #[test]
    fn flash_messages_of_concurrent_requests_meet(requests in vec_of((any::<bool>(), any::<bool>()), 1..6)) {
        let site = Site::new();
        let token = site.start::<Profile>(|session| {
            session.authenticate("1");
            session.flash_mut().set_notice("before");
        });
        let mut open: Vec<_> = requests.iter().map(|_| site.load::<Profile>(&token).unwrap()).collect();
        for (number, (session, (looks, sets))) in open.iter_mut().zip(&requests).enumerate() {
            assert!(!looks || session.flash().notice() == Some("before"));
            if *sets {
                session.flash_mut().set(number.to_string(), "message");
            }
        }
        for session in &mut open {
            site.commit(session).unwrap();
        }
        let session = site.load::<Profile>(&token).unwrap();
        let mut found: Vec<_> = session.flash().keys().map(String::from).collect();
        found.sort();
        let shown = requests.iter().any(|(looks, _)| *looks);
        let mut expected: Vec<_> = (0..requests.len()).filter(|i| requests[*i].1).map(|i| i.to_string()).collect();
        expected.extend((!shown).then(|| "notice".to_owned()));
        prop_assert_eq!(found, expected);
    }
}

#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Unordered {
    entries: HashMap<String, u32>,
    visits: u32,
}
impl SessionData for Unordered {}

#[test]
fn a_map_without_order_that_is_written_equal_saves_nothing() {
    for entries in (0..40).step_by(one_in(13)) {
        let site = Site::new();
        let filled = || Unordered { entries: (0..entries).map(|i| (i.to_string(), i)).collect(), visits: 0 };
        let token = site.start::<Unordered>(|session| {
            session.authenticate("1");
            *session.data_mut() = filled();
        });
        let writes = site.writes.get();
        site.visit::<Unordered>(&token, |session| *session.data_mut() = filled());
        assert_eq!(site.writes.get(), writes, "{entries} entries");
        site.visit::<Unordered>(&token, |session| session.data_mut().visits = 1);
        assert_eq!(site.load::<Unordered>(&token).unwrap().data(), &Unordered { visits: 1, ..filled() });
    }
}

#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Older {
    visits: u64,
}
impl SessionData for Older {}

#[test]
fn fields_that_this_program_does_not_know_survive() {
    let site = Site::new();
    let token = site.start::<Profile>(|session| write(session.data_mut(), 3, 7));
    let mut slow = site.load::<Older>(&token).unwrap();
    slow.data_mut().visits = 5;

    site.visit::<Older>(&token, |session| session.data_mut().visits = 4); // a save
    assert_eq!(site.load::<Profile>(&token).unwrap().data().cart["item 3"], 7);
    site.visit::<Profile>(&token, |session| write(session.data_mut(), 4, 8));
    site.commit(&mut slow).unwrap(); // a rebase

    let session = site.load::<Profile>(&token).unwrap();
    assert_eq!((session.data().cart["item 3"], session.data().cart["item 4"]), (7, 8));
    assert_eq!(session.data().visits, 5);
    let writes = site.writes.get();
    site.visit::<Older>(&token, |session| session.data_mut().visits = 5);
    assert_eq!(site.writes.get(), writes, "an equal write by a program that knows less");
}

#[test]
fn what_was_meant_for_the_session_before_a_rotation_is_dropped() {
    for rotate in [Session::regenerate, |session: &mut Session<Profile>| session.authenticate("2")] {
        let site = Site::new();
        let token = site.start::<Profile>(|session| session.data_mut().visits = 1);
        let mut slow = site.load::<Profile>(&token).unwrap();
        slow.data_mut().visits = 2;
        let new = site.visit::<Profile>(&token, rotate);
        assert_ne!(new, token);
        assert_eq!(site.commit(&mut slow).err(), Some(Rejection::Superseded.into()));
        assert_eq!(site.load::<Profile>(&token).err(), Some(Rejection::Superseded.into()));
        assert_eq!(site.load::<Profile>(&new).unwrap().data().visits, 1);
    }
}

#[test]
fn of_two_rotations_at_once_one_stands() {
    let site = Site::new();
    let token = site.start::<Profile>(|session| session.authenticate("1"));
    let (mut first, mut second) =
        (site.load::<Profile>(&token).unwrap(), site.load::<Profile>(&token).unwrap());
    first.regenerate();
    second.regenerate();
    let new = site.commit(&mut first).unwrap().unwrap();
    assert_eq!(site.commit(&mut second).err(), Some(Rejection::Superseded.into()));
    assert_eq!(site.load::<Profile>(&new).unwrap().rotation(), 1);
}

#[test]
fn a_save_that_failed_can_be_tried_again() {
    let site = Site::new();
    let mut session = site.begin::<Profile>();
    session.authenticate("1");
    session.data_mut().visits = 3;
    session.flash_mut().set_notice("hello");
    // A new session gets a new id with each try: 22 characters.
    let payload = |draft: &session_core::lifecycle::Draft| draft.payload()[22..].to_vec();
    let lost = session.draft(&site.context()).unwrap().unwrap();
    let again = session.draft(&site.context()).unwrap().unwrap();
    assert_eq!(payload(&lost), payload(&again));
    assert!(session.is_new() && again.is_new());
    drop((lost, again));

    let token = site.commit(&mut session).unwrap().unwrap();
    let mut session = site.load::<Profile>(&token).unwrap();
    assert_eq!((session.data().visits, session.flash().notice()), (3, Some("hello")));
    session.regenerate();
    let lost = session.draft(&site.context()).unwrap().unwrap();
    assert!(lost.is_rotated());
    drop(lost);
    assert_eq!(session.rotation(), 0);
    let token = site.commit(&mut session).unwrap().unwrap();
    assert_eq!(site.load::<Profile>(&token).unwrap().rotation(), 1);
}

#[test]
fn a_session_is_not_read_from_the_record_of_another() {
    let site = Site::new();
    let token = site.start::<Profile>(|session| session.authenticate("1"));
    let other = site.start::<Profile>(|session| session.authenticate("2"));
    let key = |token: &str| site.load::<Profile>(token).unwrap().key().unwrap();
    let (here, there) = (key(&token), site.stored(key(&other)));
    site.edit(here, |_| there);
    assert_eq!(site.load::<Profile>(&token).err(), Some(Error::Unreadable(Unreadable::OtherSession)));
}

#[test]
fn a_session_without_data_is_read_again() {
    let site = Site::new();
    let token = site.start::<()>(|session| session.authenticate("1"));
    let token = site.visit::<()>(&token, Session::regenerate);
    assert_eq!(site.load::<()>(&token).unwrap().subject(), Some("1"));
}

#[test]
fn an_untouched_visitor_gets_nothing() {
    let site = Site::new();
    let mut session = site.begin::<Profile>();
    assert_eq!(session.data(), &Profile::default());
    *session.data_mut() = Profile::default();
    assert!(session.flash().is_empty());
    assert_eq!(site.commit(&mut session), Ok(None));
    assert!(session.is_new());
    assert_eq!(site.writes.get(), 0);
    let mut session = site.begin::<Profile>().wanted();
    assert!(site.commit(&mut session).unwrap().is_some());
}

#[test]
fn a_destroyed_session_stores_nothing() {
    let site = Site::new();
    let token = site.start::<Profile>(|session| session.authenticate("1"));
    let mut session = site.load::<Profile>(&token).unwrap();
    session.data_mut().visits = 9;
    session.mark_destroyed();
    session.data_mut().visits = 10;
    session.authenticate("2");
    let writes = site.writes.get();
    assert_eq!(site.commit(&mut session), Ok(None));
    assert_eq!(site.writes.get(), writes);
}

#[test]
fn signing_in_begins_the_absolute_timeout_anew() {
    let site = Site::new();
    let token = site.start::<()>(|session| session.flash_mut().set_notice("hello"));
    let end = site.load::<()>(&token).unwrap().absolute_end();
    site.now.set(site.now.get() + 1_000);
    let token = site.visit::<()>(&token, Session::regenerate);
    assert_eq!(site.load::<()>(&token).unwrap().absolute_end(), end, "a rotation alone doesn't");
    let token = site.visit::<()>(&token, |session| session.authenticate("42"));
    assert_eq!(site.load::<()>(&token).unwrap().absolute_end().since(end).as_millis(), 1_000);
}

#[derive(Default, Clone, Debug, Serialize, Deserialize)]
struct Anything(serde_json::Value);
impl SessionData for Anything {}

#[test]
fn data_that_could_not_be_read_again_is_not_written() {
    let nested = |depth: usize| {
        let text = "[".repeat(depth) + "\"\\\"[{\"" + &"]".repeat(depth);
        // The reader of trees stops at the same depth: build the last level by hand.
        let inner: serde_json::Value = serde_json::from_str(&text[1..text.len() - 1]).unwrap();
        Anything(serde_json::Value::Array(vec![inner]))
    };
    let site = Site::new();
    let token = site.start::<Anything>(|session| *session.data_mut() = nested(127));
    assert!(site.load::<Anything>(&token).is_ok());
    let mut session = site.load::<Anything>(&token).unwrap();
    *session.data_mut() = nested(128);
    assert!(matches!(site.commit(&mut session), Err(Error::Serialize(_))));
}

#[test]
fn signing_in_begins_the_idle_timeout_anew_also_where_requests_do_not() {
    let mut site = Site::new();
    site.expiry = site.expiry.sliding(false);
    let token = site.start::<()>(|session| session.flash_mut().set_notice("hello"));
    let idle = site.expiry.idle();
    site.now.set(site.now.get() + 3_000_000);
    let token = site.visit::<()>(&token, |session| session.authenticate("42"));
    assert_eq!(site.load::<()>(&token).unwrap().expires_in(site.now()), idle);
}
