//! One server of a deployment: a bench server, and the proxy in front of it, whose address clients know.
//!
//! [`NodeOptions`] describe how the servers of a deployment are made; [`ReplicaSet`](crate::replica_set::ReplicaSet)
//! and [`ShardedCluster`](crate::sharded_cluster::ShardedCluster) make them. Network faults happen in the proxy, so
//! that the server's own record stays correct.

use crate::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use crate::proxy::Proxy;
use crate::server::{Backend, Checks, Data, Hello, Server, ServerBuilder, ServerTls, Version};
use std::fmt;
use std::path::PathBuf;

/// A server behind its proxy.
#[derive(Debug)]
pub struct Node {
    // Declared before `server`: the proxy's connections have ended when the server is dropped.
    proxy: Proxy,
    server: Server,
    tls: Option<ServerTls>,
    host: String,
}

impl Node {
    /// The address for clients: `localhost:PORT`, with the port of its proxy.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port())
    }

    /// The host of that address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port of its proxy.
    pub fn port(&self) -> u16 {
        self.proxy.addr().port()
    }

    /// The server, which has a separate port that no client knows.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The network in front of it.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The checks of monitors; see [`Server::checks`].
    pub fn checks(&self) -> Checks {
        self.server.checks()
    }

    /// Stops listening there, and ends all connections.
    pub(crate) fn kill(&self) {
        self.proxy.refuse();
        self.server.cut();
    }

    /// Turns it into a new process, which does not accept clients yet; earlier sessions cannot be resumed.
    pub(crate) fn restart(&self) {
        self.server.restart();
        if let Some(tls) = &self.tls {
            self.server.set_tls(tls);
        }
    }

    /// Makes the network work.
    pub(crate) fn connect(&self) {
        self.proxy.admit();
        self.proxy.resume();
    }
}

type TlsOf = dyn Fn(&Ca, usize) -> ServerTls + Send + Sync;
type HostOf = dyn Fn(usize) -> String + Send + Sync;
type Setup = dyn Fn(usize, ServerBuilder) -> ServerBuilder + Send + Sync;

/// The options for making the servers of a deployment. The functions receive the index of a server.
pub struct NodeOptions {
    tls: Option<Box<TlsOf>>,
    host: Box<HostOf>,
    setup: Box<Setup>,
    backend: Option<Backend>,
    version: Option<Version>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            tls: None,
            host: Box::new(|_| "localhost".into()),
            setup: Box::new(|_, builder| builder),
            backend: None,
            version: None,
        }
    }
}

impl NodeOptions {
    /// Plain, at `localhost`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses TLS, each server with a valid certificate for `localhost` and `127.0.0.1`.
    pub fn secure(self) -> Self {
        self.tls(|ca, _| ServerTls::new(&ca.issue(LeafSpec::local_server())))
    }

    /// Uses TLS with the result of `tls`, which receives the authority that clients trust.
    pub fn tls(mut self, tls: impl Fn(&Ca, usize) -> ServerTls + Send + Sync + 'static) -> Self {
        self.tls = Some(Box::new(tls));
        self
    }

    /// Uses these hosts instead of `localhost`; all of them must resolve to `127.0.0.1`.
    pub fn host(mut self, host: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        self.host = Box::new(host);
        self
    }

    /// Makes all servers front ends of this store; see [`ServerBuilder::backend`].
    pub fn backend(mut self, backend: &Backend) -> Self {
        self.backend = Some(backend.clone());
        self
    }

    /// Lets all servers claim this version; see [`ServerBuilder::version`]. A replica set also needs
    /// [`ReplicaSetBuilder::max_wire_version`](crate::replica_set::ReplicaSetBuilder::max_wire_version).
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// Applies `setup` to each server: users, handlers, faults. It must not set bind, hello and TLS.
    pub fn setup(
        mut self,
        setup: impl Fn(usize, ServerBuilder) -> ServerBuilder + Send + Sync + 'static,
    ) -> Self {
        self.setup = Box::new(setup);
        self
    }

    /// Applies `setup` to each server, after the present setup.
    pub(crate) fn setup_also(
        mut self,
        setup: impl Fn(usize, ServerBuilder) -> ServerBuilder + Send + Sync + 'static,
    ) -> Self {
        let first = self.setup;
        self.setup = Box::new(move |index, builder| setup(index, first(index, builder)));
        self
    }
}

impl fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeOptions")
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// Makes the servers of one deployment, and has the data that clients need for them.
#[derive(Debug)]
pub(crate) struct Maker {
    options: NodeOptions,
    data: Data,
    trust: Option<Trust>,
}

#[derive(Debug)]
struct Trust {
    ca: Ca,
    ca_file: PathBuf,
    _dir: PkiDir,
}

impl Maker {
    pub(crate) fn new(options: NodeOptions) -> Self {
        let trust = options.tls.as_ref().map(|_| {
            let (ca, dir) = (Ca::root("deployment", KeyKind::EcP256), PkiDir::new());
            Trust {
                ca_file: dir.write("ca.pem", ca.cert_pem()),
                ca,
                _dir: dir,
            }
        });
        Self {
            options,
            data: Data::default(),
            trust,
        }
    }

    pub(crate) fn make(&self, index: usize, hello: Hello) -> Node {
        let mut builder = Server::builder().data(&self.data).hello(hello);
        let tls = self.trust.as_ref().zip(self.options.tls.as_ref());
        let tls = tls.map(|(trust, tls)| tls(&trust.ca, index));
        if let Some(tls) = &tls {
            builder = builder.tls(tls.clone());
        }
        if let Some(version) = self.options.version {
            builder = builder.version(version);
        }
        if let Some(backend) = &self.options.backend {
            builder = builder.backend(backend);
        }
        let server = (self.options.setup)(index, builder).start();
        Node {
            proxy: Proxy::start(server.endpoint()),
            server,
            tls,
            host: (self.options.host)(index),
        }
    }

    /// The data that all servers share.
    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    /// The authority that clients trust, or `None` without TLS.
    pub(crate) fn ca(&self) -> Option<&Ca> {
        self.trust.as_ref().map(|trust| &trust.ca)
    }

    /// The connection string of these hosts, with the options for TLS, `first` and `more`.
    pub(crate) fn uri(&self, hosts: &[String], first: &str, more: &str) -> String {
        let tls = self.trust.as_ref().map_or_else(String::new, |trust| {
            format!("tls=true&tlsCAFile={}", trust.ca_file.display())
        });
        let options = [first, &tls, more];
        let options = options.into_iter().filter(|part| !part.is_empty());
        let options = options.collect::<Vec<_>>().join("&");
        format!("mongodb://{}/?{options}", hosts.join(","))
    }
}
