//! `Cookie` and `Set-Cookie`. Nothing is computed here: what is expected was written by hand.

use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct File {
    about: &'static str,
    read: Vec<Read>,
    written: Vec<Written>,
    too_large: Vec<TooLarge>,
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Read {
    header: &'static str,
    name: &'static str,
    values: Vec<&'static str>,
}

#[derive(Serialize, Clone)]
struct Options {
    name: &'static str,
    path: &'static str,
    domain: Option<&'static str>,
    secure: bool,
    http_only: bool,
    same_site: &'static str,
    partitioned: bool,
    persistent: bool,
}

#[derive(Serialize)]
struct Written {
    options: Options,
    value: &'static str,
    /// `None`: the cookie is removed.
    max_age_ms: Option<u64>,
    set_cookie: &'static str,
}

#[derive(Serialize)]
struct TooLarge {
    name: &'static str,
    value_length: usize,
    fits: bool,
}

#[derive(Serialize)]
struct Refused {
    options: Options,
    error: &'static str,
}

const DEFAULT: Options = Options {
    name: "__Host-session",
    path: "/",
    domain: None,
    secure: true,
    http_only: true,
    same_site: "Lax",
    partitioned: false,
    persistent: true,
};

const PLAIN: Options = Options { name: "session", secure: false, ..DEFAULT };

pub(crate) fn file() -> File {
    File {
        about: "`read`: the values that a Cookie header field has under a name, in its order, at most four. `written`: Set-Cookie from options; \
            `max_age_ms` null removes the cookie. `too_large`: name and value have at most 4096 bytes together. `refused`: options that no browser \
            accepts; an error when the application starts.",
        read: read(),
        written: written(),
        too_large: [(14, 4_082, true), (14, 4_083, false), (1, 4_095, true), (1, 4_096, false)]
            .map(|(name, value_length, fits)| TooLarge {
                name: &"__Host-session"[14 - name..],
                value_length,
                fits,
            })
            .into(),
        refused: refused(),
    }
}

fn read() -> Vec<Read> {
    [
        ("", "s", &[][..]),
        ("s", "s", &[]),
        ("s=", "s", &[""]),
        ("s=1", "s", &["1"]),
        ("a=0; s=1; b=2", "s", &["1"]),
        ("s=first; s=second", "s", &["first", "second"]),
        ("s=1; s=2; s=3; s=4; s=5", "s", &["1", "2", "3", "4"]),
        ("s=1;s=2", "s", &["1", "2"]),
        (" \ts=1 \t;  s=2  ", "s", &["1", "2"]),
        ("s = 1", "s", &["1"]),
        ("s=\"1\"", "s", &["1"]),
        ("s=\"\"", "s", &[""]),
        ("s=\"", "s", &["\""]),
        ("s=\"1", "s", &["\"1"]),
        ("s=\"\"1\"\"", "s", &["\"1\""]),
        ("s=a=b==", "s", &["a=b=="]),
        ("a=s=1; s=2", "s", &["2"]),
        ("S=1; s=2", "s", &["2"]),
        ("ss=1; s-s=2; s.=3; s=4", "s", &["4"]),
        ("__host-session=1; __Host-session=2; __HOST-session=3", "__Host-session", &["2"]),
        (";;; ; s=1;;", "s", &["1"]),
        ("=1; s", "s", &[]),
        ("s=%3D", "s", &["%3D"]),
        ("s=1, s=2", "s", &["1, s=2"]),
        ("$Version=1; s=1; $Path=/", "s", &["1"]),
        ("!#$%&'*+-.^_`|~=1", "!#$%&'*+-.^_`|~", &["1"]),
    ]
    .map(|(header, name, values)| Read { header, name, values: values.to_vec() })
    .into()
}

fn written() -> Vec<Written> {
    let case = |options, max_age_ms: Option<u64>, set_cookie| Written {
        options,
        value: if max_age_ms.is_some() { "value" } else { "" },
        max_age_ms,
        set_cookie,
    };
    let every = Options {
        name: "id",
        path: "/app",
        domain: Some("example.com"),
        secure: true,
        http_only: false,
        same_site: "None",
        partitioned: true,
        persistent: true,
    };
    vec![
        case(
            DEFAULT,
            Some(3_600_000),
            "__Host-session=value; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
        ),
        case(DEFAULT, None, "__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"),
        case(DEFAULT, Some(1), "__Host-session=value; Path=/; Max-Age=1; HttpOnly; Secure; SameSite=Lax"),
        case(DEFAULT, Some(1_001), "__Host-session=value; Path=/; Max-Age=2; HttpOnly; Secure; SameSite=Lax"),
        case(DEFAULT, Some(0), "__Host-session=value; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"),
        case(
            DEFAULT,
            Some(9_007_199_254_740_991),
            "__Host-session=value; Path=/; Max-Age=34560000; HttpOnly; Secure; SameSite=Lax",
        ),
        case(PLAIN, Some(1_800_000), "session=value; Path=/; Max-Age=1800; HttpOnly; SameSite=Lax"),
        case(
            Options { same_site: "Strict", ..DEFAULT },
            Some(900_000),
            "__Host-session=value; Path=/; Max-Age=900; HttpOnly; Secure; SameSite=Strict",
        ),
        case(
            Options { persistent: false, ..DEFAULT },
            Some(3_600_000),
            "__Host-session=value; Path=/; HttpOnly; Secure; SameSite=Lax",
        ),
        case(
            Options { persistent: false, ..DEFAULT },
            None,
            "__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
        ),
        case(
            every.clone(),
            Some(60_000),
            "id=value; Path=/app; Domain=example.com; Max-Age=60; Secure; SameSite=None; Partitioned",
        ),
        case(
            every,
            None,
            "id=; Path=/app; Domain=example.com; Max-Age=0; Secure; SameSite=None; Partitioned",
        ),
    ]
}

fn refused() -> Vec<Refused> {
    let names = ["", "a b", "a;b", "a=b", "a,b", "a\tb", "a\"b", "(a)", "caf\u{e9}"];
    let paths = ["", "app", "/a;b", "/a\nb", "/caf\u{e9}"];
    let domains = [
        "",
        ".example.com",
        "a..b",
        "example.com.",
        "https://example.com",
        "example.com:80",
        "a b",
        "a;b",
        "ex\u{e4}mple.com",
    ];
    let mut cases: Vec<_> =
        names.map(|name| Refused { options: Options { name, ..PLAIN }, error: "cookie-name" }).into();
    cases.extend(paths.map(|path| Refused { options: Options { path, ..PLAIN }, error: "cookie-path" }));
    cases.extend(domains.map(|domain| Refused {
        options: Options { domain: Some(domain), ..PLAIN },
        error: "cookie-domain",
    }));
    cases.extend(
        ["__host-session", "__HOST-session", "__secure-session", "__SECURE-"]
            .map(|name| Refused { options: Options { name, ..DEFAULT }, error: "prefix-case" }),
    );
    cases.extend([
        Refused { options: Options { secure: false, ..DEFAULT }, error: "host-prefix" },
        Refused { options: Options { path: "/app", ..DEFAULT }, error: "host-prefix" },
        Refused { options: Options { domain: Some("example.com"), ..DEFAULT }, error: "host-prefix" },
        Refused { options: Options { name: "__Secure-id", ..PLAIN }, error: "secure-prefix" },
        Refused { options: Options { same_site: "None", ..PLAIN }, error: "same-site-none" },
        Refused { options: Options { partitioned: true, ..PLAIN }, error: "partitioned" },
    ]);
    cases
}
