//! `Message::Encryptor`: encrypted, then signed.

use alloc::{string::String, vec::Vec};
use core::fmt;

use aes::{
    Aes256Dec, Aes256Enc,
    cipher::{
        BlockModeDecrypt as _, BlockModeEncrypt as _, InnerIvInit as _, KeyInit as _, block_padding::Pkcs7,
    },
};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    super::{KeyError, Refusal},
    Digest, LegacyDigest, Verifier,
};
use crate::{
    crypto::{BLOCK_LEN, padded_len},
    random::{Random, RandomError},
    time::Timestamp,
};

/// How the encryption key comes of the secret (`use_kdf`, `kdf_iterations`, `kdf_salt`): PBKDF2-HMAC-SHA256.
///
/// ```
/// assert_eq!(session_core::interop::crystal::Kdf::default().iterations, 100_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kdf<'a> {
    /// The salt; there `session_kdf_salt` by default.
    pub salt: &'a [u8],
    /// Iterations; there 100,000 by default.
    pub iterations: u32,
}

impl Default for Kdf<'_> {
    fn default() -> Self {
        Self { salt: b"session_kdf_salt", iterations: 100_000 }
    }
}

/// Opens and seals what the Crystal library encrypts: AES-256-CBC with the IV behind the ciphertext, signed by a [`Verifier`].
///
/// The key is derived here, once; the library there does it with every value. What signs is the whole secret. Any secret is taken that is taken there, its
/// public default too: who imports sessions with that one takes anybody's word for who they are.
///
/// ```
/// use session_core::{OsRandom, Timestamp, interop::crystal::{Encryptor, Kdf}};
///
/// let encryptor = Encryptor::new(b"0123456789abcdef0123456789abcdef", Some(Kdf::default()))?;
/// let sealed = encryptor.seal(b"value", &OsRandom)?;
/// assert_eq!(&encryptor.open(sealed.as_bytes(), Timestamp::from_millis(0))?[..], b"value");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Encryptor {
    encrypt: Aes256Enc,
    decrypt: Aes256Dec,
    verifier: Verifier,
    public: bool,
}

impl Encryptor {
    /// The public default secret of the Crystal library: what is sealed with it can be forged by anyone.
    pub const DEFAULT_SECRET: &'static [u8] = b"1sxc1aNxGHTTZKlK5cpCgufJAqGM4G13";

    /// With HMAC-SHA256 as signature. Slow with a [`Kdf`]: make it when the application starts.
    ///
    /// # Errors
    /// [`KeyError::Short`] for a secret of fewer than 32 bytes (without [`Kdf`]; an empty one with it), [`KeyError::Iterations`].
    pub fn new(secret: &[u8], kdf: Option<Kdf<'_>>) -> Result<Self, KeyError> {
        Self::with_digest(secret, kdf, Digest::Sha256)
    }

    /// With another digest.
    ///
    /// # Errors
    /// As [`Encryptor::new`].
    pub fn with_digest(secret: &[u8], kdf: Option<Kdf<'_>>, digest: Digest) -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0; 32]);
        let least = if kdf.is_some() { 1 } else { key.len() };
        match kdf {
            _ if secret.len() < least => return Err(KeyError::Short { actual: secret.len(), least }),
            Some(Kdf { iterations: 0, .. }) => return Err(KeyError::Iterations),
            Some(Kdf { salt, iterations }) => {
                pbkdf2::pbkdf2_hmac::<Sha256>(secret, salt, iterations, &mut *key);
            }
            None => key.copy_from_slice(&secret[..32]),
        }
        let (encrypt, decrypt) = (Aes256Enc::new((&*key).into()), Aes256Dec::new((&*key).into()));
        let public = secret == Self::DEFAULT_SECRET;
        Ok(Self { encrypt, decrypt, verifier: Verifier::new(secret, digest), public })
    }

    /// Opens what an old digest signed too, before that time.
    #[must_use]
    pub fn allow(self, digest: LegacyDigest, until: Timestamp) -> Self {
        Self { verifier: self.verifier.allow(digest, until), ..self }
    }

    /// Whether the secret is the public default one.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        self.public
    }

    /// `verify_and_decrypt`.
    ///
    /// # Errors
    /// As [`Verifier::verify`]; [`Refusal::Malformed`] for what is authentic and was never encrypted.
    pub fn open(&self, sealed: &[u8], now: Timestamp) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let mut buffer = Zeroizing::new(self.verifier.verify(sealed, now)?);
        let (ciphertext, iv) = buffer.split_last_chunk::<BLOCK_LEN>().ok_or(Refusal::Malformed)?;
        let (end, iv) = (ciphertext.len(), *iv);
        let length = cbc::Decryptor::inner_iv_init(&self.decrypt, (&iv).into())
            .decrypt_padded::<Pkcs7>(&mut buffer[..end])
            .map(<[u8]>::len)
            .map_err(|_| Refusal::Malformed)?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// `encrypt_and_sign`.
    ///
    /// # Errors
    /// [`RandomError`] if the random source fails.
    pub fn seal(&self, plaintext: &[u8], random: &dyn Random) -> Result<String, RandomError> {
        let mut iv = [0; BLOCK_LEN];
        random.fill(&mut iv)?;
        let end = padded_len(plaintext.len());
        let mut buffer = Zeroizing::new(Vec::with_capacity(end + BLOCK_LEN));
        buffer.extend_from_slice(plaintext);
        buffer.resize(end, 0);
        let sealed = cbc::Encryptor::inner_iv_init(&self.encrypt, (&iv).into())
            .encrypt_padded::<Pkcs7>(&mut buffer, plaintext.len())
            .map(<[u8]>::len);
        debug_assert_eq!(sealed.ok(), Some(end));
        buffer.extend_from_slice(&iv);
        Ok(self.verifier.sign(&buffer))
    }
}

/// Shows no key.
impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryptor").finish_non_exhaustive()
    }
}
