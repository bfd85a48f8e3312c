//! The texts that `help` and `--version` print.

use mongotls::tls::Library;
use serde_json::{Value, json};

use crate::json as form;
use crate::output::clean;

/// The text that `--help` prints without a command.
pub(crate) const GENERAL: &str = "\
mongotls: connect to MongoDB over TLS, and find out why it fails

Usage:
  mongotls ping [URI] [-c N]              connect, ping N times (default 1) and time it
  mongotls run [URI] DB COMMAND [--all]   run one command; prints the reply
  mongotls doctor [URI]                   examine each stage of a connection, to each host
                                          and each member that they name
  mongotls inspect FILE...                tell what files of certificates, keys and CRLs hold,
                                          and what is wrong with them
  mongotls help [COMMAND]                 print this, or all about one of the above

Arguments:
  URI       a connection string, such as 'mongodb://db.example/?tls=true&tlsCAFile=ca.pem';
            - reads it from standard input, and @FILE from a file
  DB        the database that the command runs on
  COMMAND   a command in Extended JSON, such as '{\"find\": \"things\", \"filter\": {}}';
            - and @FILE as above
  FILE      PEM, DER or PKCS#12, or - for standard input; nothing is sent anywhere

Options:
  -c, --count N   how many pings, 1 to 1000000
      --connect-to HOST:PORT=ADDRESS:PORT
                  connect to ADDRESS:PORT (or to the Unix socket ADDRESS) instead of HOST:PORT,
                  whose name is still verified; may be repeated
      --json      print JSON instead of text
      --all       follow the cursor of the reply; prints one document a line
      --password-file FILE
                  the user's password is the first line of FILE
      --key-password-file FILE
                  the password of private keys is the first line of FILE
  -h, --help      print this
  -V, --version   print the versions of mongotls and OpenSSL, and what is built in

The arguments of a program can be seen by every user of the host. Keep secrets out of them: set
MONGOTLS_URI in place of URI, use - or @FILE, or leave out the password. On a terminal, mongotls
asks for the user's password if the mechanism needs one.

Set MONGOTLS_LOG (for example to debug) for a log on standard error.
Exit codes: 0 all is well, 1 it failed, 2 the command line is wrong or its output cannot be written.
All about JSON, exit codes and variables: docs/command-line.md";

/// The text that `help` prints about a command, or `None` if there is no such command.
pub(crate) fn about(command: &str) -> Option<&'static str> {
    Some(match command {
        "ping" => PING,
        "run" => RUN,
        "doctor" => DOCTOR,
        "inspect" => INSPECT,
        "help" => GENERAL,
        _ => return None,
    })
}

const PING: &str = "\
Usage: mongotls ping [URI] [-c N] [--json]

Connects, pings N times (default 1), and prints the server, its version, the TLS that was agreed
on, and how long the pings took. URI is a connection string, - for standard input, or @FILE; it
may be left out if MONGOTLS_URI is set.

Options:
  -c, --count N               how many pings, 1 to 1000000
      --json                  print one JSON object
      --password-file FILE    the user's password is the first line of FILE
      --key-password-file FILE  the password of the private key is the first line of FILE
      --connect-to HOST:PORT=ADDRESS:PORT  connect to ADDRESS:PORT instead of HOST:PORT

Exit codes: 0 every ping was answered, 1 it failed, 2 the command line is wrong or its output
cannot be written.";

const RUN: &str = "\
Usage: mongotls run [URI] DB COMMAND [--all] [--json]

Runs one command on the database DB and prints the reply as relaxed Extended JSON. URI is a
connection string, - for standard input, or @FILE; it may be left out if MONGOTLS_URI is set.
COMMAND is Extended JSON, also in the older forms that mongoexport writes; - and @FILE work too.

Options:
      --all                   follow the cursor of the reply and print one document a line; a
                              reply without a cursor is printed as the only document
      --json                  print a JSON object with the outcome, the reply in \"reply\"; with
                              --all one object a document, in \"document\", and then the outcome
      --password-file FILE    the user's password is the first line of FILE
      --key-password-file FILE  the password of the private key is the first line of FILE
      --connect-to HOST:PORT=ADDRESS:PORT  connect to ADDRESS:PORT instead of HOST:PORT

Exit codes: 0 the command succeeded; 1 it failed, or its reply has writeErrors, a
writeConcernError or, as bulkWrite, a number of nErrors; 2 the command line is wrong or its output
cannot be written.";

const DOCTOR: &str = "\
Usage: mongotls doctor [URI] [--json]

Examines each stage of a connection (options, DNS, TCP, TLS, revocation, hello, authentication,
a command), to each host of the connection string and to each member that those name. Says what
failed, why, and what to do about it. URI is a connection string, - for standard input, or @FILE;
it may be left out if MONGOTLS_URI is set.

Options:
      --json                  print one JSON object
      --password-file FILE    the user's password is the first line of FILE
      --key-password-file FILE  the password of the private key is the first line of FILE
      --connect-to HOST:PORT=ADDRESS:PORT  connect to ADDRESS:PORT instead of HOST:PORT

Exit codes: 0 all is well, perhaps with warnings; 1 it found a failure; 2 the command line is
wrong or its output cannot be written.";

const INSPECT: &str = "\
Usage: mongotls inspect FILE... [--json]

Tells what files of certificates, keys and CRLs hold, and what is wrong with them. FILE is PEM,
DER or PKCS#12, or - for standard input. Nothing is sent anywhere.

Options:
      --json                  print one JSON object
      --key-password-file FILE  open encrypted keys with the password in the first line of FILE;
                              --password-file means the same here

Exit codes: 0 no file would make a connection fail; 1 one would; 2 the command line is wrong, a
password file cannot be read, or the output cannot be written.";

/// The text that `--version` prints.
pub(crate) fn version() -> String {
    let features = features();
    let mut text = format!(
        "mongotls {} ({})\nfeatures: {}",
        env!("CARGO_PKG_VERSION"),
        mongotls::tls::openssl_version(),
        features.join(", ")
    );
    for problem in Library::inspect().problems() {
        text.push_str("\nwarning: ");
        text.push_str(&clean(problem));
    }
    text
}

/// The versions and features as JSON.
pub(crate) fn version_json() -> Value {
    let library = Library::inspect();
    json!({
        "ok": true,
        "version": env!("CARGO_PKG_VERSION"),
        "openssl": mongotls::tls::openssl_version(),
        "features": features(),
        "library": form::library(&library),
        "warnings": library.problems(),
    })
}

/// The cargo features that are built in.
fn features() -> Vec<&'static str> {
    [
        ("bundled-roots", cfg!(feature = "bundled-roots")),
        ("cli", cfg!(feature = "cli")),
        ("cloud", cfg!(feature = "cloud")),
        ("gssapi", cfg!(feature = "gssapi")),
        ("saslprep", cfg!(feature = "saslprep")),
        ("serde", cfg!(feature = "serde")),
        ("snappy", cfg!(feature = "snappy")),
        ("srv", cfg!(feature = "srv")),
        ("vendored", cfg!(feature = "vendored")),
        ("zlib", cfg!(feature = "zlib")),
        ("zstd", cfg!(feature = "zstd")),
    ]
    .into_iter()
    .filter_map(|(name, is_built_in)| is_built_in.then_some(name))
    .collect()
}
