//! The measured operations: pings of `mongotls`, and equivalent ones of a bare program on the `openssl` crate.

use std::fs;
use std::hint::black_box;
use std::net::TcpStream;

use mongotls::Client;
use mongotls::bson::{RawDocumentBuf, rawdoc};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

use crate::common::{exchange, message};

/// The program that pings.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Mongotls,
    Floor,
}

impl Side {
    /// The word for it on a command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Mongotls => "mongotls",
            Self::Floor => "floor",
        }
    }

    pub(crate) fn of(word: &str) -> Self {
        match word {
            "mongotls" => Self::Mongotls,
            "floor" => Self::Floor,
            other => panic!("{other:?} pings nothing"),
        }
    }

    /// Connects, pings a few times to warm up, then passes a function that pings to `measure`.
    pub(crate) fn ping<T>(self, server: &str, measure: impl FnOnce(&mut dyn FnMut()) -> T) -> T {
        let (port, ca_file) = server.split_once(' ').unwrap();
        let warm = |ping: &mut dyn FnMut()| {
            (0..10).for_each(|_| ping());
            measure(ping)
        };
        match self {
            Self::Mongotls => {
                let uri = format!("mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={ca_file}");
                let client = Client::connect(&uri).unwrap();
                let admin = client.database("admin");
                let ping = rawdoc! { "ping": 1_i32 };
                warm(&mut || {
                    black_box(admin.run_raw_command(ping.as_ref()).unwrap());
                })
            }
            Self::Floor => {
                let mut floor = Floor::connect(port.parse().unwrap(), ca_file);
                let ping = message(&rawdoc! { "ping": 1_i32, "$db": "admin" });
                warm(&mut || floor.exchange(&ping))
            }
        }
    }
}

/// The bare program: it writes prepared messages, and reads replies without parsing them.
struct Floor {
    stream: SslStream<TcpStream>,
    reply: Vec<u8>,
}

impl Floor {
    fn connect(port: u16, ca_file: &str) -> Self {
        let mut store = X509StoreBuilder::new().unwrap();
        for certificate in X509::stack_from_pem(&fs::read(ca_file).unwrap()).unwrap() {
            store.add_cert(certificate).unwrap();
        }
        let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
        context.set_cert_store(store.build());
        context.set_verify(SslVerifyMode::PEER);
        let mut ssl = Ssl::new(&context.build()).unwrap();
        let address = "127.0.0.1".parse().unwrap();
        ssl.param_mut().set_ip(address).unwrap();
        let socket = TcpStream::connect((address, port)).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut floor = Self {
            stream: ssl.connect(socket).unwrap(),
            reply: Vec::new(),
        };
        let hello: RawDocumentBuf = rawdoc! { "hello": 1_i32, "$db": "admin" };
        floor.exchange(&message(&hello));
        floor
    }

    fn exchange(&mut self, message: &[u8]) {
        exchange(&mut self.stream, message, &mut self.reply);
    }
}
