//! The secret session id, and the public key that a store and a log may see.

use alloc::string::String;
use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    encoding,
    error::Error,
    random::{Random, RandomError},
};

/// The secret name of a session: 128 random bits (ASVS 5.0 row 7.2.3).
///
/// It exists only inside sealed tokens and in memory. It has no `Display` and no `PartialEq`, its `Debug` shows nothing, and it is
/// wiped when dropped; what may be shown, logged and stored is its [`Key`].
///
/// ```
/// use session_core::{OsRandom, SessionId};
///
/// let id = SessionId::generate(&OsRandom)?;
/// assert_eq!(format!("{id:?}"), "SessionId(..)");
/// assert_eq!(id.key(), id.clone().key());
/// # Ok::<(), session_core::RandomError>(())
/// ```
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// A new id.
    ///
    /// # Errors
    /// [`RandomError`] if the random source fails: an id that can be guessed never exists.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomError> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The key under which a store keeps this session: the first 16 bytes of SHA-256 over `"session-key-v1"` and the id.
    ///
    /// The id is random, so its hash need not be keyed, and stays the same when secrets are rotated.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::digest(b"session-key-v1", &self.0)
    }

    /// From the 22 characters of base64url that payloads hold: for hosts that read payloads themselves. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        encoding::decode_array(text.as_bytes()).map(Self)
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id, for computations that stay inside the crate.
    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// The public name of a session: what a store keeps it under, and what logs, listings and the `session` command show.
///
/// It can't be turned back into the [`SessionId`], and nobody can sign in with it.
///
/// ```
/// use session_core::{Key, OsRandom, SessionId};
///
/// let key = SessionId::generate(&OsRandom)?.key();
/// assert_eq!(key.to_string().parse::<Key>()?, key);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(align(8))] // In an `Option` or beside other fields it is moved in whole words.
pub struct Key([u8; 16]);

impl Key {
    /// From the 16 bytes of a key.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Under which an import remembers a session that another library knows by a name.
    #[cfg(feature = "interop")]
    pub(crate) fn of_foreign(name: &[u8]) -> Self {
        Self::digest(b"session-import-v1", name)
    }

    fn digest(domain: &[u8], bytes: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(domain).chain_update(bytes).finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encoding::encode(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl FromStr for Key {
    type Err = Error;

    /// From the 22 characters that `Display` gives.
    ///
    /// # Errors
    /// [`Error::Key`] for anything else.
    fn from_str(text: &str) -> Result<Self, Error> {
        encoding::decode_array(text.as_bytes()).map(Self).ok_or(Error::Key)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_bytes(deserializer, "22 characters of base64url").map(Self)
    }
}

/// The hash of a subject (the user a session belongs to) under which stores index its sessions.
///
/// The first 16 bytes of SHA-256 over `"session-subject-v1"` and the subject, so that no user name stands in a key. It is not
/// keyed: it must stay the same when secrets are rotated, or "sign out everywhere" would forget what it ended. Whoever can read the
/// store can therefore test guesses of a subject.
///
/// ```
/// use session_core::SubjectTag;
///
/// assert_eq!(SubjectTag::new("42"), SubjectTag::new("42"));
/// assert_ne!(SubjectTag::new("42"), SubjectTag::new("43"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubjectTag(Key);

impl SubjectTag {
    /// The tag of `subject`.
    #[must_use]
    pub fn new(subject: &str) -> Self {
        Self(Key::digest(b"session-subject-v1", subject.as_bytes()))
    }

    /// From the 16 bytes of a tag.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Key::from_bytes(bytes))
    }

    /// The 16 bytes of the tag.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for SubjectTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads `N` bytes from a base64url string, borrowed or owned.
pub(crate) fn deserialize_bytes<'de, const N: usize, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
) -> Result<[u8; N], D::Error> {
    struct Visitor<const N: usize>(&'static str);

    impl<const N: usize> de::Visitor<'_> for Visitor<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            // The message names what was expected and never repeats the value: it may be a secret.
            encoding::decode_array(text.as_bytes())
                .ok_or_else(|| E::custom(String::from("expected ") + self.0))
        }
    }

    deserializer.deserialize_str(Visitor(expected))
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;
    use crate::random::OsRandom;

    #[test]
    #[cfg_attr(miri, ignore = "100,000 ids")]
    fn every_bit_of_an_id_is_random() {
        const SAMPLES: u32 = 100_000;
        let mut ones = [0_u32; 128];
        for _ in 0..SAMPLES {
            let id = SessionId::generate(&OsRandom).unwrap();
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += u32::from(id.0[bit / 8] >> (bit % 8) & 1);
            }
        }
        for (bit, count) in ones.into_iter().enumerate() {
            let share = f64::from(count) / f64::from(SAMPLES);
            assert!((0.49..=0.51).contains(&share), "bit {bit}: {share}");
        }
    }

    #[test]
    fn only_the_exact_text_of_a_key_is_a_key() {
        let text = Key([7; 16]).to_string();
        assert_eq!(text.len(), 22);
        let cut = &text[..21];
        for other in
            ["", cut, &format!("{text}A"), &format!("{text}="), &format!("{cut}\n"), &format!("{cut}B")]
        {
            assert_eq!(other.parse::<Key>(), Err(Error::Key), "{other:?}");
        }
    }

    #[test]
    fn an_id_is_read_as_payloads_hold_it() {
        assert_eq!(SessionId::parse("AAAAAAAAAAAAAAAAAAAAAA").map(|id| id.0), Some([0; 16]));
        for other in ["", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA="] {
            assert!(SessionId::parse(other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn keys_of_ids_and_subjects_are_apart() {
        let id = SessionId([b'a'; 16]);
        let subject = core::str::from_utf8(&[b'a'; 16]).unwrap();
        assert_ne!(&id.key().0, SubjectTag::new(subject).as_bytes());
    }
}
