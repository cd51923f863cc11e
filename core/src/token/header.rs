//! The part of a token that anyone can read.

use super::MAX_TOKEN_LEN;
use crate::{
    crypto::{KeyId, TAG_LEN},
    encoding,
    error::Rejection,
    time::Timestamp,
};

pub(super) const VERSION: u8 = 1;
pub(super) const IV_START: usize = 14;
/// Where the ciphertext begins.
pub(super) const HEADER_LEN: usize = 30;
/// The shortest token: one block of ciphertext.
const LEAST_LEN: usize = HEADER_LEN + 16 + TAG_LEN;

pub(super) const FLAG_DEFLATED: u8 = 0b001;
const KIND_SHIFT: u8 = 1;
const KIND_MASK: u8 = 0b110;

/// What a sealed message is for. It stands in the flags, under the tag.
///
/// ```
/// assert_ne!(session_core::Kind::CookieHeld, session_core::Kind::Reference);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The whole session is in the token.
    CookieHeld,
    /// The token names a session that a store holds.
    Reference,
    /// Not a token but a store's record, encrypted at rest.
    Record,
}

impl Kind {
    pub(super) const fn flags(self) -> u8 {
        (match self {
            Self::CookieHeld => 0,
            Self::Reference => 1,
            Self::Record => 2,
        }) << KIND_SHIFT
    }

    const fn from_flags(flags: u8) -> Option<Self> {
        match (flags & KIND_MASK) >> KIND_SHIFT {
            0 => Some(Self::CookieHeld),
            1 => Some(Self::Reference),
            2 => Some(Self::Record),
            _ => None,
        }
    }
}

/// The readable part of a token. Nothing in it is to be believed before the token was opened.
///
/// ```
/// use session_core::{Header, Kind, KeyRing, OsRandom, Plaintext, Secret, Timestamp, TokenCodec};
///
/// let ring = KeyRing::new(&Secret::generate(&OsRandom)?);
/// let codec = TokenCodec::new(&ring, Kind::Reference, "session");
/// let token = codec.seal(Plaintext::from(b"{}"), Timestamp::from_millis(5), false, &OsRandom)?;
/// let header = Header::parse(token.as_bytes())?;
/// assert_eq!(header.kind(), Kind::Reference);
/// assert_eq!(header.key_id(), ring.sealing_key_id());
/// assert_eq!(header.expires_at(), Timestamp::from_millis(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub(super) kind: Kind,
    pub(super) deflated: bool,
    pub(super) key_id: KeyId,
    pub(super) expires_at: Timestamp,
    ciphertext_len: usize,
}

impl Header {
    /// Reads the header of a token, without any key.
    ///
    /// # Errors
    /// [`Rejection::Malformed`] for everything that isn't a token of version 1.
    pub fn parse(token: &[u8]) -> Result<Self, Rejection> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(Rejection::Malformed);
        }
        Self::of(&encoding::decode(token).ok_or(Rejection::Malformed)?)
    }

    /// The kind of a token, of which only the first eight characters are looked at.
    pub(super) fn peek(token: &[u8]) -> Result<Kind, Rejection> {
        let [version, flags, ..] =
            token.get(..8).and_then(encoding::decode_array::<6>).ok_or(Rejection::Malformed)?;
        check(version, flags)
    }

    /// Of the decoded bytes.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Rejection> {
        if bytes.len() < LEAST_LEN || !(bytes.len() - LEAST_LEN).is_multiple_of(16) {
            return Err(Rejection::Malformed);
        }
        let (head, rest) = bytes.split_first_chunk::<6>().ok_or(Rejection::Malformed)?;
        let [version, flags, key_id @ ..] = *head;
        let (expires_at, _) = rest.split_first_chunk::<8>().ok_or(Rejection::Malformed)?;
        Ok(Self {
            kind: check(version, flags)?,
            deflated: flags & FLAG_DEFLATED != 0,
            key_id: KeyId::from_bytes(key_id),
            expires_at: Timestamp::from_millis(u64::from_be_bytes(*expires_at)),
            ciphertext_len: bytes.len() - HEADER_LEN - TAG_LEN,
        })
    }

    /// The token's format version.
    #[must_use]
    pub const fn version(&self) -> u8 {
        VERSION
    }

    /// What the token is for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the payload was deflated before it was encrypted.
    #[must_use]
    pub const fn is_deflated(&self) -> bool {
        self.deflated
    }

    /// The key that sealed the token, if it is authentic.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// When the token expires, if it is authentic.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Bytes of ciphertext: the payload and 1 to 16 bytes of padding.
    #[must_use]
    pub const fn ciphertext_len(&self) -> usize {
        self.ciphertext_len
    }
}

/// How a token begins: version, flags and key id in eight characters.
pub(super) fn head(flags: u8, key_id: KeyId) -> [u8; 8] {
    let [a, b, c, d] = *key_id.as_bytes();
    encoding::encode_array(&[VERSION, flags, a, b, c, d])
}

fn check(version: u8, flags: u8) -> Result<Kind, Rejection> {
    if version != VERSION || flags & !(FLAG_DEFLATED | KIND_MASK) != 0 {
        return Err(Rejection::Malformed);
    }
    Kind::from_flags(flags).ok_or(Rejection::Malformed)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// `core/FORMAT.md`: 30 bytes of header, blocks of 16, a tag of 32; every other length is no token.
    #[test]
    fn a_header_has_whole_blocks_and_a_tag_behind_it() {
        for blocks in 0..5 {
            for stray in 0..16 {
                let mut bytes = vec![0; 30 + blocks * 16 + 32 + stray];
                (bytes[0], bytes[13]) = (1, 7);
                let header = Header::of(&bytes);
                if blocks == 0 || stray > 0 {
                    assert_eq!(header, Err(Rejection::Malformed), "{blocks} blocks, {stray} bytes");
                    continue;
                }
                let header = header.unwrap();
                assert_eq!((header.version(), header.ciphertext_len()), (1, blocks * 16));
                assert_eq!(header.expires_at(), Timestamp::from_millis(7));
            }
        }
        for length in 0..62 {
            assert_eq!(Header::of(&vec![1; length]), Err(Rejection::Malformed), "{length} bytes");
        }
    }
}
