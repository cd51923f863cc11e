//! What a call answers when it doesn't give what was asked for.

use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};

use session_core::{Error, Rejection};

use crate::{FAILED, REJECTED};

/// The other ends of a call.
pub(crate) enum Failure {
    /// A cookie was refused: that is no error.
    Rejected(Rejection),
    /// Nothing to say but the code.
    Code(i32),
    Error(Error),
    /// A handle that isn't one: a bug of the caller.
    NoProvider,
}

impl Failure {
    /// Writes what there is to say, and gives the call's code.
    pub(crate) fn write(self, output: &mut Vec<u8>) -> i32 {
        output.clear();
        let error = match self {
            Self::Rejected(rejection) => {
                output.extend_from_slice(rejection.code().as_bytes());
                return REJECTED;
            }
            Self::Code(code) => return code,
            Self::NoProvider => Error::Key,
            Self::Error(error) => error,
        };
        let (actual, limit) = match error {
            Error::CookieTooLarge { actual, limit } => (actual, limit),
            _ => (0, 0),
        };
        for size in [actual, limit] {
            output.extend_from_slice(&(size as f64).to_le_bytes());
        }
        let message: String = error.to_string();
        for part in [code(&error), " ", &message] {
            output.extend_from_slice(part.as_bytes());
        }
        FAILED
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
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
