//! By the crate `base64`.

use alloc::{string::String, vec::Vec};

use base64::Engine as _;

/// With `std` the widest vector instructions the processor has, found out once.
#[cfg(all(feature = "std", any(target_arch = "x86_64", target_arch = "aarch64")))]
static ENGINE: std::sync::LazyLock<base64::engine::simd::Simd> = std::sync::LazyLock::new(|| {
    base64::engine::simd::Simd::url_safe(base64::engine::general_purpose::NO_PAD)
});
#[cfg(not(all(feature = "std", any(target_arch = "x86_64", target_arch = "aarch64"))))]
use base64::engine::general_purpose::URL_SAFE_NO_PAD as ENGINE;

pub(super) fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

pub(super) fn encode_slice(bytes: &[u8], text: &mut [u8]) {
    let written = ENGINE.encode_slice(bytes, text);
    debug_assert_eq!(written, Ok(text.len()));
}

pub(super) fn decode(text: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    ENGINE.decode_vec(text, bytes).ok()
}

pub(super) fn decode_slice(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    ENGINE.decode_slice(text, bytes).ok().filter(|written| *written == bytes.len()).map(|_| ())
}
