//! [iron-session](https://github.com/vvo/iron-session) 8 and 9: its cookie-held sessions, opened and sealed.
//!
//! ```text
//! Fe26.2 * password id * encryption salt * IV * ciphertext * expiry in ms or nothing * MAC salt * MAC, then ~2
//! ```
//! AES-256-CBC and HMAC-SHA256 with keys of one iteration of PBKDF2-HMAC-SHA1 each, as iron-webcrypto's defaults have them: the password must be
//! random, and is derived from twice for every seal because each has salts of its own. The suffix stands outside of the MAC and is
//! only ever cut off.

use alloc::{
    format,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};
use core::{fmt, time::Duration};

use aes::{
    Aes256Dec, Aes256Enc,
    cipher::{
        BlockModeDecrypt as _, BlockModeEncrypt as _, InnerIvInit as _, KeyInit as _, block_padding::Pkcs7,
    },
};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Foreign, KeyError, Refusal};
use crate::{
    crypto::{BLOCK_LEN, padded_len},
    encoding,
    random::{Random, RandomError},
    session::SessionData,
    time::Timestamp,
};

/// Longest seal that is looked at: four cookies, which is what iron-session splits a session over at most.
pub const MAX_SEAL_LEN: usize = 4 * 4096;

/// Most cookies that one session is split over: `name.0` to `name.3`.
pub const MAX_CHUNKS: usize = 4;

const PREFIX: &str = "Fe26.2";
const SUFFIX: &str = "~2";

/// How long a seal is accepted past its expiry: the clocks of two machines may differ.
const SKEW: Duration = Duration::from_secs(60);

/// Opens and seals iron-session's seals.
///
/// ```
/// use core::time::Duration;
/// use session_core::{OsRandom, Timestamp, interop::iron::Iron};
///
/// // `password: { 2: current, 1: previous }` there; a lone `password: current` has the id 1.
/// let iron = Iron::new("1", "previous-password-of-at-least-32-chars")?
///     .password("2", "current-password-of-at-least-32-characters")?;
/// let now = Timestamp::from_millis(1_700_000_000_000);
/// let seal = iron.seal(br#"{"userId":42}"#, Some(Duration::from_secs(1_209_600)), now, &OsRandom)?;
/// assert!(seal.starts_with("Fe26.2*2*") && seal.ends_with("~2"));
/// assert_eq!(iron.open(seal.as_bytes(), now)?.json(), br#"{"userId":42}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Iron {
    /// Never empty.
    passwords: Vec<Password>,
}

#[derive(Clone)]
struct Password {
    id: String,
    secret: Zeroizing<String>,
}

impl Iron {
    /// With one password: under the id `1` where iron-session was given nothing but a password.
    ///
    /// # Errors
    /// [`KeyError::Short`] for fewer than 32 characters, [`KeyError::PasswordId`].
    pub fn new(id: &str, password: &str) -> Result<Self, KeyError> {
        Self { passwords: Vec::new() }.password(id, password)
    }

    /// With another one. The one with the greatest number as id seals, as there.
    ///
    /// # Errors
    /// As [`Iron::new`]; [`KeyError::DuplicateId`].
    pub fn password(mut self, id: &str, password: &str) -> Result<Self, KeyError> {
        const LEAST: usize = 32;
        // JavaScript counts UTF-16 units.
        let actual = password.encode_utf16().count();
        if actual < LEAST {
            return Err(KeyError::Short { actual, least: LEAST });
        }
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !(1..=32).contains(&id.len()) || !id.bytes().all(usable) {
            return Err(KeyError::PasswordId);
        }
        if self.find(id).is_some() {
            return Err(KeyError::DuplicateId);
        }
        self.passwords.push(Password { id: id.into(), secret: Zeroizing::new(password.into()) });
        Ok(self)
    }

    /// Checks and decrypts a seal, with its suffix or without.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], [`Refusal::UnknownPassword`], [`Refusal::Forged`]; [`Refusal::Expired`] more than a minute after its end.
    pub fn open(&self, seal: &[u8], now: Timestamp) -> Result<Opened, Refusal> {
        let parts = Parts::of(seal).ok_or(Refusal::Malformed)?;
        let password = self.find(parts.id).ok_or(Refusal::UnknownPassword)?;
        let mac = encoding::decode_array::<32>(parts.mac.as_bytes()).ok_or(Refusal::Malformed)?;
        if password.mac(parts.base, parts.mac_salt).verify(&mac.into()).is_err() {
            return Err(Refusal::Forged);
        }
        let expires_at = parts.expires_at().ok_or(Refusal::Malformed)?;
        if now >= expires_at + SKEW && expires_at != Timestamp::MAX {
            return Err(Refusal::Expired);
        }
        let iv = encoding::decode_array::<BLOCK_LEN>(parts.iv.as_bytes()).ok_or(Refusal::Malformed)?;
        let mut json =
            encoding::decode(parts.ciphertext.as_bytes()).map(Zeroizing::new).ok_or(Refusal::Malformed)?;
        let key = Aes256Dec::new((&*password.derive(parts.salt)).into());
        let length = cbc::Decryptor::inner_iv_init(&key, (&iv).into())
            .decrypt_padded::<Pkcs7>(&mut json)
            .map(<[u8]>::len)
            .map_err(|_| Refusal::Malformed)?;
        json.truncate(length);
        Ok(Opened { json, expires_at, mac })
    }

    /// Seals JSON, for a transition during which iron-session still reads it. Without a time to live it never expires, as with `ttl: 0` there.
    ///
    /// # Errors
    /// [`RandomError`] if the random source fails.
    pub fn seal(
        &self,
        json: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<String, RandomError> {
        let password = self.sealing();
        let mut iv = [0; BLOCK_LEN];
        random.fill(&mut iv)?;
        let (salt, mac_salt) = (new_salt(random)?, new_salt(random)?);
        let mut buffer = Zeroizing::new(vec![0; padded_len(json.len())]);
        buffer[..json.len()].copy_from_slice(json);
        let key = Aes256Enc::new((&*password.derive(&salt)).into());
        let sealed = cbc::Encryptor::inner_iv_init(&key, (&iv).into())
            .encrypt_padded::<Pkcs7>(&mut buffer, json.len())
            .map(<[u8]>::len);
        debug_assert_eq!(sealed.ok(), Some(padded_len(json.len())));
        let (id, iv, ciphertext) = (&password.id, encoding::encode(&iv), encoding::encode(&buffer));
        let expiry = ttl.map_or_else(String::new, |ttl| (now + ttl).as_millis().to_string());
        let base = format!("{PREFIX}*{id}*{salt}*{iv}*{ciphertext}*{expiry}");
        let mac = encoding::encode(&password.mac(&base, &mac_salt).finalize().into_bytes());
        Ok(format!("{base}*{mac_salt}*{mac}{SUFFIX}"))
    }

    fn find(&self, id: &str) -> Option<&Password> {
        self.passwords.iter().find(|password| password.id == id)
    }

    fn sealing(&self) -> &Password {
        let newest = self.passwords.iter().max_by_key(|password| password.id.parse::<u64>().unwrap_or(0));
        newest.expect("made with one password")
    }
}

/// Shows no password.
impl fmt::Debug for Iron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iron").field("passwords", &self.passwords.len()).finish_non_exhaustive()
    }
}

impl Password {
    /// A salt is used as the text that it is.
    fn derive(&self, salt: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha1>(self.secret.as_bytes(), salt.as_bytes(), 1, &mut *key);
        key
    }

    fn mac(&self, base: &str, salt: &str) -> Hmac<Sha256> {
        let keyed = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&*self.derive(salt));
        keyed.expect("HMAC takes keys of any length").chain_update(base)
    }
}

/// 256 random bits in hexadecimal.
fn new_salt(random: &dyn Random) -> Result<String, RandomError> {
    let mut bytes = [0; 32];
    random.fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The parts of a seal, borrowed.
struct Parts<'a> {
    /// What the MAC covers.
    base: &'a str,
    id: &'a str,
    salt: &'a str,
    iv: &'a str,
    ciphertext: &'a str,
    expiry: &'a str,
    mac_salt: &'a str,
    mac: &'a str,
}

impl<'a> Parts<'a> {
    fn of(seal: &'a [u8]) -> Option<Self> {
        if seal.len() > MAX_SEAL_LEN {
            return None;
        }
        let seal = core::str::from_utf8(seal).ok()?;
        let seal = seal.split_once('~').map_or(seal, |(seal, _)| seal);
        let mut parts = seal.split('*');
        let mut next = || parts.next();
        let (prefix, id, salt, iv) = (next()?, next()?, next()?, next()?);
        let (ciphertext, expiry, mac_salt, mac) = (next()?, next()?, next()?, next()?);
        if prefix != PREFIX || parts.next().is_some() {
            return None;
        }
        let base = seal.get(..seal.len() - mac.len() - mac_salt.len() - 2)?;
        Some(Self { base, id, salt, iv, ciphertext, expiry, mac_salt, mac })
    }

    /// [`Timestamp::MAX`] for a seal that never expires.
    fn expires_at(&self) -> Option<Timestamp> {
        if self.expiry.is_empty() {
            return Some(Timestamp::MAX);
        }
        let digits = self.expiry.bytes().all(|byte| byte.is_ascii_digit()) && !self.expiry.starts_with('0');
        digits.then(|| Timestamp::from_millis(self.expiry.parse().unwrap_or(u64::MAX)))
    }
}

/// What a seal holds.
///
/// ```
/// # use session_core::{OsRandom, Timestamp, interop::iron::Iron};
/// # let iron = Iron::new("1", "a-password-of-at-least-32-characters")?;
/// # let now = Timestamp::from_millis(1_700_000_000_000);
/// let seal = iron.seal(b"{}", None, now, &OsRandom)?;
/// assert_eq!(iron.open(seal.as_bytes(), now)?.expires_at(), Timestamp::MAX); // never
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Opened {
    json: Zeroizing<Vec<u8>>,
    expires_at: Timestamp,
    mac: [u8; 32],
}

impl Opened {
    /// What was sealed.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// When the seal ends; [`Timestamp::MAX`] if it says nothing of an end.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// What an import begins with. iron-session gives its sessions no name, so a seal's MAC is taken for one: two seals of one session are two.
    ///
    /// # Errors
    /// [`Refusal::Data`] if the JSON doesn't fit `T`.
    pub fn into_foreign<T: SessionData>(self) -> Result<Foreign<T>, Refusal> {
        let data = serde_json::from_slice(&self.json).map_err(|_| Refusal::Data)?;
        Ok(Foreign::new(&self.mac, self.expires_at, data))
    }
}
