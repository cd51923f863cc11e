//! Secrets, the keys derived from them, and encrypt-then-MAC.
//!
//! The primitives are RustCrypto's; this module only composes them: AES-256-CBC with PKCS #7 padding, then HMAC-SHA256 over the
//! context, the header and the ciphertext, checked in constant time before anything is decrypted.

mod keys;
mod secret;

pub(crate) use keys::{BLOCK_LEN, Keys, MacContext, TAG_LEN, padded_len};
pub use keys::{KeyId, KeyRing};
pub use secret::{Passphrase, Secret};
