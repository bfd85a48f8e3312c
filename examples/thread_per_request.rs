//! A web service with a thread for each request, and one client that all threads share.
//!
//! ```sh
//! cargo run --example thread_per_request -- 'mongodb://db.example.com/?tls=true' 127.0.0.1:8080
//! curl http://127.0.0.1:8080/
//! ```
//!
//! Every request lists the documents of the collection `shop.things`. The HTTP is the least that `curl` accepts.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use mongotls::bson::{Document, doc};
use mongotls::{Client, Command, ErrorKind};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let uri = arguments
        .next()
        .ok_or("usage: thread_per_request URI ADDRESS:PORT")?;
    let address = arguments.next().unwrap_or("127.0.0.1:0".to_owned());

    // This reads the files of TLS and starts to look for servers. It does not wait for them.
    let client = Client::connect(&uri)?;
    // The service does not begin without its database. The error says why, and what to do about it.
    client.database("admin").run_command(doc! { "ping": 1 })?;

    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        // A clone shares the pool of connections, so it costs next to nothing. Up to `maxPoolSize` threads (100)
        // have a connection at a time; further threads wait for one, first come, first served.
        let client = client.clone();
        thread::spawn(move || {
            if let Err(error) = serve(&client, &stream) {
                eprintln!("a visitor went away: {error}");
            }
        });
    }
    Ok(())
}

/// Answers one request.
fn serve(client: &Client, mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // The headers, at most 16 KiB of them; this service ignores what they say.
    let headers = BufReader::new(stream.take(16 << 10)).lines();
    for line in headers {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = match list_things(client) {
        Ok(names) => ("200 OK", names.join("\n") + "\n"),
        Err(error) => {
            // For the operator: everything that is known, in one line.
            eprintln!("{error}");
            // For the visitor: what to do next. `kind` groups errors by that.
            match error.kind() {
                ErrorKind::Timeout => ("504 Gateway Timeout", "too slow, try again\n".to_owned()),
                ErrorKind::Command => ("500 Internal Server Error", "our mistake\n".to_owned()),
                _ => ("503 Service Unavailable", "no database\n".to_owned()),
            }
        }
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Returns the names of all things, within two seconds.
fn list_things(client: &Client) -> mongotls::Result<Vec<String>> {
    // A read is retried if the primary changes. The limit covers everything: finding a server, waiting for a
    // connection, the server's work, and retries.
    let find = Command::from(doc! { "find": "things" })
        .read()
        .timeout(Duration::from_secs(2));
    let things = client
        .database("shop")
        .run_cursor_command::<Document>(find)?;
    things
        .map(|thing| Ok(thing?.get_str("name").unwrap_or("(no name)").to_owned()))
        .collect()
}
