//! Connects a socket to one of several addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, TcpKeepalive, Type};

use super::Unreachable;
use crate::error::Stage;
use crate::ffi::fork;
use crate::ffi::thread;
use crate::limit::Limit;
use crate::reason::io::OsError;
use crate::reason::net::{ConnectAttempt, ConnectFailure, NetFailure, UnixSocketFailure};
use crate::socket::{Interrupt, Socket};
use crate::time::Deadline;

/// The delay before the next address is tried in parallel (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` that answers.
///
/// A single address is tried on the caller's thread. Of several, the next one is tried when the previous one has
/// failed or has had its head start; the other attempts are closed when one has succeeded.
pub(crate) fn connect(
    addresses: &[SocketAddr],
    deadline: &Deadline,
) -> Result<Socket, Unreachable> {
    connect_unless(&Arc::default(), addresses, deadline)
}

/// Connects as [`connect`] does, unless `interrupt` ends the attempt.
pub(crate) fn connect_unless(
    interrupt: &Arc<Interrupt>,
    addresses: &[SocketAddr],
    deadline: &Deadline,
) -> Result<Socket, Unreachable> {
    let outcome = fork::outside(|| match addresses {
        [address] => {
            attempt(*address, deadline, interrupt).map_err(|error| vec![(*address, error)])
        }
        _ => race(addresses, deadline, interrupt),
    });
    let socket = outcome.map_err(|failures| failed(failures, deadline))?;
    let peer = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
    prepare(socket).map_err(|error| {
        let failures = peer
            .map(|address| vec![(address, error)])
            .unwrap_or_default();
        failed(failures, deadline)
    })
}

/// Connects to the Unix socket at `path`, unless `interrupt` ends the attempt.
pub(crate) fn connect_unix(
    interrupt: &Interrupt,
    path: &Path,
    deadline: &Deadline,
) -> Result<Socket, Unreachable> {
    let connected = || {
        let socket = Arc::new(socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?);
        interrupt.attach(&socket)?;
        // While the server's backlog is full, the kernel waits as long as a write may.
        let remaining = deadline
            .remaining(Instant::now())
            .map_err(|_| io::ErrorKind::TimedOut)?;
        socket.set_write_timeout(remaining)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Socket::new(socket)
    };
    connected().map_err(|error| Unreachable {
        stage: Stage::Connect,
        failure: Box::new(NetFailure::UnixSocket(UnixSocketFailure {
            path: path.to_owned(),
            error: OsError::from(&error),
            timeout: deadline.elapsed(),
        })),
    })
}

/// Attaches the socket to `interrupt` before it connects, so that the kernel can abort the attempt.
fn attempt(
    address: SocketAddr,
    deadline: &Deadline,
    interrupt: &Interrupt,
) -> io::Result<Arc<socket2::Socket>> {
    let remaining = deadline
        .remaining(Instant::now())
        .map_err(|_| io::ErrorKind::TimedOut)?;
    let domain = Domain::for_address(address);
    let socket = Arc::new(socket2::Socket::new(
        domain,
        Type::STREAM,
        Some(Protocol::TCP),
    )?);
    interrupt.attach(&socket)?;
    let connected = match remaining {
        Some(remaining) => socket.connect_timeout(&address.into(), remaining),
        None => socket.connect(&address.into()),
    };
    match connected {
        Err(error) if is_without_port(&error, address) => Err(Limit::Ports.into()),
        connected => connected.map(|()| socket),
    }
}

/// Returns true if no local port is left for a connection to `address`. `EADDRNOTAVAIL` may also mean that this host
/// has no address to connect from, such as for IPv6; then UDP, which has separate ports, fails too.
pub(super) fn is_without_port(error: &io::Error, address: SocketAddr) -> bool {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    error.kind() == io::ErrorKind::AddrNotAvailable
        && UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect(address).is_ok())
}

fn race(
    addresses: &[SocketAddr],
    deadline: &Deadline,
    interrupt: &Arc<Interrupt>,
) -> Result<Arc<socket2::Socket>, Vec<(SocketAddr, io::Error)>> {
    let (report, results) = mpsc::channel();
    let mut failures = Vec::new();
    let mut untried = addresses.iter().copied();
    let mut running = 0;
    loop {
        let next = untried.next();
        if let Some(address) = next {
            let (report, deadline, interrupt) = (report.clone(), *deadline, Arc::clone(interrupt));
            let spawned = thread::spawn("mongotls-connect", move || {
                // A stream that comes too late is dropped, and so closed, with the channel.
                let _ = report.send((address, attempt(address, &deadline, &interrupt)));
            });
            match spawned {
                Ok(()) => running += 1,
                Err(_) => failures.push((address, Limit::Threads.into())),
            }
        }
        if running == 0 {
            if next.is_none() {
                return Err(failures);
            }
            continue;
        }
        // Attempts end at the deadline, so the wait for the last ones is bounded.
        let result = match next {
            Some(_) => results.recv_timeout(HEAD_START),
            None => results.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match result {
            Ok((_, Ok(stream))) => return Ok(stream),
            Ok((address, Err(error))) => {
                running -= 1;
                failures.push((address, error));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(failures),
        }
    }
}

/// Sets the socket options of MongoDB's drivers: no delay, and keepalive after two minutes of silence.
///
/// Keepalive sends nothing while data waits for an acknowledgement. TCP would then retry for 15 minutes, so this is
/// limited to the time after which keepalive closes an idle connection.
fn prepare(socket: Arc<socket2::Socket>) -> io::Result<Socket> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(
        KEEPALIVE_TIME + KEEPALIVE_INTERVAL * KEEPALIVE_RETRIES,
    ))?;
    Socket::new(socket)
}

/// The idle time before the first keepalive probe, the interval between probes, and their number: 210 s in all.
const KEEPALIVE_TIME: Duration = Duration::from_secs(120);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 9;

/// The error for all failed attempts together.
fn failed(failures: Vec<(SocketAddr, io::Error)>, deadline: &Deadline) -> Unreachable {
    let attempts = failures.iter().map(|(address, error)| ConnectAttempt {
        address: *address,
        error: OsError::from(error),
    });
    Unreachable {
        stage: Stage::Connect,
        failure: Box::new(NetFailure::Connect(ConnectFailure {
            attempts: attempts.collect(),
            timeout: deadline.elapsed(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::reason::net::ConnectProblem;
    use crate::time::TimeoutKind;

    #[test]
    #[cfg(target_os = "linux")]
    fn tcp_gives_up_in_line_with_keepalive() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let transport = Arc::new(socket2::Socket::from(stream));
        prepare(Arc::clone(&transport)).unwrap();
        let keepalive = transport.tcp_keepalive_time().unwrap()
            + transport.tcp_keepalive_interval().unwrap()
                * transport.tcp_keepalive_retries().unwrap();
        assert_eq!(keepalive, Duration::from_secs(210));
        assert_eq!(transport.tcp_user_timeout().unwrap(), Some(keepalive));
    }

    fn within(limit: Duration) -> Deadline {
        Deadline::after(Instant::now(), Some(limit), TimeoutKind::Connect)
    }

    /// An address of this host on which nothing listens.
    fn refusing() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
    }

    #[test]
    fn the_address_that_answers_wins() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [refusing(), listener.local_addr().unwrap()];
        let socket = connect(&addresses, &within(Duration::from_secs(5)));
        assert_eq!(
            socket.ok().and_then(|socket| socket.peer_addr()),
            Some(addresses[1])
        );
    }

    /// A listener with a full backlog: the kernel drops new connection requests.
    fn unresponsive_listener() -> (socket2::Socket, SocketAddr, Vec<socket2::Socket>) {
        let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut kept = Vec::new();
        loop {
            let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            match socket.connect_timeout(&address.into(), Duration::from_millis(100)) {
                Ok(()) => kept.push(socket),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                Err(error) => panic!("{error}"),
            }
        }
        (listener, address, kept)
    }

    #[test]
    fn an_attempt_to_connect_can_be_interrupted() {
        let (_listener, address, _kept) = unresponsive_listener();
        for addresses in [vec![address], vec![address, address]] {
            let interrupt = Arc::<Interrupt>::default();
            let (other, count) = (Arc::clone(&interrupt), addresses.len());
            let dial = thread::spawn(move || {
                let deadline = within(Duration::from_secs(60));
                connect_unless(&other, &addresses, &deadline).is_err()
            });
            let started = Instant::now();
            while interrupt.attached() < count {
                assert!(started.elapsed() < Duration::from_secs(10));
                thread::yield_now();
            }
            interrupt.interrupt();
            assert!(dial.join().unwrap());
            assert!(started.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn when_all_refuse_each_attempt_is_named() {
        let addresses = [refusing(), refusing()];
        let Err(unreachable) = connect(&addresses, &within(Duration::from_secs(5))) else {
            panic!("connected")
        };
        let NetFailure::Connect(failure) = *unreachable.failure else {
            panic!("{:?}", unreachable.failure)
        };
        let problem = failure.closest().map(|(problem, _)| problem);
        assert_eq!(problem, Some(ConnectProblem::Refused));
        let tried: Vec<_> = failure.attempts.iter().map(|it| it.address).collect();
        assert!(addresses.iter().all(|it| tried.contains(it)), "{tried:?}");
    }

    #[test]
    fn a_passed_deadline_is_a_timeout_of_its_option() {
        for kind in [TimeoutKind::Connect, TimeoutKind::Client] {
            let deadline = Deadline::after(Instant::now(), Some(Duration::ZERO), kind);
            let Err(unreachable) = connect(&[refusing()], &deadline) else {
                panic!("connected")
            };
            let NetFailure::Connect(failure) = *unreachable.failure else {
                panic!("{:?}", unreachable.failure)
            };
            let problem = failure.closest().map(|(problem, _)| problem);
            assert_eq!(problem, Some(ConnectProblem::Slow));
            assert_eq!(failure.timeout.kind, kind);
        }
    }

    #[test]
    fn a_unix_socket_that_accepts_nothing_is_a_timeout() {
        let path = std::env::temp_dir().join(format!("mongotls-{}.sock", std::process::id()));
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        // The kernel keeps one or two connections for the server, which never accepts them.
        let mut kept = Vec::new();
        let unreachable = loop {
            match connect_unix(
                &Interrupt::default(),
                &path,
                &within(Duration::from_millis(100)),
            ) {
                Ok(socket) if kept.len() < 10 => kept.push(socket),
                Ok(_) => panic!("the backlog has no end"),
                Err(unreachable) => break unreachable,
            }
        };
        std::fs::remove_file(&path).unwrap();
        let NetFailure::UnixSocket(failure) = *unreachable.failure else {
            panic!("{:?}", unreachable.failure)
        };
        assert!(
            matches!(
                failure.error.kind,
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
            ),
            "{failure:?}"
        );
        assert_eq!(failure.timeout.limit, Duration::from_millis(100));
    }
}
