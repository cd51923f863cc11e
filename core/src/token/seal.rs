//! Payload to token.

use alloc::{string::String, vec::Vec};

use super::{
    DOMAIN, Kind, TokenCodec,
    header::{FLAG_DEFLATED, HEADER_LEN, IV_START, VERSION},
};
use crate::{
    compress,
    crypto::{BLOCK_LEN, KeyRing, Keys, MacContext, TAG_LEN, padded_len},
    encoding,
    random::{Random, RandomError},
    time::Timestamp,
    wiped::Wiped,
};

/// A payload that is about to be sealed, with room for the header in front, so that it is encrypted where it was written.
///
/// Wiped when dropped.
///
/// ```
/// use session_core::Plaintext;
///
/// assert_eq!(Plaintext::from(b"payload").as_bytes(), b"payload");
/// ```
pub struct Plaintext(Wiped);

impl Plaintext {
    /// Room for `capacity` bytes of payload: more are allowed, at the price of moving what is there.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let mut buffer = Vec::with_capacity(sealed_len(capacity));
        buffer.resize(HEADER_LEN, 0);
        Self(Wiped::from(buffer))
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let payload = self.as_bytes().len() + bytes.len();
        if sealed_len(payload) > self.0.capacity() {
            // A vector that grows leaves its old bytes behind, unwiped: move by hand.
            let mut larger = Self::with_capacity(payload.next_power_of_two());
            larger.0.extend_from_slice(self.as_bytes());
            *self = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// The payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0[HEADER_LEN..]
    }
}

/// Bytes that a payload has when it is sealed. A [`Plaintext`] has room for them from the start, so that sealing never moves it.
const fn sealed_len(payload: usize) -> usize {
    HEADER_LEN + padded_len(payload) + TAG_LEN
}

impl<B: AsRef<[u8]> + ?Sized> From<&B> for Plaintext {
    fn from(bytes: &B) -> Self {
        let bytes = bytes.as_ref();
        let mut plaintext = Self::with_capacity(bytes.len());
        plaintext.extend_from_slice(bytes);
        plaintext
    }
}

impl TokenCodec {
    /// Seals a payload. With `deflate`, it is compressed first where that makes it smaller (see the warning in
    /// `core/FORMAT.md`: off unless there is a reason).
    ///
    /// # Errors
    /// [`RandomError`] if there is no random IV; nothing was sealed.
    #[inline] // Compiled as the caller wants it, for speed or for size; and one that never compresses is linked without the compressor.
    pub fn seal(
        &self,
        plaintext: Plaintext,
        expires_at: Timestamp,
        deflate: bool,
        random: &dyn Random,
    ) -> Result<String, RandomError> {
        let packed = if deflate { compress::deflate(plaintext.as_bytes()) } else { None };
        let (plaintext, deflated) = match packed {
            Some(packed) => (Plaintext::from(&*packed), FLAG_DEFLATED),
            None => (plaintext, 0),
        };
        let flags = self.kind.flags() | deflated;
        let envelope = Envelope { keys: self.ring.sealing(), mac: &self.prepared[0].mac, flags, expires_at };
        Ok(encoding::encode(&envelope.seal(plaintext, random)?))
    }
}

/// Seals a record for a store: the bytes of a token of kind [`Kind::Record`], not encoded, in the context of the record's key.
pub(crate) fn seal_record(
    ring: &KeyRing,
    context: &[u8],
    plaintext: Plaintext,
    random: &dyn Random,
) -> Result<Vec<u8>, RandomError> {
    let keys = ring.sealing();
    let mac = keys.mac_context(DOMAIN, context);
    // A store knows when its records expire.
    let (flags, expires_at) = (Kind::Record.flags(), Timestamp::MAX);
    Envelope { keys, mac: &mac, flags, expires_at }.seal(plaintext, random)
}

struct Envelope<'a> {
    keys: &'a Keys,
    mac: &'a MacContext,
    flags: u8,
    expires_at: Timestamp,
}

impl Envelope<'_> {
    #[inline]
    fn seal(&self, plaintext: Plaintext, random: &dyn Random) -> Result<Vec<u8>, RandomError> {
        let Plaintext(mut buffer) = plaintext;
        let mut iv = [0; BLOCK_LEN];
        random.fill_iv(&mut iv)?;
        buffer[0] = VERSION;
        buffer[1] = self.flags;
        buffer[2..6].copy_from_slice(self.keys.id.as_bytes());
        buffer[6..IV_START].copy_from_slice(&self.expires_at.as_millis().to_be_bytes());
        buffer[IV_START..HEADER_LEN].copy_from_slice(&iv);
        // PKCS #7: as many bytes as are missing, at least one, each of that number.
        let end = HEADER_LEN + padded_len(buffer.len() - HEADER_LEN);
        let missing = end - buffer.len();
        buffer.resize(end, missing as u8);
        let tag = self.keys.encrypt_and_tag(self.mac, &iv, &mut buffer, HEADER_LEN);
        buffer.extend_from_slice(&tag);
        Ok(buffer.into_public())
    }
}
