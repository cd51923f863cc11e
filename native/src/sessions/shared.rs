//! What both backends need of a provider.

use std::sync::Arc;

use session_core::{
    Config, Kind, Plaintext, Random, SetCookie, Timestamp, TokenCodec, lifecycle::CommitContext,
};

use super::turn::Queues;
use crate::{clock::Clock, error::Error, event::Listeners, observe::Timings};

/// The configuration and what was made of it.
pub struct Shared<T> {
    pub(crate) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) codec: TokenCodec,
    pub(super) listeners: Listeners<T>,
    pub(super) timings: Timings,
    pub(super) queues: Queues,
    #[cfg(feature = "import")]
    pub(super) imports: Vec<crate::import::Import<T>>,
    #[cfg(feature = "dbsc")]
    pub(super) devices: Option<crate::dbsc::Devices>,
}

impl<T> Shared<T> {
    /// Whether a load asks for more cookies than the session's own.
    #[cfg(any(feature = "import", feature = "dbsc"))]
    pub(super) fn looks_at_other_cookies(&self) -> bool {
        #[cfg(feature = "import")]
        if !self.imports.is_empty() {
            return true;
        }
        #[cfg(feature = "dbsc")]
        if self.devices.is_some() {
            return true;
        }
        false
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn random(&self) -> &dyn Random {
        &*self.random
    }

    pub(crate) fn commit_context(&self, kind: Kind) -> CommitContext<'_> {
        CommitContext {
            now: self.now(),
            expiry: &self.config.expiry,
            ring: &self.config.keys,
            binding: self.config.client_binding.as_ref(),
            random: self.random(),
            kind,
        }
    }

    pub(crate) fn set_cookie(&self, payload: Plaintext, expires_at: Timestamp) -> Result<SetCookie, Error> {
        let deflate = self.config.compress_cookies;
        let token = self.codec.seal(payload, expires_at, deflate, self.random())?;
        Ok(self.config.cookie.set(&token, expires_at.since(self.now()))?)
    }
}
