//! AWS credentials, as plain data.

use std::time::SystemTime;

use crate::options::Secret;

/// The credentials that requests are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AwsCredentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    /// The session token of temporary credentials.
    pub(super) session_token: Option<Secret>,
}

/// Credentials of a service, and when they expire. Without an expiration they are used once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Temporary {
    pub(super) credentials: AwsCredentials,
    pub(super) expiration: Option<SystemTime>,
}
