//! Imports: a request without a token of ours that brings a session of another library.

use std::sync::Mutex;

use session_core::{
    Client, Error as CoreError, Key, Rejection, Session, SessionData, Version, cookies, interop::Foreign,
};

use super::{Sessions, Terms, save::Conflicting};
use crate::{
    backend::{Backend, Refusal},
    error::Error,
    event::EventKind,
    import::{Import, ImportError},
    observe::count_error,
    store::Freshness,
};

/// A second round finds what the first one lost to.
const MOST_ROUNDS: u32 = 2;

impl<T: SessionData, B: Backend> Sessions<T, B> {
    /// Takes over the sessions of another library, until a date: see [`Import`]. A request that brings a token of this library, whatever it is worth, imports
    /// nothing. May be called for several.
    ///
    /// # Panics
    /// If the provider was cloned before: it is configured first and shared then.
    #[must_use]
    pub fn import(mut self, import: Import<T>) -> Self {
        self.shared_mut().imports.push(import);
        self
    }

    /// The session of a request that brings no token of ours, and one of another library: stored already, its token still to be sent; or an
    /// anonymous one that says what is wrong with it.
    pub(super) async fn imported(
        &self,
        headers: &[&[u8]],
        client: &Client<'_>,
    ) -> Result<Option<Session<T>>, Error> {
        let shared = &self.inner.shared;
        let own = |header: &&[u8]| cookies(header, &shared.config.cookie.name).any(|token| !token.is_empty());
        if headers.iter().any(own) {
            return Ok(None);
        }
        let mut refused = None;
        let mut alive = Vec::new();
        for import in shared.imports.iter().filter(|import| !import.is_over(shared.now())) {
            match self.import_by(import, headers, client).await {
                Ok(None) => {}
                Ok(Some(session)) => {
                    shared.listeners.tell(EventKind::Loaded, session.key(), Some(&session));
                    return Ok(Some(session));
                }
                Err(Refusal { error: Error::Core(CoreError::Rejected(reason)), named }) => {
                    shared.listeners.tell(EventKind::of(reason), named.map(|named| named.key), None);
                    refused = Some(reason);
                    alive.extend(named.filter(|_| reason.leaves_the_session_alive()));
                }
                // Rather signed out once than an error with every page.
                Err(Refusal { error, .. }) if error.is_too_large() => {
                    tracing::warn!(%error, "a session is too large to be imported");
                }
                Err(Refusal { error, .. }) => {
                    count_error(B::NAME, &error);
                    return Err(error);
                }
            }
        }
        let Some(reason) = refused else { return Ok(None) };
        let mut session = self.anonymous(Some(reason));
        alive.into_iter().for_each(|named| session.note_refused(Some(named)));
        self.bind(&mut session, client)?;
        Ok(Some(session))
    }

    async fn import_by(
        &self,
        import: &Import<T>,
        headers: &[&[u8]],
        client: &Client<'_>,
    ) -> Result<Option<Session<T>>, Refusal> {
        let named = import.importer().named(headers);
        if let Some(session) = self.recalled_by_name(import, &named, client).await? {
            return Ok(Some(session));
        }
        match import.importer().read(headers, self.now()).await {
            // Another request has imported it meanwhile, and deleted it there.
            Ok(None) => self.recalled_by_name(import, &named, client).await,
            Ok(Some(foreign)) => self.adopt(import, foreign, headers, client).await.map(Some),
            Err(ImportError::Refused(refusal)) => Err(CoreError::Rejected(refusal.into()).into()),
            Err(ImportError::Store(error)) => Err(error.into()),
        }
    }

    async fn recalled_by_name(
        &self,
        import: &Import<T>,
        named: &[Key],
        client: &Client<'_>,
    ) -> Result<Option<Session<T>>, Refusal> {
        for identity in named {
            if let Some(session) = self.recalled(import, identity, client).await? {
                return Ok(Some(session));
            }
        }
        Ok(None)
    }

    /// What was made of a session before, through every check, as if the client had sent its token: it may have been rotated, ended or
    /// revoked since.
    async fn recalled(
        &self,
        import: &Import<T>,
        identity: &Key,
        client: &Client<'_>,
    ) -> Result<Option<Session<T>>, Refusal> {
        let Some(token) = import.recall(identity).await? else { return Ok(None) };
        let mut session = *self.load_token(&token, Terms::new(client, Freshness::Linearizable)).await?;
        session.renew_token();
        Ok(Some(session))
    }

    async fn adopt(
        &self,
        import: &Import<T>,
        foreign: Foreign<T>,
        headers: &[&[u8]],
        client: &Client<'_>,
    ) -> Result<Session<T>, Refusal> {
        let Foreign { identity, data, .. } = foreign;
        for _ in 0..MOST_ROUNDS {
            if let Some(session) = self.recalled(import, &identity, client).await? {
                return Ok(session);
            }
            // Stored before it is remembered: if this ends in between, the next request begins anew and what is left over expires.
            let mut session = self.begin_imported(import, data.clone(), client)?;
            self.write(&Mutex::new(&mut session), Conflicting::Merge).await?;
            let shared = &self.inner.shared;
            let payload = B::token_payload(&session)?.ok_or(CoreError::Rejected(Rejection::Revoked))?;
            let token = shared.codec.seal(payload, session.expires_at(), false, shared.random())?;
            let version = Version::default().next(shared.random())?;
            if import.remember(&identity, version, token).await? {
                if let Err(error) = import.importer().forget(headers).await {
                    tracing::warn!(%error, "a session was imported, and is still there in the other library's store");
                }
                session.renew_token();
                return Ok(session);
            }
            // Another request was first: there is one session of it, that one.
            self.destroy(&mut session).await?;
        }
        Err(Error::Contended.into())
    }

    fn begin_imported(&self, import: &Import<T>, data: T, client: &Client<'_>) -> Result<Session<T>, Error> {
        let shared = &self.inner.shared;
        let subject = import.subject_of(&data);
        let mut session = Session::imported(&shared.config.expiry, shared.now(), data, subject);
        self.bind(&mut session, client)?;
        Ok(session)
    }
}
