//! The Crystal library [`session`](https://github.com/azutoolkit/session) (1.0): what it writes, opened and sealed.
//!
//! - [`Verifier`] and [`Encryptor`] are its `Message::Verifier` and `Message::Encryptor`, prepared once;
//! - [`open_value`] and [`seal_value`] are the value of its data cookie, and of its Redis keys `session:<id>`;
//! - [`SessionJson`] is the JSON inside;
//! - [`Fingerprint`] and [`ClusterMessage`] are what its client bindings and its nodes exchange. Its flash is [`Flash`](crate::Flash).
//!
//! `tests/vectors/crystal/` holds what the real library wrote; a test opens all of it.

mod cluster;
mod encryptor;
mod fingerprint;
mod gzip;
mod session;
mod time;
mod verifier;

use alloc::{string::String, vec::Vec};

pub use cluster::{ClusterMessage, ClusterMessageType};
pub use encryptor::{Encryptor, Kdf};
pub use fingerprint::Fingerprint;
pub use session::SessionJson;
pub use time::Time;
pub use verifier::{Digest, LegacyDigest, Verifier};
use zeroize::Zeroizing;

use super::Refusal;
use crate::{
    random::{Random, RandomError},
    time::Timestamp,
};

/// The JSON in a data cookie or a Redis value. With an encryptor the value must be sealed, without one it must not be; gzip is told by its first bytes,
/// as there.
///
/// # Errors
/// As [`Encryptor::open`]; [`Refusal::Inflate`].
///
/// ```
/// use session_core::{Timestamp, interop::crystal::open_value};
///
/// let json = open_value(br#"{"session_id":"a"}"#, None, Timestamp::from_millis(0))?;
/// assert_eq!(&json[..], br#"{"session_id":"a"}"#);
/// # Ok::<(), session_core::interop::Refusal>(())
/// ```
pub fn open_value(
    value: &[u8],
    encryptor: Option<&Encryptor>,
    now: Timestamp,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let value = match encryptor {
        Some(encryptor) => encryptor.open(value, now)?,
        None => Zeroizing::new(value.to_vec()),
    };
    if gzip::is_gzip(&value) { gzip::gunzip(&value).ok_or(Refusal::Inflate) } else { Ok(value) }
}

/// The reverse: compressed from that many bytes on, and sealed, where asked for.
///
/// # Errors
/// [`RandomError`] if the random source fails.
///
/// ```
/// use session_core::{OsRandom, Timestamp, interop::crystal::{open_value, seal_value}};
///
/// let json = br#"{"session_id":"a"}"#;
/// let value = seal_value(json, None, Some(0), &OsRandom)?;
/// assert_eq!(open_value(&value, None, Timestamp::from_millis(0)).as_deref(), Ok(&json.to_vec()));
/// # Ok::<(), session_core::RandomError>(())
/// ```
pub fn seal_value(
    json: &[u8],
    encryptor: Option<&Encryptor>,
    compress_from: Option<usize>,
    random: &dyn Random,
) -> Result<Zeroizing<Vec<u8>>, RandomError> {
    let value = match compress_from {
        Some(least) if json.len() >= least => gzip::gzip(json),
        _ => Zeroizing::new(json.to_vec()),
    };
    Ok(match encryptor {
        Some(encryptor) => Zeroizing::new(encryptor.seal(&value, random).map(String::into_bytes)?),
        None => value,
    })
}
