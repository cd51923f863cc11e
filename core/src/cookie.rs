//! `Cookie` read and `Set-Cookie` written, as RFC 6265bis says.

use alloc::{borrow::ToOwned as _, string::String};
use core::{fmt, time::Duration};

use crate::error::{ConfigError, Error};

/// Most bytes of a cookie's name and value together (RFC 6265bis §5.6: browsers ignore a larger one).
pub const MAX_COOKIE_LEN: usize = 4096;

/// Most cookies of one name that are tried. A request may carry several: a parent domain can plant one that shadows ours.
pub const MAX_CANDIDATES: usize = 4;

/// Most bytes of an attribute's value (RFC 6265bis §5.6).
const MAX_ATTRIBUTE_LEN: usize = 1024;

/// When a browser sends the cookie along with a request that another site caused (RFC 6265bis §5.6.7).
///
/// ```
/// assert_eq!(session_core::SameSite::default(), session_core::SameSite::Lax);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Never. A link from elsewhere arrives signed out.
    Strict,
    /// Only when the user navigates here by a safe method. The default.
    #[default]
    Lax,
    /// Always. Demands Secure.
    None,
}

/// The session cookie's name and attributes. The default is the strictest: `__Host-session`, Secure, HttpOnly, Path=/, SameSite=Lax,
/// no Domain, kept until the session expires.
///
/// Browsers refuse impossible combinations silently; [`CookieOptions::validate`] refuses them when the application starts.
///
/// ```
/// use core::time::Duration;
/// use session_core::{ConfigError, CookieOptions};
///
/// let cookie = CookieOptions::default();
/// assert_eq!(
///     cookie.set("value", Duration::from_secs(3600))?.as_str(),
///     "__Host-session=value; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"
/// );
/// let impossible = CookieOptions { domain: Some("example.com".into()), ..CookieOptions::default() };
/// assert_eq!(impossible.validate(), Err(ConfigError::HostPrefix));
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieOptions {
    /// The cookie's name. `__Host-session` by default; a `__Host-` cookie can't be planted by a sibling or parent domain.
    pub name: String,
    /// Paths that get the cookie: `/` by default.
    pub path: String,
    /// The domain whose subdomains get the cookie too; by default none: only this very host does.
    pub domain: Option<String>,
    /// Sent over HTTPS alone: `true` by default. Turn it off only to develop over plain HTTP.
    pub secure: bool,
    /// Hidden from scripts: `true` by default.
    pub http_only: bool,
    /// [`SameSite::Lax`] by default.
    pub same_site: SameSite,
    /// Kept apart for each top-level site that embeds this one (CHIPS): `false` by default. Demands Secure.
    pub partitioned: bool,
    /// Kept when the browser closes, until the session expires: `true` by default.
    pub persistent: bool,
}

impl Default for CookieOptions {
    fn default() -> Self {
        Self {
            name: "__Host-session".to_owned(),
            path: "/".to_owned(),
            domain: None,
            secure: true,
            http_only: true,
            same_site: SameSite::Lax,
            partitioned: false,
            persistent: true,
        }
    }
}

impl CookieOptions {
    /// Checks that browsers will accept the cookie.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=128).contains(&self.name.len()) || !self.name.bytes().all(is_token_byte) {
            return Err(ConfigError::CookieName);
        }
        let has_prefix = |prefix: &str| {
            let start = self.name.get(..prefix.len()).unwrap_or_default();
            if start.eq_ignore_ascii_case(prefix) && start != prefix {
                return Err(ConfigError::PrefixCase);
            }
            Ok(start == prefix)
        };
        // `__Host-Http-` and `__Http-` (layered cookies draft) demand HttpOnly as well; a script could not set the cookie anyway.
        if has_prefix("__Host-")? && (!self.secure || self.path != "/" || self.domain.is_some()) {
            return Err(ConfigError::HostPrefix);
        }
        if has_prefix("__Secure-")? && !self.secure {
            return Err(ConfigError::SecurePrefix);
        }
        if self.same_site == SameSite::None && !self.secure {
            return Err(ConfigError::SameSiteNone);
        }
        if self.partitioned && !self.secure {
            return Err(ConfigError::Partitioned);
        }
        let path_ok = self.path.starts_with('/')
            && self.path.len() <= MAX_ATTRIBUTE_LEN
            && self.path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';');
        if !path_ok {
            return Err(ConfigError::CookiePath);
        }
        let domain_ok = self.domain.as_ref().is_none_or(|domain| {
            (1..=253).contains(&domain.len())
                && domain.split('.').all(|label| {
                    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                })
        });
        if domain_ok { Ok(()) } else { Err(ConfigError::CookieDomain) }
    }

    /// A `Set-Cookie` that makes the browser keep `value` for `max_age` (whole seconds, rounded up, at most 400 days).
    ///
    /// # Errors
    /// [`Error::CookieTooLarge`] if name and value have more than [`MAX_COOKIE_LEN`] bytes: nothing is to be sent then.
    /// [`ConfigError::CookieValue`] for a value that isn't made of `cookie-octet`s.
    pub fn set(&self, value: &str, max_age: Duration) -> Result<SetCookie, Error> {
        let is_octet = |byte| matches!(byte, b'!'..=b'~') & !matches!(byte, b'"' | b',' | b';' | b'\\');
        // Without an end at the first bad byte the compiler looks at many at once, which makes WebAssembly's module larger.
        let octets = if cfg!(target_arch = "wasm32") {
            value.bytes().all(is_octet)
        } else {
            value.bytes().fold(true, |all, byte| all & is_octet(byte))
        };
        if !octets {
            return Err(ConfigError::CookieValue.into());
        }
        let actual = self.name.len() + value.len();
        if actual > MAX_COOKIE_LEN {
            return Err(Error::CookieTooLarge { actual, limit: MAX_COOKIE_LEN });
        }
        let seconds = max_age.as_secs().saturating_add(u64::from(max_age.subsec_nanos() > 0));
        let seconds = seconds.min(crate::Expiry::LONGEST.as_secs());
        Ok(self.build(value, self.persistent.then_some(seconds)))
    }

    /// A `Set-Cookie` that makes the browser forget the cookie.
    #[must_use]
    pub fn remove(&self) -> SetCookie {
        self.build("", Some(0))
    }

    fn build(&self, value: &str, max_age: Option<u64>) -> SetCookie {
        use fmt::Write as _;

        let mut text = String::with_capacity(self.name.len() + value.len() + 96);
        text.extend([&*self.name, "=", value, "; Path=", &self.path]);
        if let Some(domain) = &self.domain {
            text.extend(["; Domain=", domain]);
        }
        if let Some(seconds) = max_age {
            // Writing to a `String` can't fail.
            let _ = write!(text, "; Max-Age={seconds}");
        }
        for (on, attribute) in [
            (self.http_only, "; HttpOnly"),
            (self.secure, "; Secure"),
            (self.same_site == SameSite::Strict, "; SameSite=Strict"),
            (self.same_site == SameSite::Lax, "; SameSite=Lax"),
            (self.same_site == SameSite::None, "; SameSite=None"),
            (self.partitioned, "; Partitioned"),
        ] {
            if on {
                text.push_str(attribute);
            }
        }
        SetCookie(text)
    }
}

/// The value of a `Set-Cookie` header field: visible ASCII, ready to be sent.
///
/// `Debug` doesn't show it: it holds a token.
///
/// ```
/// use session_core::CookieOptions;
///
/// let removal = CookieOptions::default().remove();
/// assert_eq!(removal.as_str(), "__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax");
/// assert_eq!(format!("{removal:?}"), "SetCookie(..)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SetCookie(String);

impl SetCookie {
    /// The header field's value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The header field's value, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }

    /// The cookie's value alone: the token; empty when the cookie is removed.
    #[must_use]
    pub fn value(&self) -> &str {
        let pair = self.0.split(';').next().unwrap_or_default();
        pair.split_once('=').map_or("", |(_, value)| value)
    }
}

impl fmt::Debug for SetCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetCookie(..)")
    }
}

/// The values of the cookies that have exactly this name, in the order they came; at most [`MAX_CANDIDATES`].
///
/// Reads the header in one pass without allocation. Names are compared by case; a value in double quotes is given without them; parts
/// that aren't `name=value` are passed over.
///
/// ```
/// let header = b"a=1; session=first; session=second";
/// let found: Vec<_> = session_core::cookies(header, "session").collect();
/// assert_eq!(found, [b"first".as_slice(), b"second"]);
/// ```
pub fn cookies<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(header);
    core::iter::from_fn(move || {
        let header = rest?;
        let (pair, after) = match memchr::memchr(b';', header) {
            Some(end) => (&header[..end], Some(&header[end + 1..])),
            None => (header, None),
        };
        rest = after;
        Some(pair)
    })
    .filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
    .take(MAX_CANDIDATES)
}

/// A byte of a token (RFC 9110 §5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec::Vec};

    use super::*;

    fn found<'a>(header: &'a str, name: &'a str) -> Vec<&'a str> {
        cookies(header.as_bytes(), name).map(|value| core::str::from_utf8(value).unwrap()).collect()
    }

    #[test]
    fn only_the_exact_name_is_read() {
        assert_eq!(found("__host-x=a; __Host-x=b; __HOST-X=c; __Host-xy=d; x__Host-x=e", "__Host-x"), ["b"]);
    }

    #[test]
    fn odd_headers_give_what_browsers_would() {
        assert_eq!(found("", "s"), [""; 0]);
        assert_eq!(found("s", "s"), [""; 0]);
        assert_eq!(found("s=", "s"), [""]);
        assert_eq!(found(";;; s=1;;", "s"), ["1"]);
        assert_eq!(found("s = 1 ;s=\"2\"; s=\"", "s"), ["1", "2", "\""]);
        assert_eq!(found("a=s=1; s=a=b", "s"), ["a=b"]);
        assert_eq!(cookies(b"\xff\xfe=1; s=\xff", "s").collect::<Vec<_>>(), [b"\xff"]);
    }

    #[test]
    fn candidates_are_bounded() {
        let header = "s=1; ".repeat(1_000);
        assert_eq!(found(&header, "s").len(), MAX_CANDIDATES);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a megabyte")]
    fn a_megabyte_header_costs_no_memory() {
        let header = "a=b; ".repeat(200_000) + "s=1";
        let info = allocation_counter::measure(|| assert_eq!(cookies(header.as_bytes(), "s").count(), 1));
        assert_eq!(info.count_total, 0);
    }

    #[test]
    fn impossible_combinations_are_refused() {
        let ok = CookieOptions::default();
        let with = |change: fn(&mut CookieOptions)| {
            let mut options = ok.clone();
            change(&mut options);
            options.validate()
        };
        assert_eq!(ok.validate(), Ok(()));
        assert_eq!(with(|c| c.secure = false), Err(ConfigError::HostPrefix));
        assert_eq!(with(|c| c.path = "/app".into()), Err(ConfigError::HostPrefix));
        assert_eq!(with(|c| c.domain = Some("a.b".into())), Err(ConfigError::HostPrefix));
        assert_eq!(with(|c| c.name = "__host-session".into()), Err(ConfigError::PrefixCase));
        assert_eq!(with(|c| c.name = "__SECURE-session".into()), Err(ConfigError::PrefixCase));
        for name in ["", "a b", "a;b", "a=b", "é", "a\r\n"] {
            let options = CookieOptions { name: name.into(), ..ok.clone() };
            assert_eq!(options.validate(), Err(ConfigError::CookieName), "{name:?}");
        }
        let plain = |change: fn(&mut CookieOptions)| {
            let mut options = CookieOptions { name: "s".into(), secure: false, ..ok.clone() };
            change(&mut options);
            options.validate()
        };
        assert_eq!(plain(|_| ()), Ok(()));
        assert_eq!(plain(|c| c.name = "__Secure-s".into()), Err(ConfigError::SecurePrefix));
        assert_eq!(plain(|c| c.same_site = SameSite::None), Err(ConfigError::SameSiteNone));
        assert_eq!(plain(|c| c.partitioned = true), Err(ConfigError::Partitioned));
        assert_eq!(plain(|c| c.path = "app".into()), Err(ConfigError::CookiePath));
        assert_eq!(plain(|c| c.path = "/a;b".into()), Err(ConfigError::CookiePath));
        assert_eq!(plain(|c| c.path = format!("/{}", "a".repeat(1024))), Err(ConfigError::CookiePath));
        for domain in ["", "a..b", "http://a", "a:80", "a;b", "a b"] {
            let options = CookieOptions { domain: Some(domain.into()), name: "s".into(), ..ok.clone() };
            assert_eq!(options.validate(), Err(ConfigError::CookieDomain), "{domain:?}");
        }
    }

    #[test]
    fn every_attribute_in_its_place() {
        let cookie = CookieOptions {
            name: "s".into(),
            path: "/app".into(),
            domain: Some("example.com".into()),
            secure: true,
            http_only: false,
            same_site: SameSite::None,
            partitioned: true,
            persistent: false,
        };
        assert_eq!(
            cookie.set("v", Duration::from_secs(9)).unwrap().as_str(),
            "s=v; Path=/app; Domain=example.com; Secure; SameSite=None; Partitioned"
        );
        assert_eq!(
            cookie.remove().as_str(),
            "s=; Path=/app; Domain=example.com; Max-Age=0; Secure; SameSite=None; Partitioned"
        );
    }

    #[test]
    fn four_thousand_and_ninety_six_bytes_and_no_more() {
        let cookie = CookieOptions::default();
        let room = MAX_COOKIE_LEN - cookie.name.len();
        assert!(cookie.set(&"a".repeat(room), Duration::ZERO).is_ok());
        assert_eq!(
            cookie.set(&"a".repeat(room + 1), Duration::ZERO),
            Err(Error::CookieTooLarge { actual: 4097, limit: 4096 })
        );
    }

    #[test]
    fn only_a_cookies_octets_are_sent() {
        for value in ["a;b", "a b", "a,b", "a\"b", "a\\b", "a\r\nSet-Cookie: b=c", "é", "\u{7f}"] {
            let refused = CookieOptions::default().set(value, Duration::ZERO);
            assert_eq!(refused, Err(ConfigError::CookieValue.into()), "{value:?}");
        }
    }

    #[test]
    fn extreme_ages_are_capped() {
        let cookie = CookieOptions::default();
        let max_age = |age| {
            let text = cookie.set("v", age).unwrap().into_string();
            text.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(max_age(Duration::MAX), 400 * 86_400);
        assert_eq!(max_age(Duration::from_millis(1)), 1);
        assert_eq!(max_age(Duration::ZERO), 0);
    }
}
