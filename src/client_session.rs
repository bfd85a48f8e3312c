//! Sessions of the program: how it starts one, and how it runs commands in one.
//!
//! `session/` has the state, and the executor uses it (`op/session.rs`). A session belongs to one thread at a time, so
//! [`Session`] is `Send` but not `Sync`. Sources: "Driver Sessions", "Causal Consistency", "Snapshot Reads".

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Document, RawDocumentBuf, Timestamp, doc};

use crate::client::Client;
use crate::data::cluster_time::{ClusterTime, MAX_CLUSTER_TIME_SIZE};
use crate::document::to_document;
use crate::error::{Error, Result};
use crate::op::{HasDeployment, end_transaction};
use crate::options::TransactionOptions;
use crate::session::{Lifetime, ReadMode, SessionState};

/// A session: commands that run one after the other, and that are related.
///
/// [`Client::start_session`] starts one. [`Database::within`](crate::Database::within) runs commands in it. Dropping it
/// ends it, and another session may then have the same [ID](Self::id).
///
/// A session may move to another thread, but two threads cannot use it at the same time. Put it into a
/// [`Mutex`](std::sync::Mutex) to share it. Threads that work at the same time should have sessions of their own.
///
/// Servers discard a session that is not used, usually after 30 minutes. The client lends a server session that has at
/// least one minute left. So a program that waits for more than a minute before it uses a new session may get an error.
///
/// # Fork
/// A session works only in the process that started it. In a forked child each command in it fails with
/// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument), before anything is sent.
///
/// ```no_run
/// # use mongotls::bson::doc;
/// # let client = mongotls::Client::connect("mongodb://localhost")?;
/// let session = client.start_session().run()?;
/// let shop = client.database("shop").within(&session);
/// shop.run_command(doc! { "insert": "things", "documents": [{ "_id": 1 }] })?;
/// println!("written at {:?}", session.operation_time());
/// # Ok::<(), mongotls::Error>(())
/// ```
///
/// A reference to a session cannot be sent to another thread:
///
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// # let client = mongotls::Client::connect("mongodb://localhost")?;
/// let session = client.start_session().run()?;
/// send(&session);
/// # Ok::<(), mongotls::Error>(())
/// ```
///
/// Nor can a session be used after its end:
///
/// ```compile_fail,E0505
/// # use mongotls::bson::doc;
/// # let client = mongotls::Client::connect("mongodb://localhost")?;
/// let session = client.start_session().run()?;
/// let shop = client.database("shop").within(&session);
/// drop(session);
/// shop.run_command(doc! { "ping": 1 })?;
/// # Ok::<(), mongotls::Error>(())
/// ```
pub struct Session {
    // Dropped before the client.
    state: SessionState,
    client: Client,
    options: SessionOptions,
}

impl Session {
    /// The client that started the session.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The options that the session was started with.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// The state of the session.
    pub(crate) fn state(&self) -> &SessionState {
        &self.state
    }

    /// The ID that commands of the session carry as `lsid`: `{ id: UUID }`.
    pub fn id(&self) -> Document {
        let id = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: self.state.id().to_vec(),
        };
        doc! { "id": id }
    }

    /// The latest `$clusterTime` that a reply to a command of the session had, or that was
    /// [given](Self::advance_cluster_time). `None` before, and if the deployment has no cluster time.
    pub fn cluster_time(&self) -> Option<Document> {
        let time = self.state.cluster_time()?;
        to_document(time.document()?).ok()
    }

    /// Advances the cluster time of the session to `time`, a `$clusterTime` that another session of the same deployment
    /// has. Nothing changes if the session knows a later one. The client keeps its own cluster time.
    ///
    /// With [`advance_operation_time`](Self::advance_operation_time), the reads of this session then see what the other
    /// session has written.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// # let other = client.start_session().run()?;
    /// let session = client.start_session().run()?;
    /// if let (Some(cluster), Some(operation)) = (other.cluster_time(), other.operation_time()) {
    ///     session.advance_cluster_time(&cluster)?;
    ///     session.advance_operation_time(operation);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the document has no timestamp `clusterTime`, or
    /// takes more than 128 bytes.
    pub fn advance_cluster_time(&self, time: &Document) -> Result<()> {
        let raw = RawDocumentBuf::try_from(time)
            .map_err(|error| Error::bson("the cluster time cannot be encoded", error))?;
        let time = ClusterTime::read(&raw).ok_or_else(|| {
            Error::invalid_argument(format!(
                "a cluster time is a document with a timestamp clusterTime, of at most {MAX_CLUSTER_TIME_SIZE} bytes"
            ))
        })?;
        self.state.advance_cluster_time(&time);
        Ok(())
    }

    /// The latest `operationTime` that a reply to a command of the session had, or that was
    /// [given](Self::advance_operation_time). `None` before.
    pub fn operation_time(&self) -> Option<Timestamp> {
        self.state.operation_time()
    }

    /// Advances the operation time of the session to `time`, which another session of the same deployment has. Nothing
    /// changes if the session knows a later one.
    pub fn advance_operation_time(&self, time: Timestamp) {
        self.state.advance_operation_time(time);
    }

    /// The instant that all reads of the session see. `None` before the first read, unless
    /// [`StartSession::snapshot_time`] set it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the session is not for snapshot reads.
    pub fn snapshot_time(&self) -> Result<Option<Timestamp>> {
        match self.state.read_mode() {
            ReadMode::Snapshot => Ok(self.state.snapshot_time()),
            ReadMode::Causal | ReadMode::Independent => Err(Error::invalid_argument(
                "only a session with snapshot reads has a snapshot time",
            )),
        }
    }
}

impl Drop for Session {
    /// Aborts an open transaction, within two seconds.
    fn drop(&mut self) {
        end_transaction::abort_open(&self.client, &self.state);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The options of a session.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SessionOptions {
    /// See [`StartSession::causal_consistency`].
    pub causal_consistency: Option<bool>,
    /// See [`StartSession::snapshot`].
    pub snapshot: Option<bool>,
    /// See [`StartSession::snapshot_time`].
    pub snapshot_time: Option<Timestamp>,
    /// See [`StartSession::default_transaction_options`].
    pub default_transaction_options: Option<TransactionOptions>,
    /// See [`StartSession::default_timeout`].
    pub default_timeout: Option<Duration>,
}

impl SessionOptions {
    fn read_mode(&self) -> Result<ReadMode> {
        let is_snapshot = self.snapshot == Some(true);
        if is_snapshot && self.causal_consistency == Some(true) {
            return Err(Error::invalid_argument(
                "a session cannot have both causal consistency and snapshot reads",
            ));
        }
        if !is_snapshot && self.snapshot_time.is_some() {
            return Err(Error::invalid_argument(
                "a snapshot time needs a session with snapshot reads",
            ));
        }
        Ok(match self.causal_consistency {
            _ if is_snapshot => ReadMode::Snapshot,
            Some(false) => ReadMode::Independent,
            Some(true) | None => ReadMode::Causal,
        })
    }
}

impl Client {
    /// Starts a session, once the returned value is [run](StartSession::run). No command is sent.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let session = client.start_session().causal_consistency(false).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn start_session(&self) -> StartSession<'_> {
        StartSession {
            client: self,
            options: SessionOptions::default(),
        }
    }

    /// The client, as seen from a session: the databases of the returned value run their commands in the session.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let session = client.start_session().run()?;
    /// let shop = client.within(&session).database("shop");
    /// shop.run_command(doc! { "count": "things" })?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn within<S: Scope>(&self, scope: S) -> ScopedClient<S> {
        ScopedClient {
            client: self.clone(),
            scope,
        }
    }
}

/// A session that is about to start; see [`Client::start_session`].
#[derive(Clone, Debug)]
#[must_use = "a session starts when `run` is called"]
pub struct StartSession<'a> {
    client: &'a Client,
    options: SessionOptions,
}

impl StartSession<'_> {
    /// Sets whether a read of the session sees the results of earlier operations of the session. Default: true, except
    /// with [snapshot reads](Self::snapshot) (specification "Causal Consistency").
    pub fn causal_consistency(mut self, enabled: bool) -> Self {
        self.options.causal_consistency = Some(enabled);
        self
    }

    /// Sets whether all reads of the session see the data of one instant. Default: false. Servers support it from MongoDB
    /// 5.0 on (specification "Snapshot Reads").
    pub fn snapshot(mut self, enabled: bool) -> Self {
        self.options.snapshot = Some(enabled);
        self
    }

    /// Sets the instant that snapshot reads see. Default: the time of the first read.
    pub fn snapshot_time(mut self, time: Timestamp) -> Self {
        self.options.snapshot_time = Some(time);
        self
    }

    /// Sets the options of transactions that have none of their own. Default: those of the client.
    pub fn default_transaction_options(mut self, options: TransactionOptions) -> Self {
        self.options.default_transaction_options = Some(options);
        self
    }

    /// Sets `timeoutMS` of commits, aborts and transactions of this session that have none of their own. Default:
    /// `timeoutMS` of the client. Zero means no limit.
    pub fn default_timeout(mut self, limit: Duration) -> Self {
        self.options.default_timeout = Some(limit);
        self
    }

    /// Replaces all options.
    pub fn with_options(mut self, options: SessionOptions) -> Self {
        self.options = options;
        self
    }

    /// Starts the session. Support for sessions is checked when a command is sent.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if both causal consistency and snapshot reads are
    /// enabled, or if there is a snapshot time without snapshot reads.
    pub fn run(self) -> Result<Session> {
        let Self { client, options } = self;
        let read_mode = options.read_mode()?;
        let deployment = client.deployment();
        let topology = deployment.topology.snapshot();
        let minutes = topology.description().logical_session_timeout_minutes;
        let lifetime = match topology.is_load_balanced() {
            true => Lifetime::Unknown,
            false => Lifetime::of_minutes(minutes),
        };
        Ok(Session {
            state: SessionState::start(
                deployment.sessions,
                lifetime,
                read_mode,
                options.snapshot_time,
            ),
            client: client.clone(),
            options,
        })
    }
}

/// A client, as seen from a session; see [`Client::within`].
#[derive(Clone, Debug)]
pub struct ScopedClient<S: Scope> {
    pub(crate) client: Client,
    pub(crate) scope: S,
}

/// The scope of commands: [`Free`], or a session as `&Session` or `Rc<Session>`.
///
/// Databases and cursors have a scope as a type parameter, so that one implementation serves both. Only this crate
/// implements the trait.
pub trait Scope: Clone + sealed::HasSession {}

/// A value that the method `session` of an action takes: a [`Scope`], or `&mut Session`, which programs for the official
/// driver pass.
///
/// ```no_run
/// # use mongotls::bson::{Document, doc};
/// # let client = mongotls::Client::connect("mongodb://localhost")?;
/// # let things = client.database("shop").collection::<Document>("things");
/// let mut session = client.start_session().run()?;
/// things.insert_one(doc! { "kind": "bolt" }).session(&mut session).run()?;
/// things.count_documents(doc! {}).session(&session).run()?;
/// # Ok::<(), mongotls::Error>(())
/// ```
pub trait IntoScope {
    /// The scope that the action gets.
    type Scope: Scope;

    /// Converts the value.
    fn into_scope(self) -> Self::Scope;
}

impl<S: Scope> IntoScope for S {
    type Scope = S;

    fn into_scope(self) -> S {
        self
    }
}

impl<'a> IntoScope for &'a mut Session {
    type Scope = &'a Session;

    fn into_scope(self) -> &'a Session {
        self
    }
}

/// Commands outside of any session of the program. The client then runs each operation in a session of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free;

impl Scope for Free {}
impl Scope for &Session {}
impl Scope for Rc<Session> {}

/// Returns the state of the session of a scope, if it has one.
pub(crate) fn session_of<S: Scope>(scope: &S) -> Option<&SessionState> {
    scope.session().map(|session| &session.state)
}

/// Returns true if the operations of a scope belong to an open transaction.
pub(crate) fn is_in_transaction<S: Scope>(scope: &S) -> bool {
    session_of(scope).is_some_and(|session| session.transaction().state().is_open())
}

pub(crate) mod sealed {
    use std::rc::Rc;

    use super::{Free, Session};

    /// The part of a scope that programs do not see.
    pub trait HasSession {
        fn session(&self) -> Option<&Session>;
    }

    impl HasSession for Free {
        fn session(&self) -> Option<&Session> {
            None
        }
    }

    impl HasSession for &Session {
        fn session(&self) -> Option<&Session> {
            Some(self)
        }
    }

    impl HasSession for Rc<Session> {
        fn session(&self) -> Option<&Session> {
            Some(self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_session_is_sent_but_not_shared() {
        fn is_send<T: Send>() {}
        is_send::<Session>();
    }

    #[test]
    fn causal_consistency_is_the_default_without_snapshot_reads() {
        let mode = |causal_consistency, snapshot| {
            let options = SessionOptions {
                causal_consistency,
                snapshot,
                ..SessionOptions::default()
            };
            options.read_mode().map_err(|error| error.kind())
        };
        assert_eq!(mode(None, None), Ok(ReadMode::Causal));
        assert_eq!(mode(Some(true), Some(false)), Ok(ReadMode::Causal));
        assert_eq!(mode(Some(false), None), Ok(ReadMode::Independent));
        assert_eq!(mode(None, Some(true)), Ok(ReadMode::Snapshot));
        assert_eq!(mode(Some(false), Some(true)), Ok(ReadMode::Snapshot));
        let both = mode(Some(true), Some(true));
        assert_eq!(both, Err(ErrorKind::InvalidArgument));
    }
}
