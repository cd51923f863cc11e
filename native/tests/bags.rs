//! Sessions whose data is a bag of values, as in other libraries, instead of a type with fields.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Map, Value, json};
use session_native::{Client, EventKind, MemoryStore, SessionData, Sessions};
use support::{config, cookie_of};

trait Bag: SessionData {
    fn of(entries: &[(&str, Value)]) -> Self;
    fn set(&mut self, key: &str, value: Value);
    fn value(&self, key: &str) -> Option<&Value>;
    fn take(&mut self, key: &str);
}

macro_rules! bag {
    ($($bag:ty),*) => {
        $(impl Bag for $bag {
            fn of(entries: &[(&str, Value)]) -> Self {
                entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
            }

            fn set(&mut self, key: &str, value: Value) {
                self.insert(key.into(), value);
            }

            fn value(&self, key: &str) -> Option<&Value> {
                self.get(key)
            }

            fn take(&mut self, key: &str) {
                self.remove(key);
            }
        })*
    };
}
bag!(Map<String, Value>, BTreeMap<String, Value>, HashMap<String, Value>);

/// Null until something is put into it.
impl Bag for Value {
    fn of(entries: &[(&str, Value)]) -> Self {
        Self::Object(Bag::of(entries))
    }

    fn set(&mut self, key: &str, value: Value) {
        self[key] = value;
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.get(key)
    }

    fn take(&mut self, key: &str) {
        self.as_object_mut().unwrap().remove(key);
    }
}

async fn keeps_what_each_request_changed<T: Bag>() {
    let saved = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&saved);
    let sessions = Sessions::<T, _>::new(config(), MemoryStore::new()).unwrap().on_event(move |event| {
        counter.fetch_add(u32::from(event.kind == EventKind::Saved), Ordering::Relaxed);
    });
    let nobody = Client::default();
    // One that is empty is a session like others.
    let cookie = cookie_of(&sessions.commit(&mut sessions.create()).await.unwrap().unwrap());
    let mut session = sessions.load(&cookie, &nobody).await.unwrap();
    assert!(session.data().value("theme").is_none());
    session.data_mut().set("theme", json!("dark"));
    session.data_mut().set("cart", json!({"apples": 1}));
    sessions.commit(&mut session).await.unwrap();

    let mut one = sessions.load(&cookie, &nobody).await.unwrap();
    let mut other = sessions.load(&cookie, &nobody).await.unwrap();
    let mut third = sessions.load(&cookie, &nobody).await.unwrap();
    one.data_mut().set("language", json!("sv"));
    one.data_mut().set("cart", json!({"apples": 1, "pears": 2}));
    other.data_mut().take("theme");
    third.data_mut().set("cart", json!({"apples": 5}));
    for session in [&mut one, &mut other, &mut third] {
        sessions.commit(session).await.unwrap();
    }
    let mut session = sessions.load(&cookie, &nobody).await.unwrap();
    assert_eq!(session.data().value("theme"), None, "removed");
    assert_eq!(session.data().value("language"), Some(&json!("sv")));
    assert_eq!(session.data().value("cart"), Some(&json!({"apples": 5, "pears": 2})));
    assert_eq!(saved.swap(0, Ordering::Relaxed), 4);

    // The same in another order, if the bag has any, is no change.
    *session.data_mut() = T::of(&[("cart", json!({"pears": 2, "apples": 5})), ("language", json!("sv"))]);
    sessions.commit(&mut session).await.unwrap();
    assert_eq!(saved.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn every_bag_keeps_what_each_request_changed() {
    keeps_what_each_request_changed::<Map<String, Value>>().await;
    keeps_what_each_request_changed::<BTreeMap<String, Value>>().await;
    keeps_what_each_request_changed::<HashMap<String, Value>>().await;
    keeps_what_each_request_changed::<Value>().await;
}

#[tokio::test]
async fn a_bag_fits_into_a_cookie() {
    let sessions = Sessions::<BTreeMap<String, u32>, _>::cookie(config()).unwrap();
    let mut session = sessions.create();
    session.data_mut().insert("apples".into(), 3);
    let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    let session = sessions.load(&cookie, &Client::default()).await.unwrap();
    assert_eq!(session.data().get("apples"), Some(&3));
}
