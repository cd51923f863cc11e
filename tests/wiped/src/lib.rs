//! An allocator that looks at each block when it is freed: what is in it then stays in memory for whoever gets hold of that.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    slice,
};

/// The system's allocator, which tells the thread's [`left_behind`] what is freed.
pub struct Watching;

// SAFETY: blocks come from and go back to `System` with the layout that they were asked for with.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that a block never shows what an earlier one left, and all of it may be read.
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's to free, of that length, and all of it is initialised since `alloc`.
        look_at(unsafe { slice::from_raw_parts(block, layout.size()) });
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    // `realloc` is the trait's own: allocate, copy, free. So a vector that grows always shows what it leaves behind.
}

/// Any part of a secret that is as long as this is as bad as all of it.
const PART: usize = 8;

thread_local! {
    static SECRETS: Cell<&'static [Vec<u8>]> = const { Cell::new(&[]) };
    /// A bit for each secret.
    static FOUND: Cell<u64> = const { Cell::new(0) };
}

fn look_at(block: &[u8]) {
    // A thread that is ending watches nothing.
    let secrets = SECRETS.try_with(Cell::get).unwrap_or_default();
    for (index, secret) in secrets.iter().enumerate() {
        let mut parts = secret.chunks_exact(PART);
        if parts.any(|part| block.windows(PART).any(|window| window == part)) {
            FOUND.set(FOUND.get() | 1 << index);
        }
    }
}

/// The names of those secrets of which a block held 8 bytes or more when the scenario freed it, in this thread.
pub fn left_behind<'n>(secrets: &[(&'n str, &[u8])], scenario: impl FnOnce()) -> Vec<&'n str> {
    // Leaked, since the allocator may not free anything while it looks.
    let watched: Vec<Vec<u8>> = secrets.iter().map(|(_, secret)| secret.to_vec()).collect();
    FOUND.set(0);
    SECRETS.set(watched.leak());
    scenario();
    SECRETS.set(&[]);
    secrets
        .iter()
        .enumerate()
        .filter(|(index, _)| FOUND.get() >> index & 1 == 1)
        .map(|(_, (name, _))| *name)
        .collect()
}
