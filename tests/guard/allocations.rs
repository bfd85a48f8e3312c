//! Counts the allocations of a thread.
//!
//! The instructions of the same program are counted too, so this adds one to a number and nothing else; hence no crate
//! for it.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// How many allocations one call of `work` makes; to make one larger counts.
pub(crate) fn count(calls: u32, work: &mut dyn FnMut()) -> f64 {
    let before = COUNT.get();
    (0..calls).for_each(|_| work());
    f64::from(COUNT.get() - before) / f64::from(calls)
}

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn one() {
        COUNT.set(COUNT.get().wrapping_add(1));
    }
}

// SAFETY: all is done by the system's allocator. The count needs neither memory nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::one();
        // SAFETY: what the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::one();
        // SAFETY: what the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::one();
        // SAFETY: what the caller promises; all blocks are the system's.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: what the caller promises; all blocks are the system's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
