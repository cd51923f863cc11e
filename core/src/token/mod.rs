//! The token: what a cookie holds. `core/FORMAT.md` is its specification.
//!
//! ```text
//! token = base64url-nopad( version | flags | key id | expires at | iv | AES-256-CBC(payload) | tag )
//!                          1 byte    1       4        8            16   n × 16                 32
//! ```

mod header;
mod open;
mod seal;

use alloc::vec::Vec;

use header::FLAG_DEFLATED;
pub use header::{Header, Kind};
pub use open::Opened;
pub(crate) use open::open_record;
pub use seal::Plaintext;
pub(crate) use seal::seal_record;

use crate::crypto::{KeyRing, Keys, MacContext};

/// Most characters of a token that are looked at: a cookie of 4096 bytes holds no more.
pub const MAX_TOKEN_LEN: usize = 4096;

/// Seals and opens the tokens of one cookie: a key ring, a kind and the cookie's name, with everything prepared.
///
/// A token sealed for one cookie name or kind doesn't open for another.
///
/// ```
/// use session_core::{Kind, KeyRing, OsRandom, Plaintext, Rejection, Secret, Timestamp, TokenCodec};
///
/// let ring = KeyRing::new(&Secret::generate(&OsRandom)?);
/// let codec = TokenCodec::new(&ring, Kind::CookieHeld, "__Host-session");
/// let expires = Timestamp::from_millis(2_000);
/// let token = codec.seal(Plaintext::from(b"payload"), expires, false, &OsRandom)?;
///
/// let opened = codec.open(token.as_bytes(), Timestamp::from_millis(1_999))?;
/// assert_eq!(opened.payload(), b"payload");
/// assert_eq!(codec.open(token.as_bytes(), expires).err(), Some(Rejection::Expired));
///
/// let other = TokenCodec::new(&ring, Kind::CookieHeld, "other");
/// assert_eq!(other.open(token.as_bytes(), Timestamp::from_millis(0)).err(), Some(Rejection::Forged));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TokenCodec {
    ring: KeyRing,
    kind: Kind,
    /// One for each key of the ring, in its order.
    prepared: Vec<Prepared>,
}

/// What one key and a cookie's name give.
#[derive(Clone)]
struct Prepared {
    /// With the cookie's name absorbed.
    mac: MacContext,
    /// The first eight characters of every token of the kind that the key seals, plain and deflated: version, flags and key id are six bytes.
    heads: [[u8; 8]; 2],
}

/// Separates this use of the MAC key from any other.
const DOMAIN: &[u8] = b"session-token-v1";

impl TokenCodec {
    /// For the tokens of `kind` in the cookie `name`.
    #[must_use]
    pub fn new(ring: &KeyRing, kind: Kind, name: &str) -> Self {
        let prepare = |keys: &Keys| Prepared {
            mac: keys.mac_context(DOMAIN, name.as_bytes()),
            heads: [0, FLAG_DEFLATED].map(|deflated| header::head(kind.flags() | deflated, keys.id)),
        };
        Self { ring: ring.clone(), kind, prepared: ring.iter().map(prepare).collect() }
    }

    /// The kind of tokens this codec is for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The ring whose keys seal and open.
    #[must_use]
    pub const fn ring(&self) -> &KeyRing {
        &self.ring
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::{string::String, vec};

    use super::*;
    use crate::{
        crypto::Secret,
        error::Rejection,
        random::{OsRandom, Random, RandomError},
        time::Timestamp,
    };

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const LATER: Timestamp = Timestamp::from_millis(1_700_000_060_000);

    fn ring(first: u8) -> KeyRing {
        KeyRing::new(&secret(first))
    }

    fn secret(first: u8) -> Secret {
        Secret::from_bytes(&core::array::from_fn::<u8, 32, _>(|i| first.wrapping_add(i as u8))).unwrap()
    }

    fn codec() -> TokenCodec {
        TokenCodec::new(&ring(0), Kind::CookieHeld, "session")
    }

    fn seal(codec: &TokenCodec, payload: &[u8]) -> String {
        codec.seal(Plaintext::from(payload), LATER, false, &OsRandom).unwrap()
    }

    #[test]
    fn every_flipped_bit_is_refused_and_nothing_is_decrypted() {
        let codec = codec();
        // Under Miri, which is a thousand times slower: one length, and each 61st bit, so that each place of a byte has its turn.
        let (rounds, bits) = if cfg!(miri) { (1, 61) } else { (100, 1) };
        for round in 0..rounds {
            let token = seal(&codec, &vec![round; usize::from(round)]);
            let bytes = crate::encoding::decode(token.as_bytes()).unwrap();
            for bit in (0..bytes.len() * 8).step_by(bits) {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let rejection = codec.open(crate::encoding::encode(&flipped).as_bytes(), NOW).err();
                let expected = match bit / 8 {
                    0 => Rejection::Malformed,
                    // Bit 0 says "deflated": authentic or not shows only in the tag. Bits 1 and 2 are the kind.
                    1 if bit % 8 == 0 => Rejection::Forged,
                    1 if bit % 8 < 3 => Rejection::WrongCookie,
                    1 => Rejection::Malformed,
                    2..6 => Rejection::UnknownKey,
                    _ => Rejection::Forged,
                };
                assert_eq!(rejection, Some(expected), "bit {bit}");
            }
        }
    }

    #[test]
    fn any_other_character_is_refused() {
        let codec = codec();
        let token = seal(&codec, b"{}");
        for position in (0..token.len()).step_by(if cfg!(miri) { 31 } else { 1 }) {
            for other in ["A", "_", "=", "+", " ", "\0", "\u{7f}"] {
                if token[position..].starts_with(other) {
                    continue;
                }
                let mut changed = token.clone();
                changed.replace_range(position..=position, other);
                assert!(codec.open(changed.as_bytes(), NOW).is_err(), "{other:?} at {position}");
            }
        }
    }

    #[test]
    fn a_kind_is_not_another() {
        let cookie = codec();
        let reference = TokenCodec::new(&ring(0), Kind::Reference, "session");
        assert_eq!(reference.open(seal(&cookie, b"x").as_bytes(), NOW).err(), Some(Rejection::WrongCookie));
        assert_eq!(cookie.open(seal(&reference, b"x").as_bytes(), NOW).err(), Some(Rejection::WrongCookie));
    }

    #[test]
    fn expiry_is_exact_and_checked_after_the_tag() {
        let codec = codec();
        let token = seal(&codec, b"x");
        assert!(codec.open(token.as_bytes(), Timestamp::from_millis(LATER.as_millis() - 1)).is_ok());
        assert_eq!(codec.open(token.as_bytes(), LATER).err(), Some(Rejection::Expired));
        let other = TokenCodec::new(&ring(0), Kind::CookieHeld, "other");
        assert_eq!(other.open(token.as_bytes(), LATER).err(), Some(Rejection::Forged));
    }

    #[test]
    fn older_keys_open_and_only_the_first_seals() {
        let old = seal(&codec(), b"x");
        let rotated = TokenCodec::new(&ring(1).with_previous(&secret(0)), Kind::CookieHeld, "session");
        let opened = rotated.open(old.as_bytes(), NOW).unwrap();
        assert!(opened.key_id() != rotated.ring().sealing_key_id());
        let new = seal(&rotated, b"x");
        assert_eq!(rotated.open(new.as_bytes(), NOW).unwrap().key_id(), rotated.ring().sealing_key_id());
        assert_eq!(codec().open(new.as_bytes(), NOW).err(), Some(Rejection::UnknownKey));
    }

    #[test]
    fn a_broken_random_source_seals_nothing() {
        struct Broken;
        impl Random for Broken {
            fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
                Err(RandomError)
            }
        }
        let sealed = codec().seal(Plaintext::from(b"x"), LATER, false, &Broken);
        assert_eq!(sealed.err(), Some(RandomError));
    }

    #[test]
    fn seal_and_open_allocate_once() {
        let codec = codec();
        let plaintext = Plaintext::from(&[b'a'; 300]);
        let mut token = None;
        let info = allocation_counter::measure(|| {
            token = Some(codec.seal(plaintext, LATER, false, &OsRandom).unwrap());
        });
        assert_eq!(info.count_total, 1, "{info:?}");
        let token = token.unwrap();
        let mut opened = None;
        let info = allocation_counter::measure(|| opened = Some(codec.open(token.as_bytes(), NOW)));
        assert_eq!(info.count_total, 1, "{info:?}");
        assert_eq!(opened.unwrap().unwrap().payload(), [b'a'; 300]);
    }

    /// A buffer that grew by itself would leave its old bytes behind, unwiped.
    #[test]
    fn a_plaintext_is_sealed_where_it_was_written_however_it_was_written() {
        let codec = codec();
        // Room that was asked for, pieces that come, allocations until it is written.
        for (room, pieces, allocations) in [
            (300, &[300][..], 1),
            (15, &[7, 8], 1),
            (16, &[16], 1),
            (0, &[100], 2),
            (10, &[7, 0, 900], 2),
            (10, &[3, 100, 200], 3),
        ] {
            let (mut plaintext, bytes) = (None, [b'a'; 1000]);
            let info = allocation_counter::measure(|| {
                let plaintext = plaintext.insert(Plaintext::with_capacity(room));
                pieces.iter().for_each(|&length| plaintext.extend_from_slice(&bytes[..length]));
            });
            assert_eq!(info.count_total, allocations, "{room}, {pieces:?}: {info:?}");
            let sealed: usize = 30 + (pieces.iter().sum::<usize>() / 16 + 1) * 16 + 32;
            assert!(info.bytes_total <= 3 * sealed as u64, "{room}, {pieces:?}: {info:?}");
            let plaintext = plaintext.unwrap();
            assert_eq!(plaintext.as_bytes(), &bytes[..pieces.iter().sum()]);
            let info = allocation_counter::measure(|| {
                codec.seal(plaintext, LATER, false, &OsRandom).unwrap();
            });
            assert_eq!(info.count_total, 1, "{room}, {pieces:?}: {info:?}");
        }
    }

    #[test]
    fn compression_is_marked_and_undone() {
        let codec = codec();
        let payload = br#"{"name":"value"}"#.repeat(50);
        let packed = codec.seal(Plaintext::from(&payload), LATER, true, &OsRandom).unwrap();
        assert!(packed.len() < seal(&codec, &payload).len() / 2);
        assert!(Header::parse(packed.as_bytes()).unwrap().is_deflated());
        assert_eq!(codec.open(packed.as_bytes(), NOW).unwrap().payload(), payload);
    }
}
