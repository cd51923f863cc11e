//! Sessions that are bound to devices: the check with every load, the offer after a sign-in, and the proofs.

use session_core::{Client, Error as CoreError, Key, Rejection, Session, SessionData, Timestamp, Version};

use super::{Sessions, Terms, shared::Shared};
use crate::{
    backend::{Backend, Stored},
    dbsc::{Binding, Device, DeviceBound, Devices, Proof, ProofError, SetupError, fields},
    error::Error,
    store::{Freshness, Saved, Store},
    web::Answer,
};

impl<T: SessionData, S: Store> Sessions<T, Stored<S>> {
    /// Binds sessions to the devices that they begin on, where the browser can: see [`dbsc`](crate::dbsc). For sessions in a store.
    ///
    /// A request of a signed-in session without a bound cookie, as all are of browsers that don't know the protocol, costs a look into the store of
    /// bindings; one with it costs none.
    ///
    /// # Errors
    /// [`SetupError`].
    ///
    /// # Panics
    /// If the provider was cloned before: it is configured first and shared then.
    pub fn device_bound(mut self, bound: DeviceBound) -> Result<Self, SetupError> {
        let config = &self.inner.shared.config;
        let devices = Devices::new(bound, &config.cookie, &config.keys)?;
        self.shared_mut().devices = Some(devices);
        Ok(self)
    }

    /// The device that a session is bound to, if it is: for a page "my sessions".
    ///
    /// ```
    /// use session_native::{Config, MemoryStore, OsRandom, Secret, Sessions, dbsc::DeviceBound};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = Config::testing(Secret::generate(&OsRandom)?);
    /// let bound = DeviceBound::at("/device", MemoryStore::new());
    /// let sessions = Sessions::<(), _>::new(config, MemoryStore::new())?.device_bound(bound)?;
    ///
    /// let mut session = sessions.create();
    /// session.authenticate("42");
    /// sessions.commit(&mut session).await?;
    /// let key = session.key().expect("a stored session has a key");
    /// let device = sessions.device(&key).await?;
    /// assert!(device.is_none()); // no browser has brought a key
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`]; [`CoreError::Unreadable`] if the binding was damaged or moved.
    pub async fn device(&self, session: &Key) -> Result<Option<Device>, Error> {
        let Some(devices) = &self.inner.shared.devices else { return Ok(None) };
        Ok(devices.bindings.find(session).await?.map(|(binding, _)| binding.device))
    }
}

/// What a request says of its device.
pub(crate) struct Shown<'a> {
    /// The session whose device it is, by `Sec-Secure-Session-Id`; `None` for a new device.
    pub(crate) session: Option<&'a [u8]>,
    pub(crate) proof: Option<&'a [u8]>,
}

/// What a browser is told that wants to prove its device. It goes by the status (§8.8): 403 makes it sign the challenge, any other 4xx makes
/// it forget the session's key, a 5xx makes it try again later.
enum Verdict {
    /// The device is the session's.
    Proven,
    /// It is to sign a challenge, to replace this version of the binding.
    Challenged(Version),
    /// No proof.
    Refused,
    /// There is no such session, or it isn't bound (any more).
    Over,
}

impl<T: SessionData, B: Backend> Sessions<T, B> {
    /// Refuses the session if it is bound to a device and the request doesn't come from there.
    pub(super) async fn check_device(&self, session: &Session<T>, terms: Terms<'_>) -> Result<(), Error> {
        let (Some(proven), Some(claim)) = (terms.proven, self.claim(session)) else { return Ok(()) };
        if proven.contains(&claim.key) {
            return Ok(());
        }
        match claim.find().await? {
            // Requests that left before the first bound cookie arrived come without it: the first proof counts for them.
            Some((binding, _)) if claim.now >= binding.device.bound_at + claim.devices.life => {
                Err(CoreError::Rejected(Rejection::BoundElsewhere).into())
            }
            _ => Ok(()),
        }
    }

    /// The value of `Secure-Session-Registration` for the answer to a sign-in; `None` if the session is bound already, or not to be.
    pub(crate) async fn device_offer(&self, session: &Session<T>) -> Result<Option<String>, Error> {
        let Some(claim) = self.claim(session) else { return Ok(None) };
        let Some(version) = claim.version_to_bind().await? else { return Ok(None) };
        let challenge = claim.challenge(version)?;
        Ok(Some(fields::registration(&claim.devices.path, &challenge)))
    }

    /// Answers a browser that wants to prove its device.
    pub(crate) async fn prove_device(
        &self,
        cookie_headers: Vec<&[u8]>,
        client: &Client<'_>,
        shown: Shown<'_>,
    ) -> Result<Answer, Error> {
        let terms = Terms { client, freshness: Freshness::Linearizable, proven: None };
        let session = self.load_own(cookie_headers, terms).await?;
        // Sent before the answer with the new token arrived. The session lives and is bound: without its key the browser would be signed out.
        if session.rejection() == Some(Rejection::Superseded) {
            return Ok(
                Answer::new(503, "the session's token was replaced just now".into()).with("retry-after", "1")
            );
        }
        let Some(claim) = self.claim(&session) else { return Ok(over()) };
        let id = claim.key.to_string();
        let verdict = match shown.session {
            None => claim.bind(shown.proof).await?,
            Some(session_id) if session_id == id.as_bytes() => claim.renew(shown.proof).await?,
            // That of a session before this one.
            Some(_) => Verdict::Over,
        };
        Ok(match verdict {
            Verdict::Proven => {
                let Claim { devices, key, now, .. } = &claim;
                let cookie = devices.bound_cookie(key, *now, claim.shared.random())?;
                let text = fields::instructions(&id, &devices.path, &devices.cookie.name, &cookie);
                Answer::json(200, text).with("set-cookie", cookie.into_string())
            }
            Verdict::Challenged(version) => {
                let challenge = claim.challenge(version)?;
                Answer::new(403, "sign the challenge".into())
                    .with(fields::CHALLENGE, fields::challenge(&challenge, &id))
            }
            Verdict::Refused => Answer::new(400, "this proves no device".into()),
            Verdict::Over => over(),
        })
    }

    /// The session is no more: its binding is of no use. If that fails, the record ends by itself.
    pub(super) async fn forget_device(&self, key: Key) {
        let Some(devices) = &self.inner.shared.devices else { return };
        if let Err(error) = devices.bindings.forget(&key).await {
            tracing::warn!(%error, "the binding of a session that was ended is left over");
        }
    }

    /// Only a session that is stored, and that someone is signed in to, is bound.
    fn claim<'a>(&'a self, session: &'a Session<T>) -> Option<Claim<'a, T>> {
        let shared = &self.inner.shared;
        let (devices, subject, key) = (shared.devices.as_ref()?, session.subject()?, session.key()?);
        Some(Claim { shared, devices, session, subject, key, now: shared.now() })
    }
}

fn over() -> Answer {
    Answer::new(401, "there is no such session".into())
}

/// A session that a request claims, and whose device it may have to prove.
struct Claim<'a, T> {
    shared: &'a Shared<T>,
    devices: &'a Devices,
    session: &'a Session<T>,
    subject: &'a str,
    key: Key,
    now: Timestamp,
}

impl<T: SessionData> Claim<'_, T> {
    /// The first proof: binds the session to the key that it brings.
    async fn bind(&self, proof: Option<&[u8]>) -> Result<Verdict, Error> {
        let Some(proof) = self.verified(proof.map(Proof::of_new_device)) else { return Ok(Verdict::Refused) };
        let Some(version) = self.version_to_bind().await? else {
            return Ok(self.refused("the session is bound"));
        };
        if !self.is_challenge(&proof, version) {
            return Ok(self.refused("its challenge isn't this session's, or has expired"));
        }
        let device = Device { key: proof.into_key(), bound_at: self.now, proven_at: self.now };
        tracing::debug!(key = %self.key, device = %device.key.thumbprint(), "a session is bound to a device");
        Ok(match self.write(device, version).await? {
            Saved::Stored => Verdict::Proven,
            Saved::Conflict(_) | Saved::Gone => self.refused("the session is bound"),
        })
    }

    /// A later proof: signed by the session's key, of a challenge for what the binding is now.
    async fn renew(&self, proof: Option<&[u8]>) -> Result<Verdict, Error> {
        let Some((Binding { device, .. }, version)) = self.find().await? else { return Ok(Verdict::Over) };
        let Some(proof) = proof else { return Ok(Verdict::Challenged(version)) };
        let Some(proof) = self.verified(Some(Proof::of_device(proof, &device.key))) else {
            return Ok(Verdict::Refused);
        };
        // Of the right device, but of a challenge that was used or has expired: two tabs, an answer that was lost. It may try again.
        if !self.is_challenge(&proof, version) {
            return Ok(Verdict::Challenged(version));
        }
        Ok(match self.write(Device { proven_at: self.now, ..device }, version).await? {
            Saved::Stored => Verdict::Proven,
            Saved::Conflict(other) => Verdict::Challenged(other.version),
            Saved::Gone => Verdict::Over,
        })
    }

    /// The binding, if it is one of the session's subject.
    async fn find(&self) -> Result<Option<(Binding, Version)>, Error> {
        let found = self.devices.bindings.find(&self.key).await?;
        Ok(found.filter(|(binding, _)| binding.is_of(self.subject)))
    }

    /// What the first proof is to replace: nothing, or the binding of someone who was signed in before; `None` if the session is bound.
    async fn version_to_bind(&self) -> Result<Option<Version>, Error> {
        Ok(match self.devices.bindings.find(&self.key).await? {
            None => Some(Version::default()),
            Some((binding, version)) => (!binding.is_of(self.subject)).then_some(version),
        })
    }

    async fn write(&self, device: Device, version: Version) -> Result<Saved, Error> {
        let binding = Binding::new(device, self.subject);
        self.devices.bindings.write(&self.key, &binding, self.end(), version, self.shared.random()).await
    }

    /// When the session has ended for sure, unless it is told to last longer ([`Session::remember_for`]) after this. A sign-in until the next
    /// proof may give it all of the absolute timeout once more.
    fn end(&self) -> Timestamp {
        let latest = self.shared.config.expiry.absolute_end(self.now + self.devices.life);
        self.session.absolute_end().max(latest)
    }

    fn challenge(&self, version: Version) -> Result<String, Error> {
        Ok(self.devices.challenge(&self.key, version, self.now, self.shared.random())?)
    }

    fn is_challenge(&self, proof: &Proof, version: Version) -> bool {
        self.devices.is_challenge(proof.challenge(), &self.key, version, self.now)
    }

    fn verified(&self, proof: Option<Result<Proof, ProofError>>) -> Option<Proof> {
        proof?
            .inspect_err(|error| tracing::warn!(key = %self.key, %error, "a device's proof was refused"))
            .ok()
    }

    fn refused(&self, reason: &'static str) -> Verdict {
        tracing::warn!(key = %self.key, reason, "a device's proof was refused");
        Verdict::Refused
    }
}
