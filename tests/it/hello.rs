//! The first exchange of a connection: the client's data about itself, and its handling of the reply.

use std::time::Duration;

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Bson, Document, doc, rawdoc};
use mongotls::error::Stage;
use mongotls::options::{DriverInfo, ReadPreference, ReadPreferenceMode, Tag};
use mongotls::{CauseCode, Client, Command, ConnectionString, Error, ErrorKind};
use mongotls_testbench::server::{Hello, ReplyFault, Request, Role, Server, fail_command};
use mongotls_testbench::wire::{OP_MSG, OP_REPLY};

use crate::common::{
    Bench, code, expect_program_open, fact, ping_on, plain_client, program_commands,
    without_session,
};

/// The error of a first ping on a server with this hello.
fn refusal(hello: Hello, options: &str) -> Error {
    let server = Server::builder().hello(hello).start();
    let error = ping_on(&plain_client(&server, options)).expect_err("the ping succeeded");
    assert_eq!(
        server.count_of("ping"),
        0,
        "nothing is sent to a server that is not suitable"
    );
    expect_program_open(&server, 0);
    error
}

/// The `ping`s that a server has received.
fn pings(server: &Server) -> Vec<Request> {
    server.commands_named("ping")
}

// --- sent data ---

#[test]
fn the_first_message_is_a_legacy_hello_with_metadata() {
    for tls in [true, false] {
        let bench = tls.then(Bench::sound);
        let plain = (!tls).then(|| Server::builder().start());
        let (server, client) = match (&bench, &plain) {
            (Some(bench), _) => (&bench.server, bench.client("&appName=inventory")),
            (_, Some(server)) => (server, plain_client(server, "appName=inventory")),
            _ => unreachable!(),
        };
        ping_on(&client).unwrap();
        let commands = program_commands(server);
        let [hello, _ping] = commands.as_slice() else {
            panic!("{commands:?}");
        };
        assert_eq!(
            (hello.op_code, hello.flags, hello.database.as_str()),
            (OP_MSG, 0, "admin")
        );
        let keys: Vec<_> = hello.body.keys().map(String::as_str).collect();
        let expected = [
            "isMaster",
            "helloOk",
            "client",
            "compression",
            "backpressure",
            "$db",
        ];
        assert_eq!(keys, expected);
        assert_eq!(hello.body.get_array("compression").unwrap(), &[]);
        assert_eq!(hello.body.get("backpressure"), Some(&Bson::from("2")));
        assert_eq!(hello.body.get("isMaster"), Some(&Bson::Int32(1)));
        assert_eq!(hello.body.get("helloOk"), Some(&Bson::Boolean(true)));

        let metadata = hello.body.get_document("client").unwrap();
        let application = metadata.get_document("application").unwrap();
        assert_eq!(*application, doc! { "name": "inventory" });
        let driver = metadata.get_document("driver").unwrap();
        assert_eq!(
            *driver,
            doc! { "name": "mongotls", "version": env!("CARGO_PKG_VERSION") }
        );
        let os = metadata.get_document("os").unwrap();
        assert!(
            ["Linux", "Darwin", "FreeBSD", "Unix"].contains(&os.get_str("type").unwrap()),
            "{os}"
        );
        assert!(
            metadata.get_str("platform").unwrap().contains("OpenSSL"),
            "{metadata}"
        );
        assert_eq!(hello.app_name.as_deref(), Some("inventory"));
    }
}

#[test]
fn the_metadata_keeps_to_512_bytes_with_the_longest_name() {
    let name = "a".repeat(128);
    let server = Server::builder().start();
    ping_on(&plain_client(&server, &format!("appName={name}"))).unwrap();
    let metadata = server.commands()[0]
        .body
        .get_document("client")
        .unwrap()
        .clone();
    assert_eq!(
        metadata
            .get_document("application")
            .unwrap()
            .get_str("name")
            .unwrap(),
        name
    );
    let size = metadata.to_vec().unwrap().len();
    assert!(size <= 512, "{size} bytes: {metadata}");
}

#[test]
fn appended_metadata_is_sent_on_later_connections() {
    let server = Server::builder().start();
    let uri = format!("{}?serverMonitoringMode=poll", server.uri());
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = builder
        .driver_info(DriverInfo::new("store").version("2"))
        .build()
        .unwrap();
    let client = Client::with_options(options).unwrap();
    ping_on(&client).unwrap();
    client
        .append_metadata(&DriverInfo::new("shop").platform("till"))
        .unwrap();
    ping_on(&client).unwrap();
    assert_eq!(
        server.count_of("isMaster"),
        1,
        "no connection is made for that"
    );
    server.cut();
    // The connection has ended, which the next command detects.
    while ping_on(&client).is_err() {}
    let mut hellos = program_commands(&server);
    hellos.retain(|command| command.name == "isMaster");
    let told = |at: usize, part: &str, field: &str| {
        let client = hellos[at].body.get_document("client").unwrap();
        let text = match part {
            "" => client.get_str(field),
            part => client.get_document(part).unwrap().get_str(field),
        };
        text.unwrap().to_owned()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(told(0, "driver", "name"), "mongotls|store");
    assert_eq!(told(0, "driver", "version"), format!("{version}|2"));
    assert_eq!(told(1, "driver", "name"), "mongotls|store|shop");
    assert_eq!(told(1, "driver", "version"), format!("{version}|2"));
    assert!(told(1, "", "platform").ends_with("|till") && !told(0, "", "platform").contains('|'));
    let error = client.append_metadata(&DriverInfo::new("a|b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn without_a_name_there_is_no_application() {
    let server = Server::builder().start();
    ping_on(&plain_client(&server, "")).unwrap();
    let metadata = server.commands()[0]
        .body
        .get_document("client")
        .unwrap()
        .clone();
    assert!(!metadata.contains_key("application"), "{metadata}");
}

#[test]
fn hello_is_said_once_on_each_connection() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    for _ in 0..10 {
        ping_on(&client).unwrap();
    }
    let hellos = |server: &Server| {
        let commands = program_commands(server);
        let names = commands.iter().map(|command| command.name.as_str());
        names
            .filter(|name| *name != "ping")
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(hellos(&server), ["isMaster"]);
    server.configure_fail_point(&fail_command(
        1,
        &["ping"],
        doc! { "closeConnection": true },
    ));
    ping_on(&client).unwrap_err();
    ping_on(&client).unwrap();
    assert_eq!(hellos(&server), ["isMaster", "isMaster"]);
    assert_eq!(server.program_connections().len(), 2);
}

#[test]
fn commands_are_op_msg_with_their_database() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    for database in ["admin", "db", "größe"] {
        client
            .database(database)
            .run_command(doc! { "ping": 1, "comment": "x" })
            .unwrap();
        let ping = pings(&server).pop().unwrap();
        assert_eq!((ping.op_code, ping.flags), (OP_MSG, 0));
        assert_eq!(
            without_session(&ping.body),
            doc! { "ping": 1, "comment": "x", "$db": database }
        );
        assert!(ping.sequences.is_empty());
    }
    let ids: Vec<_> = program_commands(&server)
        .iter()
        .map(|request| request.request_id)
        .collect();
    let mut unique = ids.clone();
    unique.dedup();
    assert_eq!((ids.len(), unique.len()), (4, 4), "{ids:?}");
}

#[test]
fn a_fail_point_finds_a_client_by_its_name() {
    let server = Server::builder().start();
    let one = plain_client(&server, "appName=one");
    let two = plain_client(&server, "appName=two");
    let nameless = plain_client(&server, "");
    let fails = doc! { "errorCode": 11601, "appName": "two" };
    server.configure_fail_point(&fail_command(1, &["ping"], fails));
    ping_on(&one).unwrap();
    ping_on(&nameless).unwrap();
    let error = ping_on(&two).unwrap_err();
    assert_eq!(error.command().unwrap().code, 11601);
}

// --- load balancers ---

#[test]
fn load_balanced_hello_is_op_msg_and_has_a_service_id() {
    let service = ObjectId::new();
    let mut hello = Hello::mongos();
    hello.extra.insert("serviceId", service);
    let server = Server::builder().hello(hello).start();
    let client = plain_client(&server, "loadBalanced=true&appName=balanced");
    ping_on(&client).unwrap();
    let commands = server.commands();
    let first = &commands[0];
    assert_eq!(
        (first.op_code, first.flags, first.database.as_str()),
        (OP_MSG, 0, "admin")
    );
    let mut body = first.body.clone();
    let metadata = body.remove("client").unwrap();
    assert_eq!(
        body,
        doc! {
            "hello": 1, "helloOk": true, "loadBalanced": true, "compression": [], "backpressure": "2",
            "$db": "admin"
        }
    );
    assert!(metadata.as_document().unwrap().to_vec().unwrap().len() <= 512);
    assert_eq!(first.app_name.as_deref(), Some("balanced"));
    assert_eq!((commands.len(), commands[1].name.as_str()), (2, "ping"));
    let report = client.server_report().unwrap();
    assert_eq!(report.hello.service_id, Some(service));
    assert!(report.hello.is_mongos && report.hello.is_writable_primary);
}

#[test]
fn a_load_balancer_must_say_which_service_answers() {
    for hello in [Hello::default(), Hello::mongos()] {
        let error = refusal(hello, "loadBalanced=true");
        assert_eq!(
            (code(&error), error.stage()),
            (CauseCode::HelloFailed, Some(Stage::Hello))
        );
        assert!(
            error.to_string().contains(
                "Driver attempted to initialize in load balancing mode, but the server does not support this mode"
            ),
            "{error}"
        );
        assert!(error.cause().unwrap().remedy().contains("loadBalanced"));
    }
}

// --- the reply ---

#[test]
fn hello_data_of_the_server_is_reported() {
    let hello = Hello {
        min_wire_version: 6,
        max_wire_version: 25,
        max_bson_object_size: 1_000_000,
        max_message_size_bytes: 2_000_000,
        max_write_batch_size: 1000,
        ..Hello::member(Role::Primary, "rs0", "a:1", &["a:1"])
    };
    let server = Server::builder().hello(hello).start();
    let client = plain_client(&server, "directConnection=true");
    let report = client.server_report().unwrap();
    let hello = report.hello;
    assert!(hello.hello_ok && hello.is_writable_primary && !hello.secondary && !hello.is_mongos);
    assert_eq!(hello.set_name.as_deref(), Some("rs0"));
    assert_eq!((hello.min_wire_version, hello.max_wire_version), (6, 25));
    assert_eq!(
        (
            hello.max_bson_object_size,
            hello.max_message_size,
            hello.max_write_batch_size
        ),
        (1_000_000, 2_000_000, 1000)
    );
    let own = hello
        .connection_id
        .and_then(|id| u64::try_from(id).ok())
        .unwrap();
    assert_eq!(hello.service_id, None);
    let mut commands = server.commands();
    commands.retain(|command| command.connection == own);
    assert_eq!(commands.len(), 1, "a report needs no further command");
}

#[test]
fn a_wire_version_out_of_reach_is_refused_with_what_to_update() {
    let versions = |min_wire_version, max_wire_version| Hello {
        min_wire_version,
        max_wire_version,
        ..Hello::default()
    };
    for (min, max, text, remedy) in [
        (
            0,
            7,
            "reports wire version 7, but this version of mongotls requires at least 8 (MongoDB 4.2)",
            "Update the server",
        ),
        (0, 0, "reports wire version 0", "Update the server"),
        (
            30,
            40,
            "requires wire version 30, but this version of mongotls only supports up to 29",
            "Update mongotls",
        ),
    ] {
        let error = refusal(versions(min, max), "");
        assert_eq!(
            (code(&error), error.stage()),
            (CauseCode::HelloFailed, Some(Stage::Hello)),
            "{error}"
        );
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.cause().unwrap().remedy().contains(remedy));
        assert_eq!(fact(&error, "min_wire_version"), min.to_string());
        assert_eq!(fact(&error, "max_wire_version"), max.to_string());
    }
    for (min, max) in [(0, 8), (8, 8), (29, 29), (29, 99)] {
        let server = Server::builder().hello(versions(min, max)).start();
        ping_on(&plain_client(&server, ""))
            .unwrap_or_else(|error| panic!("{min} to {max}: {error}"));
    }
}

#[test]
fn a_server_without_op_msg_is_named_as_too_old() {
    const OLD: &str = "older than MongoDB 3.6";
    // It answers with the only message that it knows.
    let server = Server::builder().start();
    server.spoil_replies("isMaster", 1000, ReplyFault::OpCode(OP_REPLY));
    let error = ping_on(&plain_client(&server, "serverSelectionTimeoutMS=300")).unwrap_err();
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::HelloFailed, Some(Stage::Hello)),
        "{error}"
    );
    let cause = error.cause().unwrap();
    assert!(cause.message().contains(OLD), "{error}");
    assert!(cause.remedy().contains("Update the server"));
    // Or it closes the connection, as a server does that requires TLS.
    let close = || fail_command(1000, &["isMaster"], doc! { "closeConnection": true });
    server.configure_fail_point(&close());
    let error = ping_on(&plain_client(&server, "serverSelectionTimeoutMS=300")).unwrap_err();
    assert_eq!(code(&error), CauseCode::ServerRequiresTls, "{error}");
    assert!(error.cause().unwrap().remedy().contains(OLD));
    let bench = Bench::sound();
    bench.server.configure_fail_point(&close());
    let error = ping_on(&bench.client("&serverSelectionTimeoutMS=300")).unwrap_err();
    assert_eq!(code(&error), CauseCode::ConnectionClosed, "{error}");
    assert!(error.cause().unwrap().remedy().contains(OLD));
}

#[test]
fn a_hello_that_the_server_refuses_tells_its_code() {
    let answers: [(Document, Option<&str>, &str); 3] = [
        (
            doc! { "ok": 0, "code": 11600, "codeName": "InterruptedAtShutdown", "errmsg": "going down" },
            Some("11600"),
            "going down",
        ),
        (doc! { "ok": 0.0, "errmsg": "no" }, Some("0"), "no"),
        (doc! { "ok": 0 }, Some("0"), "gave no reason"),
    ];
    for (answer, server_code, text) in answers {
        let reply = answer.clone();
        let server = Server::builder()
            .handle("isMaster", move |_| Some(reply.clone()))
            .start();
        // It may be shutting down, or starting: a command waits for that.
        let client = plain_client(&server, "serverSelectionTimeoutMS=300");
        let error = ping_on(&client).unwrap_err();
        assert_eq!(
            (code(&error), error.kind()),
            (CauseCode::HelloFailed, ErrorKind::Timeout),
            "{error}"
        );
        assert!(error.to_string().contains(text), "{error}");
        let found = error
            .cause()
            .unwrap()
            .facts()
            .get("server_code")
            .map(ToString::to_string);
        assert_eq!(found.as_deref(), server_code, "{answer}");
        assert_eq!(server.count_of("ping"), 0);
        expect_program_open(&server, 0);
    }
    // A server that recovers is used again.
    let server = Server::builder().start();
    server.configure_fail_point(&fail_command(1, &["isMaster"], doc! { "errorCode": 91 }));
    let client = plain_client(&server, "");
    let refused = |server: &Server| server.count_of("isMaster") > 0;
    assert!(server.wait_until(Duration::from_secs(10), refused));
    let ping = Command::from(doc! { "ping": 1 }).timeout(Duration::from_millis(100));
    let error = client.database("admin").run_command(ping).unwrap_err();
    assert_eq!(
        (code(&error), fact(&error, "server_code")),
        (CauseCode::HelloFailed, "91".to_owned())
    );
    ping_on(&client).unwrap();
}

#[test]
fn another_replica_set_is_refused_with_both_names() {
    let member = |name: &str| Hello::member(Role::Primary, name, "a:1", &["a:1"]);
    let error = refusal(member("rs1"), "replicaSet=rs0");
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::HelloFailed, Some(Stage::Hello))
    );
    assert_eq!(
        (fact(&error, "expected_set"), fact(&error, "found_set")),
        ("rs0".into(), "rs1".into())
    );
    assert!(
        error
            .to_string()
            .contains("belongs to the replica set \"rs1\", not to \"rs0\""),
        "{error}"
    );

    let error = refusal(Hello::default(), "replicaSet=rs0");
    assert_eq!(
        (code(&error), fact(&error, "expected_set")),
        (CauseCode::HelloFailed, "rs0".into())
    );
    assert!(error.cause().unwrap().facts().get("found_set").is_none());
    assert!(
        error.to_string().contains("belongs to no replica set"),
        "{error}"
    );

    for options in [
        "replicaSet=rs0&directConnection=true",
        "directConnection=true",
    ] {
        let server = Server::builder().hello(member("rs0")).start();
        ping_on(&plain_client(&server, options)).unwrap();
    }
}

#[test]
fn the_limits_of_the_server_hold_for_commands() {
    let server = Server::builder().start();
    let insert = |client: &Client| {
        let document = rawdoc! { "x": " ".repeat(10_000) };
        let insert = Command::from(doc! { "insert": "things" }).documents("documents", [document]);
        client.database("db").run_command(insert)
    };
    let before = plain_client(&server, "");
    insert(&before).unwrap();
    server.set_hello(|hello| hello.max_message_size_bytes = 9_000);
    // A connection keeps its original limits; a new one has the new ones.
    insert(&before).unwrap();
    let error = insert(&plain_client(&server, "")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(
        error.to_string().contains("accepts 9000 at most"),
        "{error}"
    );
    // An invalid value is no limit at all.
    for nonsense in [0, -1] {
        server.set_hello(|hello| hello.max_message_size_bytes = nonsense);
        insert(&plain_client(&server, "")).unwrap();
    }
}

// --- read preference ---

/// The `$readPreference` that a server of this kind receives with a ping.
fn passed(hello: Hello, preference: Option<ReadPreference>) -> Option<Document> {
    let server = Server::builder().hello(hello).start();
    let client = plain_client(&server, "directConnection=true");
    let mut ping = Command::from(doc! { "ping": 1 });
    if let Some(preference) = preference {
        ping = ping.read_preference(preference);
    }
    client.database("db").run_command(ping).unwrap();
    let body = pings(&server).pop().unwrap().body;
    body.get("$readPreference")
        .map(|value| value.as_document().unwrap().clone())
}

#[test]
fn a_read_preference_goes_to_the_servers_that_need_one() {
    let member = |role| Hello::member(role, "rs0", "a:1", &["a:1"]);
    let mode = |mode| Some(ReadPreference::new(mode));
    let nearest = || mode(ReadPreferenceMode::Nearest);
    // A member with a direct connection must answer, in any role.
    let primary_preferred = Some(doc! { "mode": "primaryPreferred" });
    for (name, hello, preference, expected) in [
        ("standalone", Hello::default(), None, None),
        ("standalone", Hello::default(), nearest(), None),
        (
            "primary",
            member(Role::Primary),
            None,
            primary_preferred.clone(),
        ),
        (
            "secondary",
            member(Role::Secondary),
            None,
            primary_preferred.clone(),
        ),
        (
            "secondary",
            member(Role::Secondary),
            mode(ReadPreferenceMode::Primary),
            primary_preferred.clone(),
        ),
        (
            "primary",
            member(Role::Primary),
            mode(ReadPreferenceMode::Primary),
            primary_preferred.clone(),
        ),
        (
            "other member",
            member(Role::OtherMember),
            None,
            primary_preferred,
        ),
        (
            "secondary",
            member(Role::Secondary),
            nearest(),
            Some(doc! { "mode": "nearest" }),
        ),
        (
            "primary",
            member(Role::Primary),
            nearest(),
            Some(doc! { "mode": "nearest" }),
        ),
        ("mongos", Hello::mongos(), None, None),
        (
            "mongos",
            Hello::mongos(),
            nearest(),
            Some(doc! { "mode": "nearest" }),
        ),
        (
            "mongos",
            Hello::mongos(),
            mode(ReadPreferenceMode::SecondaryPreferred),
            Some(doc! { "mode": "secondaryPreferred" }),
        ),
    ] {
        assert_eq!(
            passed(hello, preference.clone()),
            expected,
            "{name} with {preference:?}"
        );
    }
}

#[test]
fn a_read_preference_is_passed_with_its_tags_and_its_staleness() {
    let preference = ReadPreference::new(ReadPreferenceMode::Secondary)
        .tag_sets([vec![Tag::new("dc", "ny"), Tag::new("rack", "1")], vec![]])
        .max_staleness(Duration::from_secs(120));
    let expected = doc! {
        "mode": "secondary",
        "tags": [{ "dc": "ny", "rack": "1" }, {}],
        "maxStalenessSeconds": 120_i64,
    };
    assert_eq!(passed(Hello::mongos(), Some(preference)), Some(expected));
}
