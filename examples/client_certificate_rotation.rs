//! A client certificate that is replaced while the program runs.
//!
//! ```sh
//! cargo run --example client_certificate_rotation -- \
//!     'mongodb://db.example.com/?tlsCAFile=ca.pem&tlsCertificateKeyFile=client.pem'
//! ```
//!
//! Then replace `client.pem` by the next certificate with its key. To replace a file as a whole, write the new one
//! beside it and rename it (`mv`), so that no reader sees half of it.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::error::Error;
use std::thread;
use std::time::Duration;

use mongotls::bson::doc;
use mongotls::event::{Event, EventKind, TlsEvent};
use mongotls::{Client, ConnectionString};

fn main() -> Result<(), Box<dyn Error>> {
    let uri = env::args()
        .nth(1)
        .ok_or("usage: client_certificate_rotation URI")?;

    // The connection string comes from the operator. The program adds what has no key there.
    let options = ConnectionString::parse(&uri)?
        .into_builder()
        // Looks at all files of TLS every second: certificate, key, CA and CRLs. A minute is enough for most
        // programs. A program that knows when its files change calls `Client::reload_tls` instead.
        .tls_with(|tls| tls.watch_files(Duration::from_secs(1)))
        .event_listener_for(&[EventKind::Tls], report)
        .build()?;
    let client = Client::with_options(options)?;

    loop {
        // No command fails because of a reload. Connections with the old certificate are closed when their command
        // has ended.
        client.database("admin").run_command(doc! { "ping": 1 })?;
        println!("ping");
        thread::sleep(Duration::from_millis(500));
    }
}

/// Reports each reload. A reload that fails leaves the old files in force, and is tried again by itself.
fn report(event: &Event) {
    if let Event::Tls(TlsEvent::Reload(reload)) = event {
        match &reload.error {
            None => println!("the new files are in force"),
            // Wake somebody up before the old certificate expires.
            Some(error) => eprintln!("the new files are rejected: {error}"),
        }
    }
}
