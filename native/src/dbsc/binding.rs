//! Which sessions are bound to which devices: one record for each in a store of its own.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use session_core::{Key, KeyRing, Random, RecordCodec, SubjectTag, Timestamp, Unreadable, Version};

use super::DeviceKey;
use crate::{
    error::Error,
    store::{Found, Freshness, Lookup, Record, Saved, Store, StoreError},
};

/// The device that a session is bound to.
///
/// See [`Sessions::device`](crate::Sessions::device).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// Its public key.
    pub key: DeviceKey,
    /// When it brought the key.
    pub bound_at: Timestamp,
    /// When it last proved that it has the private one.
    pub proven_at: Timestamp,
}

/// What is kept for a session.
#[derive(Serialize, Deserialize)]
pub(crate) struct Binding {
    pub(crate) device: Device,
    /// The tag of whom it was made for: it is none of another's, who signs in on the same session.
    subject: String,
}

impl Binding {
    pub(crate) fn new(device: Device, subject: &str) -> Self {
        Self { device, subject: SubjectTag::new(subject).to_string() }
    }

    pub(crate) fn is_of(&self, subject: &str) -> bool {
        self.subject == SubjectTag::new(subject).to_string()
    }
}

/// All bindings. Records away from this process are sealed, like those of sessions.
pub(crate) struct Bindings {
    store: Box<dyn AnyStore>,
    codec: RecordCodec,
}

impl Bindings {
    pub(crate) fn new(store: Box<dyn AnyStore>, ring: &KeyRing) -> Self {
        let codec = RecordCodec::new(ring).encrypted(!store.in_process());
        Self { store, codec }
    }

    /// The binding of a session, and which version that is.
    pub(crate) async fn find(&self, session: &Key) -> Result<Option<(Binding, Version)>, Error> {
        let Some(record) = self.store.find(session).await? else { return Ok(None) };
        let payload = self.codec.decode(session, record.payload)?;
        let binding = serde_json::from_slice(&payload).map_err(|_| Unreadable::Payload)?;
        Ok(Some((binding, record.version)))
    }

    /// Writes a binding in the place of `version`; the default version if there is to be none yet, and [`Saved::Gone`] if there is one then.
    pub(crate) async fn write(
        &self,
        session: &Key,
        binding: &Binding,
        until: Timestamp,
        version: Version,
        random: &dyn Random,
    ) -> Result<Saved, Error> {
        let json = serde_json::to_vec(binding).expect("strings and numbers can be written as JSON");
        let payload = self.codec.encode(session, &json, random)?;
        let record = Record::new(version.next(random)?, until, payload);
        if version != Version::default() {
            return Ok(self.store.replace(session, &record, version).await?);
        }
        Ok(if self.store.add(session, &record).await? { Saved::Stored } else { Saved::Gone })
    }

    pub(crate) async fn forget(&self, session: &Key) -> Result<(), StoreError> {
        self.store.remove(session).await
    }
}

/// [`Store`] without its type.
pub(crate) trait AnyStore: Send + Sync {
    fn in_process(&self) -> bool;
    fn find<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>, StoreError>>;
    fn add<'a>(&'a self, key: &'a Key, record: &'a Record) -> BoxFuture<'a, Result<bool, StoreError>>;
    fn replace<'a>(
        &'a self,
        key: &'a Key,
        record: &'a Record,
        expected: Version,
    ) -> BoxFuture<'a, Result<Saved, StoreError>>;
    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), StoreError>>;
}

impl<S: Store> AnyStore for S {
    fn in_process(&self) -> bool {
        S::IN_PROCESS
    }

    fn find<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        // A cache could still know the version whose challenge was used a moment ago.
        let lookup = Lookup { freshness: Freshness::Linearizable, ..Lookup::default() };
        Box::pin(async move { Ok(self.load(key, lookup).await?.map(|Found { record, .. }| record)) })
    }

    fn add<'a>(&'a self, key: &'a Key, record: &'a Record) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.create(key, record))
    }

    fn replace<'a>(
        &'a self,
        key: &'a Key,
        record: &'a Record,
        expected: Version,
    ) -> BoxFuture<'a, Result<Saved, StoreError>> {
        Box::pin(self.save(key, record, expected))
    }

    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.delete(key).await.map(drop) })
    }
}
