//! Locks that a panic doesn't poison.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock. For data that is whole whenever foreign code may run, or whose keeper looks for the poison where it isn't: what a panicking holder
/// left behind is as good as any.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
