//! The entity map of a case, and how each kind of entity is created.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bson::{Bson, Document};
use mongotls::gridfs::GridFsBucket;
use mongotls::options::{
    ClientOptionsBuilder, CollectionOptions, DatabaseOptions, GridFsBucketOptions, ServerApi,
    ServerApiVersion,
};
use mongotls::topology::TopologyDescription;
use mongotls::{ChangeStream, Client, Collection, ConnectionString, Cursor, Database, Session};
use serde_json::Value;

use super::events::Events;
use super::failure::Failure;
use super::json::{items, only_arguments, unsigned};
use super::lock;
use super::logs::LogSink;
use super::matcher::Lookup;
use super::operations::{read_concern, read_preference, transaction_options, write_concern};
use super::run::CaseRun;
use super::scan::Kind;

/// One entity.
#[derive(Clone)]
pub(crate) enum Entity {
    Client(Arc<ClientEntity>),
    Database(DatabaseEntity),
    Collection(CollectionEntity),
    Session(Arc<SessionEntity>),
    Cursor(Arc<Mutex<CursorEntity>>),
    /// A change stream, until it is closed.
    ChangeStream(Arc<Mutex<Option<ChangeStream<Document>>>>),
    Bucket(GridFsBucket),
    Thread(Arc<Thread>),
    Topology(Arc<TopologyDescription>),
    /// Stored events of a client, by their index.
    Events(Arc<ClientEntity>, usize),
    Value(Bson),
}

/// A client with what it observes.
pub(crate) struct ClientEntity {
    pub(crate) client: Client,
    pub(crate) events: Arc<Events>,
    pub(crate) logs: Arc<LogSink>,
}

/// A database with its options.
#[derive(Clone)]
pub(crate) struct DatabaseEntity {
    pub(crate) database: Database,
}

/// A collection with its options.
#[derive(Clone)]
pub(crate) struct CollectionEntity {
    pub(crate) collection: Collection<Document>,
    /// Its database, with the time limit of the collection, for operations that the library has only as commands.
    pub(crate) commands: Database,
}

/// An explicit session, until it is ended. `Session` is not `Sync`, so a lock makes it usable from threads.
pub(crate) struct SessionEntity {
    session: Mutex<Option<Session>>,
    id: Document,
}

thread_local! {
    /// The sessions whose transactions run on this thread: the operations of a callback use them.
    static IN_USE: RefCell<Vec<Rc<Session>>> = const { RefCell::new(Vec::new()) };
}

/// A cursor, until it is closed.
pub(crate) struct CursorEntity {
    pub(crate) cursor: Option<Cursor<Document>>,
}

/// A thread that performs operations.
pub(crate) struct Thread {
    operations: Mutex<Option<Sender<Value>>>,
    thread: Mutex<Option<JoinHandle<Result<(), Failure>>>>,
}

impl Entity {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Client(_) => Kind::Client,
            Self::Database(_) => Kind::Database,
            Self::Collection(_) => Kind::Collection,
            Self::Session(_) => Kind::Session,
            Self::Cursor(_) => Kind::Cursor,
            Self::ChangeStream(_) => Kind::ChangeStream,
            Self::Bucket(_) => Kind::Bucket,
            Self::Thread(_) | Self::Topology(_) | Self::Events(..) | Self::Value(_) => Kind::Other,
        }
    }
}

/// The entities of one case, by name.
#[derive(Default)]
pub(crate) struct Entities(Mutex<BTreeMap<String, Entity>>);

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident: $kind:ident($type:ty), $text:literal;)*) => {
        impl Entities {$(
            $(#[$doc])*
            pub(crate) fn $name(&self, name: &str) -> Result<$type, Failure> {
                match self.get(name)? {
                    Entity::$kind(found) => Ok(found),
                    other => Err(Failure::Entity(format!(
                        concat!("\"{}\" is a {}, not ", $text), name, other.kind().as_str()
                    ))),
                }
            }
        )*}
    };
}

getters! {
    client: Client(Arc<ClientEntity>), "a client";
    database: Database(DatabaseEntity), "a database";
    session: Session(Arc<SessionEntity>), "a session";
    thread: Thread(Arc<Thread>), "a thread";
    topology: Topology(Arc<TopologyDescription>), "a topology description";
}

impl Entities {
    pub(crate) fn get(&self, name: &str) -> Result<Entity, Failure> {
        let found = lock(&self.0).get(name).cloned();
        found.ok_or_else(|| Failure::Entity(format!("\"{name}\" is undefined")))
    }

    pub(crate) fn put(&self, name: &str, entity: Entity) -> Result<(), Failure> {
        let mut all = lock(&self.0);
        if all.contains_key(name) {
            return Err(Failure::Entity(format!("\"{name}\" exists already")));
        }
        all.insert(name.to_owned(), entity);
        Ok(())
    }

    /// Replaces a value, as a loop does.
    pub(crate) fn set_value(&self, name: &str, value: Bson) {
        lock(&self.0).insert(name.to_owned(), Entity::Value(value));
    }

    /// Removes and returns all entities.
    pub(crate) fn take(&self) -> Vec<Entity> {
        std::mem::take(&mut *lock(&self.0)).into_values().collect()
    }

    pub(crate) fn clients(&self) -> Vec<Arc<ClientEntity>> {
        let all = lock(&self.0);
        let clients = all.values().filter_map(|entity| match entity {
            Entity::Client(client) => Some(Arc::clone(client)),
            _ => None,
        });
        clients.collect()
    }
}

impl Lookup for Entities {
    fn value(&self, name: &str) -> Result<Bson, String> {
        match self.get(name).map_err(|failure| failure.to_string())? {
            Entity::Value(value) => Ok(value),
            Entity::Events(client, index) => {
                let documents = client.events.stored()[index].documents();
                Ok(Bson::Array(
                    documents.into_iter().map(Bson::Document).collect(),
                ))
            }
            other => Err(format!(
                "\"{name}\" is a {}, not a value",
                other.kind().as_str()
            )),
        }
    }

    fn session_id(&self, name: &str) -> Result<Document, String> {
        let session = self.session(name).map_err(|failure| failure.to_string())?;
        Ok(session.id.clone())
    }
}

impl CaseRun {
    /// Creates the entities of `createEntities`.
    pub(crate) fn create_entities(self: &Arc<Self>, entities: &Value) -> Result<(), Failure> {
        items(entities).iter().try_for_each(|entity| {
            let mut fields = entity.as_object().into_iter().flatten();
            let (kind, fields) = fields
                .next()
                .ok_or_else(|| Failure::malformed("an empty entity"))?;
            self.create_entity(kind, fields)
                .map_err(|failure| failure.at(&format!("createEntities {kind} {}", fields["id"])))
        })
    }

    fn create_entity(self: &Arc<Self>, kind: &str, fields: &Value) -> Result<(), Failure> {
        let text = |name: &str| fields[name].as_str().unwrap_or_default();
        let id = text("id");
        let entities = &self.entities;
        let entity = match kind {
            "client" => return self.create_client(id, fields),
            "database" => {
                let client = entities.client(text("client"))?;
                let settings = settings(&fields["databaseOptions"])?;
                let mut options = DatabaseOptions::default();
                options.read_concern = settings.read_concern;
                options.write_concern = settings.write_concern;
                options.read_preference = settings.read_preference;
                options.timeout = settings.timeout;
                let name = text("databaseName");
                let database = client.client.database_with_options(name, options);
                Entity::Database(DatabaseEntity { database })
            }
            "collection" => {
                let database = entities.database(text("database"))?.database;
                let settings = settings(&fields["collectionOptions"])?;
                Entity::Collection(CollectionEntity {
                    commands: match settings.timeout {
                        Some(limit) => database.with_timeout(limit),
                        None => database.clone(),
                    },
                    collection: database.collection_with_options(text("collectionName"), settings),
                })
            }
            "session" => {
                let client = entities.client(text("client"))?;
                let options = &fields["sessionOptions"];
                Entity::Session(Arc::new(SessionEntity::start(&client, options, entities)?))
            }
            "bucket" => {
                let database = entities.database(text("database"))?.database;
                Entity::Bucket(database.gridfs_bucket(bucket_options(&fields["bucketOptions"])?))
            }
            "thread" => Entity::Thread(Arc::new(Thread::start(self))),
            other => return Err(Failure::malformed(format!("a {other} cannot be created"))),
        };
        entities.put(id, entity)
    }

    fn create_client(self: &Arc<Self>, id: &str, fields: &Value) -> Result<(), Failure> {
        let uses_many = fields["useMultipleMongoses"].as_bool();
        let uri = self
            .deployment
            .uri(uses_many, &fields["uriOptions"], self.sets_fail_points)
            .map_err(Failure::Malformed)?;
        let uri = ConnectionString::parse(&uri)?;
        if let Some(warning) = uri
            .warnings()
            .iter()
            .find(|warning| warning.key().is_none())
        {
            return Err(Failure::malformed(format!("uriOptions: {warning}")));
        }
        let events = Arc::new(Events::new(fields));
        let logs = Arc::new(LogSink::new(&fields["observeLogMessages"]));
        let (for_events, for_logs) = (Arc::clone(&events), Arc::clone(&logs));
        // Cases count the connections and the heartbeats of a client without the hand-over.
        let builder = uri.into_builder().reuse_monitor_connection(false);
        let builder = builder.event_listener(move |event| {
            for_logs.see(event);
            for_events.receive(event);
        });
        let builder = with_server_api(builder, &fields["serverApi"])?;
        // The cases of "Command Logging and Monitoring" compare whole replies.
        let builder = builder.max_log_document_length(10_000_usize);
        let options = builder.build()?;
        let client = Client::with_options(options)?;
        let client = Arc::new(ClientEntity {
            client,
            events,
            logs,
        });
        if let Some(limit) = unsigned(&fields["awaitMinPoolSizeMS"]) {
            client.await_min_pool_size(Duration::from_millis(limit))?;
        }
        for (index, stored) in client.events.stored().iter().enumerate() {
            self.entities
                .put(&stored.id, Entity::Events(Arc::clone(&client), index))?;
        }
        self.entities.put(id, Entity::Client(client))
    }
}

/// The settings of `databaseOptions` or `collectionOptions`.
fn settings(options: &Value) -> Result<CollectionOptions, Failure> {
    let known = ["readConcern", "readPreference", "timeoutMS", "writeConcern"];
    only_arguments(options, &known).map_err(Failure::Malformed)?;
    let given = |name: &str| Some(&options[name]).filter(|value| !value.is_null());
    let mut settings = CollectionOptions::default();
    let read = || -> Result<CollectionOptions, String> {
        settings.read_concern = given("readConcern").map(read_concern).transpose()?;
        settings.write_concern = given("writeConcern").map(write_concern).transpose()?;
        settings.read_preference = given("readPreference").map(read_preference).transpose()?;
        settings.timeout = unsigned(&options["timeoutMS"]).map(Duration::from_millis);
        Ok(settings)
    };
    read().map_err(Failure::Malformed)
}

/// The settings of `bucketOptions`.
fn bucket_options(options: &Value) -> Result<GridFsBucketOptions, Failure> {
    let mut of_collections = options.clone();
    let mut settings_of_bucket = GridFsBucketOptions::default();
    if let Some(fields) = of_collections.as_object_mut() {
        let name = fields.remove("bucketName");
        settings_of_bucket.bucket_name = name.as_ref().and_then(Value::as_str).map(str::to_owned);
        let size = fields
            .remove("chunkSizeBytes")
            .and_then(|size| unsigned(&size));
        settings_of_bucket.chunk_size_bytes = size.and_then(|size| u32::try_from(size).ok());
        fields.remove("disableMD5");
    }
    let settings = settings(&of_collections)?;
    settings_of_bucket.read_concern = settings.read_concern;
    settings_of_bucket.write_concern = settings.write_concern;
    settings_of_bucket.read_preference = settings.read_preference;
    settings_of_bucket.timeout = settings.timeout;
    Ok(settings_of_bucket)
}

fn with_server_api(
    builder: ClientOptionsBuilder,
    server_api: &Value,
) -> Result<ClientOptionsBuilder, Failure> {
    let Some(version) = server_api["version"].as_str() else {
        return Ok(builder);
    };
    let version: ServerApiVersion = version
        .parse()
        .map_err(|_| Failure::malformed(format!("the API version {version} is not supported")))?;
    let mut api = ServerApi::new(version);
    api.strict = server_api["strict"].as_bool();
    api.deprecation_errors = server_api["deprecationErrors"].as_bool();
    Ok(builder.server_api(api))
}

impl ClientEntity {
    /// Waits until each pool has its minimum number of connections. Events before that do not count.
    fn await_min_pool_size(&self, limit: Duration) -> Result<(), Failure> {
        let least = self.client.options().min_pool_size() as usize;
        let end = Instant::now() + limit;
        loop {
            let pools = self.client.snapshot().pools;
            let is_full =
                |pool: &mongotls::client::PoolSnapshot| pool.available + pool.in_use >= least;
            if !pools.is_empty() && pools.iter().all(is_full) {
                self.events.forget();
                self.logs.forget();
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Failure::mismatch(format!(
                    "no {least} connections after {limit:?}"
                )));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Closes the client, and waits a moment for connections in use.
    pub(crate) fn close(&self) {
        drop(self.client.close(Duration::from_secs(1)));
    }
}

impl SessionEntity {
    fn start(client: &ClientEntity, options: &Value, entities: &Entities) -> Result<Self, Failure> {
        let known = [
            "causalConsistency",
            "defaultTimeoutMS",
            "defaultTransactionOptions",
            "snapshot",
            "snapshotTime",
        ];
        only_arguments(options, &known).map_err(Failure::Malformed)?;
        let mut start = client.client.start_session();
        if let Some(enabled) = options["causalConsistency"].as_bool() {
            start = start.causal_consistency(enabled);
        }
        if let Some(enabled) = options["snapshot"].as_bool() {
            start = start.snapshot(enabled);
        }
        if let Some(name) = options["snapshotTime"].as_str() {
            match entities.value(name).map_err(Failure::Entity)? {
                Bson::Timestamp(time) => start = start.snapshot_time(time),
                other => return Err(Failure::Entity(format!("{other} is not a timestamp"))),
            }
        }
        if let Some(limit) = unsigned(&options["defaultTimeoutMS"]) {
            start = start.default_timeout(Duration::from_millis(limit));
        }
        if !options["defaultTransactionOptions"].is_null() {
            let options = transaction_options(&options["defaultTransactionOptions"]);
            start = start.default_transaction_options(options.map_err(Failure::Malformed)?);
        }
        let session = start.run()?;
        Ok(Self {
            id: session.id(),
            session: Mutex::new(Some(session)),
        })
    }

    /// Calls `act` with the session.
    pub(crate) fn with<T>(
        &self,
        act: impl FnOnce(&Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let in_use = IN_USE.with_borrow(|all| {
            let mut all = all.iter();
            all.find(|session| session.id() == self.id).map(Rc::clone)
        });
        if let Some(session) = in_use {
            return act(&session);
        }
        match &*lock(&self.session) {
            Some(session) => act(session),
            None => Err(Failure::Entity("the session has ended".to_owned())),
        }
    }

    /// Calls `act` with the session, while other operations on this thread may use it, too.
    pub(crate) fn share<T>(
        &self,
        act: impl FnOnce(&Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut place = lock(&self.session);
        let session = place.take();
        let ended = || Failure::Entity("the session has ended".to_owned());
        let session = Rc::new(session.ok_or_else(ended)?);
        IN_USE.with_borrow_mut(|all| all.push(Rc::clone(&session)));
        let outcome = act(&session);
        drop(IN_USE.with_borrow_mut(Vec::pop));
        *place = Rc::into_inner(session);
        outcome
    }

    /// Ends the session.
    pub(crate) fn end(&self) {
        drop(lock(&self.session).take());
    }
}

impl CursorEntity {
    /// Closes the cursor; errors are ignored.
    pub(crate) fn close(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            cursor.close();
        }
    }
}

impl Thread {
    fn start(run: &Arc<CaseRun>) -> Self {
        let (operations, to_do): (_, Receiver<Value>) = mpsc::channel();
        let run = Arc::clone(run);
        let thread = thread::spawn(move || {
            to_do
                .iter()
                .try_for_each(|operation| run.perform(&operation))
        });
        Self {
            operations: Mutex::new(Some(operations)),
            thread: Mutex::new(Some(thread)),
        }
    }

    /// Schedules an operation.
    pub(crate) fn run(&self, operation: Value) -> Result<(), Failure> {
        let operations = lock(&self.operations);
        let sent = operations
            .as_ref()
            .map(|operations| operations.send(operation));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(Failure::runner("the thread has ended")),
        }
    }

    /// Ends the thread after its operations, waits for it for at most `limit`, and returns its failure.
    pub(crate) fn wait(&self, limit: Duration) -> Result<(), Failure> {
        drop(lock(&self.operations).take());
        let Some(thread) = lock(&self.thread).take() else {
            return Ok(());
        };
        let end = Instant::now() + limit;
        while !thread.is_finished() {
            if Instant::now() > end {
                return Err(Failure::mismatch(format!(
                    "the thread has not ended after {limit:?}"
                )));
            }
            thread::sleep(Duration::from_millis(2));
        }
        thread
            .join()
            .unwrap_or_else(|_| Err(Failure::mismatch("the thread panicked")))
    }
}
