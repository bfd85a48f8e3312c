//! `mongotls inspect`: prints the contents of local files as text to scan, or as one JSON object.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mongotls::tls::{Certificate, CrlReport, FileReport, KeyForm, KeyReport, Severity};
use serde_json::{Value, json};

use crate::input::first_line;
use crate::output::{Screen, Tone, clean};
use crate::{Verdict, json as form};

pub(crate) fn inspect(
    screen: &mut Screen,
    files: &[PathBuf],
    password_file: Option<&Path>,
    json: bool,
) -> io::Result<Verdict> {
    let password = match password_file.map(first_line).transpose() {
        Ok(password) => password,
        Err(complaint) => return Ok(Verdict::NotRun(complaint)),
    };
    let is_input = |file: &Path| file.as_os_str() == "-";
    let paths = files.iter().map(|file| match is_input(file) {
        true => PathBuf::from("/dev/stdin"),
        false => file.clone(),
    });
    let paths: Vec<PathBuf> = paths.collect();
    let mut reports = FileReport::of_all(&paths, password.as_ref());
    for (report, file) in reports.iter_mut().zip(files) {
        if is_input(file) {
            report.path.clone_from(file);
        }
    }
    let ok = reports.iter().all(FileReport::is_ok);
    if json {
        let mut object = form::outcome(None);
        object["ok"] = json!(ok);
        object.insert("files".to_owned(), form::files(&reports));
        screen.indented_json(&Value::Object(object))?;
    } else {
        for (index, report) in reports.iter().enumerate() {
            if index > 0 {
                screen.line("")?;
            }
            print(screen, report)?;
        }
    }
    Ok(if ok { Verdict::Well } else { Verdict::Failed })
}

fn print(screen: &mut Screen, report: &FileReport) -> io::Result<()> {
    let path = screen.paint(Tone::Strong, clean(report.path.display()));
    match report.form {
        Some(_) => screen.line(&format!("{path}: {}", clean(&report.holds)))?,
        None => screen.line(&path)?,
    }
    for (place, certificate) in report.certificates.iter().enumerate() {
        print_certificate(screen, place, certificate)?;
    }
    for key in &report.keys {
        print_key(screen, key)?;
    }
    for crl in &report.crls {
        print_crl(screen, crl)?;
    }
    for finding in &report.findings {
        let mark = match finding.severity {
            Severity::Failure => screen.paint(Tone::Bad, "FAILURE"),
            _ => screen.paint(Tone::Warning, "warning"),
        };
        let code = screen.paint(Tone::Faint, format!("[{}]", finding.code));
        screen.line(&format!("  {mark}  {} {code}", clean(&finding.message)))?;
    }
    if report.findings.is_empty() {
        let verdict = screen.paint(Tone::Good, "all is well");
        screen.line(&format!("  {verdict}"))?;
    }
    Ok(())
}

/// Prints one certificate with all its facts and its position among the others.
pub(crate) fn print_certificate(
    screen: &mut Screen,
    place: usize,
    certificate: &Certificate,
) -> io::Result<()> {
    let subject = screen.paint(Tone::Strong, clean(&certificate.subject));
    screen.line(&format!("    {place} {subject}"))?;
    row(screen, "issuer", &certificate.issuer)?;
    row(screen, "valid", &validity(certificate))?;
    let names = certificate.presented_names();
    if names.is_empty() && !certificate.is_ca {
        row(screen, "names", "none")?;
    } else if !names.is_empty() {
        let more = match names.len().saturating_sub(NAMES_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown = names.iter().take(NAMES_SHOWN).map(String::as_str);
        let shown: Vec<_> = shown.collect();
        row(screen, "names", &format!("{}{more}", shown.join(", ")))?;
    }
    row(screen, "usage", &usage(certificate))?;
    let signature = &certificate.signature_algorithm;
    row(
        screen,
        "key",
        &format!("{}, signed with {signature}", certificate.key),
    )?;
    row(screen, "serial", &certificate.serial)?;
    if let Some(key_id) = &certificate.subject_key_id {
        row(screen, "key id", key_id)?;
    }
    if let Some(key_id) = certificate
        .authority_key_id
        .as_ref()
        .filter(|_| !certificate.self_issued)
    {
        row(screen, "issuer's id", key_id)?;
    }
    row(screen, "sha256", &certificate.sha256_fingerprint)
}

fn print_key(screen: &mut Screen, key: &KeyReport) -> io::Result<()> {
    let heading = screen.paint(Tone::Strong, "private key");
    screen.line(&format!("    {heading}"))?;
    row(screen, "key", &summary_of_key(key))?;
    if let Some(digest) = &key.public_key_sha256 {
        row(screen, "public key", &format!("sha256 {digest}"))?;
    }
    Ok(())
}

fn print_crl(screen: &mut Screen, crl: &CrlReport) -> io::Result<()> {
    let heading = screen.paint(Tone::Strong, format!("CRL of {}", clean(&crl.issuer)));
    screen.line(&format!("    {heading}"))?;
    row(screen, "in force", &crl_validity(crl))?;
    row(screen, "revoked", &crl.entries.to_string())?;
    if let Some(number) = &crl.number {
        row(screen, "number", number)?;
    }
    if !crl.scope.is_empty() {
        row(screen, "scope", &crl.scope.join("; "))?;
    }
    row(screen, "signed with", &crl.signature_algorithm)
}

/// The number of names of one certificate that are printed; further names are counted. `--json` prints all of them.
const NAMES_SHOWN: usize = 10;

/// The number of certificates or CRLs of one file that are printed; further ones are counted. A bundle of CAs holds
/// hundreds.
const SHOWN: usize = 4;

/// Prints the contents of a file for the doctor, one line for each item.
pub(crate) fn print_brief(screen: &mut Screen, report: &FileReport) -> io::Result<()> {
    let option = report.option.unwrap_or_default();
    let holds = match report.form {
        Some(_) => format!(": {}", report.holds),
        None => String::new(),
    };
    let heading = format!("{option} {}{holds}", report.path.display());
    screen.line(&format!("    {}", clean(heading)))?;
    let certificates = report
        .certificates
        .iter()
        .map(|certificate| format!("{}, {}", certificate.subject, validity(certificate)));
    let crls = report
        .crls
        .iter()
        .map(|crl| format!("CRL of {}, {}", crl.issuer, crl_validity(crl)));
    let mut lines = certificates.chain(crls);
    for line in lines.by_ref().take(SHOWN) {
        screen.line(&format!("      {}", clean(line)))?;
    }
    let more = lines.count();
    if more > 0 {
        screen.line(&format!("      and {more} more"))?;
    }
    for key in &report.keys {
        screen.line(&format!(
            "      private key: {}",
            clean(summary_of_key(key))
        ))?;
    }
    Ok(())
}

fn row(screen: &mut Screen, name: &str, value: &str) -> io::Result<()> {
    let name = screen.paint(Tone::Faint, format!("{name:<12}"));
    screen.line(&format!("      {name} {}", clean(value)))
}

fn validity(certificate: &Certificate) -> String {
    term(certificate.not_before, certificate.not_after)
}

fn crl_validity(crl: &CrlReport) -> String {
    match crl.next_update {
        Some(next_update) => term(crl.this_update, next_update),
        None => format!("{}, without an end", form::instant(crl.this_update)),
    }
}

fn term(from: SystemTime, until: SystemTime) -> String {
    let left = match until.duration_since(SystemTime::now()) {
        Ok(remaining) => format!("{} days left", remaining.as_secs() / 86_400),
        Err(_) => "expired".to_owned(),
    };
    format!(
        "{} to {} ({left})",
        form::instant(from),
        form::instant(until)
    )
}

/// The permitted uses of the certificate.
fn usage(certificate: &Certificate) -> String {
    let mut parts = Vec::new();
    if certificate.is_ca {
        parts.push("CA".to_owned());
    }
    parts.extend(certificate.key_usage.as_ref().map(|usage| usage.join(", ")));
    let purposes = certificate.extended_key_usage.as_ref();
    parts.extend(purposes.map(|purposes| purposes.join(", ")));
    if parts.is_empty() {
        return "not limited".to_owned();
    }
    parts.join("; ")
}

fn summary_of_key(key: &KeyReport) -> String {
    let kind = key.kind.as_deref().unwrap_or("of unknown kind");
    let form = match key.form {
        KeyForm::Pkcs8 => "PKCS#8",
        KeyForm::Pkcs12 => "PKCS#12",
        _ => "traditional form",
    };
    let lock = match (key.encrypted, key.opened) {
        (false, _) => "not encrypted",
        (true, true) => "encrypted, opened by the password",
        (true, false) => "encrypted, not opened",
    };
    let pair = match key.certificate {
        Some(place) => format!(", belongs to certificate {place}"),
        None => String::new(),
    };
    format!("{kind}, {form}, {lock}{pair}")
}
