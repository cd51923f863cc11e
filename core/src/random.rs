//! The random source: a narrow seam, so that tests can make it fail, repeat or collide.

use core::fmt;

/// The random source did not deliver. Nothing that needed randomness was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomError;

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the random source failed; no id or token was made")
    }
}

impl core::error::Error for RandomError {}

/// A cryptographically secure random source (ASVS 5.0 row 11.5.1).
///
/// ```
/// use session_core::{Random, RandomError, SessionId};
///
/// struct Broken;
/// impl Random for Broken {
///     fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
///         Err(RandomError)
///     }
/// }
/// assert!(SessionId::generate(&Broken).is_err()); // refuses to exist
/// ```
pub trait Random: Send + Sync {
    /// Fills all of `buffer` with unpredictable bytes.
    ///
    /// # Errors
    /// [`RandomError`] when the source is not available; `buffer` is then not to be used.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError>;

    /// Fills an initialisation vector: unpredictable until the token that it stands in is out, public from then on. So a source may draw
    /// some ahead, which it must never do for ids, secrets and nonces. By default [`Random::fill`].
    ///
    /// # Errors
    /// [`RandomError`] when the source is not available; `iv` is then not to be used.
    fn fill_iv(&self, iv: &mut [u8; 16]) -> Result<(), RandomError> {
        self.fill(iv)
    }
}

/// The operating system's random source (in WebAssembly, with feature `wasm_js`: the runtime's `crypto.getRandomValues`).
///
/// ```
/// use session_core::{OsRandom, Random};
///
/// let mut bytes = [0; 16];
/// OsRandom.fill(&mut bytes)?;
/// assert_ne!(bytes, [0; 16]);
/// # Ok::<(), session_core::RandomError>(())
/// ```
#[cfg(feature = "getrandom")]
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

#[cfg(feature = "getrandom")]
impl Random for OsRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(buffer).map_err(|_| RandomError)
    }

    #[cfg(feature = "std")]
    fn fill_iv(&self, iv: &mut [u8; 16]) -> Result<(), RandomError> {
        // In a thread that is ending, whose supply is gone, the source itself.
        SUPPLY
            .try_with(|supply| supply.borrow_mut().take(iv, |all| self.fill(all)))
            .unwrap_or_else(|_| self.fill(iv))
    }
}

#[cfg(all(feature = "getrandom", feature = "std"))]
std::thread_local! {
    static SUPPLY: core::cell::RefCell<Supply> = const { core::cell::RefCell::new(Supply::EMPTY) };
}

/// Initialisation vectors drawn ahead, because asking the system takes longer than hashing a small token: one question for
/// [`Supply::VECTORS`] of them, and each is the system's own bytes, given out once and then wiped. There is no generator here that could be
/// seeded badly, and a source that fails is an error as ever.
///
/// What CBC asks of a vector is that whoever chooses the plaintext can't know it before. A thread's supply is as secret as the keys in the
/// same memory, so nobody can. Where memory is copied, by `fork` without `exec` or by starting one snapshot of a machine twice, both
/// copies hold the same supply, at most `VECTORS - 1` of them. Two tokens under one key and vector tell who sees both how many leading
/// blocks of their payloads are equal; payloads begin with the random id of their session, so that is nothing for two sessions, and for two
/// tokens of one session about where they begin to differ. To choose a plaintext's first block, which is what a known vector would
/// help with, is to choose that id. Ids, secrets and the nonces of versions, which must differ between the copies, are never drawn ahead.
#[cfg(all(feature = "getrandom", feature = "std"))]
struct Supply {
    vectors: [[u8; 16]; Self::VECTORS],
    left: usize,
}

#[cfg(all(feature = "getrandom", feature = "std"))]
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

#[cfg(all(test, feature = "getrandom", feature = "std"))]
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
