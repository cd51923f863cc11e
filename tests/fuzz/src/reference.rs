//! Readers written from `core/FORMAT.md` alone, step by step and without a thought for speed.

use std::sync::LazyLock;

use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _, block_padding::NoPadding};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use session_core::MAX_INFLATED;

use crate::{
    format::{self, DEFLATED, DOMAIN, Keys},
    keys,
};

static KEYS: LazyLock<[Keys; 2]> = LazyLock::new(keys);

/// Section 4: the payload, or the code of the rejection.
pub(crate) fn open_token(token: &[u8], kind: u8, cookie: &str, now: u64) -> Result<Vec<u8>, &'static str> {
    if token.len() > 4096 {
        return Err("malformed");
    }
    let head = token.get(..8).and_then(base64url).ok_or("malformed")?;
    let key = check_head(&head, kind)?;
    let bytes = base64url(token).ok_or("malformed")?;
    open(&bytes, key, cookie.as_bytes(), now)
}

/// Section 7: the payload of a sealed record, before what its first byte tells.
pub(crate) fn open_record(bytes: &[u8], key: &[u8; 16]) -> Option<Vec<u8>> {
    let keys = check_head(bytes.get(..6)?, format::Kind::Record as u8).ok()?;
    open(bytes, keys, key, 0).ok()
}

fn check_head(head: &[u8], kind: u8) -> Result<&'static Keys, &'static str> {
    let (version, flags, id) = (head[0], head[1], &head[2..6]);
    if version != 1 || flags & 0b1111_1000 != 0 || flags >> 1 == 3 {
        return Err("malformed");
    }
    if flags >> 1 != kind {
        return Err("wrong-cookie");
    }
    KEYS.iter().find(|keys| keys.id == id).ok_or("unknown-key")
}

fn open(bytes: &[u8], keys: &Keys, context: &[u8], now: u64) -> Result<Vec<u8>, &'static str> {
    if bytes.len() < 78 || bytes.len() % 16 != 78 % 16 {
        return Err("malformed");
    }
    let (message, tag) = bytes.split_at(bytes.len() - 32);
    if format::hmac(&keys.authentication, &format::mac_input(DOMAIN, context, message)) != tag {
        return Err("forged");
    }
    if now >= u64::from_be_bytes(message[6..14].try_into().unwrap()) {
        return Err("expired");
    }
    let payload =
        decrypt(&keys.encryption, message[14..30].try_into().unwrap(), &message[30..]).ok_or("forged")?;
    if message[1] & DEFLATED == 0 { Ok(payload) } else { inflate_frame(&payload).ok_or("malformed") }
}

/// AES-256-CBC with PKCS #7 padding.
pub(crate) fn decrypt(key: &[u8; 32], iv: &[u8; 16], blocks: &[u8]) -> Option<Vec<u8>> {
    let mut plain = blocks.to_vec();
    cbc::Decryptor::<aes::Aes256>::new(key.into(), iv.into()).decrypt_padded::<NoPadding>(&mut plain).ok()?;
    let padding = usize::from(*plain.last()?);
    let length = plain.len().checked_sub(padding)?;
    let right =
        (1..=16).contains(&padding) && plain[length..].iter().all(|byte| usize::from(*byte) == padding);
    plain.truncate(length);
    right.then_some(plain)
}

/// Canonical base64url: what can't be written again as it was is none.
pub(crate) fn base64url(text: &[u8]) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    (URL_SAFE_NO_PAD.encode(&bytes).as_bytes() == text).then_some(bytes)
}

/// Section 5.
pub(crate) fn inflate_frame(framed: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = framed.split_first_chunk::<4>()?;
    inflate(rest.get(..u32::from_be_bytes(*length) as usize)?)
}

/// A raw deflate stream, by zlib-rs.
pub(crate) fn inflate(packed: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut state = flate2::Decompress::new(false);
    loop {
        out.reserve(32 << 10);
        let read = usize::try_from(state.total_in()).unwrap();
        let before = (state.total_in(), out.len());
        let status = state.decompress_vec(&packed[read..], &mut out, flate2::FlushDecompress::None).ok()?;
        match status {
            _ if out.len() > MAX_INFLATED => return None,
            flate2::Status::StreamEnd => return Some(out),
            // Neither reads nor writes any more: the stream stops in the middle.
            _ if before == (state.total_in(), out.len()) => return None,
            _ => {}
        }
    }
}
