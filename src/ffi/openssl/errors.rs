//! The queue of errors that OpenSSL keeps for each thread, and its list of threads.

#![allow(unsafe_code)]

use openssl_sys as sys;

use super::calls::*;

/// Initialises OpenSSL so that it does not clean up when the process exits, unless other code has initialised it
/// before. If it does clean up, it calls `before_cleanup` first, once, on the thread that exits.
pub(crate) fn at_cleanup(before_cleanup: extern "C" fn()) {
    openssl::init();
    // SAFETY: the handler is a function of this program, so it lives as long as it does; a panic in it aborts the
    // process. If the call fails because memory is short, a clean-up is not noticed.
    let _ = unsafe { OPENSSL_atexit(before_cleanup) };
}

/// Lets OpenSSL put this thread on its list of threads, and leaves the thread's errors as they are.
pub(crate) fn enter_thread() {
    // SAFETY: looks at this thread's own errors, which OpenSSL makes when they are first asked for.
    unsafe { sys::ERR_peek_last_error() };
}

/// Empties this thread's queue of errors. An error that any code has left in it would be taken for the failure of a
/// later call: `SSL_get_error` looks there first.
pub(crate) fn clear_errors() {
    // SAFETY: both calls concern this thread's own errors. Looking is much cheaper than clearing.
    unsafe {
        if sys::ERR_peek_last_error() != 0 {
            sys::ERR_clear_error();
        }
    }
}

/// Removes the errors that were added to this thread's queue since, when it is dropped. Those that OpenSSL had added
/// before it called back stay.
pub(crate) struct ErrorMark(());

impl ErrorMark {
    pub(crate) fn set() -> Self {
        // SAFETY: concerns this thread's own errors. An empty queue takes no mark; then all that is added goes.
        unsafe { ERR_set_mark() };
        Self(())
    }
}

impl Drop for ErrorMark {
    fn drop(&mut self) {
        // SAFETY: concerns this thread's own errors.
        unsafe { ERR_pop_to_mark() };
    }
}

/// Frees what OpenSSL keeps for this thread, as it would when the thread has ended; it begins anew if the thread goes on.
pub(crate) fn leave_thread() {
    // SAFETY: frees what belongs to this thread alone, and forgets it. No call of OpenSSL is under way on it: the one
    // caller is at the thread's end.
    unsafe { OPENSSL_thread_stop() };
}
