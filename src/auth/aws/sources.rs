//! The sources of AWS credentials, in the order of the specification, and their cache.
//!
//! The sources are the connection string, the environment, AWS STS for a web identity, the agent of ECS or of EKS Pod
//! Identity, and the metadata service of EC2. Credentials of a service are cached until five minutes before they expire,
//! or until an authentication fails. No lock is held during a request to a service. Source: "Obtaining Credentials" in
//! "Driver Authentication".

use std::time::{Duration, SystemTime};

use super::credentials::{AwsCredentials, Temporary};
use super::services::{self, ContainerToken, explained};
use crate::cause::Cause;
use crate::options::{CloudServices, Credential, Secret};
use crate::reason::auth::{AuthFailure, AwsFailure, WebIdentityVariables};
use crate::sync::Mutex;
use crate::time::Deadline;

/// The sources of credentials of one client.
#[derive(Debug)]
pub(super) struct Sources {
    /// The credentials in the connection string or the options.
    configured: Option<AwsCredentials>,
    services: CloudServices,
    cached: Mutex<Option<Temporary>>,
}

impl Sources {
    pub(super) fn new(credential: &Credential, services: &CloudServices) -> Self {
        let token = credential.properties.get("AWS_SESSION_TOKEN");
        let configured = credential.username.clone().zip(credential.password.clone());
        Self {
            configured: configured.map(|(access_key_id, secret_access_key)| AwsCredentials {
                access_key_id,
                secret_access_key,
                session_token: token.cloned(),
            }),
            services: services.clone(),
            cached: Mutex::default(),
        }
    }

    /// Returns the credentials of the first source that has some.
    pub(super) fn find(
        &self,
        now: SystemTime,
        deadline: &Deadline,
    ) -> Result<AwsCredentials, Cause> {
        if let Some(configured) = &self.configured {
            return Ok(configured.clone());
        }
        // The cache precedes the environment, as in the SDKs of AWS.
        if let Some(cached) = self
            .cached
            .lock()
            .as_ref()
            .filter(|cached| cached.is_valid(now))
        {
            return Ok(cached.credentials.clone());
        }
        if let Some(found) = self.environment()? {
            return Ok(found);
        }
        let fetched = self.fetch(deadline)?;
        if fetched.is_valid(now) {
            *self.cached.lock() = Some(fetched.clone());
        }
        Ok(fetched.credentials)
    }

    /// Clears the cache, because an authentication has failed.
    pub(super) fn clear_cached(&self) {
        *self.cached.lock() = None;
    }

    /// Reads the environment each time, because another part of the program may have renewed it.
    fn environment(&self) -> Result<Option<AwsCredentials>, Cause> {
        let variable = |name: &str| self.services.variable(name);
        let session_token = variable(TOKEN);
        match (variable(KEY_ID), variable(KEY).map(Secret::from)) {
            (Some(access_key_id), Some(secret_access_key)) => Ok(Some(AwsCredentials {
                access_key_id,
                secret_access_key,
                session_token: session_token.map(Secret::from),
            })),
            (None, None) if session_token.is_none() => Ok(None),
            (key_id, key) => {
                let variables = [(KEY_ID, key_id.is_some()), (KEY, key.is_some())];
                let missing = variables
                    .into_iter()
                    .filter_map(|(name, is_set)| (!is_set).then_some(name))
                    .collect();
                let failure = AwsFailure::EnvironmentIncomplete { missing };
                Err(AuthFailure::Aws(failure).into())
            }
        }
    }

    /// Requests credentials from the one service that the environment points to.
    fn fetch(&self, deadline: &Deadline) -> Result<Temporary, Cause> {
        let services = &self.services;
        let variable = |name: &str| services.variable(name);
        let (token_file, role) = (variable(TOKEN_FILE), variable(ROLE_ARN));
        let web_identity = match (token_file, role) {
            (Some(path), Some(role)) => {
                let session = variable("AWS_ROLE_SESSION_NAME");
                return services::web_identity(services, &path, &role, session, deadline);
            }
            (Some(_), None) => WebIdentityVariables::OnlyTokenFile,
            (None, Some(_)) => WebIdentityVariables::OnlyRole,
            (None, None) => WebIdentityVariables::NoneSet,
        };
        if let Some(path) = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            return services::ecs(services, &path, deadline);
        }
        if let Some(url) = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            let token_file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
            let token = match &token_file {
                Some(path) => ContainerToken::File(path),
                None => {
                    let token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
                    ContainerToken::Value(token.map(Secret::from))
                }
            };
            return services::container(&url, &token, deadline);
        }
        services::ec2(services, deadline).map_err(|error| {
            explained(error, |ec2_problem| AwsFailure::NoSource {
                web_identity,
                ec2_url: services.aws_ec2.clone(),
                ec2_problem,
            })
        })
    }
}

impl Temporary {
    /// Returns true if the server will still accept them.
    fn is_valid(&self, now: SystemTime) -> bool {
        let until = self.expiration.and_then(|end| end.checked_sub(MARGIN));
        until.is_some_and(|until| now < until)
    }
}

/// The time before their expiration at which credentials are renewed.
const MARGIN: Duration = Duration::from_secs(5 * 60);

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const KEY: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ROLE_ARN: &str = "AWS_ROLE_ARN";
