//! Bytes that are wiped when they are dropped.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use zeroize::{Zeroize as _, Zeroizing};

/// Bytes that are wiped when dropped, spare capacity included.
///
/// `Zeroizing<Vec<u8>>` does the same a byte at a time, which for a payload takes as long as decrypting it; this wipes all at once. A vector
/// that grows leaves its old bytes behind: give it its capacity first.
#[derive(Clone, Default)]
pub(crate) struct Wiped(Vec<u8>);

impl Wiped {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// The bytes, which from here on nobody wipes.
    pub(crate) fn into_public(mut self) -> Vec<u8> {
        core::mem::take(&mut self.0)
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // All of the allocation is spare then.
        self.0.clear();
        self.0.spare_capacity_mut().zeroize();
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Zeroizing<Vec<u8>>> for Wiped {
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(core::mem::take(&mut *bytes))
    }
}

impl From<Wiped> for Zeroizing<Vec<u8>> {
    fn from(bytes: Wiped) -> Self {
        Self::new(bytes.into_public())
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
