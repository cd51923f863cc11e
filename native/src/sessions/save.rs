//! Saving and ending sessions: one write at a time, tried again on what another request stored.

use std::{sync::Mutex, time::Instant};

use session_core::{Error as CoreError, Rejection, Session, SessionData, SetCookie, lifecycle::Named};
use tracing::Instrument as _;

use super::{Inner, Sessions, shared::Shared, turn::Turn};
use crate::{
    backend::{Backend, Cell, Change, Theirs, Written},
    error::Error,
    event::EventKind,
    observe::{count_error, span},
};

impl<T: SessionData, B: Backend> Sessions<T, B> {
    /// Saves what changed, and gives the `Set-Cookie` value if the client needs one. A session that was not changed costs nothing; an
    /// anonymous one that nothing was written to is not stored and gets no cookie.
    ///
    /// If another request changed the session meanwhile, both changes take effect: they are merged field by field
    /// ([`merge`](session_core::merge)), and where both changed the same field its [`MergePolicy`](session_core::MergePolicy) says what becomes of it.
    ///
    /// # Errors
    /// [`CoreError::CookieTooLarge`], [`CoreError::Serialize`], [`CoreError::MergeConflict`], [`Error::Store`], [`Error::Contended`]: nothing
    /// was saved, and the session is as it was. [`Error::Ended`]: the session was ended or rotated elsewhere, and is now anonymous; or it was
    /// loaded with a token that was replaced just now ([`Config::rotation_grace`](crate::Config::rotation_grace)), and something was written to it.
    pub async fn commit(&self, session: &mut Session<T>) -> Result<Option<SetCookie>, Error> {
        self.commit_cell(&Mutex::new(session)).await
    }

    /// Saves what changed; the client's token, if it needs one, is left for the commit.
    pub(crate) async fn save_cell(&self, session: &impl Cell<T>) -> Result<(), Error> {
        self.write(session, Conflicting::Merge).await.map(drop)
    }

    /// Whether a commit would do nothing, as far as a glance tells.
    pub(crate) fn is_settled(&self, session: &impl Cell<T>) -> bool {
        let config = &self.inner.shared.config;
        session.with(|session| {
            session.is_unchanged(config.client_binding.as_ref()) && !session.token_due(&config.expiry)
        })
    }

    pub(crate) async fn commit_cell(&self, session: &impl Cell<T>) -> Result<Option<SetCookie>, Error> {
        if self.is_settled(session) {
            return Ok(None);
        }
        let span = span!("session.commit", store = B::NAME);
        self.save_and_issue(session).instrument(span).await
    }

    async fn save_and_issue(&self, session: &impl Cell<T>) -> Result<Option<SetCookie>, Error> {
        let shared = &self.inner.shared;
        let cookie = match self.write(session, Conflicting::Merge).await? {
            Some(Change { cookie: Some(cookie), .. }) => Some(cookie),
            Some(_) => session.with(|session| self.due_cookie(session))?,
            None => Box::pin(self.refreshed_cookie(session)).await?,
        };
        if cookie.is_some() {
            session.with(|session| {
                session.token_sent();
                shared.listeners.tell(EventKind::Issued, session.key(), Some(session));
            });
        }
        Ok(cookie)
    }

    /// A new token for the client of a session that was not changed, if it needs one and is still the client of that session: a token of
    /// before a rotation must not replace the one after it.
    async fn refreshed_cookie(&self, session: &impl Cell<T>) -> Result<Option<SetCookie>, Error> {
        if !session.with(|session| session.token_due(&self.inner.shared.config.expiry)) {
            return Ok(None);
        }
        match self.confirm_cell(session).await {
            Ok(()) => session.with(|session| self.due_cookie(session)),
            Err(Error::Ended(_)) => Ok(None),
            // What the client has is still good, and is renewed another time; but if it has nothing, it gets what there is.
            Err(error) => {
                tracing::warn!(%error, "whether a token is to be renewed is unknown");
                Ok(self.owed_cookie(session))
            }
        }
    }

    /// Asks the store whether the session is still what it was, and takes over what other requests changed. If it has ended, this request goes on
    /// without it.
    pub(crate) async fn confirm_cell(&self, session: &impl Cell<T>) -> Result<(), Error> {
        match self.inner.backend.confirm(session).await {
            Err(Error::Ended(reason)) => Err(self.ended(session, reason)),
            other => other,
        }
    }

    /// A token for a client that has none of a session that was saved: without it the session would be lost.
    pub(crate) fn owed_cookie(&self, session: &impl Cell<T>) -> Option<SetCookie> {
        session
            .with(|session| if session.token_owed() { self.due_cookie(session).ok().flatten() } else { None })
    }

    /// A new token for the client, if it needs one.
    fn due_cookie(&self, session: &Session<T>) -> Result<Option<SetCookie>, Error> {
        let shared = &self.inner.shared;
        if !session.token_due(&shared.config.expiry) {
            return Ok(None);
        }
        let Some(payload) = B::token_payload(session)? else { return Ok(None) };
        shared.set_cookie(payload, session.expires_at()).map(Some)
    }

    /// Reads, changes and writes the data as one step: `change` is called again on newer data if another request came first, so that
    /// counting is exact. It may be called several times. What was changed before is saved along; the client's
    /// cookie, if it needs one, comes with the next [`Sessions::commit`].
    ///
    /// With sessions in cookies this is as exact as cookies are: two requests that were sent the same cookie both begin with it.
    ///
    /// # Errors
    /// As [`Sessions::commit`]; what `change` did to the data is undone. After [`Error::Store`] nobody knows whether it was saved.
    ///
    /// # Cancellation
    /// If the future is dropped before it is done (a `timeout`), what `change` did to the data here is undone, and no later commit saves it. The store may have
    /// been asked already, or be about to do it: then the next load shows it.
    pub async fn update<R: Send>(
        &self,
        session: &mut Session<T>,
        mut change: impl FnMut(&mut T) -> R + Send,
    ) -> Result<R, Error> {
        let mut result = None;
        self.update_cell(&Mutex::new(session), &mut |data| result = Some(change(data))).await?;
        Ok(result.expect("an update that succeeded has run its closure"))
    }

    pub(crate) async fn update_cell(
        &self,
        session: &impl Cell<T>,
        change: &mut (dyn FnMut(&mut T) + Send),
    ) -> Result<(), Error> {
        let span = span!("session.update", store = B::NAME);
        // What the request changed before is merged; only `change` is done again.
        self.write(session, Conflicting::Merge).instrument(span.clone()).await?;
        // Whatever comes in between: what is left behind would be saved by the next commit, and no longer exactly.
        let undo = OnDrop(Some(|| {
            if let Err(error) = session.with(Session::undo_data) {
                tracing::error!(%error, "an update that was not saved was not undone");
            }
        }));
        let written = self.write(session, Conflicting::Redo(change)).instrument(span).await;
        if matches!(written, Ok(_) | Err(Error::Ended(_))) {
            undo.disarm();
        }
        written.map(drop)
    }

    /// Saves, and measures it.
    pub(super) async fn write(
        &self,
        session: &impl Cell<T>,
        conflicting: Conflicting<'_, T>,
    ) -> Result<Option<Change>, Error> {
        let begun = Instant::now();
        let written = self.write_to_the_end(session, conflicting).await;
        match &written {
            Ok(Some(_)) => self.inner.shared.timings.store.record(begun.elapsed()),
            Ok(None) => {}
            Err(error) => count_error(B::NAME, error),
        }
        written
    }

    async fn write_to_the_end(
        &self,
        session: &impl Cell<T>,
        conflicting: Conflicting<'_, T>,
    ) -> Result<Option<Change>, Error> {
        match Box::pin(self.contend(session, conflicting)).await? {
            Outcome::Done(change) => Ok(change),
            Outcome::Ended(reason, mut survivor) => {
                // Before the request hears that its session is no more: if this fails, it may commit again.
                while let Some(session) = survivor {
                    survivor = match Box::pin(self.contend(&Mutex::new(session), Conflicting::Merge)).await? {
                        Outcome::Done(_) => None,
                        Outcome::Ended(_, survivor) => survivor,
                    };
                }
                Err(self.ended(session, reason))
            }
        }
    }

    /// Tries until it came first.
    pub(super) async fn contend(
        &self,
        session: &impl Cell<T>,
        mut conflicting: Conflicting<'_, T>,
    ) -> Result<Outcome<T>, Error> {
        let Inner { shared, backend } = &*self.inner;
        let redo = matches!(conflicting, Conflicting::Redo(_));
        let (key, writes) = session.with(|session| (session.key(), redo || session.is_data_touched()));
        let mut turn = Turn::begin(shared, key, writes).await;
        let outcome = self.try_in(&mut turn, session, &mut conflicting).await;
        turn.end(backend).await;
        outcome
    }

    async fn try_in<'a>(
        &'a self,
        turn: &mut Turn<'a>,
        session: &impl Cell<T>,
        conflicting: &mut Conflicting<'_, T>,
    ) -> Result<Outcome<T>, Error> {
        let Inner { shared, backend } = &*self.inner;
        if let Conflicting::Redo(change) = conflicting {
            session.with(|session| change(session.data_mut()));
        }
        for _ in 0..MOST_CONFLICTS {
            let theirs = match backend.write(shared, session).await {
                Ok(Written::Nothing) => return Ok(Outcome::Done(None)),
                Ok(Written::Saved(change)) => {
                    session.with(|session| tell(shared, &change, session));
                    return Ok(Outcome::Done(Some(change)));
                }
                Ok(Written::Conflict(theirs)) => theirs,
                Err(Error::Ended(reason) | Error::Core(CoreError::Rejected(reason))) => {
                    return Ok(Outcome::Ended(reason, None));
                }
                Err(error) => return Err(error),
            };
            match session.with(|session| Self::rebase(session, theirs.clone(), conflicting)) {
                Ok(()) => {}
                Err(Error::Core(CoreError::Rejected(reason))) => {
                    let Theirs { version, expires_at, payload } = theirs;
                    let survivor = session.with(|session| session.survivor(version, expires_at, &payload))?;
                    return Ok(Outcome::Ended(reason, survivor.map(Box::new)));
                }
                Err(error) => return Err(error),
            }
            Box::pin(turn.wait(shared, backend)).await?;
        }
        Err(Error::Contended)
    }

    fn rebase(
        session: &mut Session<T>,
        theirs: Theirs,
        conflicting: &mut Conflicting<'_, T>,
    ) -> Result<(), Error> {
        let Theirs { version, expires_at, payload } = theirs;
        match conflicting {
            Conflicting::Merge => session.rebase(version, expires_at, payload)?,
            Conflicting::Redo(change) => {
                session.reload(version, expires_at, payload)?;
                change(session.data_mut());
            }
        }
        Ok(())
    }

    /// The session is no more: this request goes on without it.
    fn ended(&self, session: &impl Cell<T>, reason: Rejection) -> Error {
        let shared = &self.inner.shared;
        session.with(|session| {
            let key = session.key();
            session.mark_ended(&shared.config.expiry, shared.now(), reason);
            shared.listeners.tell(EventKind::of(reason), key, Some(session));
        });
        Error::Ended(reason)
    }

    /// Ends the session: once this returned, none of its tokens is accepted any more, whatever other requests are doing. Gives the
    /// `Set-Cookie` value that makes the client forget its token; `None` if it brought none.
    ///
    /// Also if the client's token was refused: where it is authentic, and merely of before a rotation ([`Rejection::Superseded`],
    /// [`Rejection::Reused`]) or from another client or device ([`Rejection::BoundElsewhere`]), the session that it names is ended. So a user who signs
    /// out in one tab while another has just rotated the token is signed out. Who has a copy of an old token can do no more with it than that: it
    /// reads nothing, and the user signs in anew under another id. Of a forged, expired or revoked one there is nothing to end; the client forgets it.
    ///
    /// # Errors
    /// [`Error::Store`]: the session may still be alive, and nothing about it has changed here: don't tell the user that it has.
    pub async fn destroy(&self, session: &mut Session<T>) -> Result<Option<SetCookie>, Error> {
        self.destroy_cell(&Mutex::new(session)).await
    }

    pub(crate) async fn destroy_cell(&self, session: &impl Cell<T>) -> Result<Option<SetCookie>, Error> {
        let Inner { shared, backend } = &*self.inner;
        let Some(ending) = session.with(|session| session.ends_by_logout()) else {
            session.with(Session::mark_destroyed);
            return Ok(None);
        };
        for named in &ending {
            let span = span!("session.destroy", store = B::NAME);
            backend.destroy(shared, *named).instrument(span).await?;
            #[cfg(feature = "dbsc")]
            self.forget_device(named.key).await;
        }
        session.with(|session| {
            session.mark_destroyed();
            for Named { key, .. } in ending {
                let own = Some(&*session).filter(|session| session.key() == Some(key));
                shared.listeners.tell(EventKind::Destroyed, Some(key), own);
            }
        });
        Ok(Some(shared.config.cookie.remove()))
    }
}

/// Does something when it is dropped, be it that a future was given up or that a closure panicked.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    /// There is nothing to do any more.
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}

/// How often a save is tried at most. Who holds a lease and still keeps coming second stands against those that come new.
const MOST_CONFLICTS: u32 = 64;

/// What came of all tries to save.
pub(super) enum Outcome<T> {
    /// Saved, or there was nothing to save.
    Done(Option<Change>),
    /// The session is no more, or not this request's any more; what is to be saved of it all the same.
    Ended(Rejection, Option<Box<Session<T>>>),
}

/// What to do when another save came first.
pub(super) enum Conflicting<'a, T> {
    /// Put this request's changes on top of it.
    Merge,
    /// Do this again on what it stored.
    Redo(&'a mut (dyn FnMut(&mut T) + Send)),
}

fn tell<T: SessionData>(shared: &Shared<T>, change: &Change, session: &Session<T>) {
    let kind = if change.started { EventKind::Started } else { EventKind::Saved };
    shared.listeners.tell(kind, session.key(), Some(session));
    if change.rotated {
        shared.listeners.tell(EventKind::Regenerated, session.key(), Some(session));
    }
}
