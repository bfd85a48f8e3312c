//! Sockets and the threads that serve them, which end promptly and reliably.
//!
//! [`Listening`] accepts on a loopback port or a Unix socket and gives each connection to a separate thread. Dropping
//! it ends everything: the stop signal wakes waiting threads, the sockets of reading threads are shut down, and the
//! drop waits for all of them, with a limit.
//!
//! A [`Socket`] is shared, never duplicated: the system sends RST only when the last descriptor of a connection closes,
//! so a forgotten copy would turn a reset into an orderly end.

use socket2::{Domain, SockRef, Type};
use std::fmt;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// The address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// `127.0.0.1`, with a port or 0 for any.
    V4(u16),
    /// `::1`, with a port or 0 for any.
    V6(u16),
    /// A Unix socket; an existing file is replaced.
    Unix(PathBuf),
}

impl Default for Bind {
    fn default() -> Self {
        Self::V4(0)
    }
}

/// The address of a running listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// The TCP address.
    ///
    /// # Panics
    ///
    /// If this is a Unix socket.
    pub fn addr(&self) -> SocketAddr {
        match self {
            Self::Tcp(addr) => *addr,
            Self::Unix(path) => panic!("{} has no TCP address", path.display()),
        }
    }

    /// The address in the form of a connection string: `127.0.0.1:27017`, or a percent-encoded path.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp(addr) => addr.to_string(),
            Self::Unix(path) => path.to_string_lossy().replace('/', "%2F"),
        }
    }

    /// Connects to it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn connect(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(addr) => Socket::new(Stream::Tcp(TcpStream::connect(addr)?)),
            Self::Unix(path) => Socket::new(Stream::Unix(UnixStream::connect(path)?)),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A signal for threads to end, which they can wait for.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Gives the signal.
    pub fn set(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    /// Returns true if the signal was given.
    pub fn is_set(&self) -> bool {
        *lock(&self.0.0)
    }

    /// Waits for the signal, for at most this time; returns true if it came.
    pub fn wait(&self, limit: Duration) -> bool {
        let guard = lock(&self.0.0);
        let (guard, _) = self
            .0
            .1
            .wait_timeout_while(guard, limit, |set| !*set)
            .unwrap_or_else(PoisonError::into_inner);
        *guard
    }

    /// Waits for the signal.
    pub fn wait_for_ever(&self) {
        while !self.wait(Duration::from_secs(3600)) {}
    }
}

/// A port that stays reserved while no listener uses it: connections are refused.
///
/// It is held on `127.0.0.1`, and on `::1` if that exists, so that no other process answers for `localhost`.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _v6: Option<socket2::Socket>,
    _v4: socket2::Socket,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn reserve() -> io::Result<Self> {
        // A port that is free for IPv4 may be in use for IPv6.
        for _ in 0..50 {
            let v4 = hold((Ipv4Addr::LOCALHOST, 0).into())?;
            let addr = v4.local_addr()?.as_socket().expect("a TCP address");
            let v6 = match hold((Ipv6Addr::LOCALHOST, addr.port()).into()) {
                Ok(v6) => Some(v6),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                Err(_) => None,
            };
            return Ok(Self {
                number: addr.port(),
                _v6: v6,
                _v4: v4,
            });
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

/// A socket that is bound and does not listen. With `SO_REUSEADDR`, which listeners have too, another socket may listen
/// beside it.
fn hold(addr: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Debug)]
struct Shared {
    stream: Stream,
    reset: AtomicBool,
}

/// A connected stream that several owners share.
#[derive(Clone, Debug)]
pub struct Socket(Arc<Shared>);

impl Socket {
    fn new(stream: Stream) -> Self {
        if let Stream::Tcp(tcp) = &stream {
            // A reply is one write, so there is nothing to combine.
            let _ = tcp.set_nodelay(true);
        }
        Self(Arc::new(Shared {
            stream,
            reset: AtomicBool::new(false),
        }))
    }

    /// Ends one direction or both, for all owners.
    pub fn shutdown(&self, how: Shutdown) {
        // An error means that it has ended already.
        let _ = match &self.0.stream {
            Stream::Tcp(tcp) => tcp.shutdown(how),
            Stream::Unix(unix) => unix.shutdown(how),
        };
    }

    /// Makes the connection end with RST instead of FIN when its last owner drops it.
    pub fn reset_on_close(&self) {
        if let Stream::Tcp(tcp) = &self.0.stream {
            let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
        self.0.reset.store(true, Ordering::Relaxed);
    }

    /// Returns true if [`reset_on_close`](Self::reset_on_close) was called.
    pub(crate) fn will_reset(&self) -> bool {
        self.0.reset.load(Ordering::Relaxed)
    }

    /// Returns true if the peer has ended its side, without reading.
    ///
    /// It is for a peer that has nothing to send: under TLS a byte is a `close_notify`, which hides the FIN.
    pub(crate) fn has_ended(&self, over_tls: bool) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let flags = MSG_PEEK | MSG_DONTWAIT;
        let seen = match &self.0.stream {
            Stream::Tcp(tcp) => SockRef::from(tcp).recv_with_flags(&mut byte, flags),
            Stream::Unix(unix) => SockRef::from(unix).recv_with_flags(&mut byte, flags),
        };
        match seen {
            Ok(count) => count == 0 || over_tls,
            Err(error) => !is_timeout(&error),
        }
    }

    /// Limits how long a read waits.
    pub fn set_read_timeout(&self, limit: Option<Duration>) {
        let _ = match &self.0.stream {
            Stream::Tcp(tcp) => tcp.set_read_timeout(limit),
            Stream::Unix(unix) => unix.set_read_timeout(limit),
        };
    }

    /// Sends FIN, then reads until the peer ends too.
    ///
    /// Closing with unread bytes would send RST, and the peer might lose earlier bytes.
    fn close_gently(&self, stop: &Stop) {
        if self.will_reset() {
            return;
        }
        self.shutdown(Shutdown::Write);
        self.set_read_timeout(Some(Duration::from_millis(20)));
        let end = Instant::now() + LINGER;
        let mut discarded = [0; 4096];
        while !stop.is_set() && Instant::now() < end {
            match (&*self).read(&mut discarded) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(_) => break,
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Read for &Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.0.stream {
            Stream::Tcp(tcp) => (&*tcp).read(buf),
            Stream::Unix(unix) => (&*unix).read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &self.0.stream {
            Stream::Tcp(tcp) => (&*tcp).write(buf),
            Stream::Unix(unix) => (&*unix).write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A listener with its threads; dropping it ends them all.
#[derive(Debug)]
pub struct Listening {
    endpoint: Endpoint,
    stop: Stop,
    workers: Arc<Workers>,
    sockets: Sockets,
}

impl Listening {
    /// Listens, and runs `serve` in a new thread for each connection.
    ///
    /// When `serve` returns, the connection ends with FIN, or with RST if that was requested.
    ///
    /// # Errors
    ///
    /// Those of binding.
    pub fn start<F>(bind: &Bind, serve: F) -> io::Result<Self>
    where
        F: Fn(Socket, &Stop) + Send + Sync + 'static,
    {
        let (listener, endpoint) = Listener::bind(bind)?;
        let listening = Self {
            endpoint,
            stop: Stop::default(),
            workers: Arc::default(),
            sockets: Arc::default(),
        };
        let stop = listening.stop.clone();
        let workers = Arc::clone(&listening.workers);
        let sockets = Arc::clone(&listening.sockets);
        let serve = Arc::new(serve);
        let accept = move || {
            while let Ok(socket) = listener.accept() {
                if stop.is_set() {
                    break;
                }
                register(&sockets, &socket);
                let (serve, stop) = (Arc::clone(&serve), stop.clone());
                workers.spawn("bench-connection", move || {
                    serve(socket.clone(), &stop);
                    socket.close_gently(&stop);
                });
            }
            listener.end();
        };
        listening.workers.spawn("bench-accept", accept);
        Ok(listening)
    }

    /// The address that it listens on.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Signals its threads to end, and does not wait for them.
    pub(crate) fn stop(&self) {
        self.stop.set();
    }

    /// Ends every open connection with FIN; continues to listen.
    pub fn cut(&self) {
        for socket in self.take_open() {
            socket.shutdown(Shutdown::Both);
        }
    }

    /// Ends every open connection with RST, after its thread notices that there is no more to read.
    pub fn reset(&self) {
        for socket in self.take_open() {
            socket.reset_on_close();
            socket.shutdown(Shutdown::Read);
        }
    }

    fn take_open(&self) -> impl Iterator<Item = Socket> {
        let open: Vec<_> = lock(&self.sockets).drain(..).collect();
        let open = open.into_iter().filter_map(|shared| shared.upgrade());
        open.map(Socket)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.set();
        // A connection wakes the accepting thread.
        let wake = self.endpoint.connect();
        let end = Instant::now() + DROP_LIMIT;
        // A socket accepted at the last moment may be registered after the first cut.
        loop {
            self.cut();
            if self.workers.wait_until_idle(Duration::from_millis(20)) || Instant::now() > end {
                break;
            }
        }
        drop(wake);
        if let Endpoint::Unix(path) = &self.endpoint {
            let _ = std::fs::remove_file(path);
        }
    }
}

type Sockets = Arc<Mutex<Vec<Weak<Shared>>>>;

fn register(sockets: &Sockets, socket: &Socket) {
    let mut sockets = lock(sockets);
    sockets.retain(|open| open.strong_count() > 0);
    sockets.push(Arc::downgrade(&socket.0));
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn bind(bind: &Bind) -> io::Result<(Self, Endpoint)> {
        let tcp = |addr: SocketAddr| {
            let listener = TcpListener::bind(addr)?;
            let endpoint = Endpoint::Tcp(listener.local_addr()?);
            Ok((Self::Tcp(listener), endpoint))
        };
        match bind {
            Bind::V4(port) => tcp((Ipv4Addr::LOCALHOST, *port).into()),
            Bind::V6(port) => tcp((Ipv6Addr::LOCALHOST, *port).into()),
            Bind::Unix(path) => {
                let _ = std::fs::remove_file(path);
                let listener = UnixListener::bind(path)?;
                Ok((Self::Unix(listener), Endpoint::Unix(path.clone())))
            }
        }
    }

    /// Stops listening, for all descriptors: a process that is being started has a copy of this one, and would keep the
    /// port in use for a moment after it is closed.
    fn end(&self) {
        // An error means that it does not listen any more.
        let _ = match self {
            Self::Tcp(tcp) => SockRef::from(tcp).shutdown(Shutdown::Both),
            Self::Unix(unix) => SockRef::from(unix).shutdown(Shutdown::Both),
        };
    }

    fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(tcp) => Ok(Socket::new(Stream::Tcp(tcp.accept()?.0))),
            Self::Unix(unix) => Ok(Socket::new(Stream::Unix(unix.accept()?.0))),
        }
    }
}

/// Counts running threads, so that the wait for their end can have a limit.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    running: Mutex<usize>,
    idle: Condvar,
}

impl Workers {
    pub(crate) fn spawn(self: &Arc<Self>, name: &str, work: impl FnOnce() + Send + 'static) {
        *lock(&self.running) += 1;
        let running = Running(Arc::clone(self));
        thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                // Named here so that the closure owns it and drops it last, even after a panic.
                let _running = running;
                work();
            })
            .expect("a new thread");
    }

    fn wait_until_idle(&self, limit: Duration) -> bool {
        let running = lock(&self.running);
        let (running, _) = self
            .idle
            .wait_timeout_while(running, limit, |running| *running > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *running == 0
    }
}

struct Running(Arc<Workers>);

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.0.running) -= 1;
        self.0.idle.notify_all();
    }
}

/// Locks; after a panic of a thread that held the lock too, without another panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns true if a read ended because of its time limit.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

// For Linux's `recv`: two numbers are not worth a crate.
const MSG_PEEK: i32 = 0x02;
const MSG_DONTWAIT: i32 = 0x40;

/// The time for which a closed connection waits for its peer to close too.
const LINGER: Duration = Duration::from_secs(2);

/// The time limit for dropping a [`Listening`].
const DROP_LIMIT: Duration = Duration::from_secs(3);
