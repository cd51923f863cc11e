//! `Message::Verifier`: signed text.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE},
    },
};
use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use super::super::Refusal;
use crate::time::Timestamp;

/// What signs: `digest_algorithm` of the Crystal configuration.
///
/// ```
/// use session_core::interop::crystal::{Digest, Verifier};
///
/// let signed = Verifier::new(b"secret", Digest::Sha512).sign(b"value");
/// assert!(signed.len() > Verifier::new(b"secret", Digest::Sha256).sign(b"value").len());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// HMAC-SHA256, the default there.
    Sha256,
    /// HMAC-SHA384.
    Sha384,
    /// HMAC-SHA512.
    Sha512,
}

/// What signed long ago (`digest_fallback`): only ever verified, and only until a date.
///
/// ```
/// use session_core::{Timestamp, interop::crystal::{Digest, LegacyDigest, Verifier}};
///
/// let until = Timestamp::from_millis(1_800_000_000_000);
/// let verifier = Verifier::new(b"secret", Digest::Sha256).allow(LegacyDigest::Sha1, until);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyDigest {
    /// HMAC-SHA1.
    Sha1,
    /// HMAC-MD5.
    Md5,
}

/// Signs text, and tells whether text was signed.
///
/// ```
/// use session_core::{Timestamp, interop::crystal::{Digest, Verifier}};
///
/// let verifier = Verifier::new(b"secret", Digest::Sha256);
/// let signed = verifier.sign(b"value");
/// assert_eq!(verifier.verify(signed.as_bytes(), Timestamp::from_millis(0)).as_deref(), Ok(&b"value"[..]));
/// ```
#[derive(Clone)]
pub struct Verifier {
    secret: crate::Zeroizing<Vec<u8>>,
    signs: State,
    legacy: Vec<(State, Timestamp)>,
}

impl Verifier {
    /// Signs and verifies with a digest.
    #[must_use]
    pub fn new(secret: &[u8], digest: Digest) -> Self {
        let signs = match digest {
            Digest::Sha256 => State::Sha256(Box::new(keyed(secret))),
            Digest::Sha384 => State::Sha384(Box::new(keyed(secret))),
            Digest::Sha512 => State::Sha512(Box::new(keyed(secret))),
        };
        Self { secret: secret.to_vec().into(), signs, legacy: Vec::new() }
    }

    /// Verifies with an old digest too, before that time.
    #[must_use]
    pub fn allow(mut self, digest: LegacyDigest, until: Timestamp) -> Self {
        let state = match digest {
            LegacyDigest::Sha1 => State::Sha1(Box::new(keyed(&self.secret))),
            LegacyDigest::Md5 => State::Md5(Box::new(keyed(&self.secret))),
        };
        self.legacy.push((state, until));
        self
    }

    /// `generate`: base64url of a JSON array of the value and its signature, both in base64url.
    #[must_use]
    pub fn sign(&self, value: &[u8]) -> String {
        let data = URL_SAFE.encode(value);
        let tag = URL_SAFE.encode(self.signs.tag(data.as_bytes()));
        URL_SAFE.encode(format!("[\"{data}\",\"{tag}\"]"))
    }

    /// `verified`: the value, if the text is authentic. Takes the form `data--signature`, too.
    ///
    /// As there, either base64 alphabet and missing padding are accepted around the signed text; the signature has one spelling.
    /// Line feeds between the characters, which are accepted there, are not.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], [`Refusal::Digest`], [`Refusal::Forged`].
    pub fn verify(&self, text: &[u8], now: Timestamp) -> Result<Vec<u8>, Refusal> {
        let (data, tag) = parts(text).ok_or(Refusal::Malformed)?;
        if data.is_empty() {
            return Err(Refusal::Malformed);
        }
        let tag = URL_SAFE.decode(tag).map_err(|_| Refusal::Malformed)?;
        // A signature's length says which digest made it: one check, whatever is allowed.
        let legacy = || self.legacy.iter().find(|(state, until)| state.len() == tag.len() && now < *until);
        let state = match legacy() {
            _ if self.signs.len() == tag.len() => &self.signs,
            Some((state, _)) => state,
            None => return Err(Refusal::Digest),
        };
        if !state.verify(data.as_bytes(), &tag) {
            return Err(Refusal::Forged);
        }
        decode(data.as_bytes()).ok_or(Refusal::Malformed)
    }
}

/// Signed data and signature of either form.
fn parts(text: &[u8]) -> Option<(String, String)> {
    if let Some(pair) = decode(text).and_then(|json| serde_json::from_slice(&json).ok()) {
        return Some(pair);
    }
    // The data may hold `--` itself: it is the signature's length that tells where it ends.
    let text = core::str::from_utf8(text).ok()?;
    [44, 28, 64, 88, 24].into_iter().find_map(|length| {
        let (data, tag) = text.split_at_checked(text.len().checked_sub(length)?)?;
        Some((data.strip_suffix("--")?.into(), tag.into()))
    })
}

/// Either alphabet, with padding or without.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    const ANY_PADDING: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
    let standard = text.iter().any(|byte| matches!(byte, b'+' | b'/'));
    if standard { STANDARD.decode(text) } else { URL.decode(text) }.ok()
}

/// HMAC takes keys of any length.
fn keyed<M: hmac::KeyInit>(secret: &[u8]) -> M {
    M::new_from_slice(secret).expect("HMAC takes keys of any length")
}

/// A keyed HMAC, cloned for each message.
#[derive(Clone)]
enum State {
    Sha256(Box<Hmac<Sha256>>),
    Sha384(Box<Hmac<Sha384>>),
    Sha512(Box<Hmac<Sha512>>),
    Sha1(Box<Hmac<Sha1>>),
    Md5(Box<Hmac<Md5>>),
}

impl State {
    /// Bytes of a signature.
    const fn len(&self) -> usize {
        match self {
            Self::Sha256(_) => 32,
            Self::Sha384(_) => 48,
            Self::Sha512(_) => 64,
            Self::Sha1(_) => 20,
            Self::Md5(_) => 16,
        }
    }

    fn tag(&self, message: &[u8]) -> Vec<u8> {
        fn tag<M: Mac + Clone>(mac: &M, message: &[u8]) -> Vec<u8> {
            mac.clone().chain_update(message).finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha256(mac) => tag(&**mac, message),
            Self::Sha384(mac) => tag(&**mac, message),
            Self::Sha512(mac) => tag(&**mac, message),
            Self::Sha1(mac) => tag(&**mac, message),
            Self::Md5(mac) => tag(&**mac, message),
        }
    }

    /// Compares in constant time.
    fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        fn verify<M: Mac + Clone>(mac: &M, message: &[u8], tag: &[u8]) -> bool {
            mac.clone().chain_update(message).verify_slice(tag).is_ok()
        }
        match self {
            Self::Sha256(mac) => verify(&**mac, message, tag),
            Self::Sha384(mac) => verify(&**mac, message, tag),
            Self::Sha512(mac) => verify(&**mac, message, tag),
            Self::Sha1(mac) => verify(&**mac, message, tag),
            Self::Md5(mac) => verify(&**mac, message, tag),
        }
    }
}
