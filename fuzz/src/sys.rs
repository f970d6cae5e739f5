//! How often does a piece of code ask Rust's allocator for memory?
//!
//! What C libraries take (AWS-LC's big numbers) does not pass here and is not counted.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Counts, for the thread that asks. Install with `#[global_allocator]`, or every count is zero.
#[derive(Debug)]
pub struct Counting;

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    /// How often; growing counts as well.
    pub count: u64,
    /// How many bytes in sum.
    pub bytes: u64,
    /// How often memory was given back, whenever it had been taken.
    pub returned: u64,
}

thread_local! {
    // Without a destructor, so that it can be read whenever a thread allocates.
    static TAKEN: Cell<Allocations> = const { Cell::new(Allocations { count: 0, bytes: 0, returned: 0 }) };
}

/// What this thread asks for while `run` runs.
pub fn allocations<T>(run: impl FnOnce() -> T) -> (Allocations, T) {
    let before = TAKEN.get();
    let result = run();
    let after = TAKEN.get();
    let taken = Allocations {
        count: after.count - before.count,
        bytes: after.bytes - before.bytes,
        returned: after.returned - before.returned,
    };
    (taken, result)
}

fn note(bytes: usize) {
    let taken = TAKEN.get();
    TAKEN.set(Allocations { count: taken.count + 1, bytes: taken.bytes + bytes as u64, ..taken });
}

// SAFETY: every call goes to `System` with the caller's own arguments and its answer goes back unchanged, so
// `System`'s guarantees are kept. Counting touches a thread-local cell that needs no memory and cannot panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise about `layout` is `System`'s requirement.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: `pointer` came from `System` by way of this type, with this `layout`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let taken = TAKEN.get();
        TAKEN.set(Allocations { returned: taken.returned + 1, ..taken });
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
