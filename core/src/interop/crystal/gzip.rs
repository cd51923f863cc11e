//! gzip (RFC 1952) as Crystal's standard library writes it: one member, no optional header fields.

use alloc::{vec, vec::Vec};

use miniz_oxide::{
    deflate::compress_to_vec,
    inflate::{
        TINFLStatus,
        core::{DecompressorOxide, decompress, inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF},
    },
};
use zeroize::Zeroizing;

use crate::compress::MAX_INFLATED;

/// Magic, deflate, no flags, no time, no hints, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Deflate makes of one byte at most this many.
const MOST_RATIO: usize = 1032;

pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&HEADER[..2])
}

pub(super) fn gzip(plain: &[u8]) -> Zeroizing<Vec<u8>> {
    let packed = Zeroizing::new(compress_to_vec(plain, 6));
    let mut out = Vec::with_capacity(HEADER.len() + packed.len() + 8);
    out.extend_from_slice(&HEADER);
    out.extend_from_slice(&packed);
    out.extend_from_slice(&crc32fast::hash(plain).to_le_bytes());
    // Modulo 2^32, as the format says.
    out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    Zeroizing::new(out)
}

/// `None` for anything but one whole member that inflates to what its trailer says, in at most [`MAX_INFLATED`] bytes.
pub(super) fn gunzip(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (header, rest) = bytes.split_first_chunk::<{ HEADER.len() }>()?;
    let (rest, length) = rest.split_last_chunk::<4>()?;
    let (packed, crc) = rest.split_last_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    // Allocates what the trailer claims, and so no more than the input can be worth.
    if header[..4] != HEADER[..4] || length > MAX_INFLATED.min(packed.len().saturating_mul(MOST_RATIO)) {
        return None;
    }
    let mut plain = Zeroizing::new(vec![0; length]);
    let mut state = DecompressorOxide::new();
    let (status, read, written) =
        decompress(&mut state, packed, &mut plain, 0, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF);
    let whole = status == TINFLStatus::Done && read == packed.len() && written == length;
    (whole && crc32fast::hash(&plain) == u32::from_le_bytes(*crc)).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let long = if cfg!(miri) { 700 } else { 70_000 };
        for plain in [&b""[..], b"a", &vec![b'x'; long]] {
            assert_eq!(gunzip(&gzip(plain)).unwrap()[..], *plain);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "megabytes")]
    fn a_bomb_is_refused_within_the_bound() {
        let bomb = gzip(&vec![0; 64 << 20]);
        let info = allocation_counter::measure(|| assert!(gunzip(&bomb).is_none()));
        assert!(info.bytes_max <= MAX_INFLATED as u64, "{info:?}");
        // A trailer that lies, in either direction.
        for claimed in [0_u32, 1 << 20, u32::MAX] {
            let mut lie = bomb.to_vec();
            let end = lie.len();
            lie[end - 4..].copy_from_slice(&claimed.to_le_bytes());
            let info = allocation_counter::measure(|| assert!(gunzip(&lie).is_none()));
            assert!(info.bytes_max <= MAX_INFLATED as u64 + 65_536, "{info:?}");
        }
        let mut small = gzip(b"a").to_vec();
        let end = small.len();
        small[end - 4..].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        let info = allocation_counter::measure(|| assert!(gunzip(&small).is_none()));
        assert!(info.bytes_max < 32_768, "{info:?}");
    }

    #[test]
    fn only_one_whole_member() {
        let one = gzip(b"{}");
        assert!(gunzip(&[&one[..], &one[..]].concat()).is_none());
        assert!(gunzip(&one[..one.len() - 1]).is_none());
        for at in (0..one.len()).filter(|at| !(4..10).contains(at)) {
            let mut changed = one.to_vec();
            changed[at] ^= 1;
            assert!(gunzip(&changed).is_none(), "byte {at}");
        }
    }
}
