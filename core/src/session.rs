//! One session, as an application sees it.

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};
use core::{fmt, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    binding::Fingerprint,
    error::Rejection,
    flash::{Flash, Messages},
    id::{Key, SessionId},
    json::to_json,
    lifecycle::Draft,
    merge::MergePolicies,
    payload::Payload,
    record::Version,
    time::{Expiry, Timestamp},
    wiped::Wiped,
};

/// What an application keeps in a session: any type that serde can turn into JSON and back.
///
/// Give every field a default (`#[serde(default)]` on the type), so that sessions which began before a field existed can still be read.
/// Fields that a session has and the type doesn't know survive a save. Integers must fit 64 bits: write longer ones as strings.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use session_core::SessionData;
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// #[serde(default)]
/// struct UserSession {
///     theme: String,
///     visits: u64,
/// }
/// impl SessionData for UserSession {}
/// ```
///
/// Or keep a bag of values, as other libraries do: JSON objects, and maps from strings to one type of value, are session data as they are. Requests that
/// change different keys keep each other's changes, and a key that was removed is gone.
///
/// ```
/// use core::time::Duration;
/// use serde_json::{Map, Value};
/// use session_core::{Expiry, Session, Timestamp};
///
/// let expiry = Expiry::new(Duration::from_secs(1800), Duration::from_secs(86_400))?;
/// let mut session = Session::<Map<String, Value>>::anonymous(&expiry, Timestamp::default(), None);
/// session.data_mut().insert("theme".into(), "dark".into());
/// assert_eq!(session.data().get("theme").and_then(Value::as_str), Some("dark"));
/// # Ok::<(), session_core::ConfigError>(())
/// ```
pub trait SessionData: Serialize + DeserializeOwned + Default + Clone + Send + Sync + 'static {
    /// What becomes of fields that two requests changed at the same time: by default the later commit has its way in each. For sessions
    /// in a store; of two requests that change one cookie-held session, the later answer replaces all of it.
    #[must_use]
    fn merge_policies() -> MergePolicies {
        MergePolicies::new()
    }
}

/// No data at all: for sessions that only say who is signed in.
impl SessionData for () {}

/// Whatever JSON there is: to read what any application keeps, or as a bag of values.
impl SessionData for Value {}

/// A bag of values.
impl SessionData for Map<String, Value> {}

/// A bag of values of one type.
impl<V> SessionData for BTreeMap<String, V> where
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
}

/// A bag of values of one type.
#[cfg(feature = "std")]
impl<V, H> SessionData for std::collections::HashMap<String, V, H>
where
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    H: core::hash::BuildHasher + Default + Clone + Send + Sync + 'static,
{
}

/// Where a session stands.
///
/// ```text
/// Anonymous ──commit of a change──▶ Active ──destroy──▶ Destroyed
///     ▲                               │
///     └──ended elsewhere (on commit)──┘
/// ```
/// A destroyed session stays destroyed: nothing that is written to it afterwards is kept.
///
/// ```
/// use session_core::{Rejection, State};
///
/// assert!(matches!(State::Anonymous(Some(Rejection::Expired)), State::Anonymous(_)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is stored and the client holds no valid token: a visitor without a cookie, or with one that was refused, and then
    /// the reason. Becomes a stored session when something is written to it.
    Anonymous(Option<Rejection>),
    /// Loaded from a valid token, or stored.
    Active,
    /// Ended by this request.
    Destroyed,
}

/// One session of one request.
///
/// Reading marks nothing; writing a value that is equal to what was there saves nothing. What was changed is written by a commit
/// (the framework layer makes one before the response leaves).
///
/// Sessions are made by a provider (`session_native::Sessions`), which also loads and commits them.
///
/// ```
/// use core::time::Duration;
/// use session_core::{Expiry, Session, Timestamp};
///
/// let expiry = Expiry::new(Duration::from_secs(3600), Duration::from_secs(86_400))?;
/// let mut session = Session::<()>::anonymous(&expiry, Timestamp::from_millis(0), None);
/// assert!(!session.is_authenticated());
/// session.authenticate("42");
/// session.flash_mut().set_notice("Welcome back");
/// assert_eq!(session.subject(), Some("42"));
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Session<T> {
    pub(crate) facts: Facts,
    pub(crate) expires_at: Timestamp,
    /// What the client's token says; `None` if it needs a new one.
    pub(crate) token_expires_at: Option<Timestamp>,
    pub(crate) data: T,
    pub(crate) flash: Flash,
    pub(crate) state: State,
    /// Counts what was done to the session, so that a draft knows whether it is still all of it.
    pub(crate) changes: u64,
    /// Counts the rotations that were asked for: one that is saved is done, whatever was done to the data meanwhile.
    pub(crate) renewals: u64,
    /// `data_mut` was called: whether anything changed shows when it is compared with `base`.
    pub(crate) data_touched: bool,
    /// The session changed hands: the next commit replaces what is stored, and merges with nothing of it.
    pub(crate) replaced: bool,
    /// The subject is another than the one that was loaded, or there was none: how long that session was to last doesn't count.
    pub(crate) handed_over: bool,
    /// The next commit rotates the token.
    pub(crate) renew: bool,
    /// The next commit notes the time as that of an authentication.
    pub(crate) authenticated_now: bool,
    /// The next commit moves both ends of the session that far away.
    pub(crate) remember: Option<Duration>,
    /// The next commit stores the session even if nothing was written to it.
    pub(crate) wanted: bool,
    /// What was loaded or last saved.
    pub(crate) base: Option<Base>,
    /// What this program would have written of the data as it was loaded; noted when the data is first touched, where that is known.
    pub(crate) known: Option<Wiped>,
    /// A save of which nobody knows whether it was written.
    pub(crate) unconfirmed: Option<Box<Draft>>,
    /// The client of this request, if sessions are bound to clients.
    pub(crate) client: Option<OwnedClient>,
    /// The sessions that may live and that refused tokens of this request name; `None` if it brought no token that was refused.
    pub(crate) refused: Option<Vec<Named>>,
}

/// A session, as an authentic token names it.
///
/// ```
/// use session_core::{Key, Timestamp, lifecycle::Named};
///
/// let (key, absolute_end) = (Key::from_bytes([7; 16]), Timestamp::from_millis(9));
/// let named = Named { key, absolute_end, is_authenticated: true };
/// assert_eq!(named.key.to_string().len(), 22);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its public name.
    pub key: Key,
    /// When it ends at the latest, as far as this token knows.
    pub absolute_end: Timestamp,
    /// Whether someone is signed in, as far as this token knows.
    pub is_authenticated: bool,
}

/// What is known of a session besides the application's data.
#[derive(Clone)]
pub(crate) struct Facts {
    /// Made when the session is first stored.
    pub(crate) names: Option<Names>,
    pub(crate) created_at: Timestamp,
    pub(crate) absolute_end: Timestamp,
    pub(crate) rotation: u64,
    pub(crate) version: Version,
    pub(crate) subject: Option<String>,
    pub(crate) authenticated_at: Option<Timestamp>,
    pub(crate) epoch: Option<u64>,
    pub(crate) rotated_at: Option<Timestamp>,
    pub(crate) binding: Option<Fingerprint>,
}

/// A session's secret name and its public one, which is a hash of it and made once.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) id: SessionId,
    pub(crate) key: Key,
}

impl From<SessionId> for Names {
    fn from(id: SessionId) -> Self {
        let key = id.key();
        Self { id, key }
    }
}

#[derive(Clone)]
pub(crate) struct Base {
    pub(crate) payload: Payload,
    pub(crate) flash: Messages,
}

#[derive(Clone)]
pub(crate) struct OwnedClient {
    pub(crate) ip: Option<core::net::IpAddr>,
    pub(crate) user_agent: Option<Vec<u8>>,
}

impl<T: SessionData> Session<T> {
    /// The application's data, to be changed.
    pub fn data_mut(&mut self) -> &mut T {
        if let (false, Some(base)) = (self.data_touched, &self.base) {
            // If it can't be written it can't be saved either, and the commit says so.
            self.known = to_json(&self.data, base.payload.as_bytes().len()).ok();
        }
        self.data_touched = true;
        self.changes += 1;
        &mut self.data
    }

    /// The messages for the next request, to be changed.
    pub fn flash_mut(&mut self) -> &mut Flash {
        &mut self.flash
    }

    /// Signs `subject` in (a user's id, never a secret): the token is rotated, so that one which was known before (session fixation,
    /// ASVS 5.0 row 7.2.4) is dead at once, and the session is found under its subject.
    ///
    /// If the session belonged to *another* subject, that one's data and flash messages are dropped first: also fields that this
    /// program doesn't know, and what concurrent requests of that subject write before the commit. So call it before you write data.
    pub fn authenticate(&mut self, subject: impl Into<String>) {
        let subject = subject.into();
        if self.facts.subject.as_ref().is_some_and(|before| *before != subject) {
            *self.data_mut() = T::default();
            self.flash = Flash::default();
            self.replaced = true;
        }
        self.handed_over |= self.facts.subject.as_ref() != Some(&subject);
        self.facts.subject = Some(subject);
        self.authenticated_now = true;
        self.regenerate();
    }

    /// Rotates the token: the old one is dead once the change is committed. Call it when privileges change; [`Session::authenticate`] does.
    pub const fn regenerate(&mut self) {
        self.renew = true;
        self.renewals += 1;
        self.changes += 1;
    }

    /// Lets this session last for `duration` from the commit on, in place of both timeouts of [`Expiry`](crate::Expiry): for "remember me", or
    /// a short stay at a shared computer. It doesn't end sooner for want of requests, and requests don't extend it. At most 400 days
    /// ([`Expiry::LONGEST`](crate::Expiry::LONGEST)): a longer time is cut to that.
    ///
    /// Call it with [`Session::authenticate`], after it or before. The token is rotated. Whoever signs the same subject in again (a step-up) doesn't shorten it.
    /// So that the browser keeps it that long, its cookie must be [persistent](crate::CookieOptions::persistent), as it is by default.
    ///
    /// A remembered session proves little about who sits there: protect what matters by the age of [`Session::authenticated_at`].
    pub fn remember_for(&mut self, duration: Duration) {
        self.remember = Some(duration.min(Expiry::LONGEST));
        self.regenerate();
    }

    /// The application's data.
    #[must_use]
    pub const fn data(&self) -> &T {
        &self.data
    }

    /// The messages that the last request left.
    #[must_use]
    pub const fn flash(&self) -> &Flash {
        &self.flash
    }

    /// Who is signed in.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.facts.subject.as_deref()
    }

    /// Whether someone is signed in.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        self.facts.subject.is_some()
    }

    /// When the subject last signed in: for pages that demand a recent proof. `None` before the commit that follows
    /// [`Session::authenticate`].
    #[must_use]
    pub const fn authenticated_at(&self) -> Option<Timestamp> {
        self.facts.authenticated_at
    }

    /// The public name of the session, for logs and listings: never the secret id. `None` until it is first stored.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        self.facts.names.as_ref().map(|names| names.key)
    }

    /// Where the session stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether nothing is stored yet.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        matches!(self.state, State::Anonymous(_))
    }

    /// Why the request's token was refused, if it had one. For the server's own decisions: a client must not see it.
    #[must_use]
    pub const fn rejection(&self) -> Option<Rejection> {
        match self.state {
            State::Anonymous(rejection) => rejection,
            State::Active | State::Destroyed => None,
        }
    }

    /// When the session began.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.facts.created_at
    }

    /// When the session expires, unless a request extends it.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// When the session ends, whatever requests do.
    #[must_use]
    pub const fn absolute_end(&self) -> Timestamp {
        self.facts.absolute_end
    }

    /// How long the session lasts from `now` on, unless a request extends it; zero if it has expired.
    #[must_use]
    pub fn expires_in(&self, now: Timestamp) -> Duration {
        self.expires_at.since(now)
    }

    /// How often the token was rotated.
    #[must_use]
    pub const fn rotation(&self) -> u64 {
        self.facts.rotation
    }

    /// Which save of the session this is.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.facts.version
    }

    /// Whether both are the same session (not: equal data).
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.key().is_some() && self.key() == other.key()
    }
}

/// Shows neither id nor data nor subject.
impl<T> fmt::Debug for Session<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("state", &self.state)
            .field("key", &self.facts.names.as_ref().map(|names| names.key))
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl OwnedClient {
    pub(crate) fn of(client: &crate::Client<'_>) -> Self {
        Self { ip: client.ip, user_agent: client.user_agent.map(Into::into) }
    }

    pub(crate) fn borrow(&self) -> crate::Client<'_> {
        crate::Client { ip: self.ip, user_agent: self.user_agent.as_deref() }
    }
}
