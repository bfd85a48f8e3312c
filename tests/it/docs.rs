//! The examples that people copy: each command line of the README is run, and prints what stands there.

use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir, Validity};
use mongotls_testbench::server::{Server, ServerTls};

use crate::cli::{Run, mongotls};

const README: &str = include_str!("../../README.md");

/// One example: the words after `mongotls`, and the lines below.
struct Example {
    words: Vec<String>,
    printed: Vec<String>,
}

/// The blocks that begin with `$ mongotls`.
fn examples() -> Vec<Example> {
    let blocks = README
        .split("```console\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0);
    let read = |block: &str| {
        let (command, printed) = block.split_once('\n').unwrap();
        let command = command.strip_prefix("$ mongotls ").unwrap();
        Example {
            words: words(command),
            printed: printed.lines().map(str::to_owned).collect(),
        }
    };
    blocks.map(read).collect()
}

/// Splits at spaces outside of single quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let split = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    split.collect()
}

/// What stays of a line when times, addresses, versions and the group are blotted out: OpenSSL 3.5 and later
/// say X25519MLKEM768.
fn shape(line: &str) -> String {
    let words = line.split_whitespace().map(|word| match word {
        word if word.starts_with(|c: char| c.is_ascii_digit() || c == ':') => "N",
        word if word.to_lowercase().starts_with("x25519") => "GROUP",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn each_command_line_of_the_readme_prints_what_stands_there() {
    let root = Ca::root("bench root", KeyKind::EcP256);
    let server = Server::builder()
        .tls(ServerTls::new(&root.issue(LeafSpec::local_server())))
        .start();
    let dir = PkiDir::new();
    let ca = dir.write("ca.pem", root.cert_pem());
    let wrong = dir.write(
        "wrong-ca.pem",
        Ca::root("other", KeyKind::EcP256).cert_pem(),
    );
    let soon = LeafSpec::client("app").validity(Validity::days(-1, 20));
    let client = dir.write("app.pem", root.issue(soon).bundle_pem());
    let local = |text: &str| {
        text.replace("wrong-ca.pem", &wrong.display().to_string())
            .replace("client.pem", &client.display().to_string())
            .replace("=ca.pem", &format!("={}", ca.display()))
            .replace(
                "db.example.com:27017",
                &format!("localhost:{}", server.port()),
            )
            .replace("db.example.com/", &format!("localhost:{}/", server.port()))
    };
    let insert = r#"{"insert": "things", "documents": [{"_id": 1, "name": "first"}]}"#;
    let uri = local("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem");
    assert_eq!(mongotls(&["run", &uri, "shop", insert]).code, 0);

    let examples = examples();
    assert_eq!(examples.len(), 4);
    for example in examples {
        let words: Vec<String> = example.words.iter().map(|word| local(word)).collect();
        let Run { out, err, .. } = mongotls(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let printed: Vec<String> = out.lines().map(shape).collect();
        for line in example
            .printed
            .iter()
            .filter(|line| line.trim() != "..." && !line.trim().is_empty())
        {
            let expected = shape(&local(line).replace(". ...", ""));
            let found = printed.iter().any(|line| line.starts_with(&expected));
            assert!(found, "{words:?}: {expected:?} is not among\n{out}{err}");
        }
    }
}
