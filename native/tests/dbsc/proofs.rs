//! Proofs by themselves: what is one, and what isn't.

use proptest::prelude::*;
use ring::hmac;
use serde_json::{Value, json};
use session_native::dbsc::{DeviceKey, MAX_PROOF_LEN, Proof, ProofError};

use crate::browser::{Device, encode};

/// What Chromium 156 sent to a page that asked for a registration with the challenge "cv" (§9.10 of the draft).
const CHROMIUM: &str = "eyJhbGciOiJFUzI1NiIsImp3ayI6eyJjcnYiOiJQLTI1NiIsImt0eSI6IkVDIiwieCI6ImFWRkdoT3NRM1F0ckpITXZKd25kUWdXQzVhYjZ6c29VTGY0YWo5NWNwRVEiLCJ5IjoiVEtkbWQwUi1TcW5xX2VJaGxYVkNPaGpuel8waHpDZDRBM2h3STZ1Rm5TcyJ9LCJ0eXAiOiJkYnNjK2p3dCJ9.eyJqdGkiOiJjdiJ9.Eb_yApWSjh9CBYzksNPRWNwOHLU3TGo9a6_wajk07leVOeoA3DhWuj0nVfVfp4zlh7NURcdlxxD_FlPCqOPBtg";

fn key_of(device: &Device) -> DeviceKey {
    serde_json::from_value(device.jwk()).unwrap()
}

/// Why it is refused, by both doors.
fn refusal(proof: impl AsRef<[u8]>, key: &DeviceKey) -> [Option<ProofError>; 2] {
    [Proof::of_new_device(proof.as_ref()).err(), Proof::of_device(proof.as_ref(), key).err()]
}

#[test]
fn what_chromium_sends_is_a_proof() {
    let proof = Proof::of_new_device(CHROMIUM.as_bytes()).unwrap();
    assert_eq!(proof.challenge(), "cv");
    let key = proof.into_key();
    let jwk = serde_json::to_value(&key).unwrap();
    assert_eq!(jwk["x"], "aVFGhOsQ3QtrJHMvJwndQgWC5ab6zsoULf4aj95cpEQ");
    assert_eq!(Proof::of_device(CHROMIUM.as_bytes(), &key).unwrap().challenge(), "cv");
}

#[test]
fn a_proof_is_read_as_the_draft_writes_it() {
    let device = Device::new();
    let first = Proof::of_new_device(device.first_proof("challenge").as_bytes()).unwrap();
    assert_eq!(first.challenge(), "challenge");
    let key = first.into_key();
    assert_eq!(key, key_of(&device));
    assert_eq!(Proof::of_device(device.proof("next").as_bytes(), &key).unwrap().challenge(), "next");
    // Claims and members of the header that it doesn't have are nobody's business.
    let header = json!({ "alg": "ES256", "typ": "dbsc+jwt", "kid": "x", "jwk": { "kty": "RSA" } });
    let claims =
        json!({ "jti": "next", "aud": "https://a.example", "iat": 1, "sub": "x", "authorization": "y" });
    assert!(Proof::of_device(device.sign(&header, &claims).as_bytes(), &key).is_ok());
}

#[test]
fn only_es256_is_an_algorithm() {
    let (device, claims) = (Device::new(), json!({ "jti": "c" }));
    let key = key_of(&device);
    for algorithm in ["none", "None", "HS256", "RS256", "PS256", "ES384", "ES256K", "EdDSA", "es256", ""] {
        let header = json!({ "alg": algorithm, "typ": "dbsc+jwt", "jwk": device.jwk() });
        // A right signature makes none of them right; nor does one less.
        let signed = device.sign(&header, &claims);
        let unsigned = &signed[..=signed.rfind('.').unwrap()];
        for proof in [&*signed, unsigned] {
            assert_eq!(refusal(proof, &key), [Some(ProofError::Algorithm); 2], "{algorithm:?}");
        }
    }
    // The public key as the secret of a MAC, with the algorithm that says so and with the one that doesn't.
    for (algorithm, error) in [("HS256", ProofError::Algorithm), ("ES256", ProofError::Malformed)] {
        let header = json!({ "alg": algorithm, "typ": "dbsc+jwt", "jwk": device.jwk() });
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, device.point()), signed.as_bytes());
        assert_eq!(refusal(format!("{signed}.{}", encode(tag)), &key), [Some(error); 2]);
    }
}

#[test]
fn a_jwt_for_something_else_is_no_proof() {
    let (device, claims) = (Device::new(), json!({ "jti": "c" }));
    let key = key_of(&device);
    for typ in ["JWT", "jwt", "dpop+jwt", "DBSC+JWT", ""] {
        let header = json!({ "alg": "ES256", "typ": typ, "jwk": device.jwk() });
        assert_eq!(refusal(device.sign(&header, &claims), &key), [Some(ProofError::Type); 2], "{typ:?}");
    }
    // Extensions that must be understood aren't.
    let header =
        json!({ "alg": "ES256", "typ": "dbsc+jwt", "jwk": device.jwk(), "crit": ["b64"], "b64": false });
    assert_eq!(refusal(device.sign(&header, &claims), &key), [Some(ProofError::Malformed); 2]);
    // What must be there.
    for header in [
        json!({ "alg": "ES256" }),
        json!({ "typ": "dbsc+jwt" }),
        json!([]),
        json!({ "alg": 1, "typ": "dbsc+jwt" }),
    ] {
        assert_eq!(
            refusal(device.sign(&header, &claims), &key),
            [Some(ProofError::Malformed); 2],
            "{header}"
        );
    }
    let header = json!({ "alg": "ES256", "typ": "dbsc+jwt", "jwk": device.jwk() });
    for claims in [json!({}), json!({ "jti": 1 }), json!({ "jti": null }), json!("jti")] {
        assert_eq!(
            refusal(device.sign(&header, &claims), &key),
            [Some(ProofError::Malformed); 2],
            "{claims}"
        );
    }
}

#[test]
fn another_key_proves_nothing() {
    let (device, other) = (Device::new(), Device::new());
    let key = key_of(&device);
    assert_eq!(Proof::of_device(other.proof("c").as_bytes(), &key).err(), Some(ProofError::Signature));
    // The key that a later proof brings itself is not looked at.
    assert_eq!(Proof::of_device(other.first_proof("c").as_bytes(), &key).err(), Some(ProofError::Signature));
    // A first proof is signed by the key that it brings, and by no other.
    let header = json!({ "alg": "ES256", "typ": "dbsc+jwt", "jwk": device.jwk() });
    let proof = other.sign(&header, &json!({ "jti": "c" }));
    assert_eq!(Proof::of_new_device(proof.as_bytes()).err(), Some(ProofError::Signature));
}

#[test]
fn a_key_is_a_point_of_p_256() {
    let device = Device::new();
    let sign = |jwk: Value| {
        let header = json!({ "alg": "ES256", "typ": "dbsc+jwt", "jwk": jwk });
        Proof::of_new_device(device.sign(&header, &json!({ "jti": "c" })).as_bytes()).err()
    };
    let with = |name: &str, value: Value| {
        let mut jwk = device.jwk();
        jwk[name] = value;
        sign(jwk)
    };
    let [x, y] = ["x", "y"].map(|name| device.jwk()[name].as_str().unwrap().to_owned());
    for (name, value) in [
        ("kty", json!("RSA")),
        ("kty", json!("oct")),
        ("crv", json!("P-384")),
        ("crv", json!("secp256k1")),
        ("crv", json!(null)),
        ("x", json!(x[..42])),
        ("x", json!(format!("{x}="))),
        ("x", json!(format!("{x}AAAA"))),
        ("y", json!(1)),
        ("y", json!("")),
    ] {
        assert_eq!(with(name, value.clone()), Some(ProofError::Key), "{name} {value}");
    }
    for jwk in
        [json!(null), json!("key"), json!([]), json!({}), json!({ "kty": "EC", "crv": "P-256", "x": x })]
    {
        assert_eq!(sign(jwk.clone()), Some(ProofError::Key), "{jwk}");
    }
    // 32 bytes each, and no point of the curve: the point at infinity as zeros, coordinates swapped, y + 1, x = p, and all ones.
    let [zero, ones] = [[0_u8; 32], [0xff; 32]].map(encode);
    let p = encode([
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ]);
    let mut beside = device.point()[33..].to_vec();
    beside[31] ^= 1;
    for (x, y) in [(&zero, &zero), (&y, &x), (&x, &encode(beside)), (&p, &y), (&zero, &y), (&ones, &ones)] {
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        assert_eq!(sign(jwk), Some(ProofError::Signature), "{x} {y}");
        // Nor would one that got into the store be of use.
        let key: DeviceKey =
            serde_json::from_value(json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })).unwrap();
        assert_eq!(Proof::of_device(device.proof("c").as_bytes(), &key).err(), Some(ProofError::Signature));
    }
}

#[test]
fn a_signature_is_64_bytes_of_the_right_ones() {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

    let device = Device::new();
    let (key, proof) = (key_of(&device), device.first_proof("c"));
    let (signed, signature) = proof.rsplit_once('.').unwrap();
    let right = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let refused = |bytes: &[u8]| refusal(format!("{signed}.{}", encode(bytes)), &key);
    for length in (0..64).chain([65, 70, 71, 72, 128]) {
        let bytes: Vec<u8> = right.iter().copied().cycle().take(length).collect();
        assert_eq!(refused(&bytes), [Some(ProofError::Malformed); 2], "{length} bytes");
    }
    for bit in 0..512 {
        let mut flipped = right.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refused(&flipped), [Some(ProofError::Signature); 2], "bit {bit}");
    }
    // Zeros, which broken verifiers took for a signature of anything (CVE-2022-21449), and values beyond the order.
    for bytes in [[0; 64], [0xff; 64]] {
        assert_eq!(refused(&bytes), [Some(ProofError::Signature); 2]);
    }
}

#[test]
fn what_was_signed_can_not_be_changed() {
    let device = Device::new();
    let key = key_of(&device);
    let proof = device.proof("challenge");
    for position in 0..proof.len() {
        for other in [b'A', b'Q', b'.', b'=', b' ', 0, 0xff] {
            let mut changed = proof.clone().into_bytes();
            if changed[position] != other {
                changed[position] = other;
                assert!(Proof::of_device(&changed, &key).is_err(), "{other} at {position}");
            }
        }
    }
    for end in 0..proof.len() {
        assert!(Proof::of_device(&proof.as_bytes()[..end], &key).is_err(), "{end} characters");
    }
    for more in [".", "=", "A", ".e30", "\n"] {
        assert!(Proof::of_device(format!("{proof}{more}").as_bytes(), &key).is_err(), "{more:?}");
    }
}

#[test]
fn a_long_proof_is_not_looked_at() {
    let device = Device::new();
    let key = key_of(&device);
    let long = |length: usize| device.proof(&"c".repeat(length));
    let fits = (0..MAX_PROOF_LEN).rev().map(long).find(|proof| proof.len() <= MAX_PROOF_LEN).unwrap();
    assert!(Proof::of_device(fits.as_bytes(), &key).is_ok());
    assert_eq!(refusal(long(MAX_PROOF_LEN), &key), [Some(ProofError::TooLong); 2]);
    assert_eq!(refusal(vec![b'e'; 1 << 20], &key), [Some(ProofError::TooLong); 2]);
    // Depth is bounded as well.
    let deep = format!("{}{}", "[".repeat(700), "]".repeat(700));
    let header = encode(format!(r#"{{"alg":"ES256","typ":"dbsc+jwt","x":{deep}}}"#));
    assert_eq!(refusal(format!("{header}.e30.AA"), &key), [Some(ProofError::Malformed); 2]);
    // What is there twice is there for a reason.
    let twice = encode(r#"{"alg":"none","alg":"ES256","typ":"dbsc+jwt"}"#);
    assert_eq!(refusal(format!("{twice}.e30.AA"), &key), [Some(ProofError::Malformed); 2]);
}

proptest! {
    #[test]
    fn nothing_that_a_stranger_sends_is_a_proof_or_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        header in "\\PC{0,60}",
        claims in "\\PC{0,60}",
        signature in prop::collection::vec(any::<u8>(), 60..68),
    ) {
        let key = key_of(&Device::new());
        prop_assert!(refusal(&bytes, &key).iter().all(Option::is_some));
        let proof = format!("{}.{}.{}", encode(header), encode(&claims), encode(&signature));
        prop_assert!(refusal(proof, &key).iter().all(Option::is_some));
        let header = json!({ "alg": "ES256", "typ": "dbsc+jwt", "jwk": claims }).to_string();
        let proof = format!("{}.{}.{}", encode(header), encode(&claims), encode(signature));
        prop_assert!(refusal(proof, &key).iter().all(Option::is_some));
    }
}
