//! What a store says of the errors of Redis.

use core::{error::Error, time::Duration};
use std::{io, sync::Arc};

use redis::{ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value};
use rustls::{AlertDescription, CertificateError};

use crate::store::StoreError;

/// An answer as what it should be. A server may also answer with an error that the client library leaves inside the value.
pub(super) fn read<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    let value = value.extract_error().map_err(|error| store_error(&error))?;
    T::from_redis_value(value).map_err(|_| StoreError::Malformed)
}

/// What a store says of an error of Redis, whose messages name no keys.
pub(super) fn store_error(error: &RedisError) -> StoreError {
    if is_out_of_memory(error) {
        return StoreError::Full { capacity: None };
    }
    match error.kind() {
        ErrorKind::Io => match refused_by_tls(error) {
            Some(refused) => StoreError::misconfigured(refused),
            None => StoreError::unavailable(format!("Redis: {error}")),
        },
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::RESP3NotSupported
        | ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::CrossSlot) => {
            StoreError::misconfigured(format!("Redis: {error}"))
        }
        ErrorKind::UnexpectedReturnType => StoreError::Malformed,
        ErrorKind::Extension => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => StoreError::misconfigured(format!("Redis: {error}")),
            Some("WRONGTYPE") => StoreError::Malformed,
            _ => StoreError::unavailable(format!("Redis: {error}")),
        },
        _ => StoreError::unavailable(format!("Redis: {error}")),
    }
}

/// Whether a write was refused because the server has all the memory that it may have. An answer: it is well otherwise.
fn is_out_of_memory(error: &RedisError) -> bool {
    // Redis 6 wraps the errors of a script's commands in one of the script.
    error.code() == Some("OOM") || error.detail().is_some_and(|detail| detail.contains("-OOM "))
}

/// What to do about a certificate that one side doesn't accept; trying again would not help.
fn refused_by_tls(error: &RedisError) -> Option<String> {
    // So it is wrapped: by the client library, by the runtime.
    let shared: &Arc<dyn Error + Send + Sync> = error.source()?.downcast_ref()?;
    let refused: &rustls::Error = shared.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()?;
    let advice = match refused {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the URL has to name the server as its certificate does",
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "if its issuer is to be trusted, name it by `RedisStoreBuilder::root_certificates`"
        }
        rustls::Error::InvalidCertificate(_) => "the server needs another certificate",
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants one of the client: `RedisStoreBuilder::client_certificate`"
        }
        rustls::Error::AlertReceived(_) => "the server refuses the client's certificate, or none",
        rustls::Error::InvalidMessage(_) => "the server doesn't speak TLS on this port",
        _ => return None,
    };
    Some(format!("TLS to Redis failed ({refused}): {advice}"))
}

pub(super) const fn timed_out(after: Duration) -> StoreError {
    StoreError::TimedOut { after }
}

pub(super) fn closed() -> StoreError {
    StoreError::unavailable("the connection to Redis was shut down")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By a command, by a script, by one of Redis 6, and by what one of those caught.
    #[test]
    fn a_server_without_memory_is_full_and_not_gone() {
        const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
        let answers = [
            format!("-{OOM}\r\n"),
            format!("-{OOM} script: 8a1f, on @user_script:7.\r\n"),
            format!(
                "-ERR Error running script (call to f_8a1f): @user_script:7: @user_script: 7: -{OOM} \r\n"
            ),
            format!("-@user_script: 7: -{OOM}\r\n"),
        ];
        for answer in answers {
            let value = redis::parse_redis_value(answer.as_bytes()).expect("RESP");
            assert_eq!(read::<()>(value), Err(StoreError::Full { capacity: None }), "{answer}");
        }
        let value = redis::parse_redis_value(b"-LOADING in memory\r\n").expect("RESP");
        assert!(read::<()>(value).is_err_and(|error| error.is_unavailable()));
    }
}
