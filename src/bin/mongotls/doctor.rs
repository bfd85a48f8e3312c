//! `mongotls doctor`: prints an examination as text to scan, or as one JSON object. The output for one host is made
//! here, the output for several hosts in `deployment`.

use std::io;
use std::net::SocketAddr;

use mongotls::Error;
use mongotls::cause::FactValue;
use mongotls::doctor::{
    Diagnosis, Examination, Findings, Outcome, SeedList, StageReport, examine_with,
};
use mongotls::error::Stage;
use mongotls::tls::{CertificateRevocation, Library};
use serde_json::{Map, Value, json};

use crate::input::FetchedUri;
use crate::output::{Screen, Tone, clean, ms};
use crate::{Verdict, deployment, inspect, json as form, wait_notice};

pub(crate) fn doctor(
    screen: &mut Screen,
    mut target: FetchedUri,
    json: bool,
) -> io::Result<Verdict> {
    target.prompt_for_password();
    let uri = target.uri.clone();
    let what = || "waiting for the hosts, for each at most connectTimeoutMS".to_owned();
    let work = || examine_with(&uri, |builder| target.complete(builder));
    let diagnosis = wait_notice::with_notice(what, work);
    if json {
        screen.indented_json(&diagnosis_json(&diagnosis))?
    } else {
        print(screen, &diagnosis)?
    }
    Ok(if diagnosis.is_ok() {
        Verdict::Well
    } else {
        Verdict::Failed
    })
}

fn print(screen: &mut Screen, diagnosis: &Diagnosis) -> io::Result<()> {
    let topology = diagnosis.topology.as_ref();
    if let (Some(topology), true) = (topology, diagnosis.examinations.len() > 1) {
        return deployment::print(screen, diagnosis, topology);
    }
    for examination in &diagnosis.examinations {
        if let Some(server) = &examination.server {
            let heading = screen.paint(Tone::Strong, clean(server));
            screen.line(&heading)?;
        }
        print_stages(screen, examination, |_| true)?;
        for warning in &examination.warnings {
            let mark = screen.paint(Tone::Warning, "warning");
            screen.line(&format!("  {mark}  {}", clean(warning)))?;
        }
        if let Some(error) = &examination.error {
            print_failure(screen, error)?;
        }
    }
    let findings = topology.map_or(&[][..], |topology| &topology.findings);
    if !findings.is_empty() && diagnosis.failed().is_some() {
        screen.line("")?;
    }
    deployment::print_findings(screen, findings)?;
    if diagnosis.is_ok() {
        let verdict = screen.paint(Tone::Good, "all is well");
        screen.line(&format!("  {verdict}"))?;
    }
    Ok(())
}

/// Prints the stages that are wanted. The result of DNS is printed with its stage, or with the options if that stage is
/// left out.
pub(crate) fn print_stages(
    screen: &mut Screen,
    examination: &Examination,
    is_shown: impl Fn(Stage) -> bool,
) -> io::Result<()> {
    let seed_list_after = match is_shown(Stage::Options) && !is_shown(Stage::Resolve) {
        true => Stage::Options,
        false => Stage::Resolve,
    };
    let mut seed_list = examination
        .seed_list
        .as_ref()
        .filter(|_| is_shown(Stage::Options));
    let reports = examination.stages.iter();
    for report in reports.filter(|report| is_shown(report.stage)) {
        print_stage(screen, report)?;
        if let (Stage::Resolve, Some(name)) = (report.stage, &examination.dns_name) {
            screen.line(&format!("    in DNS {}", clean(name)))?;
        }
        if report.stage == seed_list_after {
            if let Some(found) = seed_list.take() {
                print_seed_list(screen, found)?;
            }
        }
    }
    Ok(())
}

fn print_stage(screen: &mut Screen, report: &StageReport) -> io::Result<()> {
    let name = format!("{:<15}", report.stage.as_str());
    let duration = format!("{:>9}", ms(report.duration));
    let line = match &report.outcome {
        Outcome::Passed => {
            let mark = screen.paint(Tone::Good, "ok    ");
            format!(
                "  {name} {mark} {}  {}",
                screen.paint(Tone::Faint, duration),
                clean(summary(&report.findings))
            )
        }
        Outcome::Skipped(why) => {
            let mark = screen.paint(Tone::Faint, format!("-      {:>9}  {}", "", clean(why)));
            format!("  {name} {mark}")
        }
        _ => format!("  {name} {} {duration}", screen.paint(Tone::Bad, "FAILED")),
    };
    screen.line(line.trim_end())?;
    match &report.findings {
        Findings::Options { files, library, .. } => {
            library
                .iter()
                .try_for_each(|library| print_library(screen, library))?;
            files
                .iter()
                .try_for_each(|file| inspect::print_brief(screen, file))
        }
        Findings::Revocation { certificates, .. } => certificates
            .iter()
            .try_for_each(|found| print_revocation(screen, found)),
        Findings::Handshake(handshake) => {
            handshake
                .peer_chain()
                .iter()
                .enumerate()
                .try_for_each(|(depth, certificate)| {
                    inspect::print_certificate(screen, depth, certificate)
                })
        }
        _ => Ok(()),
    }
}

/// Prints the result of DNS for the name in the connection string.
fn print_seed_list(screen: &mut Screen, found: &SeedList) -> io::Result<()> {
    let hosts: Vec<String> = found.hosts.iter().map(ToString::to_string).collect();
    let (srv, took) = (hosts.join(", "), ms(found.duration));
    screen.line(&format!(
        "    SRV {} {} ({took})",
        clean(&found.query),
        clean(srv)
    ))?;
    match &found.txt {
        Some(txt) => screen.line(&format!("    TXT {}", clean(txt))),
        None => screen.line("    no TXT record"),
    }
}

/// Prints the steps that were tried to find out if a certificate is revoked.
fn print_revocation(screen: &mut Screen, found: &CertificateRevocation) -> io::Result<()> {
    for step in &found.steps {
        let line = format!("{} {}", step.evidence, step.outcome);
        let depth = found.depth;
        screen.line(&format!(
            "    {depth} {} ({})",
            clean(line),
            ms(step.duration)
        ))?;
    }
    Ok(())
}

/// Prints the OpenSSL in use, in one line.
fn print_library(screen: &mut Screen, library: &Library) -> io::Result<()> {
    screen.line(&format!("    {}", clean(library.to_string())))
}

/// Summarizes the findings of a stage in one line.
fn summary(findings: &Findings) -> String {
    match findings {
        Findings::Options {
            trust_anchors: Some(anchors),
            ..
        } => format!("TLS is on; trust anchors: {anchors}"),
        Findings::Options {
            trust_anchors: None,
            ..
        } => "TLS is off".to_owned(),
        Findings::Addresses(addresses) => ips(addresses),
        Findings::ProxyAddresses { proxy, addresses } => {
            format!("{}, of the proxy {proxy}", ips(addresses))
        }
        Findings::Peer(Some(address)) => address.to_string(),
        Findings::ProxyPeer { proxy, peer } => match peer {
            Some(peer) => format!("through the proxy {proxy} at {peer}"),
            None => format!("through the proxy {proxy}"),
        },
        Findings::Handshake(handshake) => {
            let group = handshake
                .group()
                .map(|group| format!(", {group}"))
                .unwrap_or_default();
            let resumed = if handshake.resumed() { ", resumed" } else { "" };
            format!(
                "{}, {}{group}{resumed}, {}",
                handshake.protocol(),
                handshake.cipher(),
                handshake.verification()
            )
        }
        Findings::Revocation { certificates, .. } => certificates
            .first()
            .map(|leaf| leaf.status.as_str().to_owned())
            .unwrap_or_default(),
        Findings::Hello(hello) => {
            let role = match (&hello.set_name, hello.is_mongos) {
                (_, true) => "mongos".to_owned(),
                (Some(name), _) if hello.is_writable_primary => format!("primary of {name:?}"),
                (Some(name), _) if hello.secondary => format!("secondary of {name:?}"),
                (Some(name), _) if hello.arbiter_only => format!("arbiter of {name:?}"),
                (Some(name), _) => format!("member of {name:?}"),
                (None, _) => "standalone".to_owned(),
            };
            format!(
                "{role}, wire versions {} to {}",
                hello.min_wire_version, hello.max_wire_version
            )
        }
        Findings::Authentication {
            mechanism,
            source,
            user,
        } => {
            let user = user.as_deref().unwrap_or("the client");
            format!("{user} of {source}, {mechanism}")
        }
        Findings::Command {
            server_version,
            round_trip,
        } => {
            format!(
                "MongoDB {}, ping {}",
                server_version.as_deref().unwrap_or("of unknown version"),
                ms(*round_trip)
            )
        }
        _ => String::new(),
    }
}

fn ips(addresses: &[SocketAddr]) -> String {
    let ips: Vec<String> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    ips.join(", ")
}

pub(crate) fn print_failure(screen: &mut Screen, error: &Error) -> io::Result<()> {
    screen.line("")?;
    let Some(cause) = error.cause() else {
        return screen.line(&error.to_string());
    };
    let heading = screen.paint(Tone::Bad, format!("{}: {}", cause.category(), cause.code()));
    screen.line(&format!("{heading}\n  {error}\n"))?;
    // As wide as "issuer listed by server".
    let blank = format!("{:<23}", "");
    for (key, value) in cause.facts().iter() {
        let key = screen.paint(Tone::Faint, format!("{:<23}", key.replace('_', " ")));
        match value {
            FactValue::List(list) if list.len() > 1 => {
                for (index, item) in list.iter().enumerate() {
                    let key = if index == 0 { &key } else { &blank };
                    screen.line(&format!("  {key} {}", clean(item)))?;
                }
            }
            _ => screen.line(&format!("  {key} {}", clean(value)))?,
        }
    }
    let heading = screen.paint(Tone::Strong, "remedy");
    screen.line(&format!("\n{heading}\n  {}", clean(cause.remedy())))
}

/// The JSON of a diagnosis. For one host it is the object of that host. For several hosts it has the same form: it
/// reports the most informative failure, with the objects of all hosts in `servers` and their common state in
/// `topology`.
fn diagnosis_json(diagnosis: &Diagnosis) -> Value {
    let telling = diagnosis
        .failed()
        .or_else(|| diagnosis.examinations.first());
    let Some(mut object) = telling.map(examination_json) else {
        return json!({ "ok": false });
    };
    if let (Some(error), None) = (diagnosis.error(), diagnosis.failed()) {
        object["ok"] = json!(false);
        for (key, value) in form::failure(Some(&error)) {
            object[&key] = value;
        }
    }
    let several = diagnosis.examinations.len() > 1;
    if several {
        let servers = diagnosis.examinations.iter().map(examination_json);
        object["servers"] = servers.collect();
    }
    let topology = diagnosis.topology.as_ref();
    if let Some(topology) = topology.filter(|it| several || !it.findings.is_empty()) {
        object["topology"] = deployment::json(diagnosis, topology);
    }
    object
}

fn examination_json(examination: &Examination) -> Value {
    let mut object = Map::new();
    object.insert("ok".to_owned(), json!(examination.error.is_none()));
    object.insert(
        "server".to_owned(),
        json!(examination.server.as_ref().map(ToString::to_string)),
    );
    if let Some(name) = &examination.dns_name {
        object.insert("dns_name".to_owned(), json!(name));
    }
    object.append(&mut form::failure(examination.error.as_ref()));
    object["stage"] = json!(examination.stage().as_str());
    object.insert(
        "stages".to_owned(),
        json!(
            examination
                .stages
                .iter()
                .map(|report| {
                    let mut stage = stage_json(report);
                    if let (Stage::Resolve, Some(found)) = (report.stage, &examination.seed_list) {
                        stage["srv"] = seed_list_json(found);
                    }
                    stage
                })
                .collect::<Vec<_>>()
        ),
    );
    object.insert("warnings".to_owned(), json!(examination.warnings));
    Value::Object(object)
}

/// The items of a list, as they are printed.
fn texts(list: &[impl ToString]) -> Value {
    json!(list.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn seed_list_json(found: &SeedList) -> Value {
    json!({
        "query": found.query,
        "hosts": texts(&found.hosts),
        "txt": found.txt,
        "name_servers": texts(&found.name_servers),
        "duration_ms": form::ms(found.duration),
    })
}

fn stage_json(report: &StageReport) -> Value {
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(report.stage.as_str()));
    object.insert("ok".to_owned(), json!(report.outcome != Outcome::Failed));
    object.insert("duration_ms".to_owned(), form::ms(report.duration));
    if let Outcome::Skipped(why) = &report.outcome {
        object.insert("skipped".to_owned(), json!(why));
    }
    let mut learned = match &report.findings {
        // Until all options are consistent, it is unknown if TLS is on.
        Findings::Options { files, library, .. } if report.outcome == Outcome::Failed => fields([
            ("openssl", json!(library.as_ref().map(form::library))),
            ("files", form::files(files)),
        ]),
        Findings::Options {
            trust_anchors,
            files,
            library,
        } => fields([
            ("tls", json!(trust_anchors.is_some())),
            (
                "trust_anchors",
                json!(trust_anchors.as_ref().map(ToString::to_string)),
            ),
            ("openssl", json!(library.as_ref().map(form::library))),
            ("files", form::files(files)),
        ]),
        Findings::Addresses(addresses) => fields([("addresses", texts(addresses))]),
        Findings::ProxyAddresses { proxy, addresses } => fields([
            ("proxy", json!(proxy.to_string())),
            ("addresses", texts(addresses)),
        ]),
        Findings::Peer(peer) => fields([("peer", json!(peer.map(|peer| peer.to_string())))]),
        Findings::ProxyPeer { proxy, peer } => fields([
            ("proxy", json!(proxy.to_string())),
            ("peer", json!(peer.map(|peer| peer.to_string()))),
        ]),
        Findings::Handshake(handshake) => form::handshake(handshake),
        Findings::Revocation { crls, certificates } => fields([
            ("crls", json!(crls)),
            (
                "revocation",
                certificates.iter().map(form::revocation).collect(),
            ),
        ]),
        Findings::Hello(hello) => form::hello(hello),
        Findings::Authentication {
            mechanism,
            source,
            user,
        } => fields([
            ("mechanism", json!(mechanism.as_str())),
            ("auth_source", json!(source)),
            ("user", json!(user)),
        ]),
        Findings::Command {
            server_version,
            round_trip,
        } => fields([
            ("server_version", json!(server_version)),
            ("round_trip_ms", form::ms(*round_trip)),
        ]),
        _ => Map::new(),
    };
    object.append(&mut learned);
    Value::Object(object)
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
