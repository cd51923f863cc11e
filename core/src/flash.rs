//! Messages for the next request: "Profile saved", shown once after a redirect.
//!
//! A message that one request sets is shown by the first later request that looks at the flash, and is then gone. A request that
//! doesn't look (an image, a poll) leaves it for the one that does. Within a request the messages of before ([`Flash::get`] finds them) and
//! the ones for the next request are kept apart, as in the seed.

use alloc::{borrow::ToOwned as _, string::String, vec::Vec};
use core::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap as _,
};

use crate::json::Object;

/// The flash messages of one request.
///
/// ```
/// use session_core::Flash;
///
/// let mut flash = Flash::default();
/// flash.set_notice("Saved");
/// flash.rotate(); // the next request begins
/// assert_eq!(flash.notice(), Some("Saved"));
/// flash.rotate(); // and the one after it
/// assert_eq!(flash.notice(), None);
/// ```
#[derive(Debug, Default, Serialize)]
pub struct Flash {
    now: Messages,
    next: Messages,
    /// Whether this request looked at the messages: then they are not kept.
    #[serde(skip)]
    seen: AtomicBool,
}

impl Flash {
    /// Sets a message for the next request.
    pub fn set(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.next.insert(key.into(), message.into());
    }

    /// Keeps a message of this request for the next one too. Without such a message this does nothing.
    pub fn keep(&mut self, key: &str) {
        if let Some(message) = self.now.get(key) {
            self.next.insert(key.to_owned(), message.to_owned());
        }
    }

    /// Keeps all messages of this request for the next one; where both have a key, this request's message wins.
    pub fn keep_all(&mut self) {
        for (key, message) in &self.now.0 {
            self.next.insert(key.clone(), message.clone());
        }
    }

    /// Takes back a message that was set for the next request.
    pub fn discard(&mut self, key: &str) {
        self.next.0.retain(|(name, _)| name != key);
    }

    /// Takes back all messages that were set for the next request.
    pub fn discard_all(&mut self) {
        self.next.0.clear();
    }

    /// Drops the messages of this request.
    pub fn clear_now(&mut self) {
        self.now.0.clear();
    }

    /// Begins the next request: its messages become the current ones. Stores and frameworks call it; it is public for tests and for
    /// those who keep a [`Flash`] by itself.
    pub fn rotate(&mut self) {
        self.now = core::mem::take(&mut self.next);
        self.seen = AtomicBool::new(false);
    }

    /// The message under `key`: one of this request, else one that was set for the next.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.look();
        self.now.get(key).or_else(|| self.next.get(key))
    }

    /// Whether there is a message under `key`, in either.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The keys of both, each once, in the order they were set.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// Keys and messages of both, each key once, as [`Flash::get`] would find them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.look();
        let only_next = self.next.0.iter().filter(|(key, _)| self.now.get(key).is_none());
        self.now.0.iter().chain(only_next).map(|(key, message)| (key.as_str(), message.as_str()))
    }

    /// Whether there is no message in either.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.now.0.is_empty() && self.next.0.is_empty()
    }

    /// As a session's stored messages become those of a request.
    pub(crate) fn arrived(now: Messages) -> Self {
        Self { now, ..Self::default() }
    }

    /// What a session keeps for later: messages for the next request, and those that nobody looked at.
    pub(crate) fn pending(&self) -> Messages {
        if self.seen.load(Ordering::Relaxed) {
            return self.next.clone();
        }
        let mut pending = self.now.clone();
        for (key, message) in &self.next.0 {
            pending.insert(key.clone(), message.clone());
        }
        pending
    }

    /// After a conflict: the stored messages were `base` when this request began, and are `theirs` now. What this request set or
    /// used up is done to `theirs`.
    pub(crate) fn rebase(&mut self, base: &Messages, theirs: &Messages) {
        let mut pending = self.pending();
        let gone = base.0.iter().filter(|(key, _)| pending.get(key).is_none());
        let mut merged = theirs.clone();
        for (key, message) in gone {
            // Used up by us, unless they set it anew.
            if merged.get(key) == Some(message) {
                merged.0.retain(|(name, _)| name != key);
            }
        }
        // Unchanged by us: theirs to keep or to use up.
        pending.0.retain(|(key, message)| base.get(key) != Some(message));
        for (key, message) in pending.0 {
            merged.insert(key, message);
        }
        self.next = merged;
        self.look();
    }

    /// Whether [`Flash::pending`] is empty, without making it.
    pub(crate) fn nothing_pending(&self) -> bool {
        self.next.0.is_empty() && (self.now.0.is_empty() || self.seen.load(Ordering::Relaxed))
    }

    fn look(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }
}

/// The six names that web applications use.
macro_rules! helpers {
    ($($get:ident $set:ident),*) => {
        impl Flash {$(
            #[doc = concat!("The message under `", stringify!($get), "`.")]
            #[must_use]
            pub fn $get(&self) -> Option<&str> {
                self.get(stringify!($get))
            }

            #[doc = concat!("Sets the message under `", stringify!($get), "` for the next request.")]
            pub fn $set(&mut self, message: impl Into<String>) {
                self.set(stringify!($get), message);
            }
        )*}
    };
}

helpers!(notice set_notice, alert set_alert, error set_error, success set_success, warning set_warning, info set_info);

impl Clone for Flash {
    fn clone(&self) -> Self {
        Self {
            now: self.now.clone(),
            next: self.next.clone(),
            seen: AtomicBool::new(self.seen.load(Ordering::Relaxed)),
        }
    }
}

/// Equal messages, whether anyone looked at them or not.
impl PartialEq for Flash {
    fn eq(&self, other: &Self) -> bool {
        self.now == other.now && self.next == other.next
    }
}

impl Eq for Flash {}

/// Messages in the order they were set; a JSON object. There are a handful at most, so a vector is the fastest map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Messages(Vec<(String, String)>);

impl Messages {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, message)| message.as_str())
    }

    /// Replaces in place or appends.
    fn insert(&mut self, key: String, message: String) {
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = message,
            None => self.0.push((key, message)),
        }
    }
}

impl Serialize for Messages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, message) in &self.0 {
            map.serialize_entry(key, message)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Messages;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Messages, A::Error> {
                let mut messages = Messages::default();
                while let Some((key, message)) = map.next_entry()? {
                    messages.insert(key, message);
                }
                Ok(messages)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for Flash {
    /// As the seed does: unknown fields are passed over, and `null` is no messages.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            #[serde(default)]
            now: Option<Messages>,
            #[serde(default)]
            next: Option<Messages>,
        }

        let Object(Fields { now, next }) = Object::deserialize(deserializer)?;
        let (now, next) = (now.unwrap_or_default(), next.unwrap_or_default());
        Ok(Self { now, next, seen: AtomicBool::new(false) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_next_request(flash: &Flash) -> Flash {
        Flash::arrived(flash.pending())
    }

    #[test]
    fn a_message_is_seen_once() {
        let mut flash = Flash::default();
        flash.set("notice", "hello");
        let flash = at_next_request(&flash);
        assert_eq!(flash.get("notice"), Some("hello"));
        assert!(at_next_request(&flash).is_empty());
    }

    #[test]
    fn a_request_that_does_not_look_takes_nothing() {
        let mut flash = Flash::default();
        flash.set("notice", "hello");
        let mut poll = at_next_request(&flash);
        poll.set("alert", "second");
        let page = at_next_request(&poll);
        assert_eq!(page.iter().collect::<Vec<_>>(), [("notice", "hello"), ("alert", "second")]);
    }

    #[test]
    fn keep_survives_one_more_look() {
        let mut flash = Flash::default();
        flash.set("notice", "hello");
        let mut flash = at_next_request(&flash);
        assert_eq!(flash.notice(), Some("hello"));
        flash.keep("notice");
        flash.keep("missing");
        assert_eq!(at_next_request(&flash).notice(), Some("hello"));
    }

    #[test]
    fn nothing_pending_agrees_with_pending() {
        let mut flash = Flash::default();
        assert!(flash.nothing_pending());
        flash.set_info("a");
        assert!(!flash.nothing_pending());
        let flash = at_next_request(&flash);
        assert!(!flash.nothing_pending());
        assert_eq!(flash.info(), Some("a"));
        assert!(flash.nothing_pending() && flash.pending().is_empty());
    }
}
