//! Random bytes for what is made with every save.

use std::cell::RefCell;

use session_core::{OsRandom, Random, RandomError};

/// The operating system's random bytes, fetched for many draws at once: one call to it costs as much as all else that a small save does.
///
/// For IVs and the nonces of versions. What stays secret for as long as a session lives, its id, comes straight from [`OsRandom`].
///
/// A process that was forked, or a virtual machine that was resumed twice from one snapshot, has the same bytes in its buffers as its
/// twin, and both hand them out once: at most [`LEN`] bytes of each thread. An IV that was used twice tells whoever sees both tokens that
/// their payloads begin alike, and they begin with ids, which are not alike; a nonce that was used twice matters if both twins
/// make the same save of the same session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferedRandom;

/// Sixteen IVs: the system's own generator works in blocks of 64 bytes, so more would not come cheaper.
const LEN: usize = 256;

struct Buffer {
    bytes: [u8; LEN],
    /// Those before it were handed out.
    next: usize,
}

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer { bytes: [0; LEN], next: LEN }) };
}

impl Buffer {
    fn take(&mut self, wanted: &mut [u8]) -> Result<(), RandomError> {
        if self.next + wanted.len() > LEN {
            OsRandom.fill(&mut self.bytes)?;
            self.next = 0;
        }
        let taken = &mut self.bytes[self.next..self.next + wanted.len()];
        wanted.copy_from_slice(taken);
        // Nobody finds in memory what was drawn before.
        taken.fill(0);
        self.next += wanted.len();
        Ok(())
    }
}

impl Random for BufferedRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        if buffer.len() > LEN {
            return OsRandom.fill(buffer);
        }
        // While its thread ends there is no buffer any more.
        BUFFER.try_with(|bytes| bytes.borrow_mut().take(buffer)).unwrap_or_else(|_| OsRandom.fill(buffer))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn draw<const N: usize>() -> [u8; N] {
        let mut bytes = [0; N];
        BufferedRandom.fill(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn no_draw_comes_twice_whatever_the_sizes() {
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            // 8 and 16 don't fill the buffer evenly with 24 between them.
            assert!(seen.insert(draw::<8>().to_vec()));
            assert!(seen.insert(draw::<24>().to_vec()));
            assert!(seen.insert(draw::<16>().to_vec()));
        }
        assert!(!seen.iter().any(|bytes| bytes.iter().all(|byte| *byte == 0)));
    }

    #[test]
    fn threads_share_no_bytes() {
        let here: HashSet<_> = (0..64).map(|_| draw::<8>()).collect();
        let there = std::thread::spawn(|| (0..64).map(|_| draw::<8>()).collect::<Vec<_>>()).join().unwrap();
        assert!(there.iter().all(|bytes| !here.contains(bytes)));
    }

    #[test]
    fn what_was_handed_out_is_wiped() {
        let mut buffer = Buffer { bytes: [0; LEN], next: LEN };
        buffer.take(&mut [0; 200]).unwrap();
        assert!(buffer.bytes[..200].iter().all(|byte| *byte == 0));
        assert!(buffer.bytes[200..].iter().any(|byte| *byte != 0));
        // Not enough are left: they are passed over, and the buffer is filled anew.
        buffer.take(&mut [0; 100]).unwrap();
        assert_eq!(buffer.next, 100);
    }

    #[test]
    fn more_than_the_buffer_holds_is_fetched_at_once() {
        assert_ne!(draw::<{ LEN + 1 }>(), [0; LEN + 1]);
    }
}
