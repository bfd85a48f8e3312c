//! A server that forks its workers after it has created its client, as Apache and Gunicorn do.
//!
//! ```sh
//! cargo run --example prefork -- 'mongodb://db.example.com/?tls=true' 127.0.0.1:8080
//! curl http://127.0.0.1:8080/
//! ```
//!
//! Four workers share a listening socket. Each of them serves a hundred requests and ends; then so does the parent. A
//! real server would start the next worker.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;

use mongotls::Client;
use mongotls::bson::doc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let uri = arguments
        .next()
        .ok_or("usage: prefork URI [ADDRESS:PORT [WORKERS [REQUESTS]]]")?;
    let address = arguments.next().unwrap_or("127.0.0.1:0".to_owned());
    let workers = arguments.next().map_or(Ok(4), |number| number.parse())?;
    let requests = arguments.next().map_or(Ok(100), |number| number.parse())?;

    // The parent checks the options and the connection once, for all workers.
    let client = Client::connect(&uri)?;
    client.database("admin").run_command(doc! { "ping": 1 })?;

    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let workers = (0..workers).map(|_| fork(|| work(&client, &listener, requests)));
    let workers: Vec<libc::pid_t> = workers.collect::<io::Result<_>>()?;
    for worker in workers {
        println!("worker {worker} ended with {}", wait(worker)?);
    }

    // The parent's own connections are as they were.
    client.database("admin").run_command(doc! { "ping": 1 })?;
    println!("all workers have ended");
    Ok(())
}

/// The work of a child. It uses the client that the parent created: the client notices that it is in another process,
/// makes connections of its own, and leaves those of the parent alone.
fn work(client: &Client, listener: &TcpListener, requests: u32) -> Result<(), Box<dyn Error>> {
    for _ in 0..requests {
        let (stream, _) = listener.accept()?;
        if let Err(error) = serve(client, &stream) {
            eprintln!("a visitor went away: {error}");
        }
    }
    Ok(())
}

/// Answers one request with the number of the process and the state of the database.
fn serve(client: &Client, mut stream: &TcpStream) -> io::Result<()> {
    for line in BufReader::new(stream.take(16 << 10)).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = match client.database("admin").run_command(doc! { "ping": 1 }) {
        Ok(_) => format!("worker {}: ok\n", process::id()),
        Err(error) => format!("worker {}: {error}\n", process::id()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Runs `child` in a new process, and returns the id of that process.
fn fork(child: impl FnOnce() -> Result<(), Box<dyn Error>>) -> io::Result<libc::pid_t> {
    // SAFETY: no other thread of this program exists. Those of the client are prepared for a fork.
    #[allow(unsafe_code)]
    let id = unsafe { libc::fork() };
    match id {
        0 => match child() {
            Ok(()) => process::exit(0),
            Err(error) => {
                eprintln!("worker {}: {error}", process::id());
                process::exit(1)
            }
        },
        id if id < 0 => Err(io::Error::last_os_error()),
        id => Ok(id),
    }
}

/// Waits until a child has ended, and returns its exit code.
fn wait(id: libc::pid_t) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: `status` is valid for the write.
    #[allow(unsafe_code)]
    let ended = unsafe { libc::waitpid(id, &raw mut status, 0) };
    match ended {
        -1 => Err(io::Error::last_os_error()),
        _ if libc::WIFEXITED(status) => Ok(libc::WEXITSTATUS(status)),
        _ => Ok(128 + libc::WTERMSIG(status)), // as shells do
    }
}
