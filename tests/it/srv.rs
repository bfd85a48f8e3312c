//! `mongodb+srv`: clients whose hosts come from a DNS server of the bench, and the possible faults of that server.
//!
//! The addresses of hosts come from the system's resolver, which does not know invented names. An address needs no
//! resolver, and is in the domain of a name with an equal end: `127.0.0.1` in that of `db.0.0.1`. No connection string
//! may contain that name, so it is inserted in the options.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mongotls::doctor::{self, Outcome};
use mongotls::error::Stage;
use mongotls::internals;
use mongotls::{CauseCode, Client, ClientOptions, ConnectionString, Error, ErrorKind};
use mongotls_testbench::dns::{DnsFault, DnsServer, FORMERR, NOTIMP, REFUSED, SERVFAIL, Zone};
use mongotls_testbench::server::Server;
use mongotls_testbench::stranger;

use crate::common::{Bench, at_limit, code, fact, ping_on, timed};

fn options(uri: &str, dns: SocketAddr) -> Result<ClientOptions, Error> {
    let builder = ConnectionString::parse(uri)?.into_builder();
    builder.dns_server(dns).build()
}

/// The options for [`local`]; `rest` is the text after the host.
fn local_options(rest: &str, dns: &DnsServer) -> ClientOptions {
    let uri = format!("mongodb+srv://db.example.org/{rest}");
    let mut options = options(&uri, dns.addr()).unwrap();
    internals::set_srv_host(&mut options, "db.0.0.1");
    options
}

fn client(uri: &str, dns: &DnsServer) -> Result<Client, Error> {
    Client::with_options(options(uri, dns.addr())?)
}

fn zone(text: &str) -> DnsServer {
    DnsServer::start(Zone::parse(text))
}

/// Two hosts and a TXT record.
fn cluster() -> DnsServer {
    zone(
        r#"
        _mongodb._tcp.db.example.org.  SRV  27017 one.example.org.
        _mongodb._tcp.db.example.org.  SRV  27018 two.example.org.
        db.example.org.                TXT  "replicaSet=" "rs0"
        "#,
    )
}

const CLUSTER: &str = "mongodb+srv://db.example.org/?connectTimeoutMS=20000";

fn hosts(client: &Client) -> Vec<String> {
    let hosts = client.options().hosts().iter();
    hosts.map(ToString::to_string).collect()
}

/// The hosts and the replica set of [`cluster`].
fn expect_cluster(client: &Client) {
    assert_eq!(
        hosts(client),
        ["one.example.org:27017", "two.example.org:27018"]
    );
    assert_eq!(client.options().replica_set(), Some("rs0"));
}

/// A bench server on TLS, and a name server that has it as the only host of `db.0.0.1`.
fn local(bench: &Bench) -> DnsServer {
    let port = bench.server.port();
    zone(&format!(
        "_mongodb._tcp.db.0.0.1. SRV {port} 127.0.0.1.\ndb.0.0.1. TXT \"authSource=admin\""
    ))
}

#[test]
fn a_client_reaches_its_hosts_over_tls() {
    let bench = Bench::sound();
    let dns = local(&bench);
    let rest = format!("?tlsCAFile={}", bench.ca_file.display());
    let client = Client::with_options(local_options(&rest, &dns)).unwrap();
    ping_on(&client).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(report.server.to_string(), bench.server.addr().to_string());
    assert!(report.handshake.is_some());
    let asked: Vec<_> = dns
        .asked()
        .into_iter()
        .map(|asked| (asked.name, asked.kind))
        .collect();
    assert_eq!(
        asked,
        [
            ("_mongodb._tcp.db.0.0.1".to_owned(), 33),
            ("db.0.0.1".to_owned(), 16)
        ]
    );
}

/// A server without TLS, with a connection string that does not mention TLS.
#[test]
fn a_server_without_tls_reports_that_srv_enables_tls() {
    let server = Server::builder().start();
    let dns = zone(&format!(
        "_mongodb._tcp.db.0.0.1. SRV {} 127.0.0.1.",
        server.port()
    ));
    let told = |options: &ClientOptions| {
        let mut diagnosis = doctor::examine_options(options);
        let error = diagnosis.examinations.remove(0).error.unwrap();
        assert_eq!(code(&error), CauseCode::ServerNotTls, "{error}");
        let cause = error.cause().unwrap();
        (cause.message().to_owned(), cause.remedy().to_owned())
    };
    let plain = "the server does not speak TLS: it left the ClientHello unanswered, and answers in the clear as MongoDB does";
    let remedy = "Turn TLS on at the server (on mongod net.tls.mode: requireTLS), or connect to the port that has it.";
    let by_srv = local_options("?connectTimeoutMS=20000", &dns);
    assert_eq!(
        told(&by_srv),
        (
            format!("{plain}; mongodb+srv turns TLS on by itself"),
            remedy.to_owned()
        )
    );
    let uri = format!("mongodb://127.0.0.1:{}/?tls=true", server.port());
    let by_host = ClientOptions::parse(&uri).unwrap().0;
    assert_eq!(told(&by_host), (plain.to_owned(), remedy.to_owned()));
    // A server of another protocol.
    let web = stranger::http_server();
    let dns = zone(&format!(
        "_mongodb._tcp.db.0.0.1. SRV {} 127.0.0.1.",
        web.addr().port()
    ));
    let (message, _) = told(&local_options("", &dns));
    assert_eq!(
        message,
        "the server answered with something other than TLS: it looks like HTTP; mongodb+srv turns TLS on by itself"
    );
}

#[test]
fn only_the_connection_string_turns_tls_off() {
    let server = Server::builder().start();
    let records = format!("_mongodb._tcp.db.0.0.1. SRV {} 127.0.0.1.", server.port());
    let dns = zone(&records);
    let plain = Client::with_options(local_options("?tls=false", &dns)).unwrap();
    ping_on(&plain).unwrap();
    dns.set_zone(Zone::parse(&records).with("db.0.0.1. TXT \"tls=false\""));
    let error = Client::with_options(local_options("", &dns)).unwrap_err();
    assert_eq!(code(&error), CauseCode::SrvInvalid);
    assert_eq!(fact(&error, "txt_record"), "tls=false");
}

#[test]
fn parsing_sends_no_query_and_the_client_shows_dns_data() {
    let dns = cluster();
    let options = options(CLUSTER, dns.addr()).unwrap();
    assert!(options.hosts().is_empty() && dns.asked().is_empty());
    let client = Client::with_options(options).unwrap();
    expect_cluster(&client);
    // Resolved options may be used for another client.
    expect_cluster(&Client::with_options(client.options().clone()).unwrap());
    let asked = dns.asked();
    assert!(
        asked.iter().all(|asked| !asked.edns && !asked.tcp),
        "{asked:?}"
    );
    let ports: std::collections::BTreeSet<_> = asked.iter().map(|asked| asked.port).collect();
    assert_eq!((asked.len(), ports.len()), (4, 4), "a port of its own each");
}

/// "Initial DNS Seedlist Discovery", prose test 1: "Allow SRVs with fewer than 3 `.` separated parts".
#[test]
fn names_of_one_and_two_parts_are_looked_up() {
    let dns = zone(
        "_mongodb._tcp.localhost. SRV 1 a.localhost.\n_mongodb._tcp.mongo.local. SRV 2 b.mongo.local.",
    );
    assert_eq!(
        hosts(&client("mongodb+srv://localhost", &dns).unwrap()),
        ["a.localhost:1"]
    );
    assert_eq!(
        hosts(&client("mongodb+srv://mongo.local", &dns).unwrap()),
        ["b.mongo.local:2"]
    );
}

/// "Initial DNS Seedlist Discovery", prose tests 2, 3 and 4: a returned address that does not end with the domain, is
/// identical to the name, or lacks the `.` before the shared part.
#[test]
fn a_host_outside_of_the_domain_is_refused_with_its_name() {
    for (name, target) in [
        ("localhost", "localhost.mongodb"),
        ("mongo.local", "test_1.evil.local"),
        ("blogs.mongodb.com", "blogs.evil.com"),
        ("localhost", "localhost"),
        ("mongo.local", "mongo.local"),
        ("localhost", "test_1.cluster_1localhost"),
        ("mongo.local", "test_1.my_hostmongo.local"),
        ("blogs.mongodb.com", "cluster.testmongodb.com"),
    ] {
        let dns = zone(&format!("_mongodb._tcp.{name}. SRV 27017 {target}."));
        let error = client(&format!("mongodb+srv://{name}"), &dns).unwrap_err();
        assert_eq!(
            (error.kind(), code(&error), error.stage()),
            (
                ErrorKind::Network,
                CauseCode::SrvInvalid,
                Some(Stage::Resolve)
            )
        );
        assert_eq!(fact(&error, "target"), target);
        assert_eq!(fact(&error, "host"), name);
    }
}

#[test]
fn missing_records_differ_from_a_failing_name_server() {
    let dns = cluster();
    let told = |uri: &str| {
        let error = client(uri, &dns).unwrap_err();
        assert_eq!(error.stage(), Some(Stage::Resolve));
        (code(&error), fact(&error, "dns_answer"))
    };
    let not_found = |answer: &str| (CauseCode::SrvNotFound, answer.to_owned());
    assert_eq!(told("mongodb+srv://no.example.org"), not_found("NXDOMAIN"));
    dns.set_zone(Zone::parse("_mongodb._tcp.db.example.org. TXT \"x\""));
    assert_eq!(told(CLUSTER), not_found("no records"));
    for (answer, text) in [(SERVFAIL, "SERVFAIL"), (REFUSED, "REFUSED")] {
        dns.set_fault(DnsFault::Code(answer));
        assert_eq!(told(CLUSTER), (CauseCode::DnsFailed, text.to_owned()));
    }
}

#[test]
fn unavailable_txt_records_are_a_failure() {
    let dns = cluster();
    dns.set_fault(DnsFault::TxtFails);
    let error = client(CLUSTER, &dns).unwrap_err();
    assert_eq!(code(&error), CauseCode::DnsFailed);
    assert_eq!(fact(&error, "query"), "db.example.org");
}

#[test]
fn silence_and_forgeries_end_with_the_time_limit() {
    let dns = cluster();
    let limit = Duration::from_millis(400);
    for fault in [
        DnsFault::Silent,
        DnsFault::WrongId,
        DnsFault::OtherQuestion,
        DnsFault::OtherPort,
        DnsFault::Garbage,
        DnsFault::Late(Duration::from_secs(2)),
        DnsFault::TruncatedThenSilent,
    ] {
        dns.set_fault(fault.clone());
        let uri = "mongodb+srv://db.example.org/?connectTimeoutMS=400";
        let error = at_limit(limit, || client(uri, &dns)).unwrap_err();
        assert_eq!(
            (error.kind(), code(&error), error.stage()),
            (
                ErrorKind::Timeout,
                CauseCode::DnsFailed,
                Some(Stage::Resolve)
            ),
            "{fault:?}"
        );
        assert_eq!(fact(&error, "option"), "connectTimeoutMS");
        assert_eq!(fact(&error, "dns_answer"), "time-out");
        assert!(
            fact(&error, "reason").contains(&dns.addr().to_string()),
            "{error}"
        );
        let foreign = error.to_string().contains("do not answer the query");
        let forged = [
            DnsFault::WrongId,
            DnsFault::OtherQuestion,
            DnsFault::Garbage,
        ];
        assert_eq!(foreign, forged.contains(&fault), "{fault:?}: {error}");
        if let DnsFault::Late(_) = fault {
            // Its thread is still waiting for the answer.
            break;
        }
    }
}

#[test]
fn an_answer_that_is_late_within_the_limit_counts() {
    let dns = cluster();
    dns.set_fault(DnsFault::Late(Duration::from_millis(150)));
    let made = timed(Duration::from_millis(300), Duration::from_secs(3), || {
        client(CLUSTER, &dns)
    });
    expect_cluster(&made.unwrap());
}

#[test]
fn a_forged_answer_before_the_right_one_does_no_harm() {
    let dns = cluster();
    dns.set_fault(DnsFault::ForgedFirst);
    expect_cluster(&client(CLUSTER, &dns).unwrap());
}

#[test]
fn truncated_replies_are_repeated_over_tcp() {
    let dns = cluster();
    dns.set_fault(DnsFault::Truncated);
    expect_cluster(&client(CLUSTER, &dns).unwrap());
    let by_tcp: Vec<bool> = dns.asked().iter().map(|asked| asked.tcp).collect();
    assert_eq!(by_tcp, [false, true, false, true]);
    let ids: std::collections::BTreeSet<u16> = dns.asked().iter().map(|asked| asked.id).collect();
    assert!(ids.len() > 1, "ids are not random");
}

#[test]
fn a_great_many_records_come_by_tcp() {
    let records = (1..=1500)
        .map(|host| format!("_mongodb._tcp.db.example.org. SRV 27017 h{host}.example.org."));
    let dns = zone(&records.collect::<Vec<_>>().join("\n"));
    dns.set_fault(DnsFault::Truncated);
    assert_eq!(hosts(&client(CLUSTER, &dns).unwrap()).len(), 1500);
    let some = client("mongodb+srv://db.example.org/?srvMaxHosts=3", &dns).unwrap();
    assert_eq!(hosts(&some).len(), 3);
}

#[test]
fn a_tcp_answer_that_breaks_off_or_makes_no_sense_is_a_failure() {
    let dns = cluster();
    for (fault, answer) in [
        (DnsFault::TruncatedThenCut, "unexpected end of file"),
        (DnsFault::TruncatedThenGarbage, "time-out"),
        (DnsFault::AlwaysTruncated, "truncated"),
    ] {
        dns.set_fault(fault.clone());
        let error = timed(Duration::ZERO, Duration::from_secs(3), || {
            client(CLUSTER, &dns)
        })
        .unwrap_err();
        assert_eq!(code(&error), CauseCode::DnsFailed, "{fault:?}");
        assert_eq!(fact(&error, "dns_answer"), answer, "{fault:?}");
    }
}

#[test]
fn servers_that_cannot_take_edns_serve_at_once() {
    let dns = cluster();
    const BADVERS_WITHOUT_ITS_RECORD: u8 = 0;
    for fault in [
        DnsFault::EdnsCode(FORMERR),
        DnsFault::EdnsCode(SERVFAIL),
        DnsFault::EdnsCode(REFUSED),
        DnsFault::EdnsCode(NOTIMP),
        DnsFault::EdnsCode(BADVERS_WITHOUT_ITS_RECORD),
        DnsFault::EdnsSilent,
        DnsFault::EdnsGarbage,
    ] {
        dns.set_fault(fault);
        expect_cluster(&client(CLUSTER, &dns).unwrap());
    }
    let asked = dns.asked();
    assert_eq!(asked.len(), 14);
    assert!(asked.iter().all(|asked| !asked.edns && !asked.tcp));
}

#[test]
fn a_long_answer_comes_with_edns_where_tcp_is_blocked() {
    let dns = cluster();
    dns.set_fault(DnsFault::LongWithoutTcp);
    expect_cluster(&client(CLUSTER, &dns).unwrap());
    let asked: Vec<_> = dns.asked().iter().map(|it| (it.tcp, it.edns)).collect();
    let one = [(false, false), (true, false), (false, true)];
    assert_eq!(asked, [one, one].concat());
}

#[test]
fn a_damaged_reply_is_repeated_over_tcp() {
    let dns = cluster();
    for fault in [DnsFault::Cut, DnsFault::Emptied] {
        dns.set_fault(fault);
        let before = dns.asked().len();
        expect_cluster(&client(CLUSTER, &dns).unwrap());
        let asked = dns.asked();
        let by_tcp: Vec<bool> = asked[before..].iter().map(|asked| asked.tcp).collect();
        assert_eq!(by_tcp, [false, true, false, true]);
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_not_an_empty_one() {
    let dns = cluster();
    for (fault, answer, why) in [
        (DnsFault::AlwaysCut, "malformed", "sent a malformed answer"),
        (
            DnsFault::Referral,
            "referral",
            "does not look names up for others",
        ),
    ] {
        dns.set_fault(fault);
        let error = client(CLUSTER, &dns).unwrap_err();
        assert_eq!(code(&error), CauseCode::DnsFailed);
        assert_eq!(fact(&error, "dns_answer"), answer);
        assert_eq!(
            error.cause().unwrap().message(),
            format!(
                "no name server answered for the SRV records of \"_mongodb._tcp.db.example.org\": {} {why}",
                dns.addr()
            )
        );
    }
    // A TXT record that was replaced by an address.
    dns.set_fault(DnsFault::None);
    dns.set_zone(Zone::parse(
        "_mongodb._tcp.db.example.org. SRV 1 a.example.org.\ndb.example.org. CNAME x.example.org.\nx.example.org. A 127.0.0.1",
    ));
    assert_eq!(client(CLUSTER, &dns).unwrap().options().replica_set(), None);
}

/// Hosts and options behind aliases, one of which leads to another domain.
const ALIASES: &str = r#"
    _mongodb._tcp.db.example.org.  CNAME  SRV.else.example.
    srv.Else.example.              SRV    27017 one.example.org.
    srv.else.example.              SRV    27018 two.example.org.
    db.example.org.                CNAME  a.example.org.
    a.example.org.                 CNAME  b.example.org.
    b.example.org.                 TXT    "authSource=users&" "replicaSet=rs0"
"#;

#[test]
fn records_behind_aliases_count() {
    for zone in [Zone::parse(ALIASES), Zone::parse(ALIASES).without_targets()] {
        let dns = DnsServer::start(zone);
        let client = client(&CLUSTER.replace("//", "//u:p@"), &dns).unwrap();
        expect_cluster(&client);
        let source = &client.options().credential().unwrap().source;
        assert_eq!(source, "users");
        // Never for CNAME: the specification forbids it.
        let kinds: Vec<u16> = dns.asked().iter().map(|asked| asked.kind).collect();
        assert!(
            kinds.iter().all(|kind| [16, 33].contains(kind)),
            "{kinds:?}"
        );
        assert!([2, 5].contains(&kinds.len()), "{kinds:?}");
    }
}

#[test]
fn hosts_behind_an_alias_are_compared_with_the_name_in_use() {
    let dns = zone(
        "_mongodb._tcp.db.example.org. CNAME _mongodb._tcp.x.evil.example.\n_mongodb._tcp.x.evil.example. SRV 1 h.evil.example.",
    );
    let error = client(CLUSTER, &dns).unwrap_err();
    assert_eq!(code(&error), CauseCode::SrvInvalid);
    assert_eq!(fact(&error, "target"), "h.evil.example");
    assert_eq!(fact(&error, "domain"), "example.org");
}

#[test]
fn two_txt_records_behind_an_alias_are_refused_as_others() {
    let dns = zone(ALIASES);
    dns.set_zone(Zone::parse(ALIASES).with(r#"b.example.org. TXT "loadBalanced=false""#));
    let error = client(CLUSTER, &dns).unwrap_err();
    assert_eq!(code(&error), CauseCode::SrvInvalid);
    dns.set_zone(Zone::parse(
        "_mongodb._tcp.db.example.org. SRV 1 a.example.org.\ndb.example.org. CNAME nowhere.example.org.",
    ));
    let client = client(CLUSTER, &dns).unwrap();
    assert_eq!(hosts(&client), ["a.example.org:1"]);
}

/// A zone with `count` aliases in a row before the SRV record.
fn row_of_aliases(count: u32) -> Zone {
    let name = |step: u32| match step {
        0 => "_mongodb._tcp.db.example.org.".to_owned(),
        step => format!("a{step}.example.org."),
    };
    let alias = |step| format!("{} CNAME {}\n", name(step), name(step + 1));
    let aliases: String = (0..count).map(alias).collect();
    Zone::parse(&aliases).with(&format!("{} SRV 1 one.example.org.", name(count)))
}

#[test]
fn aliases_end_after_eight_and_never_in_a_circle() {
    let circle = "_mongodb._tcp.db.example.org. CNAME a.example.org.\na.example.org. CNAME _MONGODB._tcp.DB.example.org.";
    let own = "_mongodb._tcp.db.example.org. CNAME _mongodb._tcp.db.example.org.";
    let back = "aliases (CNAME) that lead back to themselves";
    for (zone, why) in [
        (row_of_aliases(8), None),
        (
            row_of_aliases(9),
            Some("more than 8 aliases (CNAME) in a row"),
        ),
        (Zone::parse(circle), Some(back)),
        (Zone::parse(own), Some(back)),
    ] {
        for zone in [zone.clone(), zone.without_targets()] {
            let dns = DnsServer::start(zone);
            match (client(CLUSTER, &dns), why) {
                (Ok(client), None) => assert_eq!(hosts(&client), ["one.example.org:1"]),
                (Err(error), Some(why)) => {
                    assert_eq!(code(&error), CauseCode::DnsFailed);
                    let cause = error.cause().unwrap();
                    assert_eq!(
                        (cause.message(), cause.remedy()),
                        (
                            &*format!(
                                "no name server answered for the SRV records of \"_mongodb._tcp.db.example.org\": {} answered with {why}",
                                dns.addr()
                            ),
                            "Correct the CNAME records of that name: at most 8 may lie between it and its SRV records \
                             (`dig SRV _mongodb._tcp.db.example.org`)."
                        )
                    );
                }
                (outcome, _) => panic!("{outcome:?}"),
            }
        }
    }
}

#[test]
fn a_closed_dns_port_fails_at_once() {
    let nobody = stranger::nobody();
    let outcome = timed(Duration::ZERO, Duration::from_secs(3), || {
        Client::with_options(options(CLUSTER, nobody).unwrap())
    });
    let error = outcome.unwrap_err();
    assert_eq!(code(&error), CauseCode::DnsFailed);
    assert_eq!(fact(&error, "dns_answer"), "connection refused");
    assert_eq!(fact(&error, "name_servers"), nobody.to_string());
}

#[test]
fn options_of_the_program_override_the_txt_record() {
    let dns = cluster();
    let builder = ConnectionString::parse(CLUSTER).unwrap().into_builder();
    let options = builder.replica_set("own").dns_server(dns.addr());
    let client = Client::with_options(options.build().unwrap()).unwrap();
    assert_eq!(client.options().replica_set(), Some("own"));
}

#[test]
fn conflicts_with_the_txt_record_are_reported_as_such() {
    let dns = cluster();
    let error = client("mongodb+srv://db.example.org/?srvMaxHosts=1", &dns).unwrap_err();
    assert_eq!(
        (error.kind(), code(&error)),
        (ErrorKind::Configuration, CauseCode::OptionConflict)
    );
    assert_eq!(
        fact(&error, "conflicts"),
        "srvMaxHosts cannot be used with replicaSet"
    );
}

#[test]
fn hosts_added_by_the_program_are_rejected() {
    let builder = ConnectionString::parse(CLUSTER).unwrap().into_builder();
    let error = builder
        .host(mongotls::ServerAddress::tcp("h", 1))
        .build()
        .unwrap_err();
    assert!(
        error.to_string().contains("hosts of the program's"),
        "{error}"
    );
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    let dns = cluster();
    let (done, outcomes) = mpsc::channel();
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..16 {
            let (done, dns) = (done.clone(), &dns);
            scope.spawn(move || done.send(client(CLUSTER, dns)).unwrap());
        }
    });
    drop(done);
    let clients: Vec<Client> = outcomes.iter().map(Result::unwrap).collect();
    assert_eq!(clients.len(), 16);
    clients.iter().for_each(expect_cluster);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_doctor_shows_what_dns_said() {
    let bench = Bench::sound();
    let dns = local(&bench);
    let rest = format!("?tlsCAFile={}", bench.ca_file.display());
    let diagnosis = doctor::examine_options(&local_options(&rest, &dns));
    assert!(diagnosis.is_ok(), "{diagnosis:?}");
    let [examination] = diagnosis.examinations.as_slice() else {
        panic!("{diagnosis:?}")
    };
    let found = examination.seed_list.as_ref().unwrap();
    assert_eq!(found.query, "_mongodb._tcp.db.0.0.1");
    assert_eq!(found.txt.as_deref(), Some("authSource=admin"));
    assert_eq!(found.hosts[0].to_string(), bench.server.addr().to_string());
    assert_eq!(found.name_servers, [dns.addr()]);

    dns.set_fault(DnsFault::Code(SERVFAIL));
    let diagnosis = doctor::examine_options(&local_options(&rest, &dns));
    let [examination] = diagnosis.examinations.as_slice() else {
        panic!("{diagnosis:?}")
    };
    let stages: Vec<_> = examination
        .stages
        .iter()
        .map(|report| (report.stage, report.outcome.clone()))
        .collect();
    assert_eq!(
        stages,
        [
            (Stage::Options, Outcome::Passed),
            (Stage::Resolve, Outcome::Failed)
        ]
    );
    assert_eq!(
        code(examination.error.as_ref().unwrap()),
        CauseCode::DnsFailed
    );
}
