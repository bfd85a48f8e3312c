//! Members that fail under the names that others gave them, and the explanation for each reason.

use super::super::tests::{
    FAILURE, changed, codes, failed, host, judged, message, of_another_set, primary, secondary,
    unresolved,
};
use crate::cause::CauseCode;
use crate::data::hello::Hello;
use crate::doctor::topology::TopologyFindingCode as Code;
use crate::error::Stage;

#[test]
fn a_failing_advertised_host_is_reported_with_its_advertiser() {
    use CauseCode as C;
    let all = ["db1.internal", "db2.internal"];
    let seed = |name| {
        let me = |hello: &mut Hello| hello.me = Some(host("db1.internal"));
        changed(primary(name, &all), me)
    };
    for (stage, code, remedy) in [
        (
            Stage::Resolve,
            C::DnsNotFound,
            "add it to DNS or to /etc/hosts",
        ),
        (
            Stage::Resolve,
            C::DnsFailed,
            "add it to DNS or to /etc/hosts",
        ),
        (Stage::Connect, C::ConnectionRefused, "open the way to it"),
        (Stage::Connect, C::ConnectTimeout, "open the way to it"),
        (Stage::Tls, C::HostnameMismatch, "subject alternative names"),
        (Stage::Tls, C::NoSubjectAltName, "subject alternative names"),
        // None of these failures is caused by the name.
        (Stage::Tls, C::CertificateExpired, "what is usual"),
        (Stage::Tls, C::IssuerUnknown, "what is usual"),
        (Stage::Revocation, C::RevokedCrl, "what is usual"),
        (Stage::Hello, C::HandshakeTimeout, "what is usual"),
    ] {
        let mut examinations = [
            seed("db.example.com"),
            failed("db1.internal", stage, code),
            failed("db2.internal", stage, code),
        ];
        let report = judged("mongodb://db.example.com/?replicaSet=rs", &mut examinations);
        let expected = format!(
            "db.example.com:27017 answers, and the members that it names do not work: db1.internal:27017 and \
             db2.internal:27017 ({code}: {})",
            code.meaning()
        );
        assert_eq!(message(&report, Code::AdvertisedHostFails), expected);
        let finding = &report.findings[0];
        assert_eq!(
            finding.servers,
            [host("db1.internal"), host("db2.internal")]
        );
        assert!(
            finding.remedy.contains(remedy),
            "{code}: {}",
            finding.remedy
        );
        let stop_gap = "Until then, directConnection=true with db.example.com:27017 as the only host reaches that primary alone.";
        assert!(finding.remedy.ends_with(stop_gap), "{}", finding.remedy);
        let of_config = finding.remedy.contains("rs.reconfig()");
        assert_eq!(of_config, remedy != "what is usual", "{code}");

        let error = examinations[2].error.as_ref().unwrap();
        let cause = error.cause().unwrap();
        assert_eq!((cause.code(), cause.message()), (code, "what happened"));
        assert!(cause.remedy().contains(remedy), "{}", cause.remedy());
        assert_eq!(cause.remedy().contains("db2.internal"), of_config);
        let facts = cause.facts();
        assert_eq!(
            facts.get("advertised_by").unwrap().to_string(),
            "db.example.com:27017"
        );
        assert_eq!(
            facts.get("server").unwrap().to_string(),
            "db2.internal:27017"
        );
        // A client drops the seed and keeps only hosts that fail.
        assert!(!report.members[0].is_kept && report.members[1].is_kept);
        assert_eq!(
            report.description.topology_type.as_str(),
            "ReplicaSetNoPrimary"
        );
    }
}

#[test]
fn a_member_of_another_set_is_reported_with_its_set() {
    let mut examinations = [primary("a", &["a", "b"]), of_another_set("b", None)];
    judged("mongodb://a/?replicaSet=rs", &mut examinations);
    let error = examinations[1].error.as_ref().unwrap();
    let cause = error.cause().unwrap();
    assert!(cause.remedy().contains("--replSet"), "{}", cause.remedy());
    let by = cause.facts().get("advertised_by").unwrap();
    assert_eq!(by.to_string(), "a:27017");
    // For a seed, the connection string is at fault.
    let mut examinations = [primary("a", &["a"]), of_another_set("b", None)];
    judged("mongodb://a,b/?replicaSet=rs", &mut examinations);
    let error = examinations[1].error.as_ref().unwrap();
    let remedy = error.cause().unwrap().remedy();
    assert!(remedy.starts_with("Correct replicaSet"), "{remedy}");
}

#[test]
fn failing_hosts_are_grouped_by_reason_and_counted() {
    let names = ["a", "m1", "m2", "m3", "m4", "m5", "m6", "n"];
    let mut examinations: Vec<_> = names[1..7].iter().map(|name| unresolved(name)).collect();
    examinations.insert(0, primary("a", &names));
    examinations.push(failed("n", Stage::Connect, CauseCode::ConnectionRefused));
    let report = judged("mongodb://a/?replicaSet=rs", &mut examinations);
    let expected = [(Code::AdvertisedHostFails, FAILURE); 2];
    assert_eq!(codes(&report), expected);
    let messages: Vec<_> = report.findings.iter().map(|found| &found.message).collect();
    assert!(
        messages[0].contains("m1:27017, m2:27017, m3:27017, m4:27017 and 2 more (dns-not-found: "),
        "{}",
        messages[0]
    );
    assert!(
        messages[1]
            .contains("the member that it names does not work: n:27017 (connection-refused: "),
        "{}",
        messages[1]
    );
    assert_eq!(report.findings[0].servers.len(), 6);
}

#[test]
fn a_member_named_by_a_member_is_reported_with_it() {
    let mut examinations = [
        secondary("a", &["a", "b"]),
        primary("b", &["a", "b", "c"]),
        unresolved("c"),
    ];
    let report = judged("mongodb://a/?replicaSet=rs", &mut examinations);
    assert_eq!(report.members[2].advertised_by, [host("b")]);
    assert_eq!(report.members[1].advertised_by, [host("a")]);
    assert_eq!(
        message(&report, Code::AdvertisedHostFails),
        "a:27017 answers, and the member named by b:27017 does not work: c:27017 (dns-not-found: the host name does not exist)"
    );
    assert_eq!(
        message(&report, Code::MembersDisagree),
        "b:27017 names c:27017, and a:27017 does not"
    );
    // The seed does not name it, and a client that keeps only the seed gains nothing.
    let finding = &report.findings[0];
    assert!(
        !finding.remedy.contains("directConnection"),
        "{}",
        finding.remedy
    );
}
