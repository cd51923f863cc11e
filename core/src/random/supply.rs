//! Initialisation vectors drawn ahead, because asking the system takes longer than hashing a small token: one question for
//! 32 of them, and each is the system's own bytes, given out once and then wiped. There is no generator here that could be
//! seeded badly, and a source that fails is an error as ever.
//!
//! What CBC asks of a vector is that whoever chooses the plaintext can't know it before. A thread's supply is as secret as the keys in the
//! same memory, so nobody can. Where memory is copied, by `fork` without `exec` or by starting one snapshot of a machine twice, both
//! copies hold the same supply, at most 31 of them. Two tokens under one key and vector tell who sees both how many leading
//! blocks of their payloads are equal; payloads begin with the random id of their session, so that is nothing for two sessions, and for two
//! tokens of one session about where they begin to differ. To choose a plaintext's first block, which is what a known vector would
//! help with, is to choose that id. Ids, secrets and the nonces of versions, which must differ between the copies, are never drawn ahead.

use core::cell::RefCell;

use super::RandomError;

std::thread_local! {
    static SUPPLY: RefCell<Supply> = const { RefCell::new(Supply::EMPTY) };
}

/// One of the thread's supply.
pub(super) fn take(
    iv: &mut [u8; 16],
    source: impl Fn(&mut [u8]) -> Result<(), RandomError>,
) -> Result<(), RandomError> {
    let drawn = SUPPLY.try_with(|supply| supply.borrow_mut().take(iv, &source));
    // In a thread that is ending the supply is gone, and the source answers itself.
    drawn.unwrap_or_else(|_| source(iv))
}

struct Supply {
    vectors: [[u8; 16]; Self::VECTORS],
    left: usize,
}

impl Supply {
    const VECTORS: usize = 32;
    const EMPTY: Self = Self { vectors: [[0; 16]; Self::VECTORS], left: 0 };

    fn take(
        &mut self,
        iv: &mut [u8; 16],
        source: impl FnOnce(&mut [u8]) -> Result<(), RandomError>,
    ) -> Result<(), RandomError> {
        if self.left == 0 {
            source(self.vectors.as_flattened_mut())?;
            self.left = Self::VECTORS;
        }
        self.left -= 1;
        *iv = core::mem::take(&mut self.vectors[self.left]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts, so that no two vectors are equal.
    fn counting(next: &mut u8) -> impl FnMut(&mut [u8]) -> Result<(), RandomError> {
        move |buffer| {
            for vector in buffer.chunks_mut(16) {
                *next += 1;
                vector.fill(*next);
            }
            Ok(())
        }
    }

    #[test]
    fn each_vector_is_given_out_once() {
        let (mut supply, mut next, mut seen) = (Supply::EMPTY, 0, [false; 3 * Supply::VECTORS + 1]);
        for _ in 0..3 * Supply::VECTORS {
            let mut iv = [0; 16];
            supply.take(&mut iv, counting(&mut next)).unwrap();
            assert!(!core::mem::replace(&mut seen[usize::from(iv[0])], true), "{iv:?}");
        }
        assert!(!seen[0], "a vector that nobody drew");
        assert_eq!(usize::from(next), 3 * Supply::VECTORS, "one question for each supply");
        assert_eq!(supply.vectors, Supply::EMPTY.vectors, "wiped as they were given out");
    }

    #[test]
    fn a_source_that_fails_is_an_error_and_nothing_else_is_used_instead() {
        let (mut supply, mut next) = (Supply::EMPTY, 0);
        let mut iv = [0; 16];
        // It may have filled half of the buffer before it failed.
        let failing = |buffer: &mut [u8]| {
            buffer[..256].fill(7);
            Err(RandomError)
        };
        assert_eq!(supply.take(&mut iv, failing), Err(RandomError));
        assert_eq!(supply.take(&mut iv, failing), Err(RandomError));
        assert_eq!(iv, [0; 16]);
        supply.take(&mut iv, counting(&mut next)).unwrap();
        assert_eq!(iv, [next; 16], "of the answer that came");
    }
}
