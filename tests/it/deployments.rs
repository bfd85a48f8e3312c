//! The doctor on a whole deployment: members that servers name, a client's view of all of them, and the seed that works
//! while its advertised host does not.

mod advertised;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mongotls::bson::{DateTime, doc};
use mongotls_testbench::fault::Fault;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir, Validity};
use mongotls_testbench::server::{Auth, Hello, Role, Server, ServerTls, User};
use serde_json::{Value, json};

use crate::cli::{Run, doctor, mongotls};
use crate::docs::shape;

/// Servers on TLS that know each other as members of "rs0", and the CA of them all.
struct Set {
    servers: Vec<Server>,
    ca: Ca,
    dir: PkiDir,
}

impl Set {
    /// A set with these members, the first of which is the primary; all have the host name `localhost`.
    fn of(roles: &[Role]) -> Self {
        let ca = Ca::root("bench root", KeyKind::EcP256);
        let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
        let start = |_: &Role| Server::builder().tls(tls.clone()).start();
        let servers = roles.iter().map(start).collect();
        let dir = PkiDir::new();
        dir.write("ca.pem", ca.cert_pem());
        let set = Self { servers, ca, dir };
        for (at, role) in roles.iter().enumerate() {
            set.advertise(at, *role, &set.hosts());
        }
        set
    }

    fn three() -> Self {
        Self::of(&[Role::Primary, Role::Secondary, Role::Secondary])
    }

    /// Sets a member's report about itself and the others.
    fn advertise(&self, at: usize, role: Role, hosts: &[String]) {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let hello = Hello::member(role, "rs0", &self.host(at), &hosts);
        self.servers[at].set_hello(|own| *own = hello);
    }

    fn host(&self, at: usize) -> String {
        format!("localhost:{}", self.servers[at].port())
    }

    fn hosts(&self) -> Vec<String> {
        (0..self.servers.len()).map(|at| self.host(at)).collect()
    }

    /// A connection string with these hosts, and `options` (beginning with `&`).
    fn uri(&self, hosts: &[String], options: &str) -> String {
        let ca = self.dir.path().join("ca.pem");
        let hosts = hosts.join(",");
        format!(
            "mongodb://{hosts}/?tls=true&tlsCAFile={}{options}",
            ca.display()
        )
    }

    /// A server on TLS that is not a member.
    fn server(&self, leaf: LeafSpec) -> Server {
        let tls = ServerTls::new(&self.ca.issue(leaf));
        Server::builder().tls(tls).start()
    }
}

fn finding<'a>(object: &'a Value, code: &str) -> &'a Value {
    let findings = object["topology"]["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["code"] == code);
    found.unwrap_or_else(|| panic!("no {code}: {object:#}"))
}

fn codes(object: &Value) -> Vec<&str> {
    let findings = object["topology"]["findings"].as_array().unwrap();
    let codes = findings.iter().map(|finding| finding["code"].as_str());
    codes.map(Option::unwrap).collect()
}

/// The rows of the members, by host.
fn members(object: &Value) -> BTreeMap<&str, &Value> {
    let members = object["topology"]["members"].as_array().unwrap();
    let named = members.iter();
    named
        .map(|member| (member["server"].as_str().unwrap(), member))
        .collect()
}

/// The output, with one number for the port of each server; lines with times, dates and digests as their shape.
fn text(run: &Run, set: &Set) -> String {
    let ports = set.servers.iter().map(Server::port).zip(10_001..);
    let out = ports.fold(run.out.clone(), |text, (port, number)| {
        text.replace(&port.to_string(), &number.to_string())
    });
    let out = out.replace(&set.dir.path().display().to_string(), "DIR");
    let varies =
        |line: &str| line.contains(" ms") || line.contains("Z to ") || line.contains("OpenSSL ");
    let lines = out.lines().filter(|line| !line.contains("OpenSSL "));
    let lines = lines.map(|line| match varies(line) {
        true => shape(line),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_sound_replica_set_is_one_table() {
    let set = Set::three();
    let uri = set.uri(&set.hosts(), "&replicaSet=rs0");
    let run = mongotls(&["doctor", &uri]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    let expected = "\
options ok N ms TLS is on; trust anchors: DIR/ca.pem N from tlsCAFile)
    tlsCAFile DIR/ca.pem: a certificate
CN=bench root, N to N days left)

replica set \"rs0\"
  host             state      name  chain              issuer      days  tls      revocation   wire  cause
* localhost:10001  primary    yes   verified, depth 1  bench root  364   TLSv1.3  not-checked  0-21  ok
* localhost:10002  secondary  yes   verified, depth 1  bench root  364   TLSv1.3  not-checked  0-21  ok
* localhost:10003  secondary  yes   verified, depth 1  bench root  364   TLSv1.3  not-checked  0-21  ok
  * of the seed list; state: as the host reports it; days: until the first certificate of the chain ends

  all is well";
    assert_eq!(text(&run, &set), expected, "{}", run.out);
}

#[test]
fn members_named_by_a_seed_are_examined_and_reported() {
    let set = Set::three();
    let (code, object) = doctor(&set.uri(&set.hosts()[1..2], "&replicaSet=rs0"));
    assert_eq!((code, &object["ok"]), (0, &json!(true)), "{object:#}");
    assert_eq!(object["cause"], Value::Null);
    assert_eq!(object["servers"].as_array().unwrap().len(), 3);
    let topology = &object["topology"];
    assert_eq!(topology["type"], "ReplicaSetWithPrimary");
    assert_eq!(topology["set_name"], "rs0");
    assert_eq!(topology["findings"], json!([]));
    let members = members(&object);
    let own = set.hosts();
    let primary = members[own[0].as_str()];
    let mut by = vec![own[1].clone(), own[2].clone()];
    by.sort();
    let mut told = primary["advertised_by"].as_array().unwrap().clone();
    told.sort_by_key(Value::to_string);
    assert_eq!(told, by);
    let fields = [
        ("seed", json!(false)),
        ("type", json!("RSPrimary")),
        ("kept", json!(true)),
        ("ok", json!(true)),
        ("cause", Value::Null),
        ("name_matches", json!(true)),
        (
            "chain",
            json!({ "verified": true, "issuer": "bench root", "depth": 1 }),
        ),
        ("days_left", json!(364)),
        ("protocol", json!("TLSv1.3")),
        ("revocation", json!("not-checked")),
        ("wire_versions", json!([0, 21])),
    ];
    for (key, expected) in fields {
        assert_eq!(primary[key], expected, "{key}");
    }
    assert_eq!(members[own[1].as_str()]["seed"], true);
}

#[test]
fn a_direct_connection_examines_only_its_host() {
    let set = Set::three();
    let uri = set.uri(&set.hosts()[..1], "&directConnection=true");
    let (code, object) = doctor(&uri);
    assert_eq!((code, &object["ok"]), (0, &json!(true)));
    assert!(object.get("servers").is_none() && object.get("topology").is_none());
    let run = mongotls(&["doctor", &uri]);
    assert!(run.out.starts_with("localhost:"), "{}", run.out);
    assert!(run.out.ends_with("\n  all is well\n"), "{}", run.out);
    assert_eq!(set.servers[1].counts().accepted, 0);
}

#[test]
fn a_member_is_found_by_way_of_another() {
    let set = Set::three();
    let all = set.hosts();
    set.advertise(0, Role::Primary, &all);
    set.advertise(1, Role::Secondary, &all[..2]);
    let (code, object) = doctor(&set.uri(&all[1..2], "&replicaSet=rs0"));
    let members = members(&object);
    assert_eq!(members.len(), 3);
    assert_eq!(members[all[2].as_str()]["advertised_by"], json!([all[0]]));
    // Its discovery shows that the lists differ.
    assert_eq!((code, codes(&object)), (0, vec!["members-disagree"]));
    let told = finding(&object, "members-disagree");
    let expected = format!("{} names {}, and {} does not", all[0], all[2], all[1]);
    assert_eq!(told["message"], expected);
    let text = mongotls(&["doctor", &set.uri(&all[1..2], "&replicaSet=rs0")]);
    let line = format!("  warning  {expected} [members-disagree]\n");
    assert!(text.out.contains(&line), "{}", text.out);
    assert!(text.out.ends_with("\n  all is well\n"), "{}", text.out);
}

#[test]
fn a_seed_of_another_set_is_reported_with_healthy_ones() {
    let set = Set::of(&[Role::Primary, Role::Primary]);
    let all = set.hosts();
    set.advertise(0, Role::Primary, &all[..1]);
    set.servers[1].set_hello(|hello| {
        *hello = Hello::member(Role::Primary, "rs1", &all[1], &[&all[1]]);
    });
    let (code, object) = doctor(&set.uri(&all, "&replicaSet=rs0"));
    assert_eq!((code, &object["cause"]), (1, &json!("hello-failed")));
    assert_eq!(object["facts"]["expected_set"], "rs0");
    assert_eq!(object["facts"]["found_set"], "rs1");
    assert_eq!(codes(&object), ["foreign-set"]);
    let of_sets = members(&object);
    assert_eq!(of_sets[all[0].as_str()]["kept"], true);
    assert_eq!(of_sets[all[1].as_str()]["kept"], false);
    // Each host alone has no problem, but they are not one deployment.
    let (code, object) = doctor(&set.uri(&all, ""));
    assert_eq!((code, &object["ok"]), (1, &json!(false)));
    assert_eq!(object["stage"], "hello");
    assert_eq!(object["category"], "server");
    assert_eq!(object["cause"], "hello-failed");
    assert_eq!(object["facts"]["finding"], "foreign-set");
    assert_eq!(object["facts"]["servers"], json!([all[1]]));
    assert!(object["message"].as_str().unwrap().contains("\"rs1\""));
    assert!(object["remedy"].as_str().unwrap().contains("replicaSet"));
    let servers = object["servers"].as_array().unwrap();
    assert!(servers.iter().all(|server| server["ok"] == true));
    let text = mongotls(&["doctor", &set.uri(&all, "")]);
    assert_eq!(text.code, 1);
    assert!(
        text.out
            .ends_with("every host answers, but the deployment has problems\n"),
        "{}",
        text.out
    );
}

#[test]
fn a_host_of_no_set_or_cluster_is_reported() {
    let set = Set::of(&[Role::Primary, Role::Secondary]);
    let all = set.hosts();
    let standalone = set.server(LeafSpec::local_server());
    let router = set.server(LeafSpec::local_server());
    router.set_hello(|hello| *hello = Hello::mongos());
    let at = |server: &Server| format!("localhost:{}", server.port());
    let among = |one: String| vec![all[0].clone(), one];
    for (hosts, options, expected) in [
        (
            among(at(&standalone)),
            "",
            &["standalone-dropped", "replica-set-not-named"][..],
        ),
        (among(at(&standalone)), "&replicaSet=rs0", &["foreign-set"]),
        (
            among(at(&router)),
            "",
            &["mixed-kinds", "replica-set-not-named"],
        ),
        (
            vec![at(&standalone), at(&router)],
            "",
            &["standalone-dropped"],
        ),
    ] {
        let (code, object) = doctor(&set.uri(&hosts, options));
        assert_eq!(codes(&object), expected, "{hosts:?} {options}");
        assert_eq!((code, &object["cause"]), (1, &json!("hello-failed")));
        assert_eq!(
            members(&object)[hosts[0].as_str()]["kept"],
            hosts[0] == all[0]
        );
    }
    // A member that was started without --replSet.
    set.servers[1].set_hello(|hello| *hello = Hello::default());
    let (code, object) = doctor(&set.uri(&all[..1], ""));
    assert_eq!((code, codes(&object)), (1, vec!["standalone-dropped"]));
    assert_eq!(object["facts"]["finding"], "standalone-dropped");
}

#[test]
fn several_routers_are_a_sharded_cluster() {
    let set = Set::three();
    for server in &set.servers {
        server.set_hello(|hello| *hello = Hello::mongos());
    }
    let (code, object) = doctor(&set.uri(&set.hosts(), ""));
    assert_eq!((code, codes(&object)), (0, vec![]), "{object:#}");
    assert_eq!(object["topology"]["type"], "Sharded");
    let text = mongotls(&["doctor", &set.uri(&set.hosts(), "")]).out;
    assert!(text.contains("\nsharded cluster\n"), "{text}");
}

#[test]
fn an_arbiter_is_a_member_without_authentication() {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let users = || Auth::new().user(User::new("admin", "ada", "pencil"));
    let start = |auth| Server::builder().tls(tls.clone()).auth(auth).start();
    let servers = vec![start(users()), start(users()), start(Auth::new())];
    let dir = PkiDir::new();
    dir.write("ca.pem", ca.cert_pem());
    let set = Set { servers, ca, dir };
    let (all, arbiter) = (set.hosts(), set.host(2));
    for (at, role) in [Role::Primary, Role::Secondary, Role::Arbiter]
        .into_iter()
        .enumerate()
    {
        set.advertise(at, role, &all[..2]);
        set.servers[at].set_hello(|hello| hello.extra = doc! { "arbiters": [&arbiter] });
    }
    let uri = set.uri(&all[..1], "&replicaSet=rs0");
    let uri = uri.replace("mongodb://", "mongodb://ada:pencil@");
    let run = mongotls(&["doctor", &uri, "--json"]);
    assert!(!run.out.contains("pencil") && !run.err.contains("pencil"));
    let object: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((run.code, codes(&object)), (0, vec![]), "{object:#}");
    assert_eq!(members(&object)[arbiter.as_str()]["type"], "RSArbiter");
    assert_eq!(set.servers[2].count_of("saslStart"), 0);
    // If one host rejects a user, all do, and no name is at fault.
    let (code, object) = doctor(&uri.replace("pencil", "wrong"));
    assert_eq!(
        (code, &object["cause"]),
        (1, &json!("authentication-failed"))
    );
    assert_eq!(codes(&object), Vec::<&str>::new());
}

#[test]
fn a_seed_by_another_name_gets_a_warning() {
    let set = Set::of(&[Role::Secondary, Role::Primary]);
    let alias = set.servers[0].addr().to_string();
    let (code, object) = doctor(&set.uri(std::slice::from_ref(&alias), "&replicaSet=rs0"));
    assert_eq!(
        (code, codes(&object)),
        (0, vec!["other-address"]),
        "{object:#}"
    );
    let told = finding(&object, "other-address");
    let begins = format!("{alias} calls itself {}: ", set.host(0));
    assert!(
        told["message"].as_str().unwrap().starts_with(&begins),
        "{told}"
    );
    let members = members(&object);
    assert_eq!(members.len(), 3);
    assert_eq!(members[alias.as_str()]["kept"], false);
    // The name of a member that leads to another one is a failure.
    let hosts = [set.host(1), set.host(0)];
    set.servers[0].set_hello(|hello| hello.me = Some(hosts[0].clone()));
    let (code, object) = doctor(&set.uri(&hosts[..1], "&replicaSet=rs0"));
    assert_eq!(
        (code, codes(&object)),
        (1, vec!["other-address"]),
        "{object:#}"
    );
}

#[test]
fn no_primary_and_two_primaries_are_reported() {
    let set = Set::of(&[Role::Secondary, Role::Secondary]);
    let all = set.hosts();
    let uri = set.uri(&all, "&replicaSet=rs0");
    let (code, object) = doctor(&uri);
    assert_eq!((code, codes(&object)), (1, vec!["no-primary"]));
    assert_eq!(object["topology"]["type"], "ReplicaSetNoPrimary");
    let (code, object) = doctor(&format!("{uri}&readPreference=secondary"));
    assert_eq!((code, codes(&object)), (0, vec!["no-primary"]));
    set.advertise(0, Role::Primary, &all);
    set.advertise(1, Role::Primary, &all);
    let (code, object) = doctor(&uri);
    assert_eq!((code, codes(&object)), (1, vec!["several-primaries"]));
    // A single host with a warning is shown as usual, with the warning below it.
    set.servers[0].set_hello(|hello| {
        *hello = Hello::default();
        hello.extra = doc! { "isreplicaset": true };
    });
    let uri = set.uri(&all[..1], "");
    let (code, object) = doctor(&uri);
    assert_eq!((code, codes(&object)), (1, vec!["not-initialized"]));
    assert!(object.get("servers").is_none());
    let text = mongotls(&["doctor", &uri]);
    assert!(text.out.starts_with("localhost:"), "{}", text.out);
    assert!(text.out.contains("\n  FAILURE  localhost:") && !text.out.contains("all is well"));
}

#[test]
fn expiring_certificates_and_clock_offsets_get_a_warning() {
    let set = Set::of(&[Role::Primary, Role::Secondary]);
    let all = set.hosts();
    let other = Ca::root("another root", KeyKind::EcP256);
    let leaf = LeafSpec::local_server().validity(Validity::days(-1, 10));
    set.servers[1].set_tls(&ServerTls::new(&other.issue(leaf)));
    set.dir
        .write("ca.pem", [set.ca.cert_pem(), other.cert_pem()].concat());
    let ahead = DateTime::from_millis(DateTime::now().timestamp_millis() + 600_000);
    set.servers[1].set_hello(|hello| hello.extra = doc! { "localTime": ahead });
    let uri = set.uri(&all[..1], "&replicaSet=rs0");
    let (code, object) = doctor(&uri);
    assert_eq!(
        (code, codes(&object)),
        (0, vec!["anchors-differ", "clock-differs"])
    );
    let message = finding(&object, "anchors-differ")["message"]
        .as_str()
        .unwrap();
    for part in [
        format!("{} to \"bench root\"", all[0]),
        format!("{} to \"another root\"", all[1]),
    ] {
        assert!(message.contains(&part), "{message}");
    }
    assert_eq!(
        finding(&object, "clock-differs")["servers"],
        json!([all[1]])
    );
    assert_eq!(members(&object)[all[1].as_str()]["days_left"], 9);
    let text = mongotls(&["doctor", &uri]).out;
    let line = format!(
        "  warning  {}: the certificate \"localhost\" ends in 9 days, at ",
        all[1]
    );
    assert!(text.contains(&line), "{text}");
}

#[test]
fn many_slow_members_take_about_as_long_as_the_slowest_few() {
    let set = Set::of(&[Role::Secondary; 30]);
    set.advertise(0, Role::Primary, &set.hosts());
    let slow = Fault::trickle_after(0, 600, Duration::from_millis(100));
    for server in &set.servers {
        server.faults().all(slow.clone());
    }
    let timed = |options: &str| {
        let started = Instant::now();
        let (code, object) = doctor(&set.uri(&set.hosts()[..1], options));
        assert_eq!(code, 0, "{object:#}");
        (started.elapsed(), object)
    };
    let (one, _) = timed("&directConnection=true");
    assert!(one > Duration::from_millis(300), "{one:?} is not slow");
    let (all, object) = timed("&replicaSet=rs0");
    assert_eq!(members(&object).len(), 30);
    // The seed comes first, and the others in two rounds; the rest is tolerance for a busy machine.
    assert!(all < one * 8, "one took {one:?}, and 30 took {all:?}");
}

#[cfg(feature = "srv")]
#[test]
fn hosts_from_srv_and_their_members_are_one_deployment() {
    use mongotls::ConnectionString;
    use mongotls::doctor::examine_options;
    use mongotls_testbench::dns::{DnsServer, Zone};

    let set = Set::three();
    let addresses: Vec<String> = set.servers.iter().map(|it| it.addr().to_string()).collect();
    let hosts: Vec<&str> = addresses.iter().map(String::as_str).collect();
    for (at, role) in [Role::Primary, Role::Secondary, Role::Secondary]
        .into_iter()
        .enumerate()
    {
        let hello = Hello::member(role, "rs0", hosts[at], &hosts);
        set.servers[at].set_hello(|own| *own = hello);
    }
    let records = format!(
        "_mongodb._tcp.db.0.0.1. SRV {} 127.0.0.1.\ndb.0.0.1. TXT \"replicaSet=rs0\"",
        set.servers[1].port()
    );
    let dns = DnsServer::start(Zone::parse(&records));
    let ca = set.dir.path().join("ca.pem");
    let uri = format!("mongodb+srv://db.example.org/?tlsCAFile={}", ca.display());
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let mut options = builder.dns_server(dns.addr()).build().unwrap();
    // See `srv.rs`: an address needs no resolver.
    mongotls::internals::set_srv_host(&mut options, "db.0.0.1");
    let diagnosis = examine_options(&options);
    assert!(diagnosis.is_ok(), "{diagnosis:?}");
    let topology = diagnosis.topology.unwrap();
    assert_eq!(topology.description.set_name.as_deref(), Some("rs0"));
    assert!(topology.findings.is_empty());
    let seeds = topology.members.iter().filter(|member| member.is_seed);
    let seeds: Vec<_> = seeds.map(|seed| seed.server.to_string()).collect();
    assert_eq!(seeds, [hosts[1]]);
    assert_eq!(topology.members.len(), 3);
    assert!(
        diagnosis
            .examinations
            .iter()
            .all(|one| one.seed_list.is_some())
    );
}
