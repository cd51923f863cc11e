//! A second implementation of `core/FORMAT.md`, plain and slow, that uses nothing of `session-core`: what both agree on is the format.

use aes::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::NoPadding};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

pub(crate) const DOMAIN: &[u8] = b"session-token-v1";

/// Of HKDF.
pub(crate) const SALT: &[u8] = b"session-token-v1";

pub(crate) const DEFLATED: u8 = 1;

/// Bits 1 and 2 of the flags.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    CookieHeld = 0,
    Reference = 1,
    Record = 2,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CookieHeld => "cookie-held",
            Self::Reference => "reference",
            Self::Record => "record",
        }
    }

    pub(crate) const fn flags(self) -> u8 {
        (self as u8) << 1
    }
}

/// 32 bytes that count up from `first`.
pub(crate) fn secret(first: u8) -> [u8; 32] {
    core::array::from_fn(|i| first.wrapping_add(i as u8))
}

/// The `sk1_` form of a secret.
pub(crate) fn written(secret: &[u8; 32]) -> String {
    format!("sk1_{}", base64(secret))
}

/// Everything that HKDF derives from a secret.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) id: [u8; 4],
    pub(crate) encryption: [u8; 32],
    pub(crate) authentication: [u8; 32],
    pub(crate) binding: [u8; 32],
}

impl Keys {
    pub(crate) fn of(secret: &[u8; 32]) -> Self {
        Self {
            id: expand(secret, "key-id"),
            encryption: expand(secret, "encryption"),
            authentication: expand(secret, "authentication"),
            binding: expand(secret, "binding"),
        }
    }
}

fn expand<const N: usize>(secret: &[u8; 32], info: &str) -> [u8; N] {
    let mut out = [0; N];
    Hkdf::<Sha256>::new(Some(SALT), secret)
        .expand(info.as_bytes(), &mut out)
        .expect("HKDF gives up to 8160 bytes");
    out
}

/// What a token is made of. The fields are public, so that wrong ones can be made too.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) version: u8,
    pub(crate) flags: u8,
    pub(crate) key_id: [u8; 4],
    pub(crate) expires_at: u64,
    pub(crate) iv: [u8; 16],
    pub(crate) ciphertext: Vec<u8>,
}

impl Parts {
    /// An honest token's parts. `body` is the payload, or its [`frame`] if `flags` say deflated.
    pub(crate) fn new(keys: &Keys, flags: u8, expires_at: u64, iv: [u8; 16], body: &[u8]) -> Self {
        let ciphertext = encrypt(&keys.encryption, &iv, body);
        Self { version: 1, flags, key_id: keys.id, expires_at, iv, ciphertext }
    }

    /// Everything before the tag.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut message = vec![self.version, self.flags];
        message.extend(self.key_id);
        message.extend(self.expires_at.to_be_bytes());
        message.extend(self.iv);
        message.extend(&self.ciphertext);
        message
    }

    /// The bytes of the token, authenticated in `context`.
    pub(crate) fn sealed(&self, keys: &Keys, context: &[u8]) -> Vec<u8> {
        let message = self.message();
        let tag = hmac(&keys.authentication, &mac_input(DOMAIN, context, &message));
        [message, tag.to_vec()].concat()
    }
}

pub(crate) fn mac_input(domain: &[u8], context: &[u8], message: &[u8]) -> Vec<u8> {
    [&length(domain)[..], domain, &length(context), context, message].concat()
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// AES-256-CBC with PKCS #7 padding.
pub(crate) fn encrypt(key: &[u8; 32], iv: &[u8; 16], plain: &[u8]) -> Vec<u8> {
    let padding = 16 - plain.len() % 16;
    encrypt_blocks(key, iv, &[plain, &vec![padding as u8; padding]].concat())
}

/// AES-256-CBC over whole blocks, without padding.
pub(crate) fn encrypt_blocks(key: &[u8; 32], iv: &[u8; 16], blocks: &[u8]) -> Vec<u8> {
    let mut buffer = blocks.to_vec();
    cbc::Encryptor::<aes::Aes256>::new(key.into(), iv.into())
        .encrypt_padded::<NoPadding>(&mut buffer, blocks.len())
        .expect("whole blocks need no padding");
    buffer
}

/// Length, raw deflate, zeros up to a multiple of 64.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let packed = miniz_oxide::deflate::compress_to_vec(payload, 6);
    let mut framed = [&length(&packed)[..], &packed].concat();
    framed.resize(framed.len().next_multiple_of(64), 0);
    framed
}

/// The first 16 bytes of SHA-256 over a domain and what it names.
pub(crate) fn short_hash(domain: &str, bytes: &[u8]) -> [u8; 16] {
    let digest = Sha256::new().chain_update(domain).chain_update(bytes).finalize();
    core::array::from_fn(|i| digest[i])
}

/// What HMAC hashes for one part of a client binding.
pub(crate) fn binding_input(label: &str, sid: &[u8; 16], value: &[u8]) -> Vec<u8> {
    let label = label.as_bytes();
    [&length(label)[..], label, &length(sid), sid, &length(value), value].concat()
}

pub(crate) fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("vectors are short").to_be_bytes()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
