//! What nearly all of the module's time goes into, for the profile `wasm` of the workspace: it optimises this package for speed and the others for
//! size. The code of AES-CBC and HMAC is generic, and `#[inline]` in session-core, so it is compiled here, where it is called.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;

use session_core::{Opened, Plaintext, Random, RandomError, Rejection, Timestamp, TokenCodec};

/// Opens a token.
///
/// # Errors
/// Those of [`TokenCodec::open`].
#[inline(never)]
pub fn open(codec: &TokenCodec, token: &[u8], now: Timestamp) -> Result<Opened, Rejection> {
    codec.open(token, now)
}

/// Seals a payload as it is.
///
/// # Errors
/// Those of [`TokenCodec::seal`].
#[inline(never)]
pub fn seal(
    codec: &TokenCodec,
    payload: &[u8],
    expires_at: Timestamp,
    random: &dyn Random,
) -> Result<String, RandomError> {
    codec.seal(Plaintext::from(payload), expires_at, false, random)
}
