//! The random source: a narrow seam, so that tests can make it fail, repeat or collide.

#[cfg(all(feature = "getrandom", feature = "std"))]
mod supply;

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
        supply::take(iv, |all| self.fill(all))
    }
}
