//! The schema of test files, and the newest version that this runner supports.
//!
//! Source: "Unified Test Format" and its JSON schemas. A field that the schema does not have is an error.

use serde_json::{Map, Value};

use super::shape::Fields;
use super::shape::Shape::{
    self, Any, Bool, Chosen, Document, Integer, List, Never, OneOf, Text, True, Version,
};

/// The newest version of the schema that the runner implements.
const NEWEST: (u64, u64) = (1, 28);

/// Fails unless this is a test file in a supported version of the format.
pub(crate) fn check(file: &Value) -> Result<(), String> {
    check_version(&file["schemaVersion"])?;
    FILE.check(file)
}

fn check_version(version: &Value) -> Result<(), String> {
    Version
        .check(version)
        .map_err(|why| format!("schemaVersion: {why}"))?;
    let parts = version.as_str().unwrap_or_default().split('.');
    let mut parts = parts.map(|part| part.parse().unwrap_or(u64::MAX));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    match major == NEWEST.0 && minor <= NEWEST.1 {
        true => Ok(()),
        false => Err(format!("schemaVersion {version} is not supported")),
    }
}

/// Fails unless this is a valid operation of the format.
pub(crate) fn check_operation(operation: &Value) -> Result<(), String> {
    OPERATION.check(operation)
}

/// Fails unless this is a list of entities of the format.
pub(crate) fn check_entities(entities: &Value) -> Result<(), String> {
    List(1, &ENTITY).check(entities)
}

/// Fails unless this is an event of the format, as in `waitForEvent`.
pub(crate) fn check_event(event: &Value) -> Result<(), String> {
    let shapes = [&COMMAND_EVENT, &CMAP_EVENT, &SDAM_EVENT];
    let outcomes = shapes.map(|shape| shape.check(event));
    match outcomes.iter().any(Result::is_ok) {
        true => Ok(()),
        false => Err(format!("{event} is not an expected event")),
    }
}

static FILE: Shape = Shape::Fields(&Fields {
    required: &["description", "schemaVersion", "tests"],
    known: &[
        ("description", &Text),
        ("schemaVersion", &Version),
        ("runOnRequirements", &List(1, &REQUIREMENT)),
        ("createEntities", &List(1, &ENTITY)),
        ("initialData", &List(1, &COLLECTION_DATA)),
        ("tests", &List(1, &TEST)),
        ("_yamlAnchors", &Document),
    ],
    ..Fields::NONE
});

static TEST: Shape = Shape::Fields(&Fields {
    required: &["description", "operations"],
    known: &[
        ("description", &Text),
        ("runOnRequirements", &List(1, &REQUIREMENT)),
        ("skipReason", &Text),
        ("operations", &List(0, &OPERATION)),
        ("expectEvents", &List(1, &EXPECTED_EVENTS)),
        ("expectLogMessages", &List(1, &EXPECTED_LOG_MESSAGES)),
        (
            "expectTracingMessages",
            &List(1, &EXPECTED_TRACING_MESSAGES),
        ),
        ("outcome", &List(1, &COLLECTION_DATA)),
    ],
    ..Fields::NONE
});

static REQUIREMENT: Shape = Shape::Fields(&Fields {
    known: &[
        ("maxServerVersion", &Version),
        ("minServerVersion", &Version),
        (
            "topologies",
            &List(
                1,
                &OneOf(&[
                    "single",
                    "replicaset",
                    "sharded",
                    "sharded-replicaset",
                    "load-balanced",
                ]),
            ),
        ),
        ("serverless", &OneOf(&["require", "forbid", "allow"])),
        ("serverParameters", &NOT_EMPTY),
        ("auth", &Bool),
        ("authMechanism", &Text),
        (
            "csfle",
            &Chosen(|value| if value.is_object() { &CSFLE } else { &Bool }),
        ),
    ],
    count: (1, usize::MAX),
    ..Fields::NONE
});

static NOT_EMPTY: Shape = Shape::Fields(&Fields {
    others: |_| Some(&Any),
    count: (1, usize::MAX),
    ..Fields::NONE
});

static CSFLE: Shape = Shape::Fields(&Fields {
    known: &[("minLibmongocryptVersion", &Version)],
    count: (1, usize::MAX),
    ..Fields::NONE
});

static ENTITY: Shape = Shape::Fields(&Fields {
    known: &[
        ("client", &CLIENT),
        ("clientEncryption", &CLIENT_ENCRYPTION),
        ("database", &DATABASE),
        ("collection", &COLLECTION),
        ("session", &SESSION),
        ("bucket", &BUCKET),
        ("thread", &THREAD),
        ("stream", &STREAM),
    ],
    count: (1, 1),
    ..Fields::NONE
});

static CLIENT: Shape = Shape::Fields(&Fields {
    required: &["id"],
    known: &[
        ("id", &Text),
        ("uriOptions", &Document),
        ("useMultipleMongoses", &Bool),
        ("observeEvents", &List(1, &OneOf(OBSERVABLE))),
        ("ignoreCommandMonitoringEvents", &List(1, &Text)),
        ("storeEventsAsEntities", &List(1, &STORED_EVENTS)),
        ("observeLogMessages", &OBSERVED_LOG_MESSAGES),
        ("observeTracingMessages", &OBSERVED_TRACING_MESSAGES),
        ("serverApi", &SERVER_API),
        ("observeSensitiveCommands", &Bool),
        ("autoEncryptOpts", &AUTO_ENCRYPTION),
        ("awaitMinPoolSizeMS", &Integer),
    ],
    ..Fields::NONE
});

const OBSERVABLE: &[&str] = &[
    "commandStartedEvent",
    "commandSucceededEvent",
    "commandFailedEvent",
    "poolCreatedEvent",
    "poolReadyEvent",
    "poolClearedEvent",
    "poolClosedEvent",
    "connectionCreatedEvent",
    "connectionReadyEvent",
    "connectionClosedEvent",
    "connectionCheckOutStartedEvent",
    "connectionCheckOutFailedEvent",
    "connectionCheckedOutEvent",
    "connectionCheckedInEvent",
    "serverDescriptionChangedEvent",
    "serverOpeningEvent",
    "serverClosedEvent",
    "serverHeartbeatStartedEvent",
    "serverHeartbeatSucceededEvent",
    "serverHeartbeatFailedEvent",
    "topologyDescriptionChangedEvent",
    "topologyOpeningEvent",
    "topologyClosedEvent",
];

static STORED_EVENTS: Shape = Shape::Fields(&Fields {
    required: &["id", "events"],
    known: &[("id", &Text), ("events", &List(1, &OneOf(STORABLE)))],
    ..Fields::NONE
});

const STORABLE: &[&str] = &[
    "PoolCreatedEvent",
    "PoolReadyEvent",
    "PoolClearedEvent",
    "PoolClosedEvent",
    "ConnectionCreatedEvent",
    "ConnectionReadyEvent",
    "ConnectionClosedEvent",
    "ConnectionCheckOutStartedEvent",
    "ConnectionCheckOutFailedEvent",
    "ConnectionCheckedOutEvent",
    "ConnectionCheckedInEvent",
    "CommandStartedEvent",
    "CommandSucceededEvent",
    "CommandFailedEvent",
    "ServerDescriptionChangedEvent",
    "TopologyDescriptionChangedEvent",
];

static OBSERVED_LOG_MESSAGES: Shape = Shape::Fields(&Fields {
    known: &[
        ("command", &LEVEL),
        ("topology", &LEVEL),
        ("serverSelection", &LEVEL),
        ("connection", &LEVEL),
    ],
    count: (1, usize::MAX),
    ..Fields::NONE
});

static LEVEL: Shape = OneOf(&[
    "emergency",
    "alert",
    "critical",
    "error",
    "warning",
    "notice",
    "info",
    "debug",
    "trace",
]);

static OBSERVED_TRACING_MESSAGES: Shape = Shape::Fields(&Fields {
    known: &[("enableCommandPayload", &Bool)],
    ..Fields::NONE
});

static SERVER_API: Shape = Shape::Fields(&Fields {
    required: &["version"],
    known: &[
        ("version", &Text),
        ("strict", &Bool),
        ("deprecationErrors", &Bool),
    ],
    ..Fields::NONE
});

static AUTO_ENCRYPTION: Shape = Shape::Fields(&Fields {
    required: &["keyVaultNamespace", "kmsProviders"],
    known: &[
        ("keyVaultNamespace", &Text),
        ("bypassAutoEncryption", &Bool),
        ("kmsProviders", &KMS_PROVIDERS),
        ("schemaMap", &MAP_OF_DOCUMENTS),
        ("extraOptions", &Document),
        ("encryptedFieldsMap", &MAP_OF_DOCUMENTS),
        ("bypassQueryAnalysis", &Bool),
        ("keyExpirationMS", &Integer),
    ],
    ..Fields::NONE
});

static MAP_OF_DOCUMENTS: Shape = Shape::Fields(&Fields {
    others: |_| Some(&Document),
    ..Fields::NONE
});

static CLIENT_ENCRYPTION: Shape = Shape::Fields(&Fields {
    required: &["id", "clientEncryptionOpts"],
    known: &[
        ("id", &Text),
        ("clientEncryptionOpts", &CLIENT_ENCRYPTION_OPTIONS),
    ],
    ..Fields::NONE
});

static CLIENT_ENCRYPTION_OPTIONS: Shape = Shape::Fields(&Fields {
    required: &["keyVaultClient", "keyVaultNamespace", "kmsProviders"],
    known: &[
        ("keyVaultClient", &Text),
        ("keyVaultNamespace", &Text),
        ("kmsProviders", &KMS_PROVIDERS),
        ("keyExpirationMS", &Integer),
    ],
    ..Fields::NONE
});

static KMS_PROVIDERS: Shape = Shape::Fields(&Fields {
    others: |name| {
        let (kind, label) = name.split_once(':').unwrap_or((name, "x"));
        let is_label = |label: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            !label.is_empty() && label.bytes().all(fits)
        };
        if !is_label(label) {
            return None;
        }
        match kind {
            "aws" => Some(&AWS),
            "azure" => Some(&AZURE),
            "gcp" => Some(&GCP),
            "kmip" => Some(&KMIP),
            "local" => Some(&LOCAL),
            _ => None,
        }
    },
    ..Fields::NONE
});

static AWS: Shape = Shape::Fields(&Fields {
    known: &[
        ("accessKeyId", &SECRET),
        ("secretAccessKey", &SECRET),
        ("sessionToken", &SECRET),
    ],
    ..Fields::NONE
});

static AZURE: Shape = Shape::Fields(&Fields {
    known: &[
        ("tenantId", &SECRET),
        ("clientId", &SECRET),
        ("clientSecret", &SECRET),
        ("identityPlatformEndpoint", &SECRET),
    ],
    ..Fields::NONE
});

static GCP: Shape = Shape::Fields(&Fields {
    known: &[
        ("email", &SECRET),
        ("privateKey", &SECRET),
        ("endpoint", &SECRET),
    ],
    ..Fields::NONE
});

static KMIP: Shape = Shape::Fields(&Fields {
    known: &[("endpoint", &SECRET)],
    ..Fields::NONE
});

static LOCAL: Shape = Shape::Fields(&Fields {
    known: &[("key", &SECRET)],
    ..Fields::NONE
});

static SECRET: Shape = Chosen(|value| {
    if value.is_object() {
        &PLACEHOLDER
    } else {
        &Text
    }
});

static PLACEHOLDER: Shape = Shape::Fields(&Fields {
    required: &["$$placeholder"],
    known: &[("$$placeholder", &Any)],
    ..Fields::NONE
});

static DATABASE: Shape = Shape::Fields(&Fields {
    required: &["id", "client", "databaseName"],
    known: &[
        ("id", &Text),
        ("client", &Text),
        ("databaseName", &Text),
        ("databaseOptions", &OPTIONS),
    ],
    ..Fields::NONE
});

static COLLECTION: Shape = Shape::Fields(&Fields {
    required: &["id", "database", "collectionName"],
    known: &[
        ("id", &Text),
        ("database", &Text),
        ("collectionName", &Text),
        ("collectionOptions", &OPTIONS),
    ],
    ..Fields::NONE
});

static OPTIONS: Shape = Shape::Fields(&Fields {
    known: &[
        ("readConcern", &Document),
        ("readPreference", &Document),
        ("writeConcern", &Document),
        ("timeoutMS", &Integer),
    ],
    ..Fields::NONE
});

static SESSION: Shape = Shape::Fields(&Fields {
    required: &["id", "client"],
    known: &[
        ("id", &Text),
        ("client", &Text),
        ("sessionOptions", &Document),
    ],
    ..Fields::NONE
});

static BUCKET: Shape = Shape::Fields(&Fields {
    required: &["id", "database"],
    known: &[
        ("id", &Text),
        ("database", &Text),
        ("bucketOptions", &Document),
    ],
    ..Fields::NONE
});

static THREAD: Shape = Shape::Fields(&Fields {
    required: &["id"],
    known: &[("id", &Text)],
    ..Fields::NONE
});

/// Only schemas before 1.0 had streams.
static STREAM: Shape = Never;

static COLLECTION_DATA: Shape = Shape::Fields(&Fields {
    required: &["collectionName", "databaseName", "documents"],
    known: &[
        ("collectionName", &Text),
        ("databaseName", &Text),
        ("createOptions", &CREATE_OPTIONS),
        ("documents", &List(0, &Document)),
    ],
    ..Fields::NONE
});

static CREATE_OPTIONS: Shape = Shape::Fields(&Fields {
    known: &[("writeConcern", &Never)],
    others: |_| Some(&Any),
    ..Fields::NONE
});

static OPERATION: Shape = Shape::Fields(&Fields {
    required: &["name", "object"],
    known: &[
        ("name", &Text),
        ("object", &Text),
        ("arguments", &Document),
        ("ignoreResultAndError", &Bool),
        ("expectError", &EXPECTED_ERROR),
        ("expectResult", &Any),
        ("saveResultAsEntity", &Text),
    ],
    rule: |fields| {
        exclude(
            fields,
            "expectError",
            &["expectResult", "saveResultAsEntity"],
        )?;
        let others = ["expectResult", "expectError", "saveResultAsEntity"];
        exclude(fields, "ignoreResultAndError", &others)
    },
    ..Fields::NONE
});

fn exclude(fields: &Map<String, Value>, one: &str, others: &[&str]) -> Result<(), String> {
    let other = others.iter().find(|other| fields.contains_key(**other));
    match other.filter(|_| fields.contains_key(one)) {
        Some(other) => Err(format!("\"{one}\" and \"{other}\" exclude each other")),
        None => Ok(()),
    }
}

static EXPECTED_ERROR: Shape = Shape::Fields(&Fields {
    known: &[
        ("isError", &True),
        ("isClientError", &Bool),
        ("isTimeoutError", &Bool),
        ("errorContains", &Text),
        ("errorCode", &Integer),
        ("errorCodeName", &Text),
        ("errorLabelsContain", &List(1, &Text)),
        ("errorLabelsOmit", &List(1, &Text)),
        ("writeErrors", &Document),
        ("writeConcernErrors", &List(0, &Document)),
        ("errorResponse", &Document),
        ("expectResult", &Any),
    ],
    count: (1, usize::MAX),
    ..Fields::NONE
});

static EXPECTED_EVENTS: Shape = Chosen(|value| match value["eventType"].as_str() {
    Some("cmap") => &EXPECTED_CMAP_EVENTS,
    Some("sdam") => &EXPECTED_SDAM_EVENTS,
    _ => &EXPECTED_COMMAND_EVENTS,
});

macro_rules! expected_events {
    ($name:ident, $event:ident) => {
        static $name: Shape = Shape::Fields(&Fields {
            required: &["client", "events"],
            known: &[
                ("client", &Text),
                ("eventType", &OneOf(&["command", "cmap", "sdam"])),
                ("events", &List(0, &$event)),
                ("ignoreExtraEvents", &Bool),
            ],
            ..Fields::NONE
        });
    };
}

expected_events!(EXPECTED_COMMAND_EVENTS, COMMAND_EVENT);
expected_events!(EXPECTED_CMAP_EVENTS, CMAP_EVENT);
expected_events!(EXPECTED_SDAM_EVENTS, SDAM_EVENT);

static COMMAND_EVENT: Shape = Shape::Fields(&Fields {
    known: &[
        ("commandStartedEvent", &COMMAND_STARTED),
        ("commandSucceededEvent", &COMMAND_SUCCEEDED),
        ("commandFailedEvent", &COMMAND_FAILED),
    ],
    count: (1, 1),
    ..Fields::NONE
});

static COMMAND_STARTED: Shape = Shape::Fields(&Fields {
    known: &[
        ("command", &Document),
        ("commandName", &Text),
        ("databaseName", &Text),
        ("hasServiceId", &Bool),
        ("hasServerConnectionId", &Bool),
    ],
    ..Fields::NONE
});

static COMMAND_SUCCEEDED: Shape = Shape::Fields(&Fields {
    known: &[
        ("reply", &Document),
        ("commandName", &Text),
        ("databaseName", &Text),
        ("hasServiceId", &Bool),
        ("hasServerConnectionId", &Bool),
    ],
    ..Fields::NONE
});

static COMMAND_FAILED: Shape = Shape::Fields(&Fields {
    known: &[
        ("commandName", &Text),
        ("databaseName", &Text),
        ("hasServiceId", &Bool),
        ("hasServerConnectionId", &Bool),
    ],
    ..Fields::NONE
});

static CMAP_EVENT: Shape = Shape::Fields(&Fields {
    known: &[
        ("poolCreatedEvent", &EMPTY),
        ("poolReadyEvent", &EMPTY),
        ("poolClearedEvent", &POOL_CLEARED),
        ("poolClosedEvent", &EMPTY),
        ("connectionCreatedEvent", &EMPTY),
        ("connectionReadyEvent", &EMPTY),
        ("connectionClosedEvent", &WITH_REASON),
        ("connectionCheckOutStartedEvent", &EMPTY),
        ("connectionCheckOutFailedEvent", &WITH_REASON),
        ("connectionCheckedOutEvent", &EMPTY),
        ("connectionCheckedInEvent", &EMPTY),
    ],
    count: (1, 1),
    ..Fields::NONE
});

static EMPTY: Shape = Shape::Fields(&Fields::NONE);

static POOL_CLEARED: Shape = Shape::Fields(&Fields {
    known: &[
        ("hasServiceId", &Bool),
        ("interruptInUseConnections", &Bool),
    ],
    ..Fields::NONE
});

static WITH_REASON: Shape = Shape::Fields(&Fields {
    known: &[("reason", &Text)],
    ..Fields::NONE
});

static SDAM_EVENT: Shape = Shape::Fields(&Fields {
    known: &[
        ("serverDescriptionChangedEvent", &SERVER_CHANGED),
        ("topologyDescriptionChangedEvent", &TOPOLOGY_CHANGED),
        ("serverHeartbeatStartedEvent", &HEARTBEAT),
        ("serverHeartbeatSucceededEvent", &HEARTBEAT),
        ("serverHeartbeatFailedEvent", &HEARTBEAT),
        ("serverOpeningEvent", &EMPTY),
        ("serverClosedEvent", &EMPTY),
        ("topologyOpeningEvent", &EMPTY),
        ("topologyClosedEvent", &EMPTY),
    ],
    count: (1, 1),
    ..Fields::NONE
});

static SERVER_CHANGED: Shape = Shape::Fields(&Fields {
    known: &[
        ("previousDescription", &SERVER_DESCRIPTION),
        ("newDescription", &SERVER_DESCRIPTION),
    ],
    ..Fields::NONE
});

static SERVER_DESCRIPTION: Shape = Shape::Fields(&Fields {
    known: &[(
        "type",
        &OneOf(&[
            "Standalone",
            "Mongos",
            "PossiblePrimary",
            "RSPrimary",
            "RSSecondary",
            "RSOther",
            "RSArbiter",
            "RSGhost",
            "LoadBalancer",
            "Unknown",
        ]),
    )],
    ..Fields::NONE
});

static TOPOLOGY_CHANGED: Shape = Shape::Fields(&Fields {
    known: &[
        ("previousDescription", &TOPOLOGY_DESCRIPTION),
        ("newDescription", &TOPOLOGY_DESCRIPTION),
    ],
    ..Fields::NONE
});

static TOPOLOGY_DESCRIPTION: Shape = Shape::Fields(&Fields {
    known: &[(
        "type",
        &OneOf(&[
            "Single",
            "Unknown",
            "ReplicaSetNoPrimary",
            "ReplicaSetWithPrimary",
            "Sharded",
            "LoadBalanced",
        ]),
    )],
    ..Fields::NONE
});

static HEARTBEAT: Shape = Shape::Fields(&Fields {
    known: &[("awaited", &Bool)],
    ..Fields::NONE
});

static EXPECTED_LOG_MESSAGES: Shape = Shape::Fields(&Fields {
    required: &["client", "messages"],
    known: &[
        ("client", &Text),
        ("messages", &List(0, &LOG_MESSAGE)),
        ("ignoreExtraMessages", &Bool),
        ("ignoreMessages", &List(0, &LOG_MESSAGE)),
    ],
    ..Fields::NONE
});

static LOG_MESSAGE: Shape = Shape::Fields(&Fields {
    required: &["level", "component", "data"],
    known: &[
        ("level", &LEVEL),
        (
            "component",
            &OneOf(&["command", "topology", "serverSelection", "connection"]),
        ),
        ("data", &Document),
        ("failureIsRedacted", &Bool),
    ],
    ..Fields::NONE
});

static EXPECTED_TRACING_MESSAGES: Shape = Shape::Fields(&Fields {
    required: &["client", "spans"],
    known: &[
        ("client", &Text),
        ("ignoreExtraSpans", &Bool),
        ("spans", &List(1, &SPAN)),
    ],
    ..Fields::NONE
});

/// The field `attributes` had the name `tags` at first.
static SPAN: Shape = Shape::Fields(&Fields {
    required: &["name"],
    known: &[
        ("name", &Text),
        ("attributes", &Document),
        ("tags", &Document),
        ("nested", &List(1, &SPAN)),
    ],
    rule: |fields| match fields.contains_key("attributes") || fields.contains_key("tags") {
        true => Ok(()),
        false => Err("the field \"attributes\" is missing".to_owned()),
    },
    ..Fields::NONE
});
