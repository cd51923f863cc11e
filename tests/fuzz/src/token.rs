//! Tokens: nothing opens but what was sealed, and what is refused is refused for the reason that `core/FORMAT.md` gives.

use std::sync::LazyLock;

use session_core::{Header, Kind, Plaintext, Rejection, Timestamp, TokenCodec};

use crate::{
    Given, NOW,
    format::{self, Parts},
    input::Input,
    keys, reference, ring,
};

const COOKIE: &str = "__Host-session";

static CODECS: LazyLock<[TokenCodec; 2]> =
    LazyLock::new(|| [Kind::CookieHeld, Kind::Reference].map(|kind| TokenCodec::new(&ring(), kind, COOKIE)));

/// For a cookie that nothing was ever sealed for.
static VICTIM: LazyLock<[TokenCodec; 2]> = LazyLock::new(|| {
    [Kind::CookieHeld, Kind::Reference].map(|kind| TokenCodec::new(&ring(), kind, "victim"))
});

static KEYS: LazyLock<[format::Keys; 2]> = LazyLock::new(keys);

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.below(2);
    match input.below(3) {
        0 => any(kind, input.rest()),
        1 => altered(kind, &mut input),
        _ => authentic(kind, &mut input),
    }
}

fn any(kind: usize, token: &[u8]) {
    assert!(VICTIM[kind].open(token, NOW).is_err(), "forged");
    agree(kind, token, NOW);
}

/// A token that was sealed, and changed on its way.
fn altered(kind: usize, input: &mut Input<'_>) {
    let (iv, deflate, payload) = (Given(input.array()), input.below(2) == 1, input.piece());
    let expires_at = Timestamp::from_millis(NOW.as_millis() + 1);
    let codec = &CODECS[kind];
    let token = codec.seal(Plaintext::from(payload), expires_at, deflate, &iv).unwrap().into_bytes();
    let changed = input.altered(&token);
    agree(kind, &token, NOW);
    agree(kind, &changed, NOW);
    if token.len() <= session_core::MAX_TOKEN_LEN {
        let opened = codec.open(&token, NOW).ok().expect("what was sealed opens");
        assert_eq!((opened.payload(), opened.expires_at()), (payload, expires_at));
        assert_eq!(codec.open(&token, expires_at).err(), Some(Rejection::Expired));
    }
    if changed != token {
        assert!(codec.open(&changed, NOW).is_err(), "opened although changed");
    }
    assert!(VICTIM[kind].open(&token, NOW).is_err(), "opened for another cookie");
    assert!(CODECS[1 - kind].open(&token, NOW).is_err(), "opened as another kind");
}

/// A token as only one who has a key can make it: anything may stand under the tag.
fn authentic(kind: usize, input: &mut Input<'_>) {
    let keys = &KEYS[input.below(2)];
    let flags = if input.below(8) == 0 { input.byte() } else { (kind as u8) << 1 | input.byte() & 1 };
    let (expires_at, iv) = (NOW.as_millis().wrapping_add(input.u64() as i64 as u64 >> 1), input.array());
    let mut parts = Parts::new(keys, flags, expires_at, iv, &[]);
    parts.ciphertext = match input.below(4) {
        0 => input.rest().to_vec(),
        // Whole blocks whose padding is what it is.
        1 => {
            let blocks = input.rest();
            format::encrypt_blocks(&keys.encryption, &iv, &blocks[..blocks.len() / 16 * 16])
        }
        2 => format::encrypt(&keys.encryption, &iv, &format::frame(input.rest())),
        _ => format::encrypt(&keys.encryption, &iv, input.rest()),
    };
    let token = format::base64(&parts.sealed(keys, COOKIE.as_bytes()));
    agree(kind, token.as_bytes(), NOW);
}

/// The codec and the reference give the same, or refuse for the same reason; the header can be read of whatever got as far as its key.
fn agree(kind: usize, token: &[u8], now: Timestamp) {
    let opened = CODECS[kind].open(token, now);
    let found = opened.as_ref().map(|opened| opened.payload().to_vec()).map_err(|rejection| rejection.code());
    assert_eq!(found, reference::open_token(token, kind as u8, COOKIE, now.as_millis()));
    match (Header::parse(token), opened) {
        (Ok(header), Ok(opened)) => {
            assert_eq!((header.key_id(), header.expires_at()), (opened.key_id(), opened.expires_at()));
            assert_eq!(header.kind(), CODECS[kind].kind());
        }
        (Err(_), Ok(_)) => panic!("opened, and has no header"),
        (Err(_), Err(Rejection::Forged | Rejection::Expired)) => {
            panic!("got as far as its tag, and has no header")
        }
        (_, Err(_)) => {}
    }
}
