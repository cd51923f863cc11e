//! What a store keeps of a session: a version, and a payload as it is, deflated, or sealed.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use crate::{
    compress,
    crypto::KeyRing,
    error::Unreadable,
    id::Key,
    random::{Random, RandomError},
    token::{self, Plaintext},
};

/// Which save of a session a record is.
///
/// The counter orders versions; the random half makes a save recognisable as already done when it is tried again because its
/// answer was lost.
///
/// ```
/// use session_core::Version;
///
/// let version = Version { counter: 3, nonce: 7 };
/// assert_eq!(Version::from_bytes(version.to_bytes()), version);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// One more with every save.
    pub counter: u64,
    /// Random.
    pub nonce: u64,
}

impl Version {
    /// The version after this one.
    ///
    /// # Errors
    /// [`RandomError`] if the random source fails.
    pub fn next(self, random: &dyn Random) -> Result<Self, RandomError> {
        let mut nonce = [0; 8];
        random.fill(&mut nonce)?;
        Ok(Self { counter: self.counter.saturating_add(1), nonce: u64::from_be_bytes(nonce) })
    }

    /// Counter, then nonce, big-endian: the first 16 bytes of a stored value.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.counter) << 64 | u128::from(self.nonce)).to_be_bytes()
    }

    /// The reverse of [`Version::to_bytes`].
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { counter: (both >> 64) as u64, nonce: both as u64 }
    }
}

/// How payloads are written into a store and read back. The first byte tells the form: 1 sealed (a token of kind record), 2 deflated, any
/// visible character the payload as it is.
///
/// ```
/// use session_core::{Key, KeyRing, OsRandom, RecordCodec, Secret, Unreadable};
///
/// let codec = RecordCodec::new(&KeyRing::new(&Secret::generate(&OsRandom)?)).encrypted(true);
/// let (here, there) = (Key::from_bytes([1; 16]), Key::from_bytes([2; 16]));
/// let stored = codec.encode(&here, b"a payload", &OsRandom)?;
/// assert_eq!(codec.decode(&here, stored.clone())?.as_slice(), b"a payload");
/// assert_eq!(codec.decode(&there, stored), Err(Unreadable::Seal)); // can't be moved
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RecordCodec {
    ring: KeyRing,
    encrypted: bool,
    deflate_from: Option<usize>,
}

const SEALED: u8 = 1;
const DEFLATED: u8 = 2;

impl RecordCodec {
    /// Payloads as they are: text.
    #[must_use]
    pub fn new(ring: &KeyRing) -> Self {
        Self { ring: ring.clone(), encrypted: false, deflate_from: None }
    }

    /// Seals what is written, and refuses what isn't sealed.
    #[must_use]
    pub const fn encrypted(mut self, encrypted: bool) -> Self {
        self.encrypted = encrypted;
        self
    }

    /// Deflates payloads of at least this many bytes, where that makes them smaller.
    #[must_use]
    pub const fn deflated_from(mut self, bytes: Option<usize>) -> Self {
        self.deflate_from = bytes;
        self
    }

    /// A payload in its stored form.
    ///
    /// # Errors
    /// [`RandomError`] if it is to be sealed and there is no random IV.
    pub fn encode(&self, key: &Key, payload: &[u8], random: &dyn Random) -> Result<Vec<u8>, RandomError> {
        let deflated = if self.deflate_from.is_some_and(|least| payload.len() >= least) {
            compress::deflate(payload)
        } else {
            None
        };
        let (form, payload) = match &deflated {
            Some(deflated) => (&[DEFLATED][..], &deflated[..]),
            None => (&[][..], payload),
        };
        if !self.encrypted {
            return Ok([form, payload].concat());
        }
        let mut plain = Plaintext::with_capacity(form.len() + payload.len());
        plain.extend_from_slice(form);
        plain.extend_from_slice(payload);
        token::seal_record(&self.ring, key.as_bytes(), plain, random)
    }

    /// The payload of a stored form. Bytes that nobody else has become the payload where they are.
    ///
    /// # Errors
    /// [`Unreadable`]; nothing was inflated beyond [`MAX_INFLATED`](crate::MAX_INFLATED).
    pub fn decode(
        &self,
        key: &Key,
        stored: impl AsRef<[u8]> + Into<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        match stored.as_ref().first() {
            Some(&SEALED) => {
                let opened = token::open_record(&self.ring, key.as_bytes(), stored.into())
                    .map_err(|_| Unreadable::Seal)?;
                plain(opened.into_payload())
            }
            Some(_) if self.encrypted => Err(Unreadable::NotEncrypted),
            _ => plain(Zeroizing::new(stored.into())),
        }
    }
}

fn plain(bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    match bytes.split_first() {
        Some((b'!'..=b'~', _)) => Ok(bytes),
        Some((&DEFLATED, rest)) => compress::inflate(rest).map(Into::into).ok_or(Unreadable::Inflate),
        _ => Err(Unreadable::Payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{crypto::Secret, random::OsRandom};

    fn codec() -> RecordCodec {
        RecordCodec::new(&KeyRing::new(&Secret::generate(&OsRandom).unwrap()))
    }

    const KEY: Key = Key::from_bytes([3; 16]);

    #[test]
    fn every_form_comes_back() {
        let payload = br#"{"name":"value"}"#.repeat(40);
        let codec = codec();
        for codec in [
            codec.clone(),
            codec.clone().encrypted(true),
            codec.clone().deflated_from(Some(256)),
            codec.clone().encrypted(true).deflated_from(Some(256)),
        ] {
            let stored = codec.encode(&KEY, &payload, &OsRandom).unwrap();
            assert_eq!(*codec.decode(&KEY, &stored[..]).unwrap(), payload);
        }
        let small = codec.clone().deflated_from(Some(256)).encode(&KEY, b"{}", &OsRandom).unwrap();
        assert_eq!(small, b"{}");
    }

    #[test]
    fn plain_text_is_refused_where_encryption_is_demanded() {
        let codec = codec();
        let stored = codec.encode(&KEY, b"{}", &OsRandom).unwrap();
        assert_eq!(codec.encrypted(true).decode(&KEY, &stored[..]), Err(Unreadable::NotEncrypted));
    }

    #[test]
    fn damage_is_found() {
        let codec = codec();
        assert_eq!(codec.decode(&KEY, b""), Err(Unreadable::Payload));
        assert_eq!(codec.decode(&KEY, b"\x03{}"), Err(Unreadable::Payload));
        assert_eq!(codec.decode(&KEY, b"\x02junk"), Err(Unreadable::Inflate));
        assert_eq!(codec.decode(&KEY, b"\x01junk"), Err(Unreadable::Seal));
        let sealed = codec.clone().encrypted(true).encode(&KEY, b"{}", &OsRandom).unwrap();
        for bit in (0..sealed.len() * 8).step_by(if cfg!(miri) { 61 } else { 1 }) {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(codec.clone().encrypted(true).decode(&KEY, &flipped[..]).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn versions_are_ordered_by_counter_and_told_apart_by_nonce() {
        let first = Version::default().next(&OsRandom).unwrap();
        let again = Version::default().next(&OsRandom).unwrap();
        assert_eq!((first.counter, again.counter), (1, 1));
        assert_ne!(first, again);
    }
}
