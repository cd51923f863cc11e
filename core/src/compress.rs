//! Deflate (RFC 1951) with a bound on what comes out.
//!
//! Compression is off unless asked for: the length of a compressed payload tells about secrets that stand beside text that an attacker
//! chooses (CRIME, BREACH). Where it is on, the result is padded to whole [`BUCKET`]s, so that guesses that differ by a
//! few bytes don't differ in length. That makes the attack harder, not impossible: keep secrets and foreign text apart.

use alloc::{vec, vec::Vec};
use core::iter;

use miniz_oxide::{
    deflate::compress_to_vec,
    inflate::{TINFLStatus, decompress_slice_iter_to_slice},
};

use crate::wiped::Wiped;

/// Most bytes a payload may inflate to: 1 MiB.
pub const MAX_INFLATED: usize = 1 << 20;

/// A compressed payload is a multiple of this many bytes.
pub(crate) const BUCKET: usize = 64;

/// Length prefix, deflated bytes, zeros up to a whole bucket. `None` if that is not shorter than `plain`.
///
/// The compressor frees its window, in which the plaintext stands, as it is: it has no way to wipe it.
pub(crate) fn deflate(plain: &[u8]) -> Option<Wiped> {
    let packed = Wiped::from(compress_to_vec(plain, 6));
    let length = u32::try_from(packed.len()).ok()?;
    let padded = (4 + packed.len()).next_multiple_of(BUCKET);
    if padded >= plain.len() || plain.len() > MAX_INFLATED {
        return None;
    }
    let mut out = Wiped::from(Vec::with_capacity(padded));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&packed);
    out.resize(padded, 0);
    Some(out)
}

/// The reverse of [`deflate`]. `None` for anything that it didn't make, or that inflates to more than [`MAX_INFLATED`].
pub(crate) fn inflate(bytes: &[u8]) -> Option<Wiped> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let packed = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    // What didn't fit is inflated again into four times the room: nothing of it is moved, so nothing is left behind unwiped.
    let mut room = (4 * packed.len()).clamp(BUCKET, MAX_INFLATED);
    loop {
        let mut plain = Wiped::from(vec![0; room]);
        match decompress_slice_iter_to_slice(&mut plain, iter::once(packed), false, true) {
            Ok(length) => {
                plain.truncate(length);
                return Some(plain);
            }
            Err(TINFLStatus::HasMoreOutput) if room < MAX_INFLATED => room = (4 * room).min(MAX_INFLATED),
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{OsRandom, Random as _};

    #[test]
    fn round_trip_in_whole_buckets() {
        let plain = br#"{"name":"value"}"#.repeat(40);
        let packed = deflate(&plain).unwrap();
        assert_eq!(packed.len() % BUCKET, 0);
        assert!(packed.len() < plain.len());
        assert_eq!(*inflate(&packed).unwrap(), plain);
    }

    #[test]
    fn what_does_not_shrink_stays_plain() {
        assert!(deflate(b"short").is_none());
        let mut noise = vec![0; 4_000];
        OsRandom.fill(&mut noise).unwrap();
        assert!(deflate(&noise).is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "64 MiB")]
    fn a_bomb_is_refused_within_the_bound() {
        let bomb = compress_to_vec(&vec![0; 64 << 20], 9);
        let mut framed = u32::try_from(bomb.len()).unwrap().to_be_bytes().to_vec();
        framed.extend_from_slice(&bomb);
        let info = allocation_counter::measure(|| assert!(inflate(&framed).is_none()));
        assert!(info.bytes_max < 3 * MAX_INFLATED as u64, "{info:?}");
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let mut packed = deflate(&[b'a'; 1000]).unwrap();
        packed[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(inflate(&packed).is_none());
        assert!(inflate(&[0, 0]).is_none());
        assert!(inflate(&[0, 0, 0, 0]).is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "deflates a hundred times")]
    fn guesses_of_a_secret_do_not_show_in_the_length() {
        let payload = |guess: u8| {
            alloc::format!(
                "{{\"csrf\":\"q7Zx\",\"text\":\"csrf\\\":\\\"q7{}\",\"more\":\"{}\"}}",
                guess as char,
                "lorem ipsum ".repeat(40)
            )
        };
        let lengths: Vec<usize> =
            (b' '..=b'~').map(|guess| deflate(payload(guess).as_bytes()).unwrap().len()).collect();
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
    }
}
