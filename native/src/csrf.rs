//! Cross-site request forgery: requests that a page of another origin makes a browser send, with the user's cookies.

use std::sync::Arc;

use crate::web::{Answer, Headers, IsPublic};

/// Refuses requests that change something (all methods but GET, HEAD and OPTIONS), and handshakes of WebSockets, when a browser says that a page
/// of another origin sent them: 403. No tokens, no state, no session: it can stand outside of everything.
///
/// Browsers tell in `Sec-Fetch-Site` where a request comes from (all since 2023), and older ones in `Origin`. The rules, in this order:
///
/// | the request | |
/// |---|---|
/// | GET, HEAD, OPTIONS, without `Upgrade: websocket` | passes: handlers of these must change nothing |
/// | its path is [excepted](CsrfGuard::except) | passes |
/// | `Sec-Fetch-Site` is `same-origin` or `none` (typed, bookmarked) | passes |
/// | `Sec-Fetch-Site` is anything else, `same-site` too | passes only if `Origin` is [trusted](CsrfGuard::trust) |
/// | neither `Sec-Fetch-Site` nor `Origin` | passes: it is from no browser, and carries nobody's cookies against their will |
/// | the host of `Origin` (`http` or `https`) is the request's | passes |
/// | else | passes only if `Origin` is trusted |
///
/// This is the algorithm of Go's `net/http.CrossOriginProtection` (F. Valsorda, 2025), and what ASVS 5.0 row 3.5.3 and the OWASP CSRF Prevention
/// Cheat Sheet ("Fetch Metadata headers") ask for. A field that stands there twice counts with all of its values: each must pass.
///
/// The handshake of a WebSocket is a GET (in HTTP/2 a CONNECT, RFC 8441), and yet not safe: it opens a connection in the user's name, to which browsers don't
/// apply the same-origin policy, and `SameSite` is no bar to a sibling subdomain (ASVS 5.0 row 4.4.2).
///
/// Behind a proxy that changes `Host`, [trust](CsrfGuard::trust) the public origin. Use HTTPS with HSTS: the fallback by `Origin` can't tell `http` from
/// `https` of the same host.
///
/// ```
/// use axum::{Router, routing::post};
/// use session_native::axum::CsrfGuard;
///
/// let guard = CsrfGuard::new().trust("https://accounts.example.com")?.except(|path| path == "/oauth/callback");
/// let app: Router = Router::new().route("/transfer", post(async || "done")).layer(guard);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct CsrfGuard {
    trusted: Arc<[String]>,
    except: Option<IsPublic>,
}

/// The text is no origin as browsers write it: `scheme://host` or `scheme://host:port`, in lower case, without a path and without the scheme's own port.
///
/// ```
/// use session_native::{InvalidOrigin, csrf::CsrfGuard};
///
/// assert_eq!(CsrfGuard::new().trust("https://example.com/").err(), Some(InvalidOrigin));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an origin as browsers write it: scheme://host[:port], in lower case, without a path or a default port"
)]
pub struct InvalidOrigin;

impl CsrfGuard {
    /// Trusts the application's own origin alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets an origin through, for example `https://accounts.example.com`. Its pages can then do in a user's name what the application's own can.
    ///
    /// # Errors
    /// [`InvalidOrigin`]: what no browser sends would never match.
    pub fn trust(mut self, origin: impl Into<String>) -> Result<Self, InvalidOrigin> {
        let origin = origin.into();
        if !is_origin(&origin) {
            return Err(InvalidOrigin);
        }
        self.trusted = self.trusted.iter().cloned().chain([origin]).collect();
        Ok(self)
    }

    /// Lets requests through whose whole path `open` is true for: for what other sites may send by a browser on purpose (the callback of
    /// OpenID Connect's `form_post`). Such a handler must prove by other means that it was meant.
    #[must_use]
    pub fn except(mut self, open: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.except = Some(Arc::new(open));
        self
    }

    /// The answer to a request that must not get through. `authority` is that of the request's target (HTTP/2's `:authority`), if it has
    /// one; else the `Host` field counts.
    #[must_use]
    pub fn check(
        &self,
        method: &str,
        path: &str,
        authority: Option<&str>,
        headers: &impl Headers,
    ) -> Option<Answer> {
        let safe = matches!(method, "GET" | "HEAD" | "OPTIONS") && !opens_a_web_socket(headers);
        if safe || self.except.as_ref().is_some_and(|open| open(path)) {
            return None;
        }
        let authority = authority.map(str::as_bytes).or_else(|| headers.values("host").next());
        let mut sites = headers.values("sec-fetch-site").peekable();
        let passes = if sites.peek().is_some() {
            sites.all(|site| matches!(site, b"same-origin" | b"none")) || self.comes_from_trusted(headers)
        } else {
            let own = |origin| authority.is_some_and(|authority| is_of_host(origin, authority));
            headers.values("origin").all(|origin| own(origin) || self.trusts(origin))
        };
        if passes {
            return None;
        }
        tracing::warn!(method, "a cross-origin request was refused");
        Some(Answer::new(403, "a page of another origin sent this request".into()))
    }

    fn comes_from_trusted(&self, headers: &impl Headers) -> bool {
        let mut origins = headers.values("origin").peekable();
        origins.peek().is_some() && origins.all(|origin| self.trusts(origin))
    }

    fn trusts(&self, origin: &[u8]) -> bool {
        self.trusted.iter().any(|trusted| trusted.as_bytes() == origin)
    }
}

/// Whether the request is the handshake of a WebSocket (RFC 6455 §4.1) in HTTP/1.1; in HTTP/2 its method is CONNECT.
fn opens_a_web_socket(headers: &impl Headers) -> bool {
    let mut protocols = headers.values("upgrade").flat_map(|value| value.split(|byte| *byte == b','));
    protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Whether an origin is that of a page on this host and port.
fn is_of_host(origin: &[u8], authority: &[u8]) -> bool {
    let host = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
    host.is_some_and(|host| !host.is_empty() && host.eq_ignore_ascii_case(authority))
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'));
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host_fits = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|ip| ip.parse::<core::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'))
        }
    };
    let port_fits = port.is_none_or(|port| {
        let default = matches!((scheme, port), ("https", "443") | ("http", "80"));
        !default && !port.starts_with(['+', '0']) && port.parse::<u16>().is_ok()
    });
    scheme_fits && host_fits && port_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fields(Vec<(&'static str, &'static str)>);

    impl Headers for Fields {
        fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
            self.0.iter().filter(move |field| field.0 == name).map(|field| field.1.as_bytes())
        }

        fn set(&mut self, _: &'static str, _: std::borrow::Cow<'static, str>) {}

        fn add(&mut self, _: &'static str, _: std::borrow::Cow<'static, str>) {}
    }

    fn guard() -> CsrfGuard {
        let guard = CsrfGuard::new().trust("https://partner.example").unwrap();
        guard.trust("app+x://local").unwrap().except(|path| path == "/callback")
    }

    fn passes(method: &str, path: &str, fields: &[(&'static str, &'static str)]) -> bool {
        let fields = [("host", "example.com")].iter().chain(fields).copied().collect();
        let answer = guard().check(method, path, None, &Fields(fields));
        assert!(answer.as_ref().is_none_or(|answer| answer.status() == 403));
        answer.is_none()
    }

    const SITE: &str = "sec-fetch-site";
    const ORIGIN: &str = "origin";

    // Row 40.
    #[test]
    fn the_table_of_sites_and_methods() {
        let sites = [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
            ("", false),
            ("Same-Origin", false),
            ("same-origin, cross-site", false),
            ("what comes after", false),
        ];
        for (site, expected) in sites {
            for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "get", "FOO"] {
                assert_eq!(passes(method, "/", &[(SITE, site)]), expected, "{method} {site}");
                // What Origin says doesn't matter then, unless it is trusted.
                let own = [(SITE, site), (ORIGIN, "https://example.com")];
                assert_eq!(passes(method, "/", &own), expected, "{method} {site} own origin");
                let trusted = [(SITE, site), (ORIGIN, "https://partner.example")];
                assert!(passes(method, "/", &trusted), "{method} {site} trusted origin");
            }
            for method in ["GET", "HEAD", "OPTIONS"] {
                assert!(passes(method, "/", &[(SITE, site), (ORIGIN, "https://evil.example")]), "{method}");
            }
        }
    }

    // Row 40.
    #[test]
    fn a_web_socket_is_opened_by_pages_of_the_own_origin() {
        for upgrade in [
            &[("upgrade", "websocket")][..],
            &[("upgrade", "WebSocket")],
            &[("upgrade", "h2c, websocket")],
            &[("upgrade", "h2c"), ("upgrade", "websocket")],
        ] {
            for (from, expected) in [
                (&[(SITE, "same-origin"), (ORIGIN, "https://example.com")][..], true),
                (&[(SITE, "same-site"), (ORIGIN, "https://sub.example.com")], false),
                (&[(SITE, "cross-site"), (ORIGIN, "https://evil.example")], false),
                (&[(SITE, "cross-site"), (ORIGIN, "https://partner.example")], true),
                (&[(ORIGIN, "https://example.com")], true),
                (&[(ORIGIN, "https://sub.example.com")], false),
                (&[(ORIGIN, "null")], false),
                (&[], true),
            ] {
                let fields = [upgrade, from].concat();
                assert_eq!(passes("GET", "/", &fields), expected, "{fields:?}");
                assert!(passes("GET", "/callback", &fields));
            }
        }
        let foreign = [(SITE, "same-site"), (ORIGIN, "https://sub.example.com")];
        assert!(!passes("CONNECT", "/", &foreign), "the handshake of HTTP/2");
        for other in ["h2c", "TLS/1.3", "", "websocket/13"] {
            assert!(passes("GET", "/", &[&[("upgrade", other)][..], &foreign].concat()), "{other:?}");
        }
    }

    // Row 40.
    #[test]
    fn the_table_of_origins_for_older_browsers() {
        for (origin, expected) in [
            ("https://example.com", true),
            ("http://example.com", true),
            ("https://EXAMPLE.com", true),
            ("https://partner.example", true),
            ("app+x://local", true),
            ("https://example.com:8443", false),
            ("https://example.com.evil.example", false),
            ("https://evil.example", false),
            ("https://sub.example.com", false),
            ("https://evilexample.com", false),
            ("https://example.com@evil.example", false),
            ("https://example.com/", false),
            ("http://partner.example", false),
            ("https://partner.example:8443", false),
            ("ftp://example.com", false),
            ("example.com", false),
            ("https://", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(passes("POST", "/", &[(ORIGIN, origin)]), expected, "{origin:?}");
            assert!(passes("GET", "/", &[(ORIGIN, origin)]));
        }
        assert!(passes("POST", "/", &[]), "no browser");
    }

    #[test]
    fn a_field_that_stands_there_twice_must_pass_with_both() {
        assert!(passes("POST", "/", &[(SITE, "same-origin"), (SITE, "none")]));
        assert!(!passes("POST", "/", &[(SITE, "same-origin"), (SITE, "cross-site")]));
        assert!(!passes("POST", "/", &[(ORIGIN, "https://example.com"), (ORIGIN, "https://evil.example")]));
        let one_trusted = [(ORIGIN, "https://partner.example"), (ORIGIN, "https://evil.example")];
        assert!(!passes("POST", "/", &[&one_trusted[..], &[(SITE, "cross-site")]].concat()));
    }

    #[test]
    fn excepted_paths_are_whole_paths() {
        let foreign = [(SITE, "cross-site"), (ORIGIN, "https://evil.example")];
        assert!(passes("POST", "/callback", &foreign));
        assert!(!passes("POST", "/callback/", &foreign));
    }

    #[test]
    fn the_authority_of_the_target_comes_before_host() {
        let fields = Fields(vec![("host", "example.com"), (ORIGIN, "https://example.com")]);
        let check = |authority| guard().check("POST", "/", authority, &fields).is_none();
        assert!(check(None) && check(Some("example.com")));
        assert!(!check(Some("other.example")));
        let hostless = Fields(vec![(ORIGIN, "https://example.com")]);
        assert!(guard().check("POST", "/", None, &hostless).is_some());
    }

    #[test]
    fn only_what_browsers_send_can_be_trusted() {
        for origin in [
            "https://a.example",
            "http://localhost:3000",
            "https://[2001:db8::1]:8443",
            "http://[::1]",
            "tauri://localhost",
        ] {
            assert!(CsrfGuard::new().trust(origin).is_ok(), "{origin}");
        }
        for text in [
            "",
            "null",
            "a.example",
            "https://",
            "https://a.example/",
            "https://a.example/p",
            "https://a.example?q",
            "https://A.example",
            "HTTPS://a.example",
            "https://a.example:443",
            "http://a.example:80",
            "https://a.example:",
            "https://a.example:070",
            "https://a.example:99999",
            "https://a.example:+1",
            "https://u@a.example",
            "https://*.example",
            "https://[::1",
            "https://[x]",
            "://a",
            "1a://b",
            "https://a b",
            "https://é.example",
        ] {
            assert_eq!(CsrfGuard::new().trust(text).err(), Some(InvalidOrigin), "{text:?}");
        }
    }
}
