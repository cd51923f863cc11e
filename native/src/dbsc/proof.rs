//! Proofs: what a browser signs with its device's key, and how that is checked. No store, no clock, no HTTP.

use core::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{digest, signature};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Most characters of a proof that are looked at: browsers send some 700.
pub const MAX_PROOF_LEN: usize = 2048;

/// Why a proof is refused. For logs: what a client is told must not depend on it.
///
/// ```
/// use session_native::dbsc::{Proof, ProofError};
///
/// assert_eq!(Proof::of_new_device(b"e30.e30.").err(), Some(ProofError::Malformed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// More than [`MAX_PROOF_LEN`] characters.
    #[error("the proof has more than {MAX_PROOF_LEN} characters")]
    TooLong,
    /// Not a JWT, a header or claim that must be there is missing, or the signature isn't 64 bytes long.
    #[error("the proof is no JWT with the claims of a DBSC proof")]
    Malformed,
    /// Its `typ` isn't `dbsc+jwt`: a token that was signed for something else.
    #[error("the proof's type is not dbsc+jwt")]
    Type,
    /// Its `alg` isn't `ES256`, the one algorithm that is offered: `none`, `HS256`, `RS256` and whatever there may be.
    #[error("the proof's algorithm is not ES256")]
    Algorithm,
    /// The first proof of a device brings no key of P-256.
    #[error("the proof brings no key of P-256")]
    Key,
    /// The key didn't sign this, or it is no point of the curve.
    #[error("the proof's signature is wrong")]
    Signature,
}

/// The public key of a device: ECDSA on P-256. Written as a JWK (RFC 7517).
///
/// Only [`Proof::of_new_device`] makes one that is new, so that whoever brought it has signed with it: it is a point of the curve.
///
/// ```
/// use session_native::dbsc::DeviceKey;
///
/// let key: DeviceKey = serde_json::from_str(
///     r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
/// )?;
/// assert_eq!(key.thumbprint(), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceKey([u8; POINT_LEN]);

/// 4, then x and y: an uncompressed point (SEC 1 §2.3.3).
const POINT_LEN: usize = 1 + 2 * COORDINATE_LEN;
const COORDINATE_LEN: usize = 32;
const UNCOMPRESSED: u8 = 4;

const KEY_TYPE: &str = "EC";
const CURVE: &str = "P-256";

#[derive(Serialize, Deserialize)]
struct Jwk<S> {
    // In the order of the thumbprint's (RFC 7638 §3.2).
    crv: S,
    kty: S,
    x: S,
    y: S,
}

impl DeviceKey {
    /// The key's name: the SHA-256 thumbprint of RFC 7638 in base64url. The browser makes a key for each session, so it names no person and
    /// no machine.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let json = serde_json::to_vec(&self.jwk()).expect("strings can be written as JSON");
        BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &json))
    }

    fn jwk(&self) -> Jwk<String> {
        let [_, coordinates @ ..] = &self.0;
        let (x, y) = coordinates.split_at(COORDINATE_LEN);
        let [x, y] = [x, y].map(|coordinate| BASE64_URL_SAFE_NO_PAD.encode(coordinate));
        Jwk { crv: CURVE.into(), kty: KEY_TYPE.into(), x, y }
    }

    fn of_jwk(jwk: &Jwk<String>) -> Option<Self> {
        if jwk.kty != KEY_TYPE || jwk.crv != CURVE {
            return None;
        }
        let mut point = [UNCOMPRESSED; POINT_LEN];
        let (x, y) = point[1..].split_at_mut(COORDINATE_LEN);
        for (into, text) in [(x, &jwk.x), (y, &jwk.y)] {
            into.copy_from_slice(&decode_array::<COORDINATE_LEN>(text)?);
        }
        Some(Self(point))
    }
}

/// Shows the thumbprint.
impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.thumbprint())
    }
}

impl Serialize for DeviceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.jwk().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DeviceKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let jwk = Jwk::deserialize(deserializer)?;
        Self::of_jwk(&jwk).ok_or_else(|| de::Error::custom("expected the JWK of a P-256 key"))
    }
}

/// A proof whose signature is right: a "DBSC proof" of §9.10 of the draft. Whether its challenge is one of ours is the next question.
///
/// Claims that the draft doesn't have (`aud`, `iat`, `sub` of earlier ones) are not looked at: what a proof is good for stands in the
/// challenge, which is sealed by this server for one session.
///
/// ```
/// use session_native::dbsc::{DeviceKey, Proof, ProofError};
///
/// # let jwk = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
/// # let key: DeviceKey = serde_json::from_str(jwk)?;
/// // {"alg":"none","typ":"dbsc+jwt"} . {"jti":"challenge"}
/// let unsigned = b"eyJhbGciOiJub25lIiwidHlwIjoiZGJzYytqd3QifQ.eyJqdGkiOiJjaGFsbGVuZ2UifQ.";
/// assert_eq!(Proof::of_device(unsigned, &key).err(), Some(ProofError::Algorithm));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub struct Proof {
    challenge: String,
    key: DeviceKey,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    jwk: Option<serde_json::Value>,
    /// Extensions that must be understood (RFC 7515 §4.1.11): none is.
    crit: Option<de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
}

impl Proof {
    /// The first proof of a device, signed by the key that it brings in its header.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn of_new_device(jwt: &[u8]) -> Result<Self, ProofError> {
        let unverified = Unverified::parse(jwt)?;
        let jwk = unverified.header.jwk.as_ref().ok_or(ProofError::Key)?;
        let key = DeviceKey::deserialize(jwk).map_err(|_| ProofError::Key)?;
        unverified.verify(&key)
    }

    /// A later proof: signed by the key that is known. One that the proof itself may bring is not looked at.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn of_device(jwt: &[u8], key: &DeviceKey) -> Result<Self, ProofError> {
        Unverified::parse(jwt)?.verify(key)
    }

    /// What was signed.
    #[must_use]
    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// Whose signature it is.
    #[must_use]
    pub fn into_key(self) -> DeviceKey {
        self.key
    }
}

struct Unverified<'a> {
    header: Header,
    /// `header.claims`, as it was sent.
    signed: &'a str,
    claims: &'a str,
    signature: [u8; 64],
}

impl<'a> Unverified<'a> {
    fn parse(jwt: &'a [u8]) -> Result<Self, ProofError> {
        if jwt.len() > MAX_PROOF_LEN {
            return Err(ProofError::TooLong);
        }
        let jwt = core::str::from_utf8(jwt).map_err(|_| ProofError::Malformed)?;
        let (signed, signature) = jwt.rsplit_once('.').ok_or(ProofError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(ProofError::Malformed)?;
        let header: Header = decode_json(header)?;
        if header.alg != "ES256" {
            return Err(ProofError::Algorithm);
        }
        if header.typ != "dbsc+jwt" {
            return Err(ProofError::Type);
        }
        if header.crit.is_some() {
            return Err(ProofError::Malformed);
        }
        let signature = decode_array(signature).ok_or(ProofError::Malformed)?;
        Ok(Self { header, signed, claims, signature })
    }

    /// The claims are read when the signature is known to be right.
    fn verify(&self, key: &DeviceKey) -> Result<Proof, ProofError> {
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &key.0)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| ProofError::Signature)?;
        let Claims { jti } = decode_json(self.claims)?;
        Ok(Proof { challenge: jti, key: key.clone() })
    }
}

fn decode_json<T: de::DeserializeOwned>(part: &str) -> Result<T, ProofError> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| ProofError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| ProofError::Malformed)
}

/// Exactly `N` bytes.
fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}
