//! Tokens that must be refused, each with the reason.

use serde::Serialize;

use crate::{
    format::{
        DEFLATED, DOMAIN, Keys, Kind, Parts, base64, encrypt_blocks, frame, hmac, length, mac_input, secret,
        written,
    },
    tokens::{LATER, NOW, iv, reference, session},
};

#[derive(Serialize)]
pub(crate) struct File {
    about: &'static str,
    reader: Reader,
    tokens: Vec<Case>,
}

/// How the reader is set up, unless a case says otherwise.
#[derive(Serialize)]
struct Reader {
    secrets: Vec<String>,
    kind: &'static str,
    cookie: &'static str,
    now: u64,
}

#[derive(Serialize)]
struct Case {
    id: String,
    rejection: &'static str,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<u64>,
    token: String,
}

const COOKIE: &str = "__Host-session";

fn case(id: impl Into<String>, rejection: &'static str, reason: impl Into<String>, token: String) -> Case {
    Case { id: id.into(), rejection, reason: reason.into(), kind: None, cookie: None, now: None, token }
}

pub(crate) fn file() -> File {
    let honest = Honest::new();
    let mut tokens = flipped(&honest);
    tokens.extend(cut(&honest));
    tokens.extend(spelled(&honest));
    tokens.extend(header(&honest));
    tokens.extend(misused(&honest));
    tokens.extend(authenticated_wrongly(&honest));
    tokens.extend(authentic_but_broken(&honest));
    File {
        about: "Tokens that must be refused. `reader` is how the reader is set up; a case may replace `kind`, `cookie` or `now`. \
            `rejection` is for the server alone: a client must not be able to tell the cases apart. Where a token is wrong in several \
            ways, the order of checks in core/FORMAT.md decides.",
        reader: Reader {
            secrets: [0, 32].map(|first| written(&secret(first))).into(),
            kind: Kind::CookieHeld.name(),
            cookie: COOKIE,
            now: NOW,
        },
        tokens,
    }
}

/// A token that opens, and what it was made of.
struct Honest {
    keys: Keys,
    parts: Parts,
    bytes: Vec<u8>,
}

impl Honest {
    fn new() -> Self {
        let keys = Keys::of(&secret(0));
        // Two blocks: 94 bytes, so that the last character has bits to spare.
        let parts = Parts::new(
            &keys,
            Kind::CookieHeld.flags(),
            LATER,
            iv("rejected"),
            b"a payload of 28 bytes, plain",
        );
        let bytes = parts.sealed(&keys, COOKIE.as_bytes());
        assert_eq!(bytes.len(), 94);
        Self { keys, parts, bytes }
    }

    fn text(&self) -> String {
        base64(&self.bytes)
    }

    /// With other parts, under a tag that is right for them.
    fn with(&self, change: impl FnOnce(&mut Parts)) -> String {
        let mut parts = self.parts.clone();
        change(&mut parts);
        base64(&parts.sealed(&self.keys, COOKIE.as_bytes()))
    }

    /// Under another tag.
    fn tagged(&self, tag: &[u8]) -> String {
        base64(&[&self.parts.message(), tag].concat())
    }
}

fn flipped(honest: &Honest) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut flip = |byte: usize, bit: usize, rejection, what: &str| {
        let mut bytes = honest.bytes.clone();
        bytes[byte] ^= 1 << bit;
        cases.push(case(
            format!("flip-{byte}.{bit}"),
            rejection,
            format!("bit {bit} of byte {byte} flipped: {what}"),
            base64(&bytes),
        ));
    };
    for bit in 0..8 {
        flip(0, bit, "malformed", "another version");
    }
    flip(1, 0, "forged", "said to be deflated");
    flip(1, 1, "wrong-cookie", "said to be a reference");
    flip(1, 2, "wrong-cookie", "said to be a record");
    for bit in 3..8 {
        flip(1, bit, "malformed", "a flag that is not defined");
    }
    for byte in 2..6 {
        flip(byte, 0, "unknown-key", "another key id");
    }
    for byte in 6..14 {
        flip(byte, 0, "forged", "another expiry");
    }
    for byte in 14..30 {
        flip(byte, 7, "forged", "another IV");
    }
    for byte in [30, 45, 46, 61] {
        flip(byte, 3, "forged", "another ciphertext");
    }
    for byte in 62..94 {
        flip(byte, byte % 8, "forged", "another tag");
    }
    cases
}

fn cut(honest: &Honest) -> Vec<Case> {
    let mut cases = vec![case("empty", "malformed", "no characters at all", String::new())];
    for (bytes, what) in [
        (1, "the version"),
        (2, "the flags"),
        (5, "three bytes of the key id"),
        (6, "the key id"),
        (14, "the expiry"),
        (30, "the IV"),
        (46, "one block"),
        (62, "the ciphertext"),
        (77, "one byte less than the shortest token has"),
        (79, "part of the tag: the rest is not whole blocks"),
        (93, "all but the last byte"),
    ] {
        let token = base64(&honest.bytes[..bytes]);
        cases.push(case(
            format!("cut-after-{bytes}-bytes"),
            "malformed",
            format!("ends after {what}"),
            token,
        ));
    }
    let text = honest.text();
    for characters in [1, 4, 7, 9, 103, text.len() - 1] {
        let reason = format!("the first {characters} of {} characters", text.len());
        let token = text[..characters].to_owned();
        cases.push(case(format!("cut-after-{characters}-characters"), "malformed", reason, token));
    }
    let block = [&honest.bytes[..46], &honest.bytes[62..]].concat();
    cases.push(case("block-removed", "forged", "without its second block", base64(&block)));
    let block = [&honest.bytes[..62], &honest.bytes[46..]].concat();
    cases.push(case("block-repeated", "forged", "with its second block twice", base64(&block)));
    let block =
        [&honest.bytes[..30], &honest.bytes[46..62], &honest.bytes[30..46], &honest.bytes[62..]].concat();
    cases.push(case("blocks-swapped", "forged", "with its blocks in the other order", base64(&block)));
    let longer = [&honest.bytes[..], &[0]].concat();
    cases.push(case(
        "byte-appended",
        "malformed",
        "a byte behind the tag: not whole blocks",
        base64(&longer),
    ));
    let longer = [&honest.bytes[..], &[0; 16]].concat();
    cases.push(case("block-appended", "forged", "16 bytes behind the tag", base64(&longer)));
    cases.push(case("too-long", "malformed", "4097 characters", "A".repeat(4_097)));
    let long = honest.with(|parts| {
        *parts = Parts::new(&honest.keys, parts.flags, parts.expires_at, parts.iv, &[b' '; 3_008]);
    });
    let reason = format!("authentic, but of {} characters: more than any cookie holds", long.len());
    cases.push(case("too-long-authentic", "malformed", reason, long));
    cases
}

fn spelled(honest: &Honest) -> Vec<Case> {
    let text = honest.text();
    let last = text.chars().last().expect("not empty");
    let stray = char::from(last as u8 + 1);
    // A token that has both characters in which the alphabets differ, behind its first eight.
    let both = (0_u8..=255)
        .map(|round| honest.with(|parts| parts.iv = iv(&round.to_string())))
        .find(|token| token[8..].contains('-') && token[8..].contains('_'))
        .expect("one of 256 tokens has both");
    let mut inside = text.clone();
    inside.insert(60, '\n');
    let mut cases = vec![
        case("padded", "malformed", "one `=` of padding", format!("{text}=")),
        case("padded-twice", "malformed", "the padding that standard base64 has", format!("{text}==")),
        case("space-before", "malformed", "a space in front", format!(" {text}")),
        case("space-after", "malformed", "a space behind", format!("{text} ")),
        case("newline-after", "malformed", "a line feed behind", format!("{text}\n")),
        case("newline-inside", "malformed", "a line feed inside", inside),
        case("nul-after", "malformed", "a NUL behind", format!("{text}\0")),
        case(
            "quoted",
            "malformed",
            "in double quotes: readers of Cookie take them off before",
            format!("\"{text}\""),
        ),
        case(
            "standard-alphabet",
            "malformed",
            "`+` and `/` for `-` and `_`",
            both.replace('-', "+").replace('_', "/"),
        ),
        case("stray-bits", "malformed", "the last character has bits that stand for nothing", {
            let mut token = text.clone();
            token.pop();
            token.push(stray);
            token
        }),
        case("percent-encoded", "malformed", "a percent sign", format!("{}%2D{}", &text[..20], &text[21..])),
        case(
            "not-ascii",
            "malformed",
            "a letter that isn't ASCII",
            format!("{}\u{e9}{}", &text[..20], &text[21..]),
        ),
        case("hex", "malformed", "hex for base64", crate::format::hex(&honest.bytes)),
        case("plain-text", "malformed", "the payload in plain text", session("{}")),
        case("jwt", "malformed", "a JSON Web Token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0NSJ9.".to_owned()),
    ];
    cases.push(case("two-tokens", "malformed", "two tokens joined by a dot", format!("{text}.{text}")));
    cases
}

fn header(honest: &Honest) -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [0, 2, 255] {
        let token = honest.with(|parts| parts.version = version);
        cases.push(case(
            format!("version-{version}"),
            "malformed",
            format!("authentic, of version {version}"),
            token,
        ));
    }
    for bit in 3..8 {
        let token = honest.with(|parts| parts.flags |= 1 << bit);
        cases.push(case(
            format!("flag-{bit}"),
            "malformed",
            format!("authentic, with the undefined flag {bit}"),
            token,
        ));
    }
    for (id, flags) in [("kind-3", 0b110), ("kind-3-deflated", 0b111)] {
        let token = honest.with(|parts| parts.flags = flags);
        cases.push(case(id, "malformed", "authentic, of the undefined kind 3", token));
    }
    for (id, expires_at, what) in [
        ("expired-now", NOW, "at this very millisecond"),
        ("expired-before", NOW - 1, "a millisecond ago"),
        ("expired-0", 0, "in 1970"),
    ] {
        let token = honest.with(|parts| parts.expires_at = expires_at);
        cases.push(case(id, "expired", format!("authentic, expired {what}"), token));
    }
    let late =
        case("read-at-its-end", "expired", "read at the millisecond at which it expires", honest.text());
    cases.push(Case { now: Some(LATER), ..late });
    let late = case("read-too-late", "expired", "read a year after", honest.text());
    cases.push(Case { now: Some(LATER + 31_536_000_000), ..late });
    cases
}

fn misused(honest: &Honest) -> Vec<Case> {
    let keys = &honest.keys;
    let of_kind = |kind: Kind, payload: &str| {
        let parts = Parts::new(keys, kind.flags(), LATER, iv("kinds"), payload.as_bytes());
        base64(&parts.sealed(keys, COOKIE.as_bytes()))
    };
    let unknown = Keys::of(&secret(64));
    let foreign = Parts::new(&unknown, Kind::CookieHeld.flags(), LATER, iv("foreign"), b"{}");
    let foreign = base64(&foreign.sealed(&unknown, COOKIE.as_bytes()));
    let other = Keys::of(&secret(32));
    let mut cases = vec![
        case(
            "reference",
            "wrong-cookie",
            "an authentic reference where cookie-held sessions are read",
            of_kind(Kind::Reference, &reference()),
        ),
        case("record", "wrong-cookie", "an authentic token of kind record", of_kind(Kind::Record, "{}")),
        case(
            "unknown-key",
            "unknown-key",
            "authentic under a secret that the reader doesn't have",
            foreign.clone(),
        ),
        case(
            "unknown-key-and-misspelled",
            "unknown-key",
            "the key is looked up before the rest is decoded",
            format!("{foreign}="),
        ),
        case(
            "unknown-key-and-misspelled-header",
            "malformed",
            "the first eight characters are decoded before the key is looked up",
            format!("={}", &foreign[1..]),
        ),
        case("reference-of-unknown-key", "wrong-cookie", "the kind is checked before the key", {
            let parts = Parts::new(&unknown, Kind::Reference.flags(), LATER, iv("foreign"), b"{}");
            base64(&parts.sealed(&unknown, COOKIE.as_bytes()))
        }),
        case(
            "known-but-other-key",
            "forged",
            "names a key of the reader that didn't seal it",
            honest.with(|parts| parts.key_id = other.id),
        ),
        case("forged-and-expired", "forged", "the tag is checked before the expiry", {
            let mut parts = honest.parts.clone();
            parts.expires_at = NOW;
            base64(&[parts.message(), honest.bytes[62..].to_vec()].concat())
        }),
    ];
    let here = case(
        "cookie-held-read-as-reference",
        "wrong-cookie",
        "authentic, read where references are",
        honest.text(),
    );
    cases.push(Case { kind: Some(Kind::Reference.name()), ..here });
    for (id, cookie) in
        [("another-cookie", "session"), ("another-case", "__host-session"), ("cookie-without-name", "")]
    {
        let moved =
            case(id, "forged", "authentic in the cookie `__Host-session`, read in another", honest.text());
        cases.push(Case { cookie: Some(cookie), ..moved });
    }
    cases
}

fn authenticated_wrongly(honest: &Honest) -> Vec<Case> {
    let (message, cookie, key) = (honest.parts.message(), COOKIE.as_bytes(), &honest.keys.authentication);
    let right = hmac(key, &mac_input(DOMAIN, cookie, &message));
    let tagged = |id: &str, reason: &str, tag: &[u8]| case(id, "forged", reason, honest.tagged(tag));
    let under = |key: &[u8]| hmac(key, &mac_input(DOMAIN, cookie, &message));
    let of = |input: &[u8]| hmac(key, input);
    vec![
        tagged("tag-of-zeros", "32 zero bytes for a tag", &[0; 32]),
        tagged(
            "tag-backwards",
            "the tag's bytes in the other order",
            &right.iter().rev().copied().collect::<Vec<_>>(),
        ),
        tagged("tag-cut-in-half", "half of the tag, then zeros", &[&right[..16], &[0; 16]].concat()),
        tagged(
            "other-domain",
            "the tag of another domain",
            &of(&mac_input(b"session-token-v2", cookie, &message)),
        ),
        tagged("no-domain", "the tag of an empty domain", &of(&mac_input(b"", cookie, &message))),
        tagged("no-context", "the tag of an empty context", &of(&mac_input(DOMAIN, b"", &message))),
        tagged(
            "context-before-domain",
            "context and domain in the other order",
            &of(&mac_input(cookie, DOMAIN, &message)),
        ),
        tagged(
            "no-lengths",
            "domain and context without their lengths",
            &of(&[DOMAIN, cookie, &message].concat()),
        ),
        tagged("little-endian-lengths", "lengths in the other byte order", &{
            let little = |bytes: &[u8]| length(bytes).into_iter().rev().collect::<Vec<_>>();
            of(&[&little(DOMAIN)[..], DOMAIN, &little(cookie), cookie, &message].concat())
        }),
        tagged("message-alone", "the tag of the message without domain and context", &of(&message)),
        tagged("ciphertext-alone", "the header left out", &of(&mac_input(DOMAIN, cookie, &message[30..]))),
        tagged(
            "iv-left-out",
            "the IV left out",
            &of(&mac_input(DOMAIN, cookie, &[&message[..14], &message[30..]].concat())),
        ),
        tagged(
            "plaintext",
            "the tag of the payload in place of the ciphertext",
            &of(&mac_input(DOMAIN, cookie, &[&message[..30], b"a payload of 28 bytes, plain"].concat())),
        ),
        tagged(
            "encoded",
            "the tag of the text in place of the bytes",
            &of(&mac_input(DOMAIN, cookie, base64(&message).as_bytes())),
        ),
        tagged("encryption-key", "the tag under the encryption key", &under(&honest.keys.encryption)),
        tagged("binding-key", "the tag under the binding key", &under(&honest.keys.binding)),
        tagged("secret-itself", "the tag under the secret, not derived", &under(&secret(0))),
    ]
}

/// Only who has the key can make these: bugs, not attacks. They must not do harm all the same.
fn authentic_but_broken(honest: &Honest) -> Vec<Case> {
    let keys = &honest.keys;
    let padded = |last: &[u8; 16]| {
        honest.with(|parts| parts.ciphertext = encrypt_blocks(&keys.encryption, &parts.iv, last))
    };
    let framed = |body: &[u8]| {
        honest
            .with(|parts| *parts = Parts::new(keys, parts.flags | DEFLATED, parts.expires_at, parts.iv, body))
    };
    let framed_as = |packed: &[u8]| framed(&[&length(packed)[..], packed].concat());
    let payload = session(&format!(r#"{{"text":"{}"}}"#, "lorem ipsum ".repeat(40)));
    let good = frame(payload.as_bytes());
    let packed = miniz_oxide::deflate::compress_to_vec(payload.as_bytes(), 6);
    let bomb = miniz_oxide::deflate::compress_to_vec(&vec![b' '; (1 << 20) + 1], 9);
    let bytes = honest.with(|parts| parts.ciphertext.extend([0; 5]));
    vec![
        case("not-whole-blocks", "malformed", "authentic, with a ciphertext of 37 bytes", bytes),
        case(
            "no-ciphertext",
            "malformed",
            "authentic, without ciphertext",
            honest.with(|parts| parts.ciphertext.clear()),
        ),
        case("padding-0", "forged", "authentic, padding that ends in 0", padded(b"fifteen bytes..\0")),
        case("padding-17", "forged", "authentic, padding that ends in 17", padded(b"fifteen bytes..\x11")),
        case(
            "padding-mixed",
            "forged",
            "authentic, padding of unequal bytes",
            padded(b"thirteen byte\x01\x02\x03"),
        ),
        case(
            "deflate-garbage",
            "malformed",
            "authentic, said to be deflated, but plain",
            framed(b"{\"sid\":\"not deflated\"}"),
        ),
        case("deflate-empty", "malformed", "authentic, deflated, without a length", framed(b"")),
        case("deflate-length-0", "malformed", "authentic, deflated, of length 0", framed(&[0; 64])),
        case(
            "deflate-length-too-large",
            "malformed",
            "authentic, deflated, with a length beyond the end",
            framed(&{
                let mut lying = good.clone();
                lying[..4].copy_from_slice(&length(&vec![0; good.len() - 3]));
                lying
            }),
        ),
        case(
            "deflate-length-largest",
            "malformed",
            "authentic, deflated, with a length of 4 GiB",
            framed(&{
                let mut lying = good.clone();
                lying[..4].fill(0xff);
                lying
            }),
        ),
        case(
            "deflate-cut",
            "malformed",
            "authentic, deflated, but the stream has no end",
            framed_as(&packed[..packed.len() - 4]),
        ),
        case(
            "deflate-zlib",
            "malformed",
            "authentic, deflated with a zlib header",
            framed_as(&miniz_oxide::deflate::compress_to_vec_zlib(payload.as_bytes(), 6)),
        ),
        case("deflate-bomb", "malformed", "authentic, inflates to 1 MiB and a byte", framed_as(&bomb)),
    ]
}
