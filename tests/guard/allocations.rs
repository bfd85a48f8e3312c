//! Counts the allocations of a thread.
//!
//! The instructions of the program are counted too, so this only adds one to a number; that is why it uses no crate.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The number of allocations of one call of `work`; growing an allocation counts.
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

// SAFETY: the system's allocator does all the work. The count needs neither memory nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::one();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::one();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::one();
        // SAFETY: the caller's promise; all blocks are the system's.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; all blocks are the system's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
