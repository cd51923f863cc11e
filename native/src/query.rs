//! Questions about all sessions of a store: listings, searches, ending sessions by their public name.

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use session_core::{Error as CoreError, Key, SessionData, SubjectTag, Summary};

use crate::{
    backend::Stored,
    error::Error,
    event::EventKind,
    observe::{Metric, names},
    sessions::Sessions,
    store::{Found, Lookup, Query, Store as _},
};

/// How many sessions are ended at the same time: a store with one connection sends as many commands in one go.
const BATCH: usize = 100;

/// Where a scan stands.
enum Scan {
    At(u64),
    Done,
}

impl<T: SessionData, S: Query> Sessions<T, Stored<S>> {
    /// Every session that is alive, read from the store batch by batch while the stream is polled. A session that lives during the whole
    /// scan is found at least once; one that comes or goes may be.
    ///
    /// Records that can't be read as `T` are an error item each, and the stream goes on.
    pub fn stream(&self) -> impl Stream<Item = Result<Summary<T>, Error>> + Send + '_ {
        let batches = stream::try_unfold(Scan::At(0), move |scan| async move {
            let Scan::At(cursor) = scan else { return Ok(None) };
            let batch = self.observed().scan(cursor).await?;
            let summaries: Vec<_> = self.summaries(batch.found).collect();
            Ok::<_, Error>(Some((stream::iter(summaries), batch.next.map_or(Scan::Done, Scan::At))))
        });
        batches.try_flatten()
    }

    /// The sessions of a subject that are alive: for a page "my sessions".
    ///
    /// # Errors
    /// [`Error::Store`]; [`CoreError::Unreadable`] if one doesn't fit `T`.
    pub async fn by_subject(&self, subject: &str) -> Result<Vec<Summary<T>>, Error> {
        let found = self.observed().by_subject(&SubjectTag::new(subject)).await?;
        self.summaries(found).collect()
    }

    /// One session by its public name, if it is alive: for operators, and for a page about one of "my sessions".
    ///
    /// # Errors
    /// As [`Sessions::by_subject`].
    pub async fn get(&self, key: &Key) -> Result<Option<Summary<T>>, Error> {
        let Some(Found { record, .. }) = self.observed().load(key, Lookup::default()).await? else {
            return Ok(None);
        };
        let epoch = match &record.subject {
            Some(subject) => self.observed().epoch(subject).await?,
            None => 0,
        };
        self.summaries(vec![(*key, Found::new(record, epoch))]).next().transpose()
    }

    /// Every session that `wanted` is true for.
    ///
    /// # Errors
    /// As [`Sessions::by_subject`].
    pub async fn find(
        &self,
        mut wanted: impl FnMut(&Summary<T>) -> bool + Send,
    ) -> Result<Vec<Summary<T>>, Error> {
        self.stream().try_filter(|summary| core::future::ready(wanted(summary))).try_collect().await
    }

    /// The first session found that `wanted` is true for; there is no order among them.
    ///
    /// # Errors
    /// As [`Sessions::by_subject`].
    pub async fn first(
        &self,
        mut wanted: impl FnMut(&Summary<T>) -> bool + Send,
    ) -> Result<Option<Summary<T>>, Error> {
        let mut all = core::pin::pin!(self.stream());
        while let Some(summary) = all.try_next().await? {
            if wanted(&summary) {
                return Ok(Some(summary));
            }
        }
        Ok(None)
    }

    /// How many sessions `wanted` is true for.
    ///
    /// # Errors
    /// As [`Sessions::by_subject`].
    pub async fn count(&self, mut wanted: impl FnMut(&Summary<T>) -> bool + Send) -> Result<u64, Error> {
        self.stream()
            .try_fold(0, |count, summary| core::future::ready(Ok(count + u64::from(wanted(&summary)))))
            .await
    }

    /// Ends every session that `wanted` is true for, and gives their number.
    ///
    /// # Errors
    /// As [`Sessions::by_subject`]; those that were ended by then are.
    pub async fn delete_where(
        &self,
        mut wanted: impl FnMut(&Summary<T>) -> bool + Send,
    ) -> Result<u64, Error> {
        let found = self.stream().try_filter(|summary| core::future::ready(wanted(summary)));
        self.revoke_all(found.map_ok(|summary| summary.key)).await
    }

    /// The public names of all sessions that are alive.
    ///
    /// # Errors
    /// As [`Sessions::by_subject`].
    pub async fn ids(&self) -> Result<Vec<Key>, Error> {
        self.stream().map_ok(|summary| summary.key).try_collect().await
    }

    /// How many sessions the store holds; ones that have expired or were revoked may be counted until they are swept. The gauge
    /// `session.active_count` shows it from then on: call it before a scrape.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn len(&self) -> Result<u64, Error> {
        let count = self.observed().len().await?;
        Metric::new(names::ACTIVE_COUNT, S::NAME).set(count);
        Ok(count)
    }

    /// Whether the store holds no session.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len().await? == 0)
    }

    /// Ends one session by its public name, as a listing shows it: "sign out that one". `false` if there is none.
    ///
    /// # Errors
    /// [`Error::Store`]: the session may still be alive.
    pub async fn revoke(&self, key: &Key) -> Result<bool, Error> {
        let ended = self.observed().delete(key).await?;
        if ended {
            self.tell(EventKind::Destroyed, Some(*key), None);
        }
        Ok(ended)
    }

    /// Signs a subject out everywhere but in `kept`: "sign out everywhere else". Gives the number of sessions that were ended.
    ///
    /// One by one, unlike [`Sessions::revoke_subject`]: a sign-in of the same subject at this very moment survives. What can't be read as `T` is
    /// ended like any other: after a change of the data people can sign out all the same.
    ///
    /// # Errors
    /// [`Error::Store`]; those that were ended by then are.
    pub async fn revoke_others(&self, subject: &str, kept: &Key) -> Result<u64, Error> {
        let mut found = self.observed().by_subject(&SubjectTag::new(subject)).await?;
        found.retain(|(key, found)| key != kept && self.summary(*key, found).is_some());
        self.revoke_all(stream::iter(found).map(|(key, _)| Ok(key))).await
    }

    /// Ends every session.
    ///
    /// # Errors
    /// [`Error::Store`]: some may still be alive.
    pub async fn clear(&self) -> Result<(), Error> {
        self.observed().clear().await?;
        self.tell(EventKind::Cleared, None, None);
        Ok(())
    }

    /// Ends those sessions, many at a time, and gives the number of those that were there.
    async fn revoke_all(&self, keys: impl Stream<Item = Result<Key, Error>>) -> Result<u64, Error> {
        keys.map_ok(|key| async move { self.revoke(&key).await })
            .try_buffer_unordered(BATCH)
            .try_fold(0, |ended, was_there| core::future::ready(Ok(ended + u64::from(was_there))))
            .await
    }

    /// Those of the found records that are alive.
    fn summaries(&self, found: Vec<(Key, Found)>) -> impl Iterator<Item = Result<Summary<T>, Error>> {
        found.into_iter().filter_map(|(key, found)| self.summary(key, &found))
    }

    /// What was found, unless it is dead.
    fn summary(&self, key: Key, Found { record, epoch }: &Found) -> Option<Result<Summary<T>, Error>> {
        let summary = self
            .decode(&key, record)
            .map_err(CoreError::Unreadable)
            .and_then(|payload| Summary::from_record(key, record.expires_at, payload));
        match summary {
            Ok(summary) if summary.expires_at <= self.now() || summary.epoch.unwrap_or(0) < *epoch => None,
            other => Some(other.map_err(Error::from)),
        }
    }
}
