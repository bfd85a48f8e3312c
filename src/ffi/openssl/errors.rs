//! The error queue that OpenSSL keeps for each thread, and its list of threads.

#![allow(unsafe_code)]

use openssl_sys as sys;

use super::calls::*;

/// Initialises OpenSSL so that it does not clean up when the process exits, unless other code has already initialised
/// it. If OpenSSL does clean up, it first calls `before_cleanup` once, on the exiting thread.
pub(crate) fn at_cleanup(before_cleanup: extern "C" fn()) {
    openssl::init();
    // SAFETY: the handler is a function of this program, so it lives as long as the program; a panic in it aborts the
    // process. If the call fails because there is not enough memory, a clean-up is not detected.
    let _ = unsafe { OPENSSL_atexit(before_cleanup) };
}

/// Lets OpenSSL add this thread to its list of threads, and leaves the thread's errors unchanged.
pub(crate) fn enter_thread() {
    // SAFETY: reads this thread's own error queue, which OpenSSL creates on first use.
    unsafe { sys::ERR_peek_last_error() };
}

/// Empties this thread's error queue. An error left by other code would be mistaken for the failure of a later call,
/// because `SSL_get_error` looks there first.
pub(crate) fn clear_errors() {
    // SAFETY: both calls affect only this thread's own errors. A peek is much cheaper than clearing the queue.
    unsafe {
        if sys::ERR_peek_last_error() != 0 {
            sys::ERR_clear_error();
        }
    }
}

/// Removes, when dropped, the errors that were added to this thread's queue since it was created. Errors that OpenSSL
/// had added before it called back remain.
pub(crate) struct ErrorMark(());

impl ErrorMark {
    pub(crate) fn set() -> Self {
        // SAFETY: affects only this thread's own errors. An empty queue takes no mark; then all added errors are
        // removed.
        unsafe { ERR_set_mark() };
        Self(())
    }
}

impl Drop for ErrorMark {
    fn drop(&mut self) {
        // SAFETY: affects only this thread's own errors.
        unsafe { ERR_pop_to_mark() };
    }
}

/// Frees OpenSSL's state for this thread, as at the end of the thread. OpenSSL creates it again if the thread
/// continues.
pub(crate) fn leave_thread() {
    // SAFETY: frees only what belongs to this thread, and resets it. No call of OpenSSL is in progress on the thread:
    // the only caller runs at the end of the thread.
    unsafe { OPENSSL_thread_stop() };
}
