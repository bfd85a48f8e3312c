//! `mongotls ping`: connects, pings, and prints the results.

use std::io;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::client::ServerReport;
use mongotls::{Client, Error};
use serde_json::{Value, json};

use crate::input::FetchedUri;
use crate::output::{Screen, Tone, clean, ms};
use crate::{Verdict, json as form, print_error, wait_notice};

/// The results of a series of pings.
struct Series {
    report: ServerReport,
    version: Option<String>,
    round_trips: Vec<Duration>,
}

pub(crate) fn ping(
    screen: &mut Screen,
    target: FetchedUri,
    count: u32,
    json: bool,
) -> io::Result<Verdict> {
    match measure(target, count) {
        Ok(series) => {
            if json {
                screen.json(&as_json(&series))?
            } else {
                as_text(screen, &series)?
            }
            Ok(Verdict::Well)
        }
        Err(error) => {
            if json {
                screen.json(&Value::Object(form::outcome(Some(&error))))?;
            } else {
                print_error(&error);
            }
            Ok(Verdict::Failed)
        }
    }
}

fn measure(target: FetchedUri, count: u32) -> Result<Series, Error> {
    let client = target.client()?;
    wait_notice::with_notice(
        || wait_notice::for_a_server(&client),
        || series(&client, count),
    )
}

fn series(client: &Client, count: u32) -> Result<Series, Error> {
    let report = client.server_report()?;
    let admin = client.database("admin");
    let mut round_trips = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        admin.run_command(doc! { "ping": 1 })?;
        round_trips.push(started.elapsed());
    }
    // A user without privileges may not run `buildInfo`; the pings are valid without it.
    let build_info = admin.run_command(doc! { "buildInfo": 1 }).ok();
    let version = build_info.and_then(|reply| reply.get_str("version").ok().map(str::to_owned));
    Ok(Series {
        report,
        version,
        round_trips,
    })
}

fn as_text(screen: &mut Screen, series: &Series) -> io::Result<()> {
    let mut row = |name: &str, value: &str| {
        let name = screen.paint(Tone::Faint, format!("{name:<11}"));
        screen.line(&format!("{name} {value}"))
    };
    row("server", &clean(&series.report.server))?;
    row(
        "version",
        &clean(series.version.as_deref().unwrap_or("unknown")),
    )?;
    match &series.report.handshake {
        Some(handshake) => {
            let group = handshake
                .group()
                .map(|group| format!(", {group}"))
                .unwrap_or_default();
            row(
                "tls",
                &format!("{}, {}{group}", handshake.protocol(), handshake.cipher()),
            )?;
            row("peer", &clean(handshake.verification()))?;
        }
        None => row("tls", "off")?,
    }
    let trips = &series.round_trips;
    if let [only] = trips.as_slice() {
        return row("round trip", &ms(*only));
    }
    let total: Duration = trips.iter().sum();
    let mean = total / u32::try_from(trips.len()).unwrap_or(u32::MAX);
    let (min, max) = (
        trips.iter().min().copied().unwrap_or_default(),
        trips.iter().max().copied().unwrap_or_default(),
    );
    row(
        "round trips",
        &format!(
            "{} pings: least {}, mean {}, most {}",
            trips.len(),
            ms(min),
            ms(mean),
            ms(max)
        ),
    )
}

fn as_json(series: &Series) -> Value {
    let trips: Vec<Value> = series
        .round_trips
        .iter()
        .map(|trip| form::ms(*trip))
        .collect();
    let mut object = form::outcome(None);
    let fields = [
        ("server", json!(series.report.server.to_string())),
        ("version", json!(series.version)),
        (
            "tls",
            json!(series.report.handshake.as_ref().map(form::handshake)),
        ),
        ("hello", json!(form::hello(&series.report.hello))),
        ("round_trips_ms", json!(trips)),
    ];
    object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(object)
}
