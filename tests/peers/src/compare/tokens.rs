//! Sealing and opening: tokens beside the bare primitives, and data in cookies beside other libraries' cookies.

use core::hint::black_box;

use aes::{
    Aes256Dec, Aes256Enc,
    cipher::{
        BlockModeDecrypt as _, BlockModeEncrypt as _, InnerIvInit as _, KeyInit as _, block_padding::Pkcs7,
    },
};
use cookie::{Cookie, CookieJar, Key, SameSite};
use hmac::{Hmac, Mac as _};
use session_native::{
    Client, Clock as _, Config, OsRandom, Secret, Sessions, SystemClock,
    session_core::{KeyRing, Kind, Plaintext, TokenCodec},
};
use sha2::Sha256;

use crate::{
    compare::runtime,
    data::{Data, SIZES, json, parse},
    measure::{Contestant, Effort, Samples, Time, compare},
    report::{Bound, Chart, Goal, Section, Table, duration, ratio, times},
};

const LIMIT: &str = "AES-256-CBC + HMAC-SHA256, bare";
const TOKEN: &str = "session: TokenCodec";
const PRIVATE: &str = "cookie: PrivateJar";
const SIGNED: &str = "cookie: SignedJar";
const WHOLE: &str = "session: cookie-held";

/// The name of every cookie.
const NAME: &str = "session";
const LIFE: core::time::Duration = core::time::Duration::from_secs(1800);

pub fn tokens(effort: Effort) -> Section {
    let mut section = Section::new("Tokens: bytes to text and back");
    section.note(
        "`TokenCodec` seals with AES-256-CBC and HMAC-SHA256, keys prepared, and writes base64url; it checks version, key id, cookie name and expiry. \
         *Bare* is the same two primitives of the same crates on bytes, keys prepared: no base64, no random IV, no allocation. `PrivateJar` encrypts \
         (AES-256-GCM) and prepares its key for each call; `SignedJar` (HMAC-SHA256) doesn't encrypt. Neither knows of expiry or of older keys.",
    );
    let measured: Vec<_> =
        ["open", "seal"].map(|work| (work, SIZES.map(|size| (size, token(work, size, effort))))).into();
    table(&mut section, TOKEN, &measured);
    for (work, sizes) in &measured {
        section.charts.push(chart(&format!("tokens-{work}"), &format!("A token: {work}"), sizes));
        let samples = &sizes[1].1;
        let goal = format!("{work} of 1 KB, to the bare primitives");
        section.goals.push(Goal::new(goal, samples.ratio(Time::Cpu, TOKEN, LIMIT), Bound::AtMost(1.15)));
        let others = [LIMIT, PRIVATE, SIGNED]
            .map(|name| format!("{name} {}", times(samples.ratio(Time::Cpu, name, TOKEN))));
        section.figure(
            format!("{work} a token of 1 KB"),
            duration(samples.time(Time::Cpu, TOKEN).median),
            others.join(", "),
        );
    }
    let open = &measured[0].1[1].1;
    section.goals.push(Goal::new(
        "PrivateJar's time to open 1 KB, to ours",
        open.ratio(Time::Cpu, PRIVATE, TOKEN),
        Bound::AtLeast(1.3),
    ));
    section
}

pub fn cookies(effort: Effort) -> Section {
    let mut section = Section::new("Cookies that hold the session: data to `Set-Cookie` and back");
    section.note(
        "Opening begins with the request's `Cookie` field and ends with the data; sealing begins with the data and ends with the `Set-Cookie` line, with the same \
         attributes. All write JSON. A cookie-held session also has an id, its times, and is checked against the sessions that ended; the jars hold the data alone. \
         (The cookie store of actix-session can't be had outside of its middleware: it is measured in requests, below.)",
    );
    let measured: Vec<_> =
        ["open", "seal"].map(|work| (work, SIZES.map(|size| (size, cookie(work, size, effort))))).into();
    table(&mut section, WHOLE, &measured);
    for (work, sizes) in &measured {
        section.charts.push(chart(
            &format!("cookies-{work}"),
            &format!("A session in a cookie: {work}"),
            sizes,
        ));
        let samples = &sizes[1].1;
        let others =
            [PRIVATE, SIGNED].map(|name| format!("{name} {}", times(samples.ratio(Time::Cpu, name, WHOLE))));
        section.figure(
            format!("{work} 1 KB of data in a cookie"),
            duration(samples.time(Time::Cpu, WHOLE).median),
            others.join(", "),
        );
    }
    section
}

type Sizes = [(usize, Samples); 3];

fn chart(name: &str, title: &str, sizes: &Sizes) -> Chart {
    Chart::of_times(name, title, sizes.iter().map(|(size, samples)| (format!("{size} B"), samples)))
}

fn table(section: &mut Section, reference: &str, measured: &[(&str, Sizes)]) {
    for (work, sizes) in measured {
        let head = [format!("{work}: CPU time, and ratio to {reference} (quartiles)")];
        let head = head.into_iter().chain(sizes.iter().map(|(size, _)| format!("{size} B")));
        let rows = sizes[0].1.names().map(|name| {
            let cells = sizes.iter().map(|(_, samples)| {
                let time = duration(samples.time(Time::Cpu, name).median);
                if name == reference {
                    time
                } else {
                    format!("{time}, {}", ratio(samples.ratio(Time::Cpu, name, reference)))
                }
            });
            [name.to_owned()].into_iter().chain(cells).collect()
        });
        section.tables.push(Table { head: head.collect(), rows: rows.collect() });
    }
}

/// Payload to token, or back.
fn token(work: &str, size: usize, effort: Effort) -> Samples {
    let payload = json(&Data::of_size(size));
    let now = SystemClock.now();
    let codec = TokenCodec::new(&KeyRing::new(&secret()), Kind::CookieHeld, NAME);
    let key = Key::generate();
    let bare = Primitives::new();
    let mut sealed = vec![0; size + 16];
    let contestants = if work == "seal" {
        vec![
            Contestant::new(LIMIT, |count| repeat(count, || bare.seal(payload.as_bytes(), &mut sealed))),
            Contestant::new(TOKEN, |count| {
                repeat(count, || codec.seal(Plaintext::from(&payload), now + LIFE, false, &OsRandom));
            }),
            Contestant::new(PRIVATE, jar(|jar| jar.private_mut(&key).add((NAME, payload.clone())))),
            Contestant::new(SIGNED, jar(|jar| jar.signed_mut(&key).add((NAME, payload.clone())))),
        ]
    } else {
        let (length, tag) = bare.seal(payload.as_bytes(), &mut sealed);
        sealed.truncate(length);
        let mut buffer = vec![0; length];
        assert_eq!(bare.open(&sealed, &tag, &mut buffer), Some(size));
        let token =
            codec.seal(Plaintext::from(&payload), now + LIFE, false, &OsRandom).expect("random bytes");
        assert_eq!(codec.open(token.as_bytes(), now).expect("our token").payload(), payload.as_bytes());
        let mut jar = CookieJar::new();
        jar.private_mut(&key).add((PRIVATE, payload.clone()));
        jar.signed_mut(&key).add((SIGNED, payload.clone()));
        assert!(jar.private(&key).get(PRIVATE).is_some_and(|cookie| cookie.value() == payload));
        vec![
            Contestant::new(LIMIT, move |count| repeat(count, || bare.open(&sealed, &tag, &mut buffer))),
            Contestant::new(TOKEN, move |count| repeat(count, || codec.open(token.as_bytes(), now))),
            Contestant::new(PRIVATE, {
                let (jar, key) = (jar.clone(), key.clone());
                move |count| repeat(count, || jar.private(&key).get(PRIVATE))
            }),
            Contestant::new(SIGNED, move |count| repeat(count, || jar.signed(&key).get(SIGNED))),
        ]
    };
    compare(effort, contestants)
}

/// Data to a `Set-Cookie` line, or a `Cookie` header field to data.
fn cookie(work: &str, size: usize, effort: Effort) -> Samples {
    let data = Data::of_size(size);
    let runtime = runtime();
    let sessions = Sessions::<Data, _>::cookie(Config::development(secret())).expect("a configuration");
    let key = Key::generate();
    let set_session = async || {
        let mut session = sessions.create();
        session.data_mut().clone_from(&data);
        sessions.commit(&mut session).await.expect("a commit").expect("a cookie").into_string()
    };
    let set_private = || {
        let mut jar = CookieJar::new();
        jar.private_mut(&key).add(with_attributes(json(&data)));
        line(&jar)
    };
    let set_signed = || {
        let mut jar = CookieJar::new();
        jar.signed_mut(&key).add(with_attributes(json(&data)));
        line(&jar)
    };
    if work == "seal" {
        return compare(
            effort,
            vec![
                Contestant::new(WHOLE, |count| runtime.block_on(repeat_async(count, set_session))),
                Contestant::new(PRIVATE, |count| repeat(count, set_private)),
                Contestant::new(SIGNED, |count| repeat(count, set_signed)),
            ],
        );
    }
    let sent = |line: String| line.split(';').next().expect("a cookie").to_owned();
    let [session, private, signed] =
        [sent(runtime.block_on(set_session())), sent(set_private()), sent(set_signed())];
    let load = async || sessions.load(&session, &Client::default()).await.expect("a session");
    let open_private = || parse(received(&private).private(&key).get(NAME).expect("our cookie").value());
    let open_signed = || parse(received(&signed).signed(&key).get(NAME).expect("our cookie").value());
    for found in [runtime.block_on(load()).data(), &open_private(), &open_signed()] {
        assert_eq!(json(found), json(&data));
    }
    compare(
        effort,
        vec![
            Contestant::new(WHOLE, |count| {
                runtime.block_on(repeat_async(count, async || load().await.data().sum()))
            }),
            Contestant::new(PRIVATE, |count| repeat(count, || open_private().sum())),
            Contestant::new(SIGNED, |count| repeat(count, || open_signed().sum())),
        ],
    )
}

fn secret() -> Secret {
    Secret::generate(&OsRandom).expect("random bytes")
}

fn repeat<R>(count: usize, mut work: impl FnMut() -> R) {
    for _ in 0..count {
        black_box(work());
    }
}

async fn repeat_async<R>(count: usize, work: impl AsyncFn() -> R) {
    for _ in 0..count {
        black_box(work().await);
    }
}

/// Work with a new jar each time, as a request has.
fn jar<'a>(work: impl Fn(&mut CookieJar) + 'a) -> impl FnMut(usize) + 'a {
    move |count| {
        repeat(count, || {
            let mut jar = CookieJar::new();
            work(&mut jar);
            jar
        });
    }
}

/// The attributes that `Config::development` gives.
fn with_attributes(value: String) -> Cookie<'static> {
    let life = cookie::time::Duration::try_from(LIFE).expect("half an hour");
    Cookie::build((NAME, value)).path("/").http_only(true).same_site(SameSite::Lax).max_age(life).build()
}

fn line(jar: &CookieJar) -> String {
    jar.delta().next().expect("a cookie").to_string()
}

fn received(header: &str) -> CookieJar {
    let mut jar = CookieJar::new();
    for cookie in Cookie::split_parse(header) {
        jar.add_original(cookie.expect("a cookie").into_owned());
    }
    jar
}

/// What can't be done with less.
struct Primitives {
    encrypt: Aes256Enc,
    decrypt: Aes256Dec,
    mac: Hmac<Sha256>,
}

impl Primitives {
    fn new() -> Self {
        let key = [7; 32];
        let mac = Hmac::new_from_slice(&key).expect("a key of any length");
        Self { encrypt: Aes256Enc::new(&key.into()), decrypt: Aes256Dec::new(&key.into()), mac }
    }

    /// Gives the length of the ciphertext, and the tag.
    fn seal(&self, payload: &[u8], buffer: &mut [u8]) -> (usize, [u8; 32]) {
        let cbc = cbc::Encryptor::inner_iv_init(&self.encrypt, &[3; 16].into());
        let sealed = cbc.encrypt_padded_b2b::<Pkcs7>(payload, buffer).expect("room for the padding");
        let mut mac = self.mac.clone();
        mac.update(sealed);
        (sealed.len(), mac.finalize().into_bytes().into())
    }

    /// Gives the length of the payload.
    fn open(&self, sealed: &[u8], tag: &[u8; 32], buffer: &mut [u8]) -> Option<usize> {
        let mut mac = self.mac.clone();
        mac.update(sealed);
        mac.verify_slice(tag).ok()?;
        let cbc = cbc::Decryptor::inner_iv_init(&self.decrypt, &[3; 16].into());
        cbc.decrypt_padded_b2b::<Pkcs7>(sealed, buffer).ok().map(<[u8]>::len)
    }
}
