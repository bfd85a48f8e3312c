//! The JSON forms that `--json` prints.

use std::time::{Duration, SystemTime};

use mongotls::Error;
use mongotls::bson::DateTime;
use mongotls::cause::{FactValue, Facts};
use mongotls::tls::{
    Certificate, CertificateRevocation, ChainReport, CrlReport, FileForm, FileReport, Finding,
    HandshakeReport, KeyReport, Library, RevocationStep,
};
use mongotls::topology::Hello;
use serde_json::{Map, Value, json};

/// The fields of every object: `ok`, and those of [`failure`].
pub(crate) fn outcome(error: Option<&Error>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("ok".to_owned(), json!(error.is_none()));
    object.append(&mut failure(error));
    object
}

/// The fields of a failure: `stage`, `category`, `cause`, `message`, `remedy`, `facts`, and `code` and `code_name` of
/// the server's reply. Without a failure, `facts` is empty and all others are null.
pub(crate) fn failure(error: Option<&Error>) -> Map<String, Value> {
    let cause = error.and_then(Error::cause);
    let mut facts = cause
        .map(|cause| self::facts(cause.facts()))
        .unwrap_or_default();
    if let Some(server) = error.and_then(Error::server) {
        facts
            .entry("server")
            .or_insert_with(|| json!(server.to_string()));
    }
    let answer = error.and_then(Error::command);
    let name = answer.map(|answer| answer.code_name.as_str());
    let fields = [
        (
            "stage",
            json!(error.and_then(Error::stage).map(|stage| stage.as_str())),
        ),
        (
            "category",
            json!(cause.map(|cause| cause.category().as_str())),
        ),
        ("cause", json!(cause.map(|cause| cause.code().as_str()))),
        ("message", json!(error.map(Error::to_string))),
        ("remedy", json!(cause.map(|cause| cause.remedy()))),
        ("facts", Value::Object(facts)),
        ("code", json!(answer.map(|answer| answer.code))),
        ("code_name", json!(name.filter(|name| !name.is_empty()))),
    ];
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn facts(facts: &Facts) -> Map<String, Value> {
    let value = |value: &FactValue| match value {
        FactValue::Number(number) => json!(number),
        FactValue::Bool(yes) => json!(yes),
        FactValue::Time(time) => json!(instant(*time)),
        FactValue::List(list) => json!(list),
        FactValue::Text(text) => json!(text),
        other => json!(other.to_string()),
    };
    facts
        .iter()
        .map(|(key, fact)| (key.to_owned(), value(fact)))
        .collect()
}

/// The facts of a TLS handshake.
pub(crate) fn handshake(report: &HandshakeReport) -> Map<String, Value> {
    let fields = [
        ("protocol", json!(report.protocol())),
        ("cipher", json!(report.cipher())),
        ("group", json!(report.group())),
        ("resumed", json!(report.resumed())),
        ("verified", json!(report.is_verified())),
        ("verification", json!(report.verification().to_string())),
        (
            "client_certificate_requested",
            json!(report.client_certificate_requested()),
        ),
        (
            "client_certificate_sent",
            json!(report.client_certificate_sent()),
        ),
        (
            "chain",
            json!(
                report
                    .peer_chain()
                    .iter()
                    .map(certificate)
                    .collect::<Vec<_>>()
            ),
        ),
        (
            "verified_chain",
            json!(
                report
                    .verified_chain()
                    .iter()
                    .map(|cert| cert.subject.clone())
                    .collect::<Vec<_>>()
            ),
        ),
    ];
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn certificate(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial,
        "not_before": instant(certificate.not_before),
        "not_after": instant(certificate.not_after),
        "dns_names": certificate.dns_names,
        "ip_addresses": certificate.ip_addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "key": certificate.key,
        "signature_algorithm": certificate.signature_algorithm,
        "sha256_fingerprint": certificate.sha256_fingerprint,
        "subject_key_id": certificate.subject_key_id,
        "authority_key_id": certificate.authority_key_id,
        "is_ca": certificate.is_ca,
        "key_usage": certificate.key_usage,
        "extended_key_usage": certificate.extended_key_usage,
        "public_key_sha256": certificate.public_key_sha256,
    })
}

/// The result of the revocation check of one certificate.
pub(crate) fn revocation(found: &CertificateRevocation) -> Value {
    let step = |step: &RevocationStep| {
        json!({
            "evidence": step.evidence.to_string(),
            "outcome": step.outcome,
            "duration_ms": ms(step.duration),
        })
    };
    json!({
        "depth": found.depth,
        "subject": found.subject,
        "status": found.status.as_str(),
        "valid_until": found.valid_until.map(instant),
        "steps": found.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

/// The OpenSSL in use.
pub(crate) fn library(library: &Library) -> Value {
    json!({
        "version": library.version,
        "providers": library.providers,
        "fips": library.fips,
        "config_file": library.config_file.as_ref().map(|path| path.display().to_string()),
        "config_file_found": library.config_file_found,
        "config_error": library.config_error,
        "missing_providers": library.missing_providers,
    })
}

/// The contents of local files, one object for each file.
pub(crate) fn files(files: &[FileReport]) -> Value {
    files.iter().map(file).collect()
}

fn file(file: &FileReport) -> Value {
    let key = |key: &KeyReport| {
        json!({
            "kind": key.kind,
            "form": key.form.as_str(),
            "encrypted": key.encrypted,
            "opened": key.opened,
            "certificate": key.certificate,
            "public_key_sha256": key.public_key_sha256,
        })
    };
    let crl = |crl: &CrlReport| {
        json!({
            "issuer": crl.issuer,
            "this_update": instant(crl.this_update),
            "next_update": crl.next_update.map(instant),
            "entries": crl.entries,
            "number": crl.number,
            "signature_algorithm": crl.signature_algorithm,
            "scope": crl.scope,
        })
    };
    let chain = |chain: &ChainReport| {
        json!({
            "path": chain.path,
            "in_order": chain.in_order,
            "signatures_valid": chain.signatures_valid,
        })
    };
    let finding = |finding: &Finding| {
        json!({
            "code": finding.code.as_str(),
            "severity": finding.severity.as_str(),
            "message": finding.message,
        })
    };
    json!({
        "path": file.path.display().to_string(),
        "option": file.option,
        "ok": file.is_ok(),
        "form": file.form.map(FileForm::as_str),
        "holds": file.holds,
        "certificates": file.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "keys": file.keys.iter().map(key).collect::<Vec<_>>(),
        "crls": file.crls.iter().map(crl).collect::<Vec<_>>(),
        "chain": file.chain.as_ref().map(chain),
        "findings": file.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// The server's description of itself in its hello reply.
pub(crate) fn hello(hello: &Hello) -> Map<String, Value> {
    let fields = [
        ("writable", json!(hello.is_writable_primary)),
        ("secondary", json!(hello.secondary)),
        ("set_name", json!(hello.set_name)),
        ("mongos", json!(hello.is_mongos)),
        ("min_wire_version", json!(hello.min_wire_version)),
        ("max_wire_version", json!(hello.max_wire_version)),
        ("connection_id", json!(hello.connection_id)),
    ];
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// An instant as RFC 3339 text.
pub(crate) fn instant(time: SystemTime) -> String {
    let seconds = DateTime::from_system_time(time)
        .timestamp_millis()
        .div_euclid(1000);
    DateTime::from_millis(seconds * 1000)
        .try_to_rfc3339_string()
        .unwrap_or_default()
}

/// Milliseconds as a number, with microsecond precision.
pub(crate) fn ms(duration: Duration) -> Value {
    json!((duration.as_secs_f64() * 1e6).round() / 1e3)
}
