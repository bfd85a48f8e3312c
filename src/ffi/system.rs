//! Calls of the C library that the standard library does not provide. Each is safe to call from anywhere.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Instant;

use libc::{c_int, c_void};

/// Returns the effective user ID of this process.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: the call takes no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// A resource that the system limits for each process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource {
    /// File descriptors.
    OpenFiles,
    /// Threads of all processes of the user.
    Processes,
    /// Memory, in bytes.
    AddressSpace,
}

/// Returns the limit in force for this process, or `None` if there is no limit.
pub(crate) fn soft_limit(resource: Resource) -> Option<u64> {
    let resource = match resource {
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::AddressSpace => libc::RLIMIT_AS,
    };
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the structure is live, and only this call writes to it.
    let outcome = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (outcome == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Registers handlers that run before each fork, and after it in the parent and in the child.
///
/// The handlers must not unwind. The child's handler may do only what is async-signal-safe. If there is not enough
/// memory, they are not registered, and forks are not detected.
pub(crate) fn at_fork(
    prepare: extern "C" fn(),
    in_parent: extern "C" fn(),
    in_child: extern "C" fn(),
) {
    // SAFETY: the handlers are functions of this program, so they live as long as it does; a panic in one aborts the
    // process at the edge of `extern "C"`.
    let _ = unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
}

/// Starts a thread of the C library; [`crate::ffi::thread`] explains why.
///
/// # Errors
/// The system's errors, if it has no thread or no memory left.
pub(crate) fn start_thread(name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    /// The stack size of a thread, as in the standard library.
    const STACK: usize = 2 << 20;
    /// The number of bytes of a name that the kernel stores.
    const LONGEST_NAME: usize = 15;
    struct Start {
        name: CString,
        work: Box<dyn FnOnce() + Send>,
    }
    extern "C" fn run(start: *mut c_void) -> *mut c_void {
        // SAFETY: the pointer comes from Box::into_raw below and is passed only to this thread.
        let start = unsafe { Box::from_raw(start.cast::<Start>()) };
        // SAFETY: the set is initialised by sigemptyset before it is read; both calls affect only this thread, and
        // the name is NUL-terminated.
        unsafe {
            let mut signals = std::mem::zeroed();
            libc::sigemptyset(&raw mut signals);
            libc::sigaddset(&raw mut signals, libc::SIGPIPE);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
            #[cfg(any(target_os = "linux", target_os = "android"))]
            libc::pthread_setname_np(libc::pthread_self(), start.name.as_ptr());
        }
        // A panic must not cross C. The panic hook has already printed it.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(start.work));
        std::ptr::null_mut()
    }
    let checked = |code| match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    };
    let name = &name.as_bytes()[..name.len().min(LONGEST_NAME)];
    let name = CString::new(name)?;
    let start = Box::into_raw(Box::new(Start { name, work }));
    // SAFETY: the attributes are initialised before they are used and destroyed once. The new thread takes ownership
    // of the box; if no thread starts, it is taken back here.
    let started = unsafe {
        let mut attributes = std::mem::zeroed();
        checked(libc::pthread_attr_init(&raw mut attributes)).and_then(|()| {
            libc::pthread_attr_setstacksize(&raw mut attributes, STACK);
            let detached = libc::PTHREAD_CREATE_DETACHED;
            libc::pthread_attr_setdetachstate(&raw mut attributes, detached);
            let mut thread = std::mem::zeroed();
            let code =
                libc::pthread_create(&raw mut thread, &raw const attributes, run, start.cast());
            libc::pthread_attr_destroy(&raw mut attributes);
            checked(code)
        })
    };
    if started.is_err() {
        // SAFETY: no thread exists that could own the box.
        drop(unsafe { Box::from_raw(start) });
    }
    started
}

/// Waits until one of the files can be read without blocking, or is at its end. Returns which ones are; none if `until`
/// is reached first.
///
/// # Errors
/// The system's errors.
pub(crate) fn wait_until_readable<const N: usize>(
    files: [BorrowedFd<'_>; N],
    until: Instant,
) -> io::Result<[bool; N]> {
    let count = libc::nfds_t::try_from(N).map_err(io::Error::other)?;
    let mut entries = files.map(|file| libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    loop {
        let remaining = until.saturating_duration_since(Instant::now());
        // Rounded up, so that the last wait does not end a moment early and then repeat without a pause.
        let millis = c_int::try_from(remaining.as_millis().saturating_add(1)).unwrap_or(c_int::MAX);
        // SAFETY: the entries are live and writable during the call, and the descriptors belong to open files.
        match unsafe { libc::poll(entries.as_mut_ptr(), count, millis) } {
            0 if until <= Instant::now() => return Ok([false; N]),
            0 => {}
            1.. => return Ok(entries.map(|entry| entry.revents != 0)),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}
