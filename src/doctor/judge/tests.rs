//! Possible results of examinations, and the findings for all of them together.

use std::time::Duration;

use super::*;
use crate::cause::{Cause, CauseCode};
use crate::data::hello::Hello;
use crate::doctor::topology::TopologyFindingCode as Code;
use crate::doctor::{Diagnosis, Findings, Outcome, StageReport};
use crate::error::{Error, Stage};
use crate::reason::hello::HelloFailure;

/// A host at the default port; a name may bring its own port.
pub(in crate::doctor) fn host(name: &str) -> ServerAddress {
    name.parse().unwrap()
}

/// The hello reply of a secondary that knows these members.
pub(in crate::doctor) fn member(set: &str, me: &ServerAddress, hosts: &[&str]) -> Hello {
    Hello {
        set_name: Some(set.to_owned()),
        secondary: true,
        me: Some(me.clone()),
        hosts: hosts.iter().map(|name| host(name)).collect(),
        max_wire_version: 21,
        ..Hello::default()
    }
}

/// A successful examination.
pub(in crate::doctor) fn examination(server: &ServerAddress, hello: Hello) -> Examination {
    let report = StageReport {
        stage: Stage::Hello,
        outcome: Outcome::Passed,
        duration: Duration::ZERO,
        findings: Findings::Hello(Box::new(hello)),
    };
    Examination {
        stages: vec![report],
        ..failed_before(server, None)
    }
}

fn failed_before(server: &ServerAddress, error: Option<Error>) -> Examination {
    Examination {
        server: Some(server.clone()),
        stages: Vec::new(),
        error,
        warnings: Vec::new(),
        seed_list: None,
        dns_name: None,
        clock_ahead: None,
    }
}

pub(super) fn secondary(name: &str, hosts: &[&str]) -> Examination {
    examination(&host(name), member("rs", &host(name), hosts))
}

pub(super) fn primary(name: &str, hosts: &[&str]) -> Examination {
    let hello = Hello {
        is_writable_primary: true,
        secondary: false,
        ..member("rs", &host(name), hosts)
    };
    examination(&host(name), hello)
}

fn standalone(name: &str) -> Examination {
    let hello = Hello {
        is_writable_primary: true,
        max_wire_version: 21,
        ..Hello::default()
    };
    examination(&host(name), hello)
}

fn mongos(name: &str) -> Examination {
    let mut mongos = standalone(name);
    change(&mut mongos, |hello| hello.is_mongos = true);
    mongos
}

pub(super) fn failed(name: &str, stage: Stage, code: CauseCode) -> Examination {
    let cause = Cause::simulated(code, "what happened", "what is usual");
    let error = Error::failed(stage, cause).with_server(&host(name));
    failed_before(&host(name), Some(error))
}

pub(super) fn unresolved(name: &str) -> Examination {
    failed(name, Stage::Resolve, CauseCode::DnsNotFound)
}

pub(super) fn of_another_set(name: &str, found: Option<&str>) -> Examination {
    let cause = HelloFailure::WrongSet {
        found: found.map(str::to_owned),
        wanted: "rs".to_owned(),
    };
    let error = Error::failed(Stage::Hello, cause).with_server(&host(name));
    failed_before(&host(name), Some(error))
}

fn change(examination: &mut Examination, change: impl FnOnce(&mut Hello)) {
    match &mut examination.stages[0].findings {
        Findings::Hello(hello) => change(hello),
        other => panic!("{other:?}"),
    }
}

pub(super) fn changed(mut one: Examination, with: impl FnOnce(&mut Hello)) -> Examination {
    change(&mut one, with);
    one
}

pub(super) fn judged(uri: &str, examinations: &mut [Examination]) -> TopologyReport {
    let (options, warnings) = ClientOptions::parse(uri).unwrap();
    assert!(warnings.is_empty());
    judge(&options, examinations, true)
}

pub(super) fn codes(report: &TopologyReport) -> Vec<(Code, Severity)> {
    let findings = report.findings.iter();
    findings.map(|found| (found.code, found.severity)).collect()
}

/// The message of the finding with this code.
pub(super) fn message(report: &TopologyReport, code: Code) -> &str {
    let finding = report.findings.iter().find(|found| found.code == code);
    &finding.unwrap_or_else(|| panic!("{report:?}")).message
}

pub(super) const FAILURE: Severity = Severity::Failure;
const WARNING: Severity = Severity::Warning;

#[test]
fn a_healthy_deployment_has_no_findings() {
    let all = ["a", "b", "c"];
    let arbiter = || {
        changed(secondary("c", &all[..2]), |hello| {
            hello.secondary = false;
            hello.arbiter_only = true;
            hello.arbiters = BTreeSet::from([host("c")]);
        })
    };
    let with_arbiter =
        |one: Examination| changed(one, |hello| hello.arbiters = BTreeSet::from([host("c")]));
    let cases: Vec<(&str, Vec<Examination>, &str)> = vec![
        (
            "mongodb://a/?replicaSet=rs",
            vec![
                primary("a", &all),
                secondary("b", &all),
                secondary("c", &all),
            ],
            "ReplicaSetWithPrimary",
        ),
        (
            "mongodb://a",
            vec![
                with_arbiter(primary("a", &all[..2])),
                with_arbiter(secondary("b", &all[..2])),
                arbiter(),
            ],
            "ReplicaSetWithPrimary",
        ),
        ("mongodb://a", vec![standalone("a")], "Single"),
        ("mongodb://a,b", vec![mongos("a"), mongos("b")], "Sharded"),
        // The options name one host and exclude all others.
        (
            "mongodb://a/?directConnection=true",
            vec![secondary("a", &["x", "y"])],
            "Single",
        ),
        (
            "mongodb://a/?loadBalanced=true",
            vec![mongos("a")],
            "LoadBalanced",
        ),
        ("mongodb://a", vec![unresolved("a")], "Unknown"),
    ];
    for (uri, mut examinations, topology_type) in cases {
        let report = judged(uri, &mut examinations);
        assert_eq!(codes(&report), [], "{uri}: {report:?}");
        assert_eq!(report.description.topology_type.as_str(), topology_type);
        assert!(report.members.iter().all(|member| member.is_kept));
    }
}

#[test]
fn each_problem_of_several_hosts_is_found_alone() {
    use Code as C;
    let all = ["a", "b"];
    type Row = (&'static str, Vec<Examination>, Vec<(Code, Severity)>);
    let set = |one, name: &str| changed(one, |hello| hello.set_name = Some(name.to_owned()));
    let me = |one, name: &str| changed(one, |hello| hello.me = Some(host(name)));
    let no_primary = || vec![secondary("a", &all), secondary("b", &all)];
    let rows: Vec<Row> = vec![
        // There is no primary: whether that is a failure depends on the read preference.
        (
            "mongodb://a/?replicaSet=rs",
            no_primary(),
            vec![(C::NoPrimary, FAILURE)],
        ),
        (
            "mongodb://a/?replicaSet=rs&readPreference=secondary",
            no_primary(),
            vec![(C::NoPrimary, WARNING)],
        ),
        // The primary may be the host that did not answer.
        (
            "mongodb://a,b/?replicaSet=rs",
            vec![secondary("a", &all), unresolved("b")],
            vec![(C::NoPrimary, FAILURE)],
        ),
        (
            "mongodb://a,b/?replicaSet=rs",
            vec![primary("a", &all), primary("b", &all)],
            vec![(C::SeveralPrimaries, FAILURE)],
        ),
        // Two sets have the same name.
        (
            "mongodb://a,b/?replicaSet=rs",
            vec![primary("a", &["a"]), primary("b", &["b"])],
            vec![
                (C::SeveralPrimaries, FAILURE),
                (C::MembersDisagree, WARNING),
            ],
        ),
        (
            "mongodb://a,b,c/?replicaSet=rs",
            vec![
                primary("a", &all),
                secondary("b", &all),
                of_another_set("c", Some("other")),
            ],
            vec![(C::ForeignSet, FAILURE)],
        ),
        (
            "mongodb://a,b,c/?replicaSet=rs",
            vec![
                primary("a", &all),
                secondary("b", &all),
                of_another_set("c", None),
            ],
            vec![(C::ForeignSet, FAILURE)],
        ),
        (
            "mongodb://a,b",
            vec![primary("a", &["a"]), set(primary("b", &["b"]), "other")],
            vec![(C::ForeignSet, FAILURE), (C::ReplicaSetNotNamed, WARNING)],
        ),
        (
            "mongodb://a,b",
            vec![primary("a", &all), secondary("b", &all)],
            vec![(C::ReplicaSetNotNamed, WARNING)],
        ),
        (
            "mongodb://a,b",
            vec![standalone("a"), standalone("b")],
            vec![(C::StandaloneDropped, FAILURE), (C::NoServerLeft, FAILURE)],
        ),
        (
            "mongodb://a,c",
            vec![primary("a", &all), standalone("c"), secondary("b", &all)],
            vec![
                (C::StandaloneDropped, FAILURE),
                (C::ReplicaSetNotNamed, WARNING),
            ],
        ),
        // A member that was started without --replSet.
        (
            "mongodb://a",
            vec![primary("a", &all), standalone("b")],
            vec![(C::StandaloneDropped, FAILURE)],
        ),
        (
            "mongodb://a,b",
            vec![mongos("a"), primary("b", &["b"])],
            vec![(C::MixedKinds, FAILURE)],
        ),
        (
            "mongodb://a",
            vec![changed(standalone("a"), |hello| {
                hello.is_replica_set = true
            })],
            vec![(C::NotInitialized, FAILURE)],
        ),
        // The seed is a member under another name, which works.
        (
            "mongodb://x/?replicaSet=rs",
            vec![
                me(primary("x", &all), "a"),
                primary("a", &all),
                secondary("b", &all),
            ],
            vec![(C::OtherAddress, WARNING)],
        ),
        (
            "mongodb://x/?replicaSet=rs",
            vec![
                me(secondary("x", &all), "b"),
                primary("a", &all),
                secondary("b", &all),
            ],
            vec![(C::OtherAddress, WARNING)],
        ),
        // The name of a member leads to another one.
        (
            "mongodb://a/?replicaSet=rs",
            vec![
                primary("a", &["a", "b", "c"]),
                me(secondary("b", &["a", "b", "c"]), "c"),
                secondary("c", &["a", "b", "c"]),
            ],
            vec![(C::OtherAddress, FAILURE)],
        ),
        (
            "mongodb://a,x/?replicaSet=rs",
            vec![
                primary("a", &all),
                changed(secondary("x", &all), |hello| hello.me = None),
                secondary("b", &all),
            ],
            vec![(C::NotAMember, WARNING)],
        ),
        (
            "mongodb://a,x/?replicaSet=rs",
            vec![primary("a", &all), unresolved("x"), secondary("b", &all)],
            vec![(C::NotAMember, WARNING)],
        ),
        (
            "mongodb://a/?replicaSet=rs",
            vec![
                primary("a", &all),
                changed(secondary("b", &all), |hello| hello.secondary = false),
            ],
            vec![(C::NotInService, WARNING)],
        ),
        (
            "mongodb://a/?replicaSet=rs",
            vec![
                primary("a", &all),
                changed(secondary("b", &all), |hello| hello.hidden = true),
            ],
            vec![],
        ),
        (
            "mongodb://a/?replicaSet=rs",
            vec![
                primary("a", &["a", "b", "c"]),
                secondary("b", &all),
                secondary("c", &all),
            ],
            vec![(C::MembersDisagree, WARNING)],
        ),
        (
            "mongodb://a/?replicaSet=rs",
            vec![primary("a", &all), unresolved("b")],
            vec![(C::AdvertisedHostFails, FAILURE)],
        ),
        // A failure of another seed has nothing to do with names.
        (
            "mongodb://a/?replicaSet=rs",
            vec![
                primary("a", &all),
                failed("b", Stage::Authentication, CauseCode::AuthenticationFailed),
            ],
            vec![],
        ),
        (
            "mongodb://a/?replicaSet=rs",
            vec![primary("a", &all), of_another_set("b", Some("other"))],
            vec![(C::ForeignSet, FAILURE)],
        ),
        // The error of the single host already explains the problem.
        (
            "mongodb://a/?replicaSet=rs",
            vec![of_another_set("a", None)],
            vec![],
        ),
        // All hosts failed in the same way, including the seed, so the names are not at fault.
        (
            "mongodb://a,b/?replicaSet=rs",
            vec![unresolved("a"), unresolved("b")],
            vec![],
        ),
    ];
    for (row, (uri, mut examinations, expected)) in rows.into_iter().enumerate() {
        let report = judged(uri, &mut examinations);
        let found = codes(&report);
        assert_eq!(found, expected, "row {row}, {uri}: {report:#?}");
        for finding in &report.findings {
            let text = &finding.message;
            assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
            assert!(finding.remedy.ends_with('.'), "{}", finding.remedy);
            assert!(!finding.servers.is_empty(), "{text}");
        }
    }
}

#[test]
fn messages_name_hosts_and_sets() {
    let all = ["a", "b"];
    let mut examinations = [secondary("a", &all), unresolved("b")];
    let report = judged("mongodb://a,b/?replicaSet=rs", &mut examinations);
    assert_eq!(
        message(&report, Code::NoPrimary),
        "no member of \"rs\" says that it is the primary, so reads and writes fail; it may be among those that did not \
         answer, b:27017"
    );
    let mut examinations = [
        primary("a", &["a"]),
        of_another_set("b", Some("other")),
        of_another_set("c", None),
    ];
    let report = judged("mongodb://a,b,c/?replicaSet=rs", &mut examinations);
    assert_eq!(
        message(&report, Code::ForeignSet),
        "b:27017 and c:27017 belong to other replica sets, or to none, not to \"rs\" as replicaSet asks: a client drops them"
    );
    let kept: Vec<_> = report.members.iter().map(|member| member.is_kept).collect();
    assert_eq!(kept, [true, false, false]);
    let mut examinations = [standalone("a"), standalone("b")];
    let report = judged("mongodb://a,b", &mut examinations);
    assert_eq!(
        message(&report, Code::StandaloneDropped),
        "a:27017 and b:27017 are standalones: of several hosts, a client drops those that belong to nothing"
    );
}

#[test]
fn clocks_are_compared_with_a_tolerance() {
    let all = ["a", "b", "c"];
    let mut examinations = [
        primary("a", &all),
        secondary("b", &all),
        secondary("c", &all),
    ];
    for (examination, ahead) in examinations.iter_mut().zip([30_000, 3_600_999, -31_000]) {
        examination.clock_ahead = Some(ahead);
    }
    let report = judged("mongodb://a/?replicaSet=rs", &mut examinations);
    assert_eq!(codes(&report), [(Code::ClockDiffers, WARNING)]);
    assert_eq!(
        message(&report, Code::ClockDiffers),
        "the clocks here and there differ: that of b:27017 is 3600 s ahead of it, that of c:27017 is 31 s behind it"
    );
    // The clock of a single host is checked too.
    let mut examinations = [primary("a", &all)];
    examinations[0].clock_ahead = Some(i64::MIN);
    let report = judged("mongodb://a/?directConnection=true", &mut examinations);
    assert_eq!(codes(&report), [(Code::ClockDiffers, WARNING)]);
}

#[test]
fn the_main_failure_is_of_a_host_that_clients_would_use() {
    let diagnosis = |mut examinations: Vec<Examination>, uri: &str| Diagnosis {
        topology: Some(judged(uri, &mut examinations)),
        examinations,
    };
    let uri = "mongodb://x,a/?replicaSet=rs";
    let failed_server = |found: &Diagnosis| found.failed().unwrap().server.clone().unwrap();
    // The primary does not name x.
    let hosts = ["a", "b"];
    let all = vec![unresolved("x"), primary("a", &hosts), unresolved("b")];
    let found = diagnosis(all, uri);
    assert_eq!((found.is_ok(), failed_server(&found)), (false, host("b")));
    assert_eq!(found.error().unwrap().server(), Some(&host("b")));
    let all = vec![unresolved("x"), primary("a", &["a"])];
    let found = diagnosis(all, uri);
    assert_eq!((found.is_ok(), failed_server(&found)), (false, host("x")));
    // Each host alone has no problem.
    let all = vec![secondary("x", &["a", "x"]), secondary("a", &["a", "x"])];
    let found = diagnosis(all.clone(), uri);
    assert!(!found.is_ok() && found.failed().is_none());
    let error = found.error().unwrap();
    let cause = error.cause().unwrap();
    assert_eq!(
        (cause.code(), error.stage()),
        (CauseCode::HelloFailed, Some(Stage::Hello))
    );
    assert_eq!(
        cause.facts().get("finding").unwrap().to_string(),
        "no-primary"
    );
    assert_eq!(
        cause.message(),
        message(found.topology.as_ref().unwrap(), Code::NoPrimary)
    );
    // A warning is not an error.
    let found = diagnosis(all, &format!("{uri}&readPreference=nearest"));
    assert!(found.is_ok() && found.error().is_none());
}

#[test]
fn skipped_hosts_are_reported() {
    let (options, _) = ClientOptions::parse("mongodb://a/?replicaSet=rs").unwrap();
    let report = judge(&options, &mut [primary("a", &["a"])], false);
    assert_eq!(codes(&report), [(Code::NotAllExamined, WARNING)]);
}

#[test]
fn long_reports_of_a_thousand_hosts_take_bounded_time() {
    let names: Vec<String> = (0..1000).map(|at| format!("h{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for make in [primary, secondary] {
        let host = |(at, name): (usize, &&str)| {
            // Each list lacks a different member.
            let mut own = names.clone();
            own.remove(at);
            changed(make(name, &own), |hello| hello.me = None)
        };
        let mut examinations: Vec<_> = names.iter().enumerate().map(host).collect();
        let started = Instant::now();
        let report = judged("mongodb://h0/?replicaSet=rs", &mut examinations);
        assert!(started.elapsed() < Duration::from_secs(30));
        let longest = report.findings.iter().map(|found| found.message.len());
        assert!(longest.max().unwrap() < 1000, "{report:?}");
        let named = report
            .members
            .iter()
            .map(|member| member.advertised_by.len());
        assert_eq!(named.max(), Some(ADVERTISERS));
    }
}

#[test]
fn codes_are_unique_and_well_formed() {
    let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(codes.len(), Code::ALL.len());
    for code in codes {
        let is_sound = |b: u8| b.is_ascii_lowercase() || b == b'-';
        assert!(code.bytes().all(is_sound), "{code}");
    }
}
