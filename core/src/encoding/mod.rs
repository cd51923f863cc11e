//! base64url without padding (RFC 4648 §5): one spelling for each byte string, everything else refused.

#[cfg(not(target_arch = "wasm32"))]
mod portable;
#[cfg(target_arch = "wasm32")]
mod wasm;

use alloc::{string::String, vec::Vec};

#[cfg(not(target_arch = "wasm32"))]
use portable as codec;
#[cfg(target_arch = "wasm32")]
use wasm as codec;

pub(crate) fn encode(bytes: &[u8]) -> String {
    codec::encode(bytes)
}

/// As [`encode`], for `N` bytes, which are `M` characters. Allocates nothing.
pub(crate) fn encode_array<const N: usize, const M: usize>(bytes: &[u8; N]) -> [u8; M] {
    const { assert!(M == (N * 4).div_ceil(3)) };
    let mut text = [0; M];
    codec::encode_slice(bytes, &mut text);
    text
}

/// `None` for a byte outside the alphabet, padding, an impossible length, or bits that stand for nothing.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    // Room for what a decoder asks for, whole quads, and for the blocks by which decrypting may lengthen it. (Memory that is zeroed first comes
    // more slowly.)
    let mut bytes = Vec::with_capacity(text.len().div_ceil(4) * 3 + 16);
    codec::decode(text, &mut bytes)?;
    Some(bytes)
}

/// As [`decode`], for a text that must give exactly `N` bytes. Allocates nothing.
pub(crate) fn decode_array<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // The length is checked first: a decoder may refuse a slice that it can't prove large enough, or panic.
    (text.len() == (N * 4).div_ceil(3)).then(|| codec::decode_slice(text, &mut bytes))??;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_each_byte_string() {
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
        assert_eq!(decode(b"-_8").unwrap(), [0xfb, 0xff]);
        for other in ["-_9", "-_8=", "+/8", "-_8 ", "-_8\n", "-", "-_8a_"] {
            assert_eq!(decode(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn arrays_are_written_as_what_they_hold() {
        for bytes in [[0; 6], [0xff; 6], *b"\x01\x00\xfb\xff\x3e\x7f"] {
            assert_eq!(encode_array::<6, 8>(&bytes)[..], *encode(&bytes).as_bytes());
        }
        assert_eq!(encode_array::<16, 22>(&[0xfb; 16])[..], *encode(&[0xfb; 16]).as_bytes());
    }

    #[test]
    fn arrays_want_their_exact_length() {
        assert_eq!(decode_array::<2>(b"-_8"), Some([0xfb, 0xff]));
        assert_eq!(decode_array::<3>(b"-_8"), None);
        assert_eq!(decode_array::<2>(b"-_8A"), None);
        assert_eq!(decode_array::<16>(&encode(&[7; 16]).into_bytes()), Some([7; 16]));
    }
}
