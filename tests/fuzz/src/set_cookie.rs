//! `Set-Cookie`: whatever the options and the value are, one cookie is set, and it is the one that was asked for.

use core::time::Duration;

use session_core::{CookieOptions, Error, MAX_COOKIE_LEN, SameSite, cookies};

use crate::input::Input;

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let same_site = [SameSite::Strict, SameSite::Lax, SameSite::None][input.below(3)];
    let max_age = Duration::from_millis(input.u64());
    let prefix = ["", "__Host-", "__Secure-", "__host-"][input.below(4)];
    let options = CookieOptions {
        name: prefix.to_owned() + &input.text(),
        path: if flag(0) { "/".to_owned() } else { input.text() },
        domain: flag(1).then(|| input.text()),
        secure: !flag(2),
        http_only: !flag(3),
        same_site,
        partitioned: flag(4),
        persistent: !flag(5),
    };
    let value = if flag(6) { "a".repeat(u16::from_be_bytes(input.array()).into()) } else { input.text() };
    if options.validate().is_err() {
        return;
    }
    rules(&options);
    written(&options, options.remove().as_str(), "", Some(0));
    match options.set(&value, max_age) {
        Ok(header) => {
            let seconds = u64::try_from(max_age.as_millis().div_ceil(1000)).unwrap().min(400 * 86_400);
            written(&options, header.as_str(), &value, options.persistent.then_some(seconds));
            assert_eq!(header.value(), value);
            assert!(options.name.len() + value.len() <= MAX_COOKIE_LEN);
        }
        Err(Error::CookieTooLarge { actual, .. }) => {
            assert_eq!(actual, options.name.len() + value.len());
            assert!(actual > MAX_COOKIE_LEN);
        }
        Err(_) => assert!(!value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte))),
    }
}

/// What browsers demand (RFC 6265bis, CHIPS), of whatever got through.
fn rules(options: &CookieOptions) {
    let name = options.name.to_ascii_lowercase();
    if name.starts_with("__host-") {
        assert!(options.secure && options.domain.is_none() && options.path == "/");
    }
    if name.starts_with("__secure-") || options.same_site == SameSite::None || options.partitioned {
        assert!(options.secure);
    }
    assert!(options.path.len() <= 1024 && options.domain.as_ref().is_none_or(|domain| domain.len() <= 1024));
}

/// The header says this and no more, to a reader of the `cookie` crate, to a simple one, and to ourselves.
fn written(options: &CookieOptions, header: &str, value: &str, max_age: Option<u64>) {
    assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "control characters");

    let mut expected = vec![format!("{}={value}", options.name), format!("Path={}", options.path)];
    expected.extend(options.domain.as_ref().map(|domain| format!("Domain={domain}")));
    expected.extend(max_age.map(|seconds| format!("Max-Age={seconds}")));
    expected.extend(options.http_only.then(|| "HttpOnly".to_owned()));
    expected.extend(options.secure.then(|| "Secure".to_owned()));
    expected.push(format!("SameSite={:?}", options.same_site));
    expected.extend(options.partitioned.then(|| "Partitioned".to_owned()));
    assert_eq!(header.split("; ").collect::<Vec<_>>().join("\n"), expected.join("\n"));
    assert_eq!(header.matches(';').count(), expected.len() - 1, "a semicolon of its own");

    let read = cookie::Cookie::parse(header).expect("another reader takes it");
    assert_eq!(read.name_value(), (&*options.name, value));
    assert_eq!(read.path(), Some(options.path.trim()));
    // That reader takes a leading dot away, as browsers do; ours has none.
    assert_eq!(read.domain(), options.domain.as_deref());
    assert_eq!(read.max_age().map(|age| age.whole_seconds() as u64), max_age);
    assert_eq!(
        (read.http_only(), read.secure()),
        (options.http_only.then_some(true), options.secure.then_some(true))
    );
    assert_eq!(read.partitioned(), options.partitioned.then_some(true));
    assert_eq!(
        read.same_site().map(|same_site| format!("{same_site:?}")),
        Some(format!("{:?}", options.same_site))
    );

    // As the browser sends it back, among others that are almost called the same.
    let back = format!("a{0}=b; {0}={value}; {0}a=c", options.name);
    assert_eq!(cookies(back.as_bytes(), &options.name).collect::<Vec<_>>(), [value.as_bytes()]);
}
