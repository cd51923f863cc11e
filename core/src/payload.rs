//! The JSON inside tokens and records. `core/FORMAT.md` lists its fields.

use alloc::{borrow::Cow, string::String};
use core::{fmt, ops::Range};

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    binding::Fingerprint,
    crypto::KeyId,
    error::{Error, Unreadable},
    flash::Messages,
    id::{Key, SessionId},
    json::{Object, from_json, to_json},
    session::Names,
    time::Timestamp,
    token::Opened,
    wiped::Wiped,
};

/// Everything but the application's data, in the order in which it is written.
#[derive(Serialize)]
pub(crate) struct Meta<'a> {
    /// In tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<&'a SessionId>,
    /// In records, instead of the secret id: binds a record to where it lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Key>,
    pub(crate) rot: u64,
    pub(crate) iat: Timestamp,
    pub(crate) abs: Timestamp,
    /// In tokens: which save this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ver: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sub: Option<&'a str>,
    /// When the subject last proved who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth: Option<Timestamp>,
    /// In records: the subject's epoch when the session was authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
    /// In records: when the session was last rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rat: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bind: Option<&'a Fingerprint>,
    #[serde(skip_serializing_if = "Messages::is_empty")]
    pub(crate) flash: &'a Messages,
}

/// The same, as it is read, and the data as a `D`. Unknown fields are passed over, duplicate ones refused.
#[derive(Deserialize)]
#[serde(bound(deserialize = "D: Deserialize<'de>"))]
pub(crate) struct ParsedWith<'a, D> {
    #[serde(default)]
    pub(crate) sid: Option<SessionId>,
    #[serde(default)]
    pub(crate) key: Option<Key>,
    pub(crate) rot: u64,
    pub(crate) iat: Timestamp,
    pub(crate) abs: Timestamp,
    #[serde(default)]
    pub(crate) ver: u64,
    #[serde(default, borrow)]
    pub(crate) sub: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) auth: Option<Timestamp>,
    #[serde(default)]
    pub(crate) epoch: Option<u64>,
    #[serde(default)]
    pub(crate) rat: Option<Timestamp>,
    #[serde(default)]
    pub(crate) bind: Option<Object<Fingerprint>>,
    #[serde(default)]
    pub(crate) flash: Messages,
    #[serde(default, deserialize_with = "present")]
    pub(crate) data: Option<D>,
}

/// With the data as it is written.
pub(crate) type Parsed<'a> = ParsedWith<'a, &'a RawValue>;

/// `null` is data too: that of a session of type `()`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'a, D: Deserialize<'a>> ParsedWith<'a, D> {
    pub(crate) fn of(payload: &'a [u8]) -> Result<Self, Error> {
        let Object(parsed) = from_json(payload).ok_or(Error::Unreadable(Unreadable::Payload))?;
        Ok(parsed)
    }
}

/// A payload together with where the application's data lies in it. Wiped when dropped.
#[derive(Clone)]
pub(crate) struct Payload {
    bytes: Wiped,
    /// Not looked for where the data was read along with the rest: a request that changes nothing has no use for it.
    data: Option<Range<usize>>,
}

/// Room for everything but the data; flash messages or a long subject take more, at the price of moving it.
const HEAD_LEN: usize = 256;

/// Stands in front of the data, behind everything else.
const FIELD: &[u8] = br#","data":"#;

impl Payload {
    /// Puts the data behind the rest.
    pub(crate) fn compose(meta: &Meta<'_>, data: &[u8]) -> Result<Self, Error> {
        let mut bytes = to_json(meta, HEAD_LEN + FIELD.len() + data.len() + 1)?;
        // The brace that closes it goes behind the data.
        bytes.pop();
        bytes.extend_from_slice(FIELD);
        let start = bytes.len();
        bytes.extend_from_slice(data);
        bytes.push(b'}');
        Ok(Self { bytes, data: Some(start..start + data.len()) })
    }

    /// Of bytes from which data was read before.
    pub(crate) const fn known(bytes: Wiped) -> Self {
        Self { bytes, data: None }
    }

    /// From the bytes of a payload, which are parsed once: `with` takes what it needs of everything but the data.
    pub(crate) fn read<R>(
        bytes: Wiped,
        with: impl FnOnce(&mut Parsed<'_>) -> Result<R, Error>,
    ) -> Result<(Self, R), Error> {
        let mut parsed = Parsed::of(&bytes)?;
        let taken = with(&mut parsed)?;
        let data = parsed.data.ok_or(Error::Unreadable(Unreadable::Payload))?.get();
        // The raw value borrows from `bytes`, so its address tells where it begins.
        let start = data.as_ptr() as usize - bytes.as_ptr() as usize;
        let data = Some(start..start + data.len());
        drop(parsed);
        Ok((Self { bytes, data }, taken))
    }

    /// Whether it ends with this data, which is a whole JSON text, as [`Payload::compose`] would have put it there. `false` tells nothing: others
    /// may put it elsewhere.
    pub(crate) fn ends_with(&self, data: &[u8]) -> bool {
        // No string holds a quote behind a comma, so the field is one; and what is between it and the last brace is whole, so it is the payload's.
        let head = self.bytes.strip_suffix(b"}").and_then(|rest| rest.strip_suffix(data));
        head.is_some_and(|head| head.ends_with(FIELD))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn data(&self) -> &[u8] {
        match &self.data {
            Some(data) => &self.bytes[data.clone()],
            None => Parsed::of(&self.bytes)
                .ok()
                .and_then(|parsed| parsed.data)
                .map_or(&[], |data| data.get().as_bytes()),
        }
    }
}

/// What a reference token says: enough to find the record, and for an edge worker to know who is asking.
///
/// ```
/// use session_core::{Kind, KeyRing, OsRandom, Plaintext, Reference, Secret, Timestamp, TokenCodec};
///
/// let ring = KeyRing::new(&Secret::generate(&OsRandom)?);
/// let codec = TokenCodec::new(&ring, Kind::Reference, "session");
/// let payload = br#"{"sid":"AAECAwQFBgcICQoLDA0ODw","rot":1,"iat":0,"abs":9,"ver":3,"sub":"42"}"#;
/// let token = codec.seal(Plaintext::from(payload), Timestamp::from_millis(9), false, &OsRandom)?;
/// let reference = Reference::from_token(codec.open(token.as_bytes(), Timestamp::from_millis(0))?)?;
/// assert_eq!((reference.subject(), reference.rotation()), (Some("42"), 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Reference {
    pub(crate) names: Names,
    pub(crate) rotation: u64,
    pub(crate) absolute_end: Timestamp,
    pub(crate) expires_at: Timestamp,
    counter: u64,
    subject: Option<String>,
    key_id: KeyId,
}

/// Shows neither id nor subject.
impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reference")
            .field("key", &self.key())
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Reference {
    /// Reads an opened reference token.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the payload is none of a reference: authentic, but of a later version.
    pub fn from_token(opened: Opened) -> Result<Self, Error> {
        let parsed = ParsedWith::<IgnoredAny>::of(opened.payload())?;
        Ok(Self {
            names: parsed.sid.ok_or(Error::Unreadable(Unreadable::Payload))?.into(),
            rotation: parsed.rot,
            absolute_end: parsed.abs,
            expires_at: opened.expires_at(),
            counter: parsed.ver,
            subject: parsed.sub.map(Cow::into_owned),
            key_id: opened.key_id(),
        })
    }

    /// Where the session's record lies.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.names.key
    }

    /// The subject the session belongs to.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// How often the session was rotated before this token was made.
    #[must_use]
    pub const fn rotation(&self) -> u64 {
        self.rotation
    }

    /// When the token expires, unless requests extend the session.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// When the session ends at the latest.
    #[must_use]
    pub const fn absolute_end(&self) -> Timestamp {
        self.absolute_end
    }

    /// The save after which this token was made: a copy of the record that is older must not answer it.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// The key that sealed the token.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_is_null_is_there() {
        let payload = |data: &str| {
            let bytes = alloc::format!(r#"{{"rot":0,"iat":1,"abs":2{data}}}"#).into_bytes();
            Payload::read(Wiped::from(bytes), |_| Ok(())).map(|(payload, ())| payload.data().to_vec())
        };
        assert_eq!(payload(r#","data":null"#).unwrap(), b"null");
        assert_eq!(payload(r#","data": [1] "#).unwrap(), b"[1]");
        assert_eq!(payload(""), Err(Error::Unreadable(Unreadable::Payload)));
    }

    #[test]
    fn what_is_no_text_is_no_payload_wherever_it_stands() {
        for field in
            [&b"\"later\":\"\x89\""[..], b"\"\xff\":1", b"\"data\":\"\xc3\"", b"\"later\":[\"\xed\xa0\x80\"]"]
        {
            let payload = [br#"{"rot":0,"iat":1,"abs":2,"#, field, b"}"].concat();
            assert_eq!(Parsed::of(&payload).err(), Some(Error::Unreadable(Unreadable::Payload)), "{field:?}");
        }
    }

    #[test]
    fn data_is_found_at_the_end_and_nowhere_else() {
        let ends = |payload: &str, data: &str| {
            Payload::known(Wiped::from(payload.as_bytes().to_vec())).ends_with(data.as_bytes())
        };
        assert!(ends(r#"{"rot":0,"data":{"a":1}}"#, r#"{"a":1}"#));
        assert!(ends(r#"{"rot":0,"data":1}"#, "1"));
        assert!(!ends(r#"{"rot":0,"data":21}"#, "1"));
        assert!(!ends(r#"{"data":1,"later":{"rot":0,"data":1}}"#, "1"));
        assert!(!ends(r#"{"data":2,"\"data":1}"#, "1"));
        assert!(!ends(r#"{"data":2,"x":",\"data\":1"}"#, "1"));
    }

    #[test]
    fn an_array_of_the_fields_is_no_payload() {
        let array = br#"[null,null,0,1,2,3,null,null,null,null,null,{},null]"#;
        assert_eq!(Parsed::of(array).err(), Some(Error::Unreadable(Unreadable::Payload)));
    }
}
