//! The application's data: JSON that only JavaScript looks into.

use alloc::{borrow::ToOwned as _, boxed::Box};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use session_core::SessionData;

/// A JSON text that was checked and is otherwise left as it is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Json(Box<RawValue>);

impl Json {
    /// `None` if the text isn't JSON.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

impl Default for Json {
    /// The empty object.
    fn default() -> Self {
        // A constant that parses: the fallback is never taken, and is JSON too.
        Self(serde_json::from_str("{}").unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl SessionData for Json {
    /// JavaScript compares, in the way it writes JSON.
    const OPAQUE: bool = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_as_it_is_and_the_default_is_an_object() {
        let text = r#"{"b":1.0,"a":[ 1 ]}"#;
        assert_eq!(serde_json::to_string(&Json::parse(text.as_bytes()).unwrap()).unwrap(), text);
        assert_eq!(serde_json::to_string(&Json::default()).unwrap(), "{}");
        assert!(Json::parse(b"{").is_none());
    }
}
