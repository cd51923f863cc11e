//! Sessions of iron-session: in its cookies.

use futures_util::future::BoxFuture;
use session_core::{
    SessionData, Timestamp, cookies,
    interop::{
        Foreign, Refusal,
        iron::{Iron, MAX_CHUNKS},
    },
};

use super::{ImportError, Importer};

/// Imports what iron-session keeps in a cookie, or in up to four (`chunk: true` there).
///
/// ```
/// use session_core::interop::iron::Iron;
/// use session_native::import::IronCookies;
///
/// let importer = IronCookies::new("my-app", Iron::new("1", "the-password-that-iron-session-was-given")?);
/// # Ok::<(), session_core::interop::KeyError>(())
/// ```
pub struct IronCookies {
    name: String,
    iron: Iron,
}

impl IronCookies {
    /// Of this cookie (`cookieName` there).
    pub fn new(cookie_name: impl Into<String>, iron: Iron) -> Self {
        Self { name: cookie_name.into(), iron }
    }

    fn open<T: SessionData>(&self, headers: &[&[u8]], now: Timestamp) -> Result<Option<Foreign<T>>, Refusal> {
        let first =
            |name: &str| headers.iter().find_map(|header| cookies(header, name).next().map(<[u8]>::to_vec));
        let seal = first(&self.name).filter(|seal| !seal.is_empty()).unwrap_or_else(|| {
            (0..MAX_CHUNKS).map_while(|at| first(&format!("{}.{at}", self.name))).flatten().collect()
        });
        if seal.is_empty() {
            return Ok(None);
        }
        // Values of cookies are percent-encoded there; of a seal that is the asterisk alone, if anything.
        let seal = String::from_utf8(seal).map_err(|_| Refusal::Malformed)?.replace("%2A", "*");
        self.iron.open(seal.as_bytes(), now)?.into_foreign().map(Some)
    }
}

impl<T: SessionData> Importer<T> for IronCookies {
    fn read<'a>(
        &'a self,
        headers: &'a [&'a [u8]],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Foreign<T>>, ImportError>> {
        Box::pin(core::future::ready(self.open(headers, now).map_err(ImportError::from)))
    }
}
