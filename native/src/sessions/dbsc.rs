//! Sessions that are bound to devices: the check with every load, the offer after a sign-in, and the proofs.

use session_core::{
    Client, Error as CoreError, Key, Rejection, Session, SessionData, State, Timestamp, Version,
};

use super::{Sessions, Terms, shared::Shared};
use crate::{
    backend::{Backend, Stored},
    dbsc::{Device, DeviceBound, Devices, Proof, SetupError, fields},
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
        Ok(devices.bindings.find(session).await?.map(|(device, _)| device))
    }
}

/// What a request says of its device.
pub(crate) struct Shown<'a> {
    /// The session whose device it is, by `Sec-Secure-Session-Id`; `None` for a new device.
    pub(crate) session: Option<&'a [u8]>,
    pub(crate) proof: Option<&'a [u8]>,
}

/// What a browser is told that wants to prove its device. It goes by the status (§8.8): 403 makes it sign the challenge, any other 4xx makes
/// it forget the session's key.
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
        let (Some(devices), Some(proven), Some(key)) =
            (&self.inner.shared.devices, terms.proven, session.key())
        else {
            return Ok(());
        };
        // Only who signs in is offered a binding.
        if proven.contains(&key) || !session.is_authenticated() {
            return Ok(());
        }
        match devices.bindings.find(&key).await? {
            // Requests that left before the first bound cookie arrived come without it: the first proof counts for them.
            Some((device, _)) if self.now() >= device.bound_at + devices.life => {
                Err(CoreError::Rejected(Rejection::BoundElsewhere).into())
            }
            _ => Ok(()),
        }
    }

    /// The value of `Secure-Session-Registration` for the answer to a sign-in; `None` if the session is bound already, or not to be.
    pub(crate) async fn device_offer(&self, key: Option<Key>) -> Result<Option<String>, Error> {
        let (Some(devices), Some(key)) = (&self.inner.shared.devices, key) else { return Ok(None) };
        if devices.bindings.find(&key).await?.is_some() {
            return Ok(None);
        }
        let shared = &self.inner.shared;
        let challenge = devices.challenge(&key, Version::default(), shared.now(), shared.random())?;
        Ok(Some(fields::registration(&devices.path, &challenge)))
    }

    /// Answers a browser that wants to prove its device.
    pub(crate) async fn prove_device(
        &self,
        cookie_headers: Vec<&[u8]>,
        client: &Client<'_>,
        shown: Shown<'_>,
    ) -> Result<Answer, Error> {
        let shared = &self.inner.shared;
        let over = || Answer::new(401, "there is no such session".into());
        let Some(devices) = &shared.devices else { return Ok(over()) };
        let terms = Terms { client, freshness: Freshness::Linearizable, proven: None };
        let session = self.load_own(cookie_headers, terms).await?;
        let (State::Active, true, Some(key)) = (session.state(), session.is_authenticated(), session.key())
        else {
            return Ok(over());
        };
        let (now, id) = (shared.now(), key.to_string());
        let verdict = match shown.session {
            None => bind(shared, devices, &session, &key, shown.proof, now).await?,
            Some(session_id) if session_id == id.as_bytes() => {
                renew(shared, devices, &session, &key, shown.proof, now).await?
            }
            // That of a session before this one.
            Some(_) => Verdict::Over,
        };
        Ok(match verdict {
            Verdict::Proven => {
                let cookie = devices.bound_cookie(&key, now, shared.random())?;
                let text = fields::instructions(&id, &devices.path, &devices.cookie.name, &cookie);
                Answer::json(200, text).with("set-cookie", cookie.into_string())
            }
            Verdict::Challenged(version) => {
                let challenge = devices.challenge(&key, version, now, shared.random())?;
                Answer::new(403, "sign the challenge".into())
                    .with(fields::CHALLENGE, fields::challenge(&challenge, &id))
            }
            Verdict::Refused => Answer::new(400, "this proves no device".into()),
            Verdict::Over => over(),
        })
    }

    /// The session is no more: its binding is of no use. If that fails, the record ends by itself.
    pub(super) async fn forget_device(&self, key: Option<Key>) {
        let (Some(devices), Some(key)) = (&self.inner.shared.devices, key) else { return };
        if let Err(error) = devices.bindings.forget(&key).await {
            tracing::warn!(%error, "the binding of a session that was ended is left over");
        }
    }
}

/// The first proof: binds the session to the key that it brings.
async fn bind<T: SessionData>(
    shared: &Shared<T>,
    devices: &Devices,
    session: &Session<T>,
    key: &Key,
    proof: Option<&[u8]>,
    now: Timestamp,
) -> Result<Verdict, Error> {
    let Some(proof) = verified(key, proof.map(Proof::of_new_device)) else { return Ok(Verdict::Refused) };
    if !devices.is_challenge(proof.challenge(), key, Version::default(), now) {
        return Ok(refused(key, "its challenge isn't this session's, or has expired"));
    }
    let device = Device { key: proof.into_key(), bound_at: now, proven_at: now };
    let until = end_of_binding(shared, devices, session, now);
    if !devices.bindings.bind(key, &device, until, shared.random()).await? {
        return Ok(refused(key, "the session is bound"));
    }
    tracing::debug!(%key, device = %device.key.thumbprint(), "a session was bound to a device");
    Ok(Verdict::Proven)
}

/// A later proof: signed by the session's key, of a challenge for what the binding is now.
async fn renew<T: SessionData>(
    shared: &Shared<T>,
    devices: &Devices,
    session: &Session<T>,
    key: &Key,
    proof: Option<&[u8]>,
    now: Timestamp,
) -> Result<Verdict, Error> {
    let Some((device, version)) = devices.bindings.find(key).await? else { return Ok(Verdict::Over) };
    let Some(proof) = proof else { return Ok(Verdict::Challenged(version)) };
    let Some(proof) = verified(key, Some(Proof::of_device(proof, &device.key))) else {
        return Ok(Verdict::Refused);
    };
    // Of the right device, but of a challenge that was used or has expired: two tabs, an answer that was lost. It may try again.
    if !devices.is_challenge(proof.challenge(), key, version, now) {
        return Ok(Verdict::Challenged(version));
    }
    let device = Device { proven_at: now, ..device };
    let until = end_of_binding(shared, devices, session, now);
    Ok(match devices.bindings.renew(key, &device, until, version, shared.random()).await? {
        Saved::Stored => Verdict::Proven,
        Saved::Conflict(other) => Verdict::Challenged(other.version),
        Saved::Gone => Verdict::Over,
    })
}

/// When the session has ended for sure, unless it is told to last longer ([`Session::remember_for`]) after its last proof. A sign-in until the
/// next proof may give it all of the absolute timeout once more.
fn end_of_binding<T: SessionData>(
    shared: &Shared<T>,
    devices: &Devices,
    session: &Session<T>,
    now: Timestamp,
) -> Timestamp {
    session.absolute_end().max(shared.config.expiry.absolute_end(now + devices.life))
}

fn verified(key: &Key, proof: Option<Result<Proof, crate::dbsc::ProofError>>) -> Option<Proof> {
    match proof {
        Some(Ok(proof)) => Some(proof),
        Some(Err(error)) => {
            tracing::warn!(%key, %error, "a device's proof was refused");
            None
        }
        None => None,
    }
}

fn refused(key: &Key, reason: &'static str) -> Verdict {
    tracing::warn!(%key, reason, "a device's proof was refused");
    Verdict::Refused
}
