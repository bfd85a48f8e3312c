//! Metrics for Prometheus: counters from events, and gauges from a snapshot.
//!
//! ```sh
//! cargo run --example metrics_exporter -- 'mongodb://db.example.com/?tls=true' 127.0.0.1:9216
//! curl http://127.0.0.1:9216/metrics
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mongotls::bson::doc;
use mongotls::event::{CommandEvent, Event, EventKind, PoolEventKind, TlsEvent};
use mongotls::{Client, ConnectionString};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let uri = arguments
        .next()
        .ok_or("usage: metrics_exporter URI ADDRESS:PORT")?;
    let address = arguments.next().unwrap_or("127.0.0.1:0".to_owned());

    let metrics = Arc::new(Metrics::default());
    let recorder = Arc::clone(&metrics);
    let options = ConnectionString::parse(&uri)?
        .into_builder()
        // Only these kinds of events are made. The function runs on the thread that the event happens on, so it must
        // be quick: it adds to counters.
        .event_listener_for(
            &[EventKind::Command, EventKind::Pool, EventKind::Tls],
            move |event| recorder.record(event),
        )
        .build()?;
    let client = Client::with_options(options)?;

    let worker = client.clone();
    thread::spawn(move || work(&worker));

    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let text = metrics.render(&client)?;
        if let Err(error) = answer(&stream?, &text) {
            eprintln!("a scrape was cut short: {error}");
        }
    }
    Ok(())
}

/// The work that is measured; your program has its own.
fn work(client: &Client) {
    loop {
        let _ = client.database("admin").run_command(doc! { "ping": 1 });
        let _ = client
            .database("admin")
            .run_command(doc! { "noSuchCommand": 1 });
        thread::sleep(Duration::from_millis(100));
    }
}

/// Counters, each with its labels. A `BTreeMap` keeps the lines in one order.
#[derive(Default)]
struct Metrics(Mutex<BTreeMap<String, f64>>);

impl Metrics {
    fn record(&self, event: &Event) {
        match event {
            Event::Command(CommandEvent::Succeeded(command)) => {
                let labels = format!("command=\"{}\",result=\"ok\"", command.info.command_name);
                self.observe("mongotls_command", &labels, command.duration);
            }
            Event::Command(CommandEvent::Failed(command)) => {
                let labels = format!("command=\"{}\",result=\"error\"", command.info.command_name);
                self.observe("mongotls_command", &labels, command.duration);
            }
            Event::Pool(pool) => {
                let server = format!("server=\"{}\"", pool.server);
                match &pool.kind {
                    PoolEventKind::ConnectionCheckedOut { duration, .. } => {
                        self.observe("mongotls_check_out", &server, *duration);
                    }
                    PoolEventKind::ConnectionReady { .. } => {
                        self.add("mongotls_connections_established_total", &server, 1.0);
                    }
                    PoolEventKind::ConnectionClosed { reason, .. } => {
                        let labels = format!("{server},reason=\"{}\"", reason.as_str());
                        self.add("mongotls_connections_closed_total", &labels, 1.0);
                    }
                    _ => {}
                }
            }
            Event::Tls(TlsEvent::HandshakeFailed(failed)) => {
                // The codes of causes are stable, so a dashboard or an alert can rely on them.
                let cause = failed
                    .error
                    .cause()
                    .map_or("unknown", |cause| cause.code().as_str());
                let labels = format!("cause=\"{cause}\"");
                self.add("mongotls_tls_handshakes_failed_total", &labels, 1.0);
            }
            _ => {}
        }
    }

    /// Adds a duration to a summary: its sum in seconds, and how often it was observed.
    fn observe(&self, name: &str, labels: &str, duration: Duration) {
        self.add(
            &format!("{name}_seconds_sum"),
            labels,
            duration.as_secs_f64(),
        );
        self.add(&format!("{name}_seconds_count"), labels, 1.0);
    }

    fn add(&self, name: &str, labels: &str, value: f64) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counters.entry(format!("{name}{{{labels}}}")).or_default() += value;
    }

    /// Returns all metrics in the text format of Prometheus.
    fn render(&self, client: &Client) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        for (name, value) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            writeln!(text, "{name} {value}")?;
        }
        // What there is at this instant comes from a snapshot, which is cheap.
        let snapshot = client.snapshot();
        for pool in &snapshot.pools {
            let states = [
                ("available", pool.available),
                ("in_use", pool.in_use),
                ("pending", pool.pending),
            ];
            for (state, count) in states {
                let labels = format!("server=\"{}\",state=\"{state}\"", pool.server);
                writeln!(text, "mongotls_connections{{{labels}}} {count}")?;
            }
            writeln!(
                text,
                "mongotls_waiting_threads{{server=\"{}\"}} {}",
                pool.server, pool.waiting
            )?;
        }
        let handshakes = [
            ("full", snapshot.full_handshakes),
            ("resumed", snapshot.resumed_handshakes),
        ];
        for (kind, count) in handshakes {
            writeln!(
                text,
                "mongotls_tls_handshakes_total{{kind=\"{kind}\"}} {count}"
            )?;
        }
        Ok(text)
    }
}

/// Answers one scrape, whatever it asks for.
fn answer(mut stream: &TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    for line in BufReader::new(stream.take(16 << 10)).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}
