//! The JSON of a session: the library's three fields and, beside them, the application's.

use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};
use core::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};
use zeroize::Zeroizing;

use super::{
    super::{Foreign, Refusal},
    Time,
};
use crate::{error::Error, session::SessionData, time::Timestamp};

/// A session as its JSON says: `Session::Base` with the application's fields.
///
/// Read as there: a field that is missing or `null` has its default (so give `T` `#[serde(default)]`), unknown ones are passed over, the last of
/// two of the same name counts. What the library would make up when it is missing (a new id, new times) is `None`.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use session_core::{SessionData, interop::crystal::SessionJson};
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// #[serde(default)]
/// struct UserSession {
///     user_id: Option<i64>,
///     role: String,
/// }
/// impl SessionData for UserSession {}
///
/// let json = r#"{"session_id":"a","expires_at":"2099-12-31T23:59:59Z","user_id":7,"role":null}"#;
/// let session = SessionJson::<UserSession>::parse(json.as_bytes())?;
/// assert_eq!((session.data.user_id, session.data.role.as_str()), (Some(7), ""));
/// # Ok::<(), session_core::interop::Refusal>(())
/// ```
#[derive(Clone)]
pub struct SessionJson<T> {
    /// The id there. Whoever knows it is signed in there: never log it.
    pub session_id: Option<String>,
    /// When it began.
    pub created_at: Option<Time>,
    /// When it ends.
    pub expires_at: Option<Time>,
    /// The application's fields.
    pub data: T,
}

impl<T: SessionData> SessionJson<T> {
    /// Reads it.
    ///
    /// # Errors
    /// [`Refusal::Data`].
    pub fn parse(json: &[u8]) -> Result<Self, Refusal> {
        let mut fields: Map<String, Value> = serde_json::from_slice(json).map_err(|_| Refusal::Data)?;
        fields.retain(|_, value| !value.is_null());
        Ok(Self {
            session_id: field(&mut fields, "session_id")?,
            created_at: field(&mut fields, "created_at")?,
            expires_at: field(&mut fields, "expires_at")?,
            data: serde_json::from_value(Value::Object(fields)).map_err(|_| Refusal::Data)?,
        })
    }

    /// Writes it as there: the three fields first, `nil` left out. (Numbers very large or small may have another, equal spelling.)
    ///
    /// # Errors
    /// [`Error::Serialize`] if the data is no JSON object.
    pub fn to_json(&self) -> Result<Zeroizing<String>, Error> {
        let Self { session_id, created_at, expires_at, data } = self;
        let head = Fields::of(&Head { session_id, created_at, expires_at })?;
        let mut out = Zeroizing::new(String::from("{"));
        for (name, value) in head.0.iter().chain(&Fields::of(data)?.0) {
            if value.get() != "null" {
                if out.len() > 1 {
                    out.push(',');
                }
                let name =
                    serde_json::to_string(name).map_err(|error| Error::Serialize(error.to_string()))?;
                spell(&name, &mut out);
                out.push(':');
                spell(value.get(), &mut out);
            }
        }
        out.push('}');
        Ok(out)
    }

    /// What an import begins with.
    ///
    /// # Errors
    /// [`Refusal::Expired`]; [`Refusal::Data`] for a session that doesn't say who it is and when it ends.
    pub fn into_foreign(self, now: Timestamp) -> Result<Foreign<T>, Refusal> {
        let session_id =
            self.session_id.filter(|id| !id.is_empty()).map(Zeroizing::new).ok_or(Refusal::Data)?;
        let expires_at = self.expires_at.ok_or(Refusal::Data)?.timestamp();
        // As there: the second it ends in is its last.
        if now > expires_at {
            return Err(Refusal::Expired);
        }
        Ok(Foreign::new(session_id.as_bytes(), expires_at, self.data))
    }
}

fn field<F: for<'de> Deserialize<'de>>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<F>, Refusal> {
    fields.remove(name).map(serde_json::from_value).transpose().map_err(|_| Refusal::Data)
}

#[derive(Serialize)]
struct Head<'a> {
    session_id: &'a Option<String>,
    created_at: &'a Option<Time>,
    expires_at: &'a Option<Time>,
}

/// The fields of an object in their order, unparsed.
struct Fields(Vec<(String, alloc::boxed::Box<RawValue>)>);

impl Fields {
    fn of(data: &impl Serialize) -> Result<Self, Error> {
        let json = crate::json::to_json(data, 0)?;
        serde_json::from_slice(&json).map_err(|error| Error::Serialize(error.to_string()))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_unit<E>(self) -> Result<Fields, E> {
                Ok(Fields(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_any(InOrder)
    }
}

/// Copies a JSON text in Crystal's spelling: DEL is escaped, a number with an exponent has a fraction and a sign.
fn spell(json: &str, out: &mut String) {
    let (mut in_string, mut escaped, mut fraction) = (false, false, false);
    let mut characters = json.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{7f}' if in_string => {
                out.push_str("\\u007f");
                continue;
            }
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            '.' if !in_string => fraction = true,
            'e' if !in_string && out.ends_with(|before: char| before.is_ascii_digit()) => {
                if !core::mem::take(&mut fraction) {
                    out.push_str(".0");
                }
                out.push('e');
                if characters.peek().is_some_and(char::is_ascii_digit) {
                    out.push('+');
                }
                continue;
            }
            ',' | ']' | '}' | ':' if !in_string => fraction = false,
            _ => {}
        }
        out.push(character);
    }
}
