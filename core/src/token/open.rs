//! Token to payload: the checks, in the one order that costs a forger the most and us the least.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::{
    DOMAIN, MAX_TOKEN_LEN, TokenCodec,
    header::{HEADER_LEN, Header, IV_START, Kind},
};
use crate::{
    compress,
    crypto::{BLOCK_LEN, KeyId, KeyRing, Keys, MacContext, TAG_LEN},
    encoding,
    error::Rejection,
    time::Timestamp,
    wiped::Wiped,
};

/// What an authentic token holds. Wiped when dropped.
///
/// ```
/// use session_core::{Kind, KeyRing, OsRandom, Plaintext, Secret, Timestamp, TokenCodec};
///
/// let ring = KeyRing::new(&Secret::generate(&OsRandom)?);
/// let codec = TokenCodec::new(&ring, Kind::CookieHeld, "session");
/// let token = codec.seal(Plaintext::from(b"{}"), Timestamp::from_millis(9), false, &OsRandom)?;
/// let opened = codec.open(token.as_bytes(), Timestamp::from_millis(0))?;
/// assert_eq!((opened.payload(), opened.expires_at()), (&b"{}"[..], Timestamp::from_millis(9)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Opened {
    buffer: Wiped,
    start: usize,
    expires_at: Timestamp,
    key_id: KeyId,
}

impl Opened {
    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// When the token expires.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The key that sealed the token: when it isn't the ring's sealing key, the token is due to be sealed anew.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The payload as a vector of its own, which is wiped when dropped.
    pub(crate) fn into_payload(mut self) -> Zeroizing<Vec<u8>> {
        self.buffer.drain(..self.start);
        self.buffer.into()
    }
}

impl TokenCodec {
    /// Opens a token. Order of checks: length, header characters, version, flags, kind, key id (at most one key is tried),
    /// alphabet, tag, expiry; only then is anything decrypted or inflated.
    ///
    /// # Errors
    /// A [`Rejection`]; a client must not be able to tell them apart.
    #[inline] // Down to the ciphers: compiled as the caller wants it, for speed or for size.
    pub fn open(&self, token: &[u8], now: Timestamp) -> Result<Opened, Rejection> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(Rejection::Malformed);
        }
        let recognised = self.ring.iter().zip(&self.prepared).find(|(_, key)| {
            // All that most foreign values get: nothing is decoded, nothing allocated.
            token.first_chunk().is_some_and(|head| key.heads.contains(head))
        });
        let (keys, prepared) = recognised.ok_or_else(|| self.unrecognised(token))?;
        let bytes = encoding::decode(token).ok_or(Rejection::Malformed)?;
        open(bytes, keys, &prepared.mac, now)
    }

    /// Why a token that begins as none of ours is none of ours.
    fn unrecognised(&self, token: &[u8]) -> Rejection {
        match Header::peek(token) {
            Err(rejection) => rejection,
            Ok(kind) if kind != self.kind => Rejection::WrongCookie,
            Ok(_) => Rejection::UnknownKey,
        }
    }
}

/// Opens a record that [`seal_record`](super::seal::seal_record) made in the same context.
pub(crate) fn open_record(ring: &KeyRing, context: &[u8], bytes: Vec<u8>) -> Result<Opened, Rejection> {
    let header = Header::of(&bytes)?;
    if header.kind != Kind::Record {
        return Err(Rejection::WrongCookie);
    }
    let keys = ring.find(header.key_id).ok_or(Rejection::UnknownKey)?;
    open(bytes, keys, &keys.mac_context(DOMAIN, context), Timestamp::from_millis(0))
}

/// Checks, decrypts in place and inflates. Version, flags, kind and key id were checked before.
#[inline]
fn open(bytes: Vec<u8>, keys: &Keys, mac: &MacContext, now: Timestamp) -> Result<Opened, Rejection> {
    let mut buffer = Wiped::from(bytes);
    let header = Header::of(&buffer)?;
    let (message, tag) = buffer.split_last_chunk::<TAG_LEN>().ok_or(Rejection::Malformed)?;
    if !mac.verify(message, tag) {
        return Err(Rejection::Forged);
    }
    if now >= header.expires_at {
        return Err(Rejection::Expired);
    }
    let end = buffer.len() - TAG_LEN;
    let mut iv = [0; BLOCK_LEN];
    iv.copy_from_slice(&buffer[IV_START..HEADER_LEN]);
    buffer.truncate(end);
    // What passed the tag was padded by us; a failure here is a bug or a broken key, and says no more than "forged".
    keys.decrypt(&iv, &mut buffer, HEADER_LEN).ok_or(Rejection::Forged)?;
    let opened = Opened { buffer, start: HEADER_LEN, expires_at: header.expires_at, key_id: header.key_id };
    if !header.deflated {
        return Ok(opened);
    }
    let inflated = compress::inflate(opened.payload()).ok_or(Rejection::Malformed)?;
    Ok(Opened { buffer: inflated, start: 0, ..opened })
}
