//! Everything that can go wrong: one enum, with an enum of reasons where a caller may care.

use alloc::string::String;
use core::time::Duration;

use crate::{random::RandomError, time::Timestamp};

/// What went wrong. No message holds a secret, an id, a token or a value of the session.
///
/// ```
/// use session_core::{Error, Secret, SecretError};
///
/// let error = Error::from(Secret::from_bytes(&[0; 31]).err().unwrap());
/// assert_eq!(error, Error::Secret(SecretError::Length { actual: 31 }));
/// assert_eq!(error.to_string(), "a secret is exactly 32 bytes, this one has 31: make one with `session keygen`");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A secret can't be used. Found when the application starts.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The configuration contradicts itself. Found when the application starts.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The random source failed; nothing was made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// A token was refused.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The cookie would be larger than browsers keep; nothing was sent. Store less, or keep the session in a store.
    #[error(
        "the session needs a cookie of {actual} bytes (name and value), browsers keep {limit}: store less, or use a store"
    )]
    CookieTooLarge {
        /// Bytes of the cookie's name and value.
        actual: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The session has more data than a store is to keep of one ([`Config::max_record_len`](crate::Config)); nothing was saved.
    #[error(
        "the session has {actual} bytes, a store keeps at most {limit} of one: store less, or raise `max_record_len`"
    )]
    RecordTooLarge {
        /// Bytes of the session's payload.
        actual: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The session data can't be written as JSON (a map with keys that aren't strings, a number that isn't finite, an own
    /// `Serialize` that fails). Holds serde's message.
    #[error("the session data can't be written as JSON: {0}")]
    Serialize(String),
    /// The payload is authentic but doesn't fit the application's data type, or belongs to another session. Nothing was changed.
    #[error("the stored session can't be read: {0}")]
    Unreadable(Unreadable),
    /// Two requests changed a field whose [`MergePolicy`](crate::MergePolicy) is `Fail`; this one came second, and nothing of it was saved.
    #[error("another request changed `{field}` of the session at the same time; nothing was saved")]
    MergeConflict {
        /// The path of the field, as the application declared it.
        field: String,
    },
    /// The text is not the key of a session: 22 characters of base64url.
    #[error("not a session key: expected the 22 characters that a listing shows")]
    Key,
}

/// Why a secret is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The environment variable isn't set, is empty, or isn't UTF-8.
    #[error("the environment variable {variable} is not set: put a secret of `session keygen` there")]
    Missing {
        /// The variable's name.
        variable: &'static str,
    },
    /// Secret bytes of the wrong length.
    #[error("a secret is exactly 32 bytes, this one has {actual}: make one with `session keygen`")]
    Length {
        /// Bytes found.
        actual: usize,
    },
    /// `sk1_` isn't followed by 43 characters of base64url.
    #[error("`sk1_` must be followed by the 43 characters that `session keygen` prints")]
    Encoding,
    /// A passphrase that is too short to be derived from.
    #[error("a passphrase has at least {least} bytes, this one has {actual}: better, use `session keygen`")]
    Short {
        /// Bytes found.
        actual: usize,
        /// Bytes wanted.
        least: usize,
    },
    /// Few different bytes: typed by hand, repeated, or never random.
    #[error("the secret has only {distinct} different bytes: make one with `session keygen`")]
    Repetitive {
        /// Different bytes found.
        distinct: usize,
    },
    /// A default or an example from public documentation.
    #[error("the secret is a publicly known example: make one with `session keygen`")]
    Known,
    /// Fewer PBKDF2 iterations than [`Passphrase::LEAST_ITERATIONS`](crate::Passphrase::LEAST_ITERATIONS).
    #[error("{actual} PBKDF2 iterations are too few: use at least {least}, or a secret of `session keygen`")]
    Iterations {
        /// Iterations asked for.
        actual: u32,
        /// Iterations wanted.
        least: u32,
    },
}

/// What a configuration contradicts itself in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Timeouts out of order.
    #[error("timeouts must obey 1 s <= idle <= absolute <= 400 days")]
    Timeouts,
    /// Not a cookie name (RFC 6265bis §4.1.1: a token of RFC 9110).
    #[error("the cookie name must be 1 to 128 letters, digits or !#$%&'*+-.^_`|~")]
    CookieName,
    /// `__Host-` or `__Secure-` in other letters: browsers compare without case, this library's tokens don't.
    #[error("write the cookie name's prefix exactly `__Host-` or `__Secure-`")]
    PrefixCase,
    /// The prefix `__Host-` demands Secure, Path=/ and no Domain (RFC 6265bis §4.1.3.2).
    #[error("a `__Host-` cookie must be Secure, with Path=/ and without Domain")]
    HostPrefix,
    /// The prefix `__Secure-` demands Secure (RFC 6265bis §4.1.3.1).
    #[error("a `__Secure-` cookie must be Secure")]
    SecurePrefix,
    /// `SameSite=None` without Secure: browsers drop such a cookie.
    #[error("SameSite=None demands Secure")]
    SameSiteNone,
    /// `Partitioned` without Secure: browsers drop such a cookie (CHIPS).
    #[error("Partitioned demands Secure")]
    Partitioned,
    /// Not a cookie path: it starts with `/` and has no control characters and no `;`.
    #[error(
        "the cookie path must start with `/` and hold no `;` or control characters, in at most 1024 bytes"
    )]
    CookiePath,
    /// Not a host name.
    #[error("the cookie domain must be a host name in ASCII of at most 253 bytes, without port or scheme")]
    CookieDomain,
    /// A value that can't stand in a cookie as it is (RFC 6265bis §4.1.1): tokens always can.
    #[error("a cookie's value is made of visible ASCII without quotes, commas, semicolons and backslashes")]
    CookieValue,
    /// A prefix length beyond that of an address.
    #[error("an address prefix is at most 32 bits (IPv4) or 128 bits (IPv6)")]
    PrefixLength,
    /// Sessions that are bound to nothing: client binding without IP address and User-Agent.
    #[error("client binding must name the IP address, the User-Agent, or both")]
    EmptyBinding,
    /// Not the name of a preset.
    #[error("unknown preset: use development, production, high_security, testing or clustered")]
    Preset,
}

/// Why a session token was refused.
///
/// For metrics, traces and the server's own decisions. What a *client* sees must not depend on it (ASVS 5.0 row 11.2.5): to a
/// client a refused token is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Not a token: wrong length, alphabet, version or flags.
    #[error("the token is malformed")]
    Malformed,
    /// A token of another kind: a reference token where a cookie-held session is expected, or the other way round.
    #[error("the token is of another kind than this cookie holds")]
    WrongCookie,
    /// Sealed with a key that isn't in the key ring (any more).
    #[error("the token was sealed with an unknown key")]
    UnknownKey,
    /// The authentication tag is wrong: changed, made with another key, or moved from another cookie.
    #[error("the token is forged")]
    Forged,
    /// Past its end.
    #[error("the session has expired")]
    Expired,
    /// Presented by another client than the one the session is bound to.
    #[error("the session is bound to another client")]
    BoundElsewhere,
    /// Authentic, but the session was destroyed or revoked, or never stored.
    #[error("the session has ended")]
    Revoked,
    /// Authentic, but replaced: the session was rotated (login, privilege change) just now, and this is the token from before. Browsers send
    /// it with requests that they make while they wait for the answer with the new one, so it is no cause for alarm; but such a request must not
    /// set a cookie, which could replace the new token.
    #[error("the token was replaced by a newer one")]
    Superseded,
    /// Authentic, but replaced long ago: the session was rotated, and its client has had the new token for longer than
    /// [`Config::rotation_grace`](crate::Config::rotation_grace). A sign that someone has a copy of the old one (OWASP Session Management Cheat
    /// Sheet, "Renewal Timeout"), or that the answer with the new one never arrived. An invented token is never taken for one.
    #[error("the token was replaced by a newer one, and is used all the same")]
    Reused,
}

impl Rejection {
    /// Every reason, for tests and metrics.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::WrongCookie,
        Self::UnknownKey,
        Self::Forged,
        Self::Expired,
        Self::BoundElsewhere,
        Self::Revoked,
        Self::Superseded,
        Self::Reused,
    ];

    /// Whether the token was one of ours, unchanged: sealed with a known key for this very cookie.
    #[must_use]
    pub const fn is_of_authentic_token(self) -> bool {
        matches!(self, Self::Expired | Self::BoundElsewhere | Self::Revoked | Self::Superseded | Self::Reused)
    }

    /// Whether the session that the token names may well be alive: it is this token, or this client, that was refused.
    #[must_use]
    pub const fn leaves_the_session_alive(self) -> bool {
        matches!(self, Self::BoundElsewhere | Self::Superseded | Self::Reused)
    }

    /// What a token from before a rotation is refused for.
    #[must_use]
    pub fn of_old_token(rotated_at: Timestamp, now: Timestamp, grace: Duration) -> Self {
        if now < rotated_at + grace { Self::Superseded } else { Self::Reused }
    }

    /// A stable, short code, the same in Rust, JavaScript and metrics: `malformed`, `wrong-cookie`, `unknown-key`, `forged`, `expired`,
    /// `bound-elsewhere`, `revoked`, `superseded`, `reused`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongCookie => "wrong-cookie",
            Self::UnknownKey => "unknown-key",
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::BoundElsewhere => "bound-elsewhere",
            Self::Revoked => "revoked",
            Self::Superseded => "superseded",
            Self::Reused => "reused",
        }
    }
}

/// Why an authentic payload can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Not a payload of this library, or of a later version of it.
    #[error("the payload is damaged or of a later version")]
    Payload,
    /// The JSON doesn't fit the application's data type.
    #[error(
        "its data doesn't fit the application's type (did the type change? give new fields `#[serde(default)]`)"
    )]
    Data,
    /// The record lies under another session's key: swapped, copied or mis-delivered.
    #[error("the record belongs to another session")]
    OtherSession,
    /// Plain text where sealed records are demanded.
    #[error("the record isn't encrypted, and this configuration demands it")]
    NotEncrypted,
    /// The record's seal doesn't open: changed, or sealed with a key that isn't in the key ring.
    #[error("the record's seal is broken or made with an unknown key")]
    Seal,
    /// Inflates to more than [`MAX_INFLATED`](crate::MAX_INFLATED) bytes, or isn't deflated data.
    #[error("the payload doesn't inflate within its bound")]
    Inflate,
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        let error = Error::CookieTooLarge { actual: 5309, limit: 4096 };
        assert_eq!(
            error.to_string(),
            "the session needs a cookie of 5309 bytes (name and value), browsers keep 4096: store less, or use a store"
        );
        assert_eq!(
            Error::from(ConfigError::HostPrefix).to_string(),
            "a `__Host-` cookie must be Secure, with Path=/ and without Domain"
        );
    }

    #[test]
    fn every_rejection_has_its_own_code() {
        let mut codes = Rejection::ALL.map(Rejection::code);
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
