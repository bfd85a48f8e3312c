//! Mismatches between several files: a certificate in one file, and in another file a certificate that has the name of
//! its issuer but is not its issuer.
//!
//! The usual reason is a CA that was created again under its old name: all names match, but no signature does.

use std::collections::HashMap;

use openssl::x509::X509;

use super::report::{FileReport, Finding, FindingCode, Severity};
use crate::printable::Quoted;
use crate::reason::certificate::{Namesake, NamesakeOrigin};

/// Adds a finding to the reports of files, each with its certificates, for each certificate whose issuer's namesake,
/// but not its issuer, is in another file.
pub(super) fn compared(files: impl Iterator<Item = (FileReport, Vec<X509>)>) -> Vec<FileReport> {
    let (mut reports, certificates): (Vec<_>, Vec<_>) = files.unzip();
    let mut by_name: HashMap<String, Vec<(usize, &X509)>> = HashMap::new();
    for (file, (report, found)) in reports.iter().zip(&certificates).enumerate() {
        for (facts, certificate) in report.certificates.iter().zip(found) {
            let named = by_name.entry(facts.subject.clone()).or_default();
            if named.len() < MOST_NAMESAKES {
                named.push((file, certificate));
            }
        }
    }
    let found: Vec<Vec<Finding>> = (0..reports.len())
        .map(|file| unrelated_crls(file, &reports, &certificates, &by_name))
        .collect();
    for (report, findings) in reports.iter_mut().zip(found) {
        report.findings.extend(findings);
    }
    reports
}

/// The findings about one file.
fn unrelated_crls(
    file: usize,
    reports: &[FileReport],
    certificates: &[Vec<X509>],
    by_name: &HashMap<String, Vec<(usize, &X509)>>,
) -> Vec<Finding> {
    let Some((report, own)) = reports.get(file).zip(certificates.get(file)) else {
        return Vec::new();
    };
    // A client's certificate need not be issued by the CA of its servers.
    let severity = match report.option {
        None => Severity::Failure,
        Some(_) => Severity::Warning,
    };
    let mut findings: Vec<Finding> = Vec::new();
    for (facts, certificate) in report.certificates.iter().zip(own) {
        let named = by_name.get(&facts.issuer).map_or(&[][..], Vec::as_slice);
        let candidates = named.iter().filter(|(_, named)| *named != certificate);
        let compared: Vec<(usize, Namesake)> = candidates
            .map(|(file, candidate)| {
                (
                    *file,
                    Namesake::of(certificate, candidate, NamesakeOrigin::File),
                )
            })
            .collect();
        let has_issuer = compared
            .iter()
            .any(|(_, namesake)| namesake.difference.is_none());
        let elsewhere = compared.iter().find(|(other, _)| *other != file);
        let Some((other, namesake)) = elsewhere.filter(|_| !has_issuer) else {
            continue;
        };
        let Some(path) = reports.get(*other).map(|report| report.path.display()) else {
            continue;
        };
        let message = match facts.self_issued {
            true => format!(
                "the certificate {} is not the one of that name in {}, which {}",
                Quoted(&facts.short_name()),
                Quoted(&path.to_string()),
                namesake.differs()
            ),
            false => format!(
                "the certificate {} is not issued by {} in {}, which bears the name of its issuer, but {}",
                Quoted(&facts.short_name()),
                Quoted(&facts.issuer),
                Quoted(&path.to_string()),
                namesake.differs()
            ),
        };
        let finding = Finding {
            code: FindingCode::IssuerMismatch,
            severity: match facts.self_issued {
                true => Severity::Warning,
                false => severity,
            },
            message,
        };
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

/// The maximum number of certificates of one name that are compared: each comparison verifies a signature.
const MOST_NAMESAKES: usize = 16;
