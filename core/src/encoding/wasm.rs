//! By the crate `base64-simd`, which has WebAssembly's vector instructions: four times as fast as `base64` there, and smaller.

use alloc::{string::String, vec::Vec};

use base64_simd::{AppendBase64Decode as _, Out, URL_SAFE_NO_PAD as ENGINE};

pub(super) fn encode(bytes: &[u8]) -> String {
    ENGINE.encode_to_string(bytes)
}

pub(super) fn encode_slice(bytes: &[u8], text: &mut [u8]) {
    let _ = ENGINE.encode(bytes, Out::from_slice(text));
}

pub(super) fn decode(text: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    Vec::append_base64_decode(&ENGINE, text, bytes).ok()
}

pub(super) fn decode_slice(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    ENGINE.decode(text, Out::from_slice(bytes)).ok().map(|_| ())
}
