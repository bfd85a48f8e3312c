//! The doctor's text and JSON for a deployment: several hosts as one table, and the problems of all of them together.
//!
//! The reader first needs to know which hosts fail and why. So the failed hosts are printed in full, the first of each
//! cause. The table of all hosts follows, and the conclusions come last.

use std::collections::HashSet;
use std::io;
use std::time::SystemTime;

use mongotls::cause::Category;
use mongotls::cause::{FactValue, Facts};
use mongotls::doctor::{Diagnosis, Examination, Findings, Member, TopologyFinding, TopologyReport};
use mongotls::error::Stage;
use mongotls::tls::{Certificate, HandshakeReport, Severity, Verification};
use mongotls::topology::{ServerType, TopologyType};
use mongotls::{CauseCode, ServerAddress};
use serde_json::{Value, json};

use crate::doctor::{print_failure, print_stages};
use crate::output::{Screen, Tone, clean};

/// The row of one host in the table.
struct Row<'a> {
    member: &'a Member,
    state: String,
    /// True if the certificate names the host, or `None` if this is unknown.
    name_matches: Option<bool>,
    /// The verified chain, or `None` if the examination ended earlier or nothing was verified.
    chain: Option<Chain>,
    /// The issuer of the server's certificate.
    issuer: Option<String>,
    /// Whole days until the first certificate of the chain expires; negative if it has expired.
    days_left: Option<i64>,
    protocol: Option<String>,
    revocation: Option<&'static str>,
    wire_versions: Option<(i32, i32)>,
    cause: Option<CauseCode>,
}

/// The result of verifying a server's chain.
#[derive(Clone, Copy)]
enum Chain {
    /// The chain leads to an anchor at this depth.
    Verified(usize),
    NotVerified,
    Refused,
}

/// Prints several hosts.
pub(crate) fn print(
    screen: &mut Screen,
    diagnosis: &Diagnosis,
    topology: &TopologyReport,
) -> io::Result<()> {
    let examinations = &diagnosis.examinations;
    if let Some(first) = examinations.first() {
        print_stages(screen, first, |stage| stage == Stage::Options)?;
        screen.line("")?;
    }
    let mut printed: Vec<(CauseCode, &ServerAddress)> = Vec::new();
    for (examination, member) in examinations.iter().zip(&topology.members) {
        let Some(error) = &examination.error else {
            continue;
        };
        let by = match member.advertised_by.as_slice() {
            by if member.is_seed || by.is_empty() => String::new(),
            by => format!(", named by {}", list(by)),
        };
        let server = screen.paint(Tone::Strong, clean(&member.server));
        screen.line(&format!("{server}{}", clean(by)))?;
        let code = error.cause().map(|cause| cause.code());
        let alike = printed.iter().find(|(printed, _)| Some(*printed) == code);
        match (code, alike) {
            (Some(code), Some((_, like))) => {
                let code = screen.paint(Tone::Bad, code);
                screen.line(&format!("  {code}, as {}: {}", clean(like), clean(error)))?;
            }
            _ => {
                printed.extend(code.map(|code| (code, &member.server)));
                print_stages(screen, examination, |stage| stage != Stage::Options)?;
                print_failure(screen, error)?;
            }
        }
        screen.line("")?;
    }
    let heading = screen.paint(Tone::Strong, clean(kind(topology)));
    screen.line(&heading)?;
    let rows = rows(diagnosis, topology);
    print_table(screen, &rows)?;
    screen.line("")?;
    print_warnings(screen, examinations)?;
    print_findings(screen, &topology.findings)?;
    print_verdict(screen, diagnosis, &rows)
}

/// Prints the problems of all hosts together.
pub(crate) fn print_findings(screen: &mut Screen, findings: &[TopologyFinding]) -> io::Result<()> {
    for finding in findings {
        let mark = match finding.severity {
            Severity::Failure => screen.paint(Tone::Bad, "FAILURE"),
            _ => screen.paint(Tone::Warning, "warning"),
        };
        let code = screen.paint(Tone::Faint, format!("[{}]", finding.code));
        screen.line(&format!("  {mark}  {} {code}", clean(&finding.message)))?;
        screen.line(&format!("           {}", clean(&finding.remedy)))?;
    }
    Ok(())
}

/// Prints the warnings of single hosts. A warning that all hosts share is about the options.
fn print_warnings(screen: &mut Screen, examinations: &[Examination]) -> io::Result<()> {
    let mut printed = HashSet::new();
    let warnings = examinations.iter().flat_map(|one| &one.warnings);
    for warning in warnings.filter(|warning| printed.insert(*warning)) {
        let concerned = examinations.iter();
        let concerned = concerned.filter(|one| one.warnings.contains(warning));
        let servers: Vec<_> = concerned.filter_map(|one| one.server.clone()).collect();
        let prefix = match servers.len() == examinations.len() {
            true => String::new(),
            false => format!("{}: ", list(&servers)),
        };
        let mark = screen.paint(Tone::Warning, "warning");
        screen.line(&format!(
            "  {mark}  {}",
            clean(format!("{prefix}{warning}"))
        ))?;
    }
    Ok(())
}

fn print_verdict(screen: &mut Screen, diagnosis: &Diagnosis, rows: &[Row<'_>]) -> io::Result<()> {
    let failed: Vec<_> = rows.iter().filter(|row| row.cause.is_some()).collect();
    let verdict = match failed.len() {
        _ if diagnosis.is_ok() => screen.paint(Tone::Good, "all is well"),
        0 => screen.paint(
            Tone::Bad,
            "every host answers, but the deployment has problems",
        ),
        count => {
            let number = format!("{count} of {} hosts", rows.len());
            let fail = if count == 1 { "fails" } else { "fail" };
            screen.paint(Tone::Bad, format!("{number} {fail}"))
        }
    };
    screen.line(&format!("  {verdict}"))
}

/// The type of the deployment, as a client sees it.
fn kind(topology: &TopologyReport) -> String {
    let set = topology.description.set_name.as_deref().unwrap_or_default();
    match topology.description.topology_type {
        TopologyType::ReplicaSetWithPrimary => format!("replica set {set:?}"),
        TopologyType::ReplicaSetNoPrimary => {
            format!("replica set {set:?}, no primary within reach")
        }
        TopologyType::Sharded => "sharded cluster".to_owned(),
        TopologyType::Single => "single host".to_owned(),
        TopologyType::LoadBalanced => "load balancer".to_owned(),
        _ => "unknown type of deployment".to_owned(),
    }
}

fn print_table(screen: &mut Screen, rows: &[Row<'_>]) -> io::Result<()> {
    let heads = [
        "host",
        "state",
        "name",
        "chain",
        "issuer",
        "days",
        "tls",
        "revocation",
        "wire",
        "cause",
    ];
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let last = heads.len() - 1;
    for (at, line) in lines.iter().enumerate() {
        let cells = line[..last].iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let row = at.checked_sub(1).map(|at| &rows[at]);
        let text = match row {
            None => screen.paint(Tone::Faint, format!("{}  {}", cells.join("  "), line[last])),
            Some(row) => {
                let tone = match row.cause {
                    Some(_) => Tone::Bad,
                    None => Tone::Good,
                };
                format!("{}  {}", cells.join("  "), screen.paint(tone, &line[last]))
            }
        };
        let mark = match row {
            Some(row) if row.member.is_seed => "*",
            _ => " ",
        };
        screen.line(&format!("{mark} {text}"))?;
    }
    let legend = "* of the seed list; state: as the host reports it; days: until the first certificate of the chain ends";
    screen.line(&format!("  {}", screen.paint(Tone::Faint, legend)))
}

impl Row<'_> {
    fn cells(&self) -> [String; 10] {
        let or_none = |text: Option<String>| text.map_or_else(|| "-".to_owned(), clean);
        let name = self.name_matches.map(|matches| match matches {
            true => "yes".to_owned(),
            false => "no".to_owned(),
        });
        let wire = self.wire_versions.map(|(min, max)| format!("{min}-{max}"));
        let cause = self.cause.map_or("ok", CauseCode::as_str);
        [
            clean(&self.member.server),
            clean(&self.state),
            or_none(name),
            or_none(self.chain.map(Chain::text)),
            or_none(self.issuer.clone()),
            or_none(self.days_left.map(|days| days.to_string())),
            or_none(self.protocol.clone()),
            or_none(self.revocation.map(str::to_owned)),
            or_none(wire),
            cause.to_owned(),
        ]
    }
}

impl Chain {
    fn text(self) -> String {
        match self {
            Self::Verified(depth) => format!("verified, depth {depth}"),
            Self::NotVerified => "not verified".to_owned(),
            Self::Refused => "refused".to_owned(),
        }
    }
}

fn rows<'a>(diagnosis: &'a Diagnosis, topology: &'a TopologyReport) -> Vec<Row<'a>> {
    let now = SystemTime::now();
    let members = topology.members.iter().zip(&diagnosis.examinations);
    members
        .map(|(member, examination)| row(member, examination, now))
        .collect()
}

fn row<'a>(member: &'a Member, examination: &Examination, now: SystemTime) -> Row<'a> {
    let cause = examination.error.as_ref().and_then(|error| error.cause());
    let facts = cause.map(|cause| cause.facts());
    let hello = examination.hello();
    let handshake = examination.handshake();
    let state = match (
        state(member, hello.is_some_and(|hello| hello.hidden)),
        member.is_kept,
    ) {
        (state, true) => state.to_owned(),
        ("-", false) => "dropped".to_owned(),
        (state, false) => format!("{state}, dropped"),
    };
    let verified = handshake.map(HandshakeReport::verified_chain);
    let chain = match (handshake.map(HandshakeReport::verification), cause) {
        (Some(Verification::None { .. }), _) => Some(Chain::NotVerified),
        (Some(_), _) => {
            let length = verified.as_ref().map_or(0, Vec::len);
            Some(Chain::Verified(length.saturating_sub(1)))
        }
        (None, Some(cause)) if cause.category() == Category::Certificate => {
            (!is_about_names(cause.code())).then_some(Chain::Refused)
        }
        _ => None,
    };
    let name_matches = match (handshake, cause) {
        (Some(handshake), _) => handshake.is_verified().then_some(true),
        (None, Some(cause)) => is_about_names(cause.code()).then_some(false),
        _ => None,
    };
    let sent = handshake.map(HandshakeReport::peer_chain);
    let certificates = verified.iter().flatten().chain(sent.iter().flatten());
    let end = certificates.map(|certificate| certificate.not_after).min();
    let own = sent.iter().flatten().next();
    Row {
        member,
        state,
        name_matches,
        chain,
        issuer: own
            .map(|own| issuer(own, verified.as_deref()))
            .or_else(|| Some(common_name(&facts?.get("issuer")?.to_string()))),
        days_left: end
            .or_else(|| time(facts?, "not_after"))
            .map(|end| days(end, now)),
        protocol: handshake.map(|report| report.protocol().to_owned()),
        revocation: revocation(examination, cause.map(|cause| cause.code())),
        wire_versions: hello.map(|hello| (hello.min_wire_version, hello.max_wire_version)),
        cause: cause.map(|cause| cause.code()),
    }
}

/// The state that a host reports, in common words.
fn state(member: &Member, is_hidden: bool) -> &'static str {
    match member.server_type {
        ServerType::Standalone => "standalone",
        ServerType::Mongos => "mongos",
        ServerType::RsPrimary => "primary",
        ServerType::RsSecondary => "secondary",
        ServerType::RsArbiter => "arbiter",
        ServerType::RsOther if is_hidden => "hidden",
        ServerType::RsOther => "not in service",
        ServerType::RsGhost => "not initialized",
        _ => "-",
    }
}

/// The issuer of the server's certificate, by its common name if that is known.
fn issuer(own: &Certificate, verified: Option<&[Certificate]>) -> String {
    let issuer = verified.and_then(|chain| chain.get(1));
    issuer.map_or_else(|| common_name(&own.issuer), |ca| ca.short_name().to_owned())
}

/// Returns the common name of a subject in the form of RFC 2253 if it comes first and is plain; otherwise the whole
/// subject.
fn common_name(subject: &str) -> String {
    let first = subject.split(',').next().unwrap_or_default();
    let plain = first
        .strip_prefix("CN=")
        .filter(|name| !name.contains('\\'));
    plain.unwrap_or(subject).to_owned()
}

fn is_about_names(code: CauseCode) -> bool {
    matches!(
        code,
        CauseCode::HostnameMismatch | CauseCode::IpAddressMismatch | CauseCode::NoSubjectAltName
    )
}

fn revocation(examination: &Examination, cause: Option<CauseCode>) -> Option<&'static str> {
    let found = examination
        .stages
        .iter()
        .find_map(|report| match &report.findings {
            Findings::Revocation { certificates, .. } => certificates.first(),
            _ => None,
        });
    match (found, cause) {
        (Some(leaf), _) => Some(leaf.status.as_str()),
        (None, Some(code)) if code.category() == Category::Revocation => Some(code.as_str()),
        _ => examination.handshake().map(|_| "not-checked"),
    }
}

fn time(facts: &Facts, key: &str) -> Option<SystemTime> {
    match facts.get(key) {
        Some(FactValue::Time(time)) => Some(*time),
        _ => None,
    }
}

/// Whole days from `now` to `end`, rounded down.
fn days(end: SystemTime, now: SystemTime) -> i64 {
    let whole = |distance: std::time::Duration| {
        i64::try_from(distance.as_secs() / 86_400).unwrap_or(i64::MAX)
    };
    match end.duration_since(now) {
        Ok(remaining) => whole(remaining),
        Err(past) => -1 - whole(past.duration()),
    }
}

/// Lists several hosts in one phrase: of many, the first few and a count.
fn list(servers: &[ServerAddress]) -> String {
    const NAMED: usize = 4;
    let names = servers.iter().take(NAMED).map(ToString::to_string);
    let mut text = names.collect::<Vec<_>>().join(", ");
    if servers.len() > NAMED {
        text += &format!(" and {} more", servers.len() - NAMED);
    }
    text
}

/// The deployment as one object.
pub(crate) fn json(diagnosis: &Diagnosis, topology: &TopologyReport) -> Value {
    let texts = |servers: &[ServerAddress]| {
        let texts: Vec<_> = servers.iter().map(ToString::to_string).collect();
        json!(texts)
    };
    let members = rows(diagnosis, topology).into_iter().map(|row| {
        json!({
            "server": row.member.server.to_string(),
            "seed": row.member.is_seed,
            "advertised_by": texts(&row.member.advertised_by),
            "type": row.member.server_type.as_str(),
            "kept": row.member.is_kept,
            "ok": row.cause.is_none(),
            "cause": row.cause.map(CauseCode::as_str),
            "name_matches": row.name_matches,
            "chain": row.chain.map(|chain| json!({
                "verified": matches!(chain, Chain::Verified(_)),
                "issuer": row.issuer,
                "depth": match chain { Chain::Verified(depth) => Some(depth), _ => None },
            })),
            "days_left": row.days_left,
            "protocol": row.protocol,
            "revocation": row.revocation,
            "wire_versions": row.wire_versions.map(|(min, max)| [min, max]),
        })
    });
    let findings = topology.findings.iter().map(|finding| {
        json!({
            "code": finding.code.as_str(),
            "severity": finding.severity.as_str(),
            "message": finding.message,
            "remedy": finding.remedy,
            "servers": texts(&finding.servers),
        })
    });
    json!({
        "type": topology.description.topology_type.as_str(),
        "set_name": topology.description.set_name,
        "members": members.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn subjects_are_shown_by_common_name_if_unambiguous() {
        for (subject, name) in [
            ("CN=Example Root CA", "Example Root CA"),
            ("CN=Example Root CA,O=Acme", "Example Root CA"),
            ("O=Acme,CN=x", "O=Acme,CN=x"),
            (r"CN=Acme\, Inc.,C=IS", r"CN=Acme\, Inc.,C=IS"),
        ] {
            assert_eq!(common_name(subject), name);
        }
    }

    #[test]
    fn days_are_whole_and_negative_after_the_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let day = Duration::from_secs(86_400);
        let second = Duration::from_secs(1);
        assert_eq!(days(now + day * 2, now), 2);
        assert_eq!(days(now + day * 2 - second, now), 1);
        assert_eq!(days(now, now), 0);
        assert_eq!(days(now - second, now), -1);
        assert_eq!(days(now - day * 3, now), -4);
    }
}
