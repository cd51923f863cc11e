//! Header fields of any HTTP library.

use std::borrow::Cow;

/// Header fields of a request or a response, as an HTTP library keeps them.
///
/// Names are given in lower case. Implemented for the `http` crate (feature `http`: axum, hyper, tower) and for actix-web (feature `actix`).
///
/// ```
/// use std::borrow::Cow;
/// use session_native::web::Headers;
///
/// struct Fields(Vec<(&'static str, String)>);
///
/// impl Headers for Fields {
///     fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
///         self.0.iter().filter(move |field| field.0 == name).map(|field| field.1.as_bytes())
///     }
///     fn set(&mut self, name: &'static str, value: Cow<'static, str>) {
///         self.0.retain(|field| field.0 != name);
///         self.add(name, value);
///     }
///     fn add(&mut self, name: &'static str, value: Cow<'static, str>) {
///         self.0.push((name, value.into_owned()));
///     }
/// }
/// ```
pub trait Headers {
    /// The values of all fields of this name, in their order.
    fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]>;

    /// Puts a field in the place of all of this name.
    fn set(&mut self, name: &'static str, value: Cow<'static, str>);

    /// Adds a field to those of this name.
    fn add(&mut self, name: &'static str, value: Cow<'static, str>);
}

#[cfg(feature = "http")]
impl Headers for http::HeaderMap {
    fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(http_name(name)).into_iter().map(http::HeaderValue::as_bytes)
    }

    fn set(&mut self, name: &'static str, value: Cow<'static, str>) {
        if let Some(value) = http_value(value) {
            self.insert(http_name(name), value);
        }
    }

    fn add(&mut self, name: &'static str, value: Cow<'static, str>) {
        if let Some(value) = http_value(value) {
            self.append(http_name(name), value);
        }
    }
}

/// Those that every request with a session has need not be parsed.
#[cfg(feature = "http")]
fn http_name(name: &'static str) -> http::HeaderName {
    match name {
        "cookie" => http::header::COOKIE,
        "user-agent" => http::header::USER_AGENT,
        "vary" => http::header::VARY,
        "cache-control" => http::header::CACHE_CONTROL,
        "set-cookie" => http::header::SET_COOKIE,
        other => http::HeaderName::from_static(other),
    }
}

/// Without a copy.
#[cfg(feature = "http")]
fn http_value(value: Cow<'static, str>) -> Option<http::HeaderValue> {
    match value {
        Cow::Borrowed(value) => Some(http::HeaderValue::from_static(value)),
        Cow::Owned(value) => valid(value.try_into()),
    }
}

#[cfg(feature = "actix")]
impl Headers for actix_web::http::header::HeaderMap {
    fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).map(actix_web::http::header::HeaderValue::as_bytes)
    }

    fn set(&mut self, name: &'static str, value: Cow<'static, str>) {
        if let Some(value) = actix_value(value) {
            self.insert(actix_web::http::header::HeaderName::from_static(name), value);
        }
    }

    fn add(&mut self, name: &'static str, value: Cow<'static, str>) {
        if let Some(value) = actix_value(value) {
            self.append(actix_web::http::header::HeaderName::from_static(name), value);
        }
    }
}

#[cfg(feature = "actix")]
fn actix_value(value: Cow<'static, str>) -> Option<actix_web::http::header::HeaderValue> {
    match value {
        Cow::Borrowed(value) => Some(actix_web::http::header::HeaderValue::from_static(value)),
        Cow::Owned(value) => valid(value.try_into()),
    }
}

/// What this crate writes into headers is made of checked parts: a cookie's name, a token, a percent-encoded address.
#[cfg(any(feature = "http", feature = "actix"))]
fn valid<V, E>(value: Result<V, E>) -> Option<V> {
    debug_assert!(value.is_ok(), "an invalid header value was built");
    value.ok()
}
