//! Secrets as they are written down, and those that are refused.

use serde::Serialize;

use crate::format::{Keys, base64, hex, secret, written};

#[derive(Serialize)]
pub(crate) struct File {
    about: &'static str,
    accepted: Vec<Accepted>,
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Kdf {
    salt: &'static str,
    iterations: u32,
}

#[derive(Serialize)]
struct Accepted {
    text: String,
    /// Of passphrases.
    kdf: Option<Kdf>,
    secret: String,
    key_id: String,
}

#[derive(Serialize)]
struct Refused {
    text: String,
    iterations: u32,
    error: &'static str,
    reason: &'static str,
}

const ITERATIONS: u32 = 600_000;
const SALT: &str = "session-kdf-v1";

pub(crate) fn file() -> File {
    let sixteen_values = core::array::from_fn(|i| (i % 16) as u8);
    File {
        about: "Written secrets and the 32 bytes (hex) they stand for. `kdf`: how a passphrase is derived; the first has the defaults. `refused`: \
            the error that is given when the application starts.",
        accepted: vec![
            random(&secret(0)),
            random(&secret(224)),
            random(&sixteen_values),
            passphrase("correct horse battery staple", SALT, ITERATIONS),
            passphrase("correct horse battery staple", SALT, 100_000),
            passphrase("correct horse battery staple", "of our own", 100_000),
            passphrase("correct horse battery staple", "", 100_000),
            passphrase("sixteen bytes ..", SALT, 100_000),
            passphrase("\u{fc}ber \u{1f511} n\u{e4}chte", SALT, 100_000),
            passphrase(" spaces belong to it ", SALT, 100_000),
            passphrase("SK1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", SALT, 100_000),
            passphrase(
                "longer than a block of SHA-256, which is 64 bytes: HMAC hashes such a key first",
                SALT,
                100_000,
            ),
        ],
        refused: vec![
            refused("", "short", "no secret at all"),
            refused("fifteen bytes .", "short", "a passphrase has at least 16 bytes"),
            refused("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "repetitive", "one byte, repeated"),
            refused("abcdefgabcdefgabcdefg", "repetitive", "a passphrase has at least 8 different bytes"),
            refused("1sxc1aNxGHTTZKlK5cpCgufJAqGM4G13", "known", "another library's default"),
            refused(
                "complex_password_at_least_32_characters_long",
                "known",
                "an example of public documentation",
            ),
            refused(
                "your-super-secret-key-change-in-production",
                "known",
                "an example of public documentation",
            ),
            refused(
                "your-secret-key-at-least-32-characters-long",
                "known",
                "an example of public documentation",
            ),
            refused(
                "a-very-long-secret-key-of-at-least-32-chars",
                "known",
                "an example of public documentation",
            ),
            refused("thisisasecretkeythatyoushouldchange", "known", "an example of public documentation"),
            refused("sk1_", "encoding", "nothing behind the prefix"),
            refused(&written(&secret(0))[..46], "encoding", "42 characters"),
            refused(&format!("{}A", written(&secret(0))), "encoding", "44 characters"),
            refused(&format!("{}=", written(&secret(0))), "encoding", "padding"),
            refused(&format!("{}\n", written(&secret(0))), "encoding", "a line feed behind"),
            refused(
                "sk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9",
                "encoding",
                "bits that stand for nothing",
            ),
            refused("sk1_++ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "encoding", "the standard alphabet"),
            refused(&written(&[0; 32]), "repetitive", "32 zeros"),
            refused(
                &written(&core::array::from_fn(|i| (i % 15) as u8)),
                "repetitive",
                "a random secret has at least 16 different bytes",
            ),
            Refused {
                iterations: 99_999,
                ..refused("correct horse battery staple", "iterations", "at least 100,000 iterations")
            },
            Refused {
                iterations: 0,
                ..refused("correct horse battery staple", "iterations", "at least 100,000 iterations")
            },
        ],
    }
}

fn random(secret: &[u8; 32]) -> Accepted {
    accepted(&format!("sk1_{}", base64(secret)), None, secret)
}

fn passphrase(text: &str, salt: &'static str, iterations: u32) -> Accepted {
    let mut secret = [0; 32];
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(text.as_bytes(), salt.as_bytes(), iterations, &mut secret);
    accepted(text, Some(Kdf { salt, iterations }), &secret)
}

fn accepted(text: &str, kdf: Option<Kdf>, secret: &[u8; 32]) -> Accepted {
    Accepted { text: text.to_owned(), kdf, secret: hex(secret), key_id: hex(&Keys::of(secret).id) }
}

fn refused(text: &str, error: &'static str, reason: &'static str) -> Refused {
    Refused { text: text.to_owned(), iterations: ITERATIONS, error, reason }
}
