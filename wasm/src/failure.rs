//! What a call answers when it doesn't give what was asked for.

use serde::Serialize;
use session_core::{Error, Rejection};

use crate::{FAILED, REJECTED};

/// The other ends of a call.
pub(crate) enum Failure {
    /// A cookie was refused: that is no error.
    Rejected(Rejection),
    /// Nothing to say but the code.
    Code(i32),
    Error(Description),
}

/// An error, as JavaScript's error classes want it.
#[derive(Serialize)]
pub(crate) struct Description {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    actual: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
}

impl Failure {
    pub(crate) const fn new(code: &'static str, message: String) -> Self {
        Self::Error(Description { code, message, actual: None, limit: None })
    }

    /// Writes what there is to say, and gives the call's code.
    pub(crate) fn write(self, output: &mut Vec<u8>) -> i32 {
        output.clear();
        match self {
            Self::Rejected(rejection) => {
                output.extend_from_slice(rejection.code().as_bytes());
                REJECTED
            }
            Self::Code(code) => code,
            Self::Error(description) => {
                output.extend_from_slice(&to_json(&description).unwrap_or_default());
                FAILED
            }
        }
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (actual, limit) = match error {
            Error::CookieTooLarge { actual, limit } => (Some(actual), Some(limit)),
            _ => (None, None),
        };
        Self::Error(Description { code: code(&error), message: error.to_string(), actual, limit })
    }
}

/// A code for every error, for JavaScript to tell them apart by.
const fn code(error: &Error) -> &'static str {
    match error {
        Error::Secret(_) => "bad-secret",
        Error::Config(_) => "bad-config",
        Error::Random(_) => "no-web-crypto",
        Error::CookieTooLarge { .. } => "cookie-too-large",
        Error::Serialize(_) => "not-json",
        _ => "internal",
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Serialize(error.to_string()))
}
