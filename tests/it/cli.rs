//! The command line as a process: its output and its exit code.

use std::path::Path;
use std::process::{Command, Stdio};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, doc};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::pki::{KeyKind, LeafSpec, PkiDir, Revocation, Validity};
use mongotls_testbench::server::{Server, ServerTls, Version};
use mongotls_testbench::stranger;
use serde_json::Value;

use crate::common::Bench;

/// The output of a process and its exit code.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the command line with these arguments.
pub(crate) fn mongotls(words: &[&str]) -> Run {
    mongotls_with(words, &[])
}

/// Runs the command line with these arguments and environment variables.
pub(crate) fn mongotls_with(words: &[&str], environment: &[(&str, &Path)]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_mongotls"))
        .args(words)
        .stdin(Stdio::null())
        .env_remove("MONGOTLS_LOG")
        .env_remove("MONGOTLS_URI")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    Run {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The output of `doctor --json`, with the exit code.
pub(crate) fn doctor(uri: &str) -> (i32, Value) {
    let run = mongotls(&["doctor", uri, "--json"]);
    let object = serde_json::from_str(&run.out)
        .unwrap_or_else(|error| panic!("{error}: {}{}", run.out, run.err));
    (run.code, object)
}

#[test]
fn ping_prints_who_answered_and_how() {
    let bench = Bench::sound();
    let run = mongotls(&["ping", &bench.uri("")]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let rows: Vec<(&str, &str)> = run.out.lines().map(|line| line.split_at(12)).collect();
    let row = |name: &str| {
        rows.iter()
            .find(|(key, _)| key.trim() == name)
            .unwrap_or_else(|| panic!("{name}: {}", run.out))
            .1
    };
    assert_eq!(row("server"), format!("localhost:{}", bench.server.port()));
    assert_eq!(row("version"), "7.0.0");
    assert!(row("tls").starts_with("TLSv1.3, TLS_AES_256_GCM_SHA384"));
    assert_eq!(row("peer"), "verified");
    assert!(row("round trip").ends_with(" ms"));
}

#[test]
fn ping_counts_and_speaks_json() {
    let bench = Bench::sound();
    let run = mongotls(&["ping", &bench.uri(""), "-c", "5", "--json"]);
    let object: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(object["ok"], true);
    assert_eq!(object["tls"]["protocol"], "TLSv1.3");
    assert_eq!(object["tls"]["verified"], true);
    assert_eq!(object["round_trips_ms"].as_array().unwrap().len(), 5);
    assert_eq!(bench.server.count_of("ping"), 5);
    let several = mongotls(&["ping", &bench.uri(""), "--count=3"]);
    assert!(several.out.contains("3 pings: least"), "{}", several.out);
}

#[test]
fn a_failed_ping_names_cause_and_remedy_on_standard_error() {
    let bench = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf.validity(Validity::expired()),
        |tls| tls,
    );
    let run = mongotls(&["ping", &bench.uri("")]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(
        run.err.contains("[certificate-expired]")
            && run.err.contains("Renew the server's certificate"),
        "{}",
        run.err
    );
    let run = mongotls(&["ping", &bench.uri(""), "--json"]);
    let object: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (run.code, &object["ok"], &object["cause"]),
        (1, &Value::Bool(false), &Value::from("certificate-expired"))
    );
}

#[test]
fn run_prints_the_reply_as_relaxed_extended_json() {
    let bench = Bench::sound();
    let uri = bench.uri("");
    let insert = r#"{"insert": "t", "documents": [{"_id": {"$oid": "0123456789abcdef01234567"}, "at": {"$date": "2026-01-02T03:04:05Z"}, "n": {"$numberLong": "7"}}]}"#;
    assert_eq!(mongotls(&["run", &uri, "shop", insert]).code, 0);
    let run = mongotls(&["run", &uri, "shop", r#"{"find": "t"}"#]);
    let reply: Value = serde_json::from_str(&run.out).unwrap();
    let first = &reply["cursor"]["firstBatch"][0];
    assert_eq!(first["_id"]["$oid"], "0123456789abcdef01234567");
    assert_eq!(first["at"]["$date"], "2026-01-02T03:04:05Z");
    assert_eq!(first["n"], 7);
    assert_eq!(bench.server.commands_named("insert")[0].database, "shop");
}

#[test]
fn run_changes_no_date_and_no_number() {
    let bench = Bench::sound();
    let uri = bench.uri("");
    let insert = r#"{"insert": "t", "documents": [{"_id": 1, "d": [
        {"a": {"$date": {"$numberLong": "253402300800000"}}}, {"$date": {"$numberLong": "-1"}}, {"$date": 253402300799999},
        {"$date": {"$numberLong": "9223372036854775807"}}, {"$numberLong": "9007199254740993"}, {"$binary": "AQ==", "$type": "80"}]}]}"#;
    let inserted = mongotls(&["run", &uri, "shop", insert]);
    assert_eq!((inserted.code, inserted.err.as_str()), (0, ""));
    for all in [true, false] {
        let words = ["run", &uri, "shop", r#"{"find": "t"}"#, "--all"];
        let run = mongotls(&words[..if all { 5 } else { 4 }]);
        let reply: Value = serde_json::from_str(&run.out).unwrap();
        let first = match all {
            true => &reply,
            false => &reply["cursor"]["firstBatch"][0],
        };
        assert_eq!(
            first["d"],
            serde_json::json!([
                {"a": {"$date": {"$numberLong": "253402300800000"}}},
                {"$date": {"$numberLong": "-1"}},
                {"$date": "9999-12-31T23:59:59.999Z"},
                {"$date": {"$numberLong": "9223372036854775807"}},
                9_007_199_254_740_993_i64,
                {"$binary": {"base64": "AQ==", "subType": "80"}},
            ])
        );
    }
    let inserts = bench.server.count_of("insert");
    let run = mongotls(&[
        "run",
        &uri,
        "shop",
        r#"{"insert": "t", "documents": [{"n": 9223372036854775808}]}"#,
    ]);
    assert_eq!((run.code, run.out.as_str()), (2, ""));
    assert_eq!(
        run.err,
        "mongotls: the command at \"documents.0.n\": the integer does not fit 64 bits; write it as \
         {\"$numberDecimal\": \"…\"}, or as {\"$numberDouble\": \"…\"}\nTry: mongotls --help\n"
    );
    assert_eq!(bench.server.count_of("insert"), inserts);
}

#[test]
fn run_follows_a_cursor_to_its_end() {
    let bench = Bench::sound();
    let uri = bench.uri("");
    let documents: Vec<String> = (0..30).map(|n| format!("{{\"_id\": {n}}}")).collect();
    mongotls(&[
        "run",
        &uri,
        "d",
        &format!(
            "{{\"insert\": \"t\", \"documents\": [{}]}}",
            documents.join(",")
        ),
    ]);
    let run = mongotls(&[
        "run",
        &uri,
        "d",
        r#"{"find": "t", "batchSize": 7}"#,
        "--all",
    ]);
    assert_eq!(run.out.lines().count(), 30);
    assert!(bench.server.count_of("getMore") >= 1 && bench.server.open_cursors() == 0);
}

#[test]
fn doctor_goes_through_every_stage_of_a_sound_server() {
    let bench = Bench::sound();
    let (code, object) = doctor(&bench.uri(""));
    assert_eq!(
        (code, &object["ok"], &object["cause"]),
        (0, &Value::Bool(true), &Value::Null)
    );
    let stages = object["stages"].as_array().unwrap();
    let names: Vec<&str> = stages
        .iter()
        .map(|stage| stage["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "options",
            "resolve",
            "connect",
            "tls",
            "revocation",
            "hello",
            "authentication",
            "command"
        ]
    );
    assert!(
        stages
            .iter()
            .all(|stage| stage["ok"] == true && stage["duration_ms"].is_number())
    );
    let tls = &stages[3];
    // OpenSSL 3.5 and later make it a hybrid, X25519MLKEM768.
    let group = tls["group"].as_str().unwrap().to_lowercase();
    assert!(group.starts_with("x25519"), "{group}");
    let leaf = &tls["chain"][0];
    assert_eq!(
        (leaf["subject"].as_str(), leaf["issuer"].as_str()),
        (Some("CN=localhost"), Some("CN=bench root"))
    );
    assert_eq!(leaf["dns_names"][0], "localhost");
    assert_eq!(leaf["sha256_fingerprint"].as_str().unwrap().len(), 64);
    assert_eq!(stages[7]["server_version"], "7.0.0");
}

#[test]
fn doctor_tells_what_of_openssl_s_configuration_has_no_effect() {
    if openssl::version::number() < 0x3000_0000 {
        return;
    }
    let bench = Bench::sound();
    let dir = PkiDir::new();
    let file = dir.path().join("openssl.cnf");
    let quoted = format!("{:?}", file.display().to_string());
    let ignored = |why: &str| {
        format!(
            "OpenSSL ignores its configuration file {quoted}: {why}; correct it, or name another file with OPENSSL_CONF"
        )
    };
    let not_loaded = |name: &str| {
        format!(
            "the provider {name:?}, which {quoted} activates, is not loaded; `openssl list -providers -provider {name}` tells why"
        )
    };
    let no_fips = format!(
        "OpenSSL is set to use FIPS algorithms alone (default_properties in {quoted}), and no provider with such algorithms is loaded; activate the FIPS provider there"
    );
    let providers = |list: &str| {
        format!(
            "openssl_conf = init\n[init]\nproviders = list\n[list]\n{list}[on]\nactivate = 1\n[off]\n"
        )
    };
    let version = mongotls::tls::openssl_version();
    for (text, problems, shown) in [
        (
            providers("default = on\n"),
            vec![],
            "; providers: default; configuration: ",
        ),
        // It may be present without being active.
        (
            providers("default = on\nlegacy = off\n"),
            vec![],
            "; providers: default; configuration: ",
        ),
        (
            providers("default = on\nno-such = on\n"),
            vec![not_loaded("no-such")],
            "; providers: default; not loaded: no-such; configuration: ",
        ),
        (
            providers("default = on\na.no-such = named\n")
                + "[named]\nidentity = other\nactivate = yes\n",
            vec![not_loaded("other")],
            "; providers: default; not loaded: other; configuration: ",
        ),
        (
            providers("default = on\n") + "what is this\n",
            vec![ignored("line 9: missing equal sign")],
            "; providers: default; configuration ignored: ",
        ),
        (
            "openssl_conf = init\n[init\n".to_owned(),
            vec![ignored("line 2: missing close square bracket")],
            "; providers: default; configuration ignored: ",
        ),
    ] {
        std::fs::write(&file, &text).unwrap();
        let run = |words: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mongotls"));
            command.args(["doctor", &bench.uri("")]).args(words);
            let output = command.env("OPENSSL_CONF", &file).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let object: Value = serde_json::from_str(&run(&["--json"])).unwrap();
        assert_eq!(object["warnings"], serde_json::json!(problems), "{text}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mongotls"));
        command.arg("--version").env("OPENSSL_CONF", &file);
        let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let warnings: Vec<_> = printed.lines().skip(2).collect();
        let expected: Vec<_> = problems.iter().map(|it| format!("warning: {it}")).collect();
        assert_eq!(warnings, expected, "{text}");
        let screen = run(&[]);
        let line = screen.lines().nth(2).unwrap().trim();
        assert_eq!(
            line,
            format!("{version}{shown}{}", file.display()),
            "{text}"
        );
    }
    // Then nothing works, and the doctor reports why.
    let text = providers("default = on\nfips = on\n")
        .replace("[list]", "alg_section = algorithms\n[list]")
        + "[algorithms]\ndefault_properties = fips=yes\n";
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mongotls"));
    command.args(["doctor", &bench.uri(""), "--json"]);
    let output = command.env("OPENSSL_CONF", &file).output().unwrap();
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let openssl = &object["stages"][0]["openssl"];
    let has_fips = openssl["providers"]
        .as_array()
        .unwrap()
        .contains(&"fips".into());
    assert_eq!(openssl["fips"], has_fips);
    if !has_fips {
        assert_eq!(openssl["missing_providers"], serde_json::json!(["fips"]));
        let problems = [not_loaded("fips"), no_fips];
        assert_eq!(object["warnings"], serde_json::json!(problems));
        let remedy = format!("Correct OpenSSL's configuration: {}.", problems.join("; "));
        assert_eq!(object["remedy"], remedy);
    }
}

#[test]
fn doctor_tells_which_openssl_is_in_use_and_what_shapes_it() {
    let bench = Bench::sound();
    let dir = PkiDir::new();
    let there = dir.write("there.cnf", "");
    let missing = dir.path().join("missing.cnf");
    for (path, found) in [(there, true), (missing, false)] {
        let run = |words: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mongotls"));
            command.args(["doctor", &bench.uri("")]).args(words);
            let output = command.env("OPENSSL_CONF", &path).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let object: Value = serde_json::from_str(&run(&["--json"])).unwrap();
        let openssl = &object["stages"][0]["openssl"];
        assert_eq!(openssl["version"], mongotls::tls::openssl_version());
        assert_eq!(openssl["config_file"], path.display().to_string());
        assert_eq!(openssl["config_file_found"], found);
        assert_eq!(openssl["fips"], false);
        if openssl::version::number() >= 0x3000_0000 {
            assert_eq!(openssl["providers"], serde_json::json!(["default"]));
        }
        let text = run(&[]);
        let line = text.lines().nth(2).unwrap();
        assert!(line.contains(mongotls::tls::openssl_version()), "{text}");
        assert!(line.contains(&path.display().to_string()), "{text}");
        assert_eq!(line.contains("no configuration"), !found, "{text}");
    }
}

#[test]
fn doctor_tells_stage_category_cause_and_remedy() {
    let bench = Bench::sound();
    let expired = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf.validity(Validity::expired()),
        |tls| tls,
    );
    let plain = Server::builder().start();
    let nobody = stranger::nobody();
    let web = stranger::http_server();
    let missing = bench.dir.path().join("missing.pem");
    let cases = [
        (expired.uri(""), "tls", "certificate", "certificate-expired"),
        (
            format!("mongodb://localhost:{}/?tls=true", bench.server.port()),
            "tls",
            "certificate",
            "issuer-unknown",
        ),
        (
            format!("mongodb://localhost:{}/", bench.server.port()),
            "hello",
            "protocol",
            "server-requires-tls",
        ),
        (
            format!(
                "mongodb://localhost:{}/?tls=true&connectTimeoutMS=2000",
                plain.port()
            ),
            "tls",
            "protocol",
            "server-not-tls",
        ),
        (
            format!("mongodb://{}/?tls=true", web.addr()),
            "tls",
            "protocol",
            "server-not-tls",
        ),
        (
            format!("mongodb://{}/", web.addr()),
            "hello",
            "server",
            "not-mongodb",
        ),
        (
            format!("mongodb://{nobody}/"),
            "connect",
            "network",
            "connection-refused",
        ),
        (
            format!("mongodb://localhost/?tlsCAFile={}", missing.display()),
            "options",
            "configuration",
            "ca-file-unreadable",
        ),
        (
            "mongodb://localhost:0/".to_owned(),
            "options",
            "configuration",
            "invalid-uri",
        ),
        (
            "mongodb://h/?tls=false&tlsInsecure=true".to_owned(),
            "options",
            "configuration",
            "option-conflict",
        ),
    ];
    for (uri, stage, category, cause) in cases {
        let (code, object) = doctor(&uri);
        assert_eq!(code, 1, "{uri}");
        let told = ["stage", "category", "cause"].map(|key| object[key].as_str().unwrap_or("none"));
        assert_eq!(told, [stage, category, cause], "{uri}: {object:#}");
        let last = object["stages"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&last["name"], &last["ok"]),
            (&Value::from(stage), &Value::Bool(false)),
            "{uri}"
        );
        assert!(
            !object["message"].as_str().unwrap().is_empty()
                && !object["remedy"].as_str().unwrap().is_empty()
        );

        let text = mongotls(&["doctor", &uri]);
        assert!(
            text.code == 1
                && text.out.contains(&format!("{category}: {cause}"))
                && text.out.contains("remedy"),
            "{}",
            text.out
        );
        assert!(!text.out.contains('\x1b'), "colour in a pipe: {}", text.out);
    }
}

#[test]
fn doctor_tells_a_revoked_server_at_the_stage_of_revocation() {
    let bench = Bench::sound();
    let identity = bench.ca.issue(LeafSpec::local_server());
    bench.server.set_tls(&ServerTls::new(&identity));
    let crl = bench
        .ca
        .crl()
        .revoke(Revocation::of(&identity.cert))
        .build();
    let crl = bench.dir.write("crl.pem", crl.to_pem().unwrap());
    let (code, object) = doctor(&bench.uri(&format!("&tlsCRLFile={}", crl.display())));
    let told = ["stage", "category", "cause"].map(|key| object[key].as_str().unwrap_or("none"));
    assert_eq!(
        (code, told),
        (1, ["revocation", "revocation", "revoked-crl"])
    );
    assert_eq!(object["facts"]["serial"], identity.serial_hex());
    let stages = object["stages"].as_array().unwrap();
    let names: Vec<&str> = stages
        .iter()
        .map(|stage| stage["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["options", "resolve", "connect", "tls", "revocation"]
    );
}

#[test]
fn doctor_examines_every_host_of_the_seed_list() {
    let bench = Bench::sound();
    let uri = bench
        .uri("")
        .replace("/?", &format!(",localhost:{}/?", stranger::nobody().port()));
    let (code, object) = doctor(&uri);
    assert_eq!(
        (code, &object["ok"], &object["cause"]),
        (1, &Value::Bool(false), &Value::from("connection-refused"))
    );
    let servers = object["servers"].as_array().unwrap();
    assert_eq!(
        (servers.len(), &servers[0]["ok"], &servers[1]["ok"]),
        (2, &Value::Bool(true), &Value::Bool(false))
    );
}

#[test]
fn doctor_warns_of_expiry_and_relaxed_checks() {
    let bench = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf.validity(Validity::days(-1, 10)),
        |tls| tls,
    );
    let (code, object) = doctor(&bench.uri("&tlsAllowInvalidHostnames=true"));
    let warnings = object["warnings"].to_string();
    assert!(
        code == 0
            && warnings.contains("ends in 9 days")
            && warnings.contains("tlsAllowInvalidHostnames"),
        "{warnings}"
    );
}

#[test]
fn a_wrong_command_line_ends_with_2_and_shows_no_secret() {
    for words in [
        &[][..],
        &["ping"],
        &["pong", "mongodb://u:s3cr3t@h"],
        &["run", "mongodb://u:s3cr3t@h", "d", "{"],
        &["ping", "mongodb://u:s3cr3t@h", "-c", "x"],
    ] {
        let run = mongotls(words);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{words:?}");
        assert!(
            run.err.starts_with("mongotls: ")
                && run.err.contains("--help")
                && !run.err.contains("s3cr3t"),
            "{}",
            run.err
        );
    }
}

#[test]
fn a_password_in_the_connection_string_is_shown_nowhere() {
    let bench = Bench::sound();
    let uri = bench
        .uri("")
        .replace("mongodb://", "mongodb://user:s3cr3t@");
    for words in [
        &["ping", &uri][..],
        &["ping", &uri, "--json"],
        &["doctor", &uri],
        &["doctor", &uri, "--json"],
        &["run", &uri, "d", r#"{"ping": 1}"#],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_mongotls"))
            .args(words)
            .env("MONGOTLS_LOG", "trace")
            .output()
            .unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!text.is_empty() && !text.contains("s3cr3t"), "{text}");
    }
}

#[test]
fn help_and_version_are_printed_to_standard_output() {
    let help = mongotls(&["--help"]);
    assert!(
        help.code == 0
            && ["ping", "run", "doctor", "inspect", "Exit codes"]
                .iter()
                .all(|word| help.out.contains(word))
    );
    let version = mongotls(&["--version"]);
    assert!(
        version.code == 0 && version.out.contains("OpenSSL"),
        "{}",
        version.out
    );
}

#[test]
fn names_from_a_certificate_cannot_steer_the_terminal() {
    let bench = Bench::with(
        KeyKind::EcP256,
        |_| LeafSpec::local_server().subject_entry("O", "a\u{1b}[31mb"),
        |tls| tls,
    );
    let run = mongotls(&["doctor", &bench.uri("")]);
    assert!(
        run.code == 0 && !run.out.contains('\u{1b}') && run.out.contains("\\1B[31mb"),
        "{}",
        run.out
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_hides_none() {
    let bench = Bench::sound();
    let nobody = format!("mongodb://{}/", stranger::nobody());
    for (uri, expected) in [(bench.uri(""), 0), (nobody, 1)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mongotls"));
        let mut child = command
            .args(["doctor", &uri])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let told = (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert_eq!(told, (Some(expected), String::new()), "{uri}");
    }
}

/// A database of its own on SecantusDB behind a replica set of the bench, and the connection string.
fn stored() -> Option<(Deployment, mongotls::Database, String)> {
    let backend = or_skip(Secantus::shared())?.backend();
    let deployment = Deployment::start(Topology::ReplicaSet, Version::V8_2, &backend);
    let uri = deployment.uri("");
    let client = mongotls::Client::connect(&uri).unwrap();
    let database = client.database(&ObjectId::new().to_hex());
    Some((deployment, database, uri))
}

#[test]
fn watch_prints_events_and_continues_behind_a_token() {
    let Some((_deployment, database, uri)) = stored() else {
        return;
    };
    let things = database.collection::<Document>("things");
    things.insert_one(doc! { "_id": 0 }).run().unwrap();
    let mut stream = things.watch().run().unwrap();
    things
        .insert_many([doc! { "_id": 1 }, doc! { "_id": 2 }])
        .run()
        .unwrap();
    let first = stream.next().unwrap().unwrap();
    drop(stream);
    // The stream ends with the collection.
    things.drop().run().unwrap();
    let token = first.id.to_string();
    let run = mongotls(&["watch", &uri, database.name(), "things", "--resume", &token]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    let lines: Vec<serde_json::Value> = run
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| &line["event"]["operationType"])
        .collect();
    assert_eq!(kinds, ["insert", "drop", "invalidate"]);
    assert_eq!(lines[0]["event"]["documentKey"]["_id"], 2);
    let text = lines[0]["token"].as_str().unwrap();
    assert!(text.parse::<mongotls::change_stream::ResumeToken>().is_ok());

    let run = mongotls(&["watch", &uri, "--resume", "nonsense"]);
    assert_eq!(run.code, 2);
    assert!(
        run.err.contains("--resume: the text of a resume token"),
        "{}",
        run.err
    );
}

#[test]
fn gridfs_stores_and_reads_files() {
    let Some((_deployment, database, uri)) = stored() else {
        return;
    };
    let dir = PkiDir::new();
    let source = dir.write("a.txt", b"the content");
    let (source, name) = (source.to_str().unwrap(), database.name());
    let target = dir.path().join("b.txt");
    let target = target.to_str().unwrap();
    let put = mongotls(&["gridfs", "put", &uri, name, source, "notes"]);
    assert_eq!((put.code, put.err.as_str()), (0, ""));
    assert!(put.out.contains("$oid"), "{}", put.out);
    let list = mongotls(&["gridfs", "ls", &uri, name, "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!(list["ok"], true);
    assert_eq!(
        (&list["files"][0]["filename"], &list["files"][0]["length"]),
        (&"notes".into(), &11.into())
    );
    let text = mongotls(&["gridfs", "ls", &uri, name]).out;
    assert!(
        text.trim_start().starts_with("11  ") && text.ends_with("notes\n"),
        "{text}"
    );
    let get = mongotls(&["gridfs", "get", &uri, name, "notes", target]);
    assert_eq!((get.code, get.err.as_str()), (0, ""));
    assert_eq!(std::fs::read(target).unwrap(), b"the content");
    let shown = mongotls(&["gridfs", "get", &uri, name, "notes", "-"]);
    assert_eq!(shown.out, "the content");

    // An existing file is not overwritten, and nothing stays of a failed download.
    let again = mongotls(&["gridfs", "get", &uri, name, "notes", target]);
    assert_eq!(again.code, 1);
    assert!(
        again.err.contains("b.txt cannot be written"),
        "{}",
        again.err
    );
    let other = dir.path().join("c.txt");
    let missing = mongotls(&[
        "gridfs",
        "get",
        &uri,
        name,
        "other",
        other.to_str().unwrap(),
    ]);
    assert_eq!(missing.code, 1);
    assert!(
        missing.err.contains("gridfs-file-not-found"),
        "{}",
        missing.err
    );
    assert!(!other.exists());
    let unread = mongotls(&[
        "gridfs",
        "put",
        &uri,
        name,
        target.replace("b.txt", "d.txt").as_str(),
        "x",
    ]);
    assert_eq!(unread.code, 1);
    assert!(
        unread.err.contains("d.txt cannot be read"),
        "{}",
        unread.err
    );
}
