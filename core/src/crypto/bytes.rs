//! Bytes that leave nothing behind.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use zeroize::{Zeroize as _, Zeroizing};

/// Bytes that are wiped when dropped, spare capacity included.
///
/// `Zeroizing<Vec<u8>>` does the same a byte at a time, which for a payload takes as long as decrypting it; this wipes whole slices.
/// A vector that grows leaves its old bytes behind: give it its capacity first.
#[derive(Default)]
pub(crate) struct SecretBytes(Vec<u8>);

impl SecretBytes {
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, which from here on nobody wipes.
    pub(crate) fn into_public(mut self) -> Vec<u8> {
        core::mem::take(&mut self.0)
    }
}

impl From<SecretBytes> for Zeroizing<Vec<u8>> {
    fn from(bytes: SecretBytes) -> Self {
        Self::new(bytes.into_public())
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.spare_capacity_mut().zeroize();
        self.0.as_mut_slice().zeroize();
    }
}

impl Deref for SecretBytes {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for SecretBytes {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
