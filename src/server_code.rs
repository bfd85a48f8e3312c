//! The error codes of servers that this crate acts on, by the names that servers give them.
//!
//! Sources: "Retryable Reads", "Retryable Error"; "Server Discovery and Monitoring", ""not writable primary" and "node
//! is recovering""; "Driver Authentication"; "Client Side Operations Timeout"; `error_codes.yml` of MongoDB.

pub(crate) const BAD_VALUE: i32 = 2;
pub(crate) const HOST_UNREACHABLE: i32 = 6;
pub(crate) const HOST_NOT_FOUND: i32 = 7;
pub(crate) const FAILED_TO_PARSE: i32 = 9;
pub(crate) const USER_NOT_FOUND: i32 = 11;
pub(crate) const UNAUTHORIZED: i32 = 13;
pub(crate) const AUTHENTICATION_FAILED: i32 = 18;
pub(crate) const ILLEGAL_OPERATION: i32 = 20;
pub(crate) const NAMESPACE_NOT_FOUND: i32 = 26;
pub(crate) const CURSOR_NOT_FOUND: i32 = 43;
pub(crate) const MAX_TIME_MS_EXPIRED: i32 = 50;
pub(crate) const NAMESPACE_EXISTS: i32 = 48;
pub(crate) const COMMAND_NOT_FOUND: i32 = 59;
pub(crate) const WRITE_CONCERN_FAILED: i32 = 64;
pub(crate) const IMMUTABLE_FIELD: i32 = 66;
pub(crate) const INDEX_ALREADY_EXISTS: i32 = 68;
pub(crate) const INVALID_NAMESPACE: i32 = 73;
pub(crate) const UNKNOWN_REPL_WRITE_CONCERN: i32 = 79;
pub(crate) const INDEX_OPTIONS_CONFLICT: i32 = 85;
pub(crate) const INDEX_KEY_SPECS_CONFLICT: i32 = 86;
pub(crate) const NETWORK_TIMEOUT: i32 = 89;
pub(crate) const SHUTDOWN_IN_PROGRESS: i32 = 91;
pub(crate) const UNSATISFIABLE_WRITE_CONCERN: i32 = 100;
pub(crate) const WRITE_CONFLICT: i32 = 112;
pub(crate) const DOCUMENT_VALIDATION_FAILURE: i32 = 121;
pub(crate) const READ_CONCERN_MAJORITY_NOT_AVAILABLE_YET: i32 = 134;
pub(crate) const PRIMARY_STEPPED_DOWN: i32 = 189;
pub(crate) const CURSOR_KILLED: i32 = 237;
pub(crate) const EXCEEDED_TIME_LIMIT: i32 = 262;
pub(crate) const API_VERSION_ERROR: i32 = 322;
pub(crate) const API_STRICT_ERROR: i32 = 323;
pub(crate) const API_DEPRECATION_ERROR: i32 = 324;
pub(crate) const MECHANISM_UNAVAILABLE: i32 = 334;
pub(crate) const REAUTHENTICATION_REQUIRED: i32 = 391;
pub(crate) const ATLAS_ERROR: i32 = 8000;
pub(crate) const SOCKET_EXCEPTION: i32 = 9001;
pub(crate) const LEGACY_NOT_PRIMARY: i32 = 10058;
pub(crate) const NOT_WRITABLE_PRIMARY: i32 = 10107;
pub(crate) const BSON_OBJECT_TOO_LARGE: i32 = 10334;
pub(crate) const DUPLICATE_KEY: i32 = 11000;
pub(crate) const LEGACY_DUPLICATE_KEY: i32 = 11001;
pub(crate) const INTERRUPTED_AT_SHUTDOWN: i32 = 11600;
pub(crate) const INTERRUPTED_DUE_TO_REPL_STATE_CHANGE: i32 = 11602;
pub(crate) const LEGACY_DUPLICATE_KEY_IN_UPDATE: i32 = 12582;
pub(crate) const NOT_PRIMARY_NO_SECONDARY_OK: i32 = 13435;
pub(crate) const NOT_PRIMARY_OR_SECONDARY: i32 = 13436;
pub(crate) const UPDATED_DOCUMENT_TOO_LARGE: i32 = 17419;
pub(crate) const UPSERTED_DOCUMENT_TOO_LARGE: i32 = 17420;

/// The errors of servers before MongoDB 4.4 after which a numbered write may succeed on another attempt ("Retryable
/// Writes", "RetryableWriteError Labels"). Later servers send the label themselves.
pub(crate) const RETRYABLE_WRITE: [i32; 12] = [
    EXCEEDED_TIME_LIMIT,
    INTERRUPTED_AT_SHUTDOWN,
    INTERRUPTED_DUE_TO_REPL_STATE_CHANGE,
    NOT_WRITABLE_PRIMARY,
    NOT_PRIMARY_NO_SECONDARY_OK,
    NOT_PRIMARY_OR_SECONDARY,
    PRIMARY_STEPPED_DOWN,
    SHUTDOWN_IN_PROGRESS,
    HOST_NOT_FOUND,
    HOST_UNREACHABLE,
    NETWORK_TIMEOUT,
    SOCKET_EXCEPTION,
];

/// The errors after which a read may succeed on another attempt ("Retryable Reads").
pub(crate) const RETRYABLE_READ: [i32; 13] = [
    EXCEEDED_TIME_LIMIT,
    INTERRUPTED_AT_SHUTDOWN,
    INTERRUPTED_DUE_TO_REPL_STATE_CHANGE,
    NOT_WRITABLE_PRIMARY,
    NOT_PRIMARY_NO_SECONDARY_OK,
    NOT_PRIMARY_OR_SECONDARY,
    PRIMARY_STEPPED_DOWN,
    READ_CONCERN_MAJORITY_NOT_AVAILABLE_YET,
    SHUTDOWN_IN_PROGRESS,
    HOST_NOT_FOUND,
    HOST_UNREACHABLE,
    NETWORK_TIMEOUT,
    SOCKET_EXCEPTION,
];

/// The errors with which a server rejects a command before it begins to run it.
pub(crate) const REJECTED_BEFORE_RUN: [i32; 9] = [
    FAILED_TO_PARSE,
    UNAUTHORIZED,
    AUTHENTICATION_FAILED,
    COMMAND_NOT_FOUND,
    INVALID_NAMESPACE,
    API_VERSION_ERROR,
    API_STRICT_ERROR,
    API_DEPRECATION_ERROR,
    REAUTHENTICATION_REQUIRED,
];

/// The errors with which a router may report that it has lost a shard, or has no time left, while the shard still writes.
pub(crate) const CUT_SHORT: [i32; 10] = [
    HOST_UNREACHABLE,
    HOST_NOT_FOUND,
    MAX_TIME_MS_EXPIRED,
    NETWORK_TIMEOUT,
    SHUTDOWN_IN_PROGRESS,
    PRIMARY_STEPPED_DOWN,
    EXCEEDED_TIME_LIMIT,
    SOCKET_EXCEPTION,
    INTERRUPTED_AT_SHUTDOWN,
    INTERRUPTED_DUE_TO_REPL_STATE_CHANGE,
];

/// The errors of a write that violates a unique index.
pub(crate) const DUPLICATE_KEYS: [i32; 3] = [
    DUPLICATE_KEY,
    LEGACY_DUPLICATE_KEY,
    LEGACY_DUPLICATE_KEY_IN_UPDATE,
];
