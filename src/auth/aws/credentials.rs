//! Where AWS credentials come from: the sources in the order of the specification, and what is kept.
//!
//! The connection string, the environment, AWS STS for a web identity, the agent of ECS or of EKS Pod Identity, or the
//! metadata service of EC2. Credentials of a service are kept until five minutes before they end, or until an
//! authentication fails. No lock is held while a service is asked. Source: "Obtaining Credentials" in
//! "Driver Authentication".

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::services::{self, ContainerToken, Failure};
use crate::cause::{Cause, CauseCode};
use crate::options::{AuthMechanism, CloudServices, Credential, Secret};
use crate::printable::Quoted;
use crate::time::Deadline;

/// What requests are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AwsCredentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    /// Of temporary credentials.
    pub(super) session_token: Option<Secret>,
}

/// Credentials of a service, and when they end; without that they serve once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Temporary {
    pub(super) credentials: AwsCredentials,
    pub(super) expiration: Option<SystemTime>,
}

impl Temporary {
    /// Whether the server will still see them as valid.
    fn holds(&self, now: SystemTime) -> bool {
        let until = self.expiration.and_then(|end| end.checked_sub(MARGIN));
        until.is_some_and(|until| now < until)
    }
}

/// The sources of credentials of one client.
#[derive(Debug)]
pub(super) struct Sources {
    /// From the connection string or the options.
    given: Option<AwsCredentials>,
    services: CloudServices,
    kept: Mutex<Option<Temporary>>,
}

impl Sources {
    pub(super) fn new(credential: &Credential, services: &CloudServices) -> Self {
        let token = credential.properties.get("AWS_SESSION_TOKEN");
        let given = credential.username.clone().zip(credential.password.clone());
        Self {
            given: given.map(|(access_key_id, secret_access_key)| AwsCredentials {
                access_key_id,
                secret_access_key,
                session_token: token.cloned(),
            }),
            services: services.clone(),
            kept: Mutex::default(),
        }
    }

    /// Credentials of the first source that has some.
    pub(super) fn find(
        &self,
        now: SystemTime,
        deadline: &Deadline,
    ) -> Result<AwsCredentials, Cause> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        // Kept ones come before the environment, as in the SDKs of AWS.
        if let Some(kept) = self.kept().as_ref().filter(|kept| kept.holds(now)) {
            return Ok(kept.credentials.clone());
        }
        if let Some(found) = self.environment()? {
            return Ok(found);
        }
        let fetched = self.ask(deadline)?;
        if fetched.holds(now) {
            *self.kept() = Some(fetched.clone());
        }
        Ok(fetched.credentials)
    }

    /// Forgets what is kept: an authentication has failed.
    pub(super) fn forget(&self) {
        *self.kept() = None;
    }

    fn kept(&self) -> MutexGuard<'_, Option<Temporary>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the environment says now: another part of the program may have renewed it.
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
                let missing: Vec<&str> = [(KEY_ID, key_id.is_some()), (KEY, key.is_some())]
                    .into_iter()
                    .filter_map(|(name, is_set)| (!is_set).then_some(name))
                    .collect();
                let missing = missing.join(" and ");
                Err(cause(
                    CauseCode::AwsCredentialsMissing,
                    format!("the environment has a part of AWS credentials and lacks {missing}"),
                    format!(
                        "Set {missing}, or unset {KEY_ID}, {KEY} and {TOKEN} so that another source is asked."
                    ),
                ))
            }
        }
    }

    /// Asks the one service that the environment points to.
    fn ask(&self, deadline: &Deadline) -> Result<Temporary, Cause> {
        let services = &self.services;
        let variable = |name: &str| services.variable(name);
        if let (Some(path), Some(role)) = (variable(TOKEN_FILE), variable(ROLE_ARN)) {
            let session = variable("AWS_ROLE_SESSION_NAME");
            return services::web_identity(services, &path, &role, session, deadline)
                .map_err(|failure| explained(failure, |it| sts_failed(it, &role)));
        }
        if let Some(path) = variable(ECS_URI) {
            let failed = |failure: &Failure| {
                cause(
                    CauseCode::CredentialServiceFailed,
                    format!("AWS ECS gave no credentials: its agent at {} {failure}", services.aws_ecs),
                    format!("Check that the task has a task role and that its agent runs; where this is no ECS task, unset {ECS_URI}."),
                )
                .fact("service", services.aws_ecs.as_str())
            };
            return services::ecs(services, &path, deadline)
                .map_err(|failure| explained(failure, failed));
        }
        if let Some(url) = variable(CONTAINER_URI) {
            let token_file = variable(CONTAINER_TOKEN_FILE);
            let token = match &token_file {
                Some(path) => ContainerToken::File(path),
                None => ContainerToken::Value(variable(CONTAINER_TOKEN).map(Secret::from)),
            };
            let failed = |failure: &Failure| container_failed(failure, token_file.is_some());
            return services::container(&url, &token, deadline)
                .map_err(|failure| explained(failure, failed));
        }
        services::ec2(services, deadline).map_err(|failure| explained(failure, |it| self.none(it)))
    }

    /// No source has credentials: each is named, with why.
    fn none(&self, failure: &Failure) -> Cause {
        let is_set = |name: &str| self.services.variable(name).is_some();
        let half = match (is_set(TOKEN_FILE), is_set(ROLE_ARN)) {
            (true, _) => Some((TOKEN_FILE, ROLE_ARN)),
            (_, true) => Some((ROLE_ARN, TOKEN_FILE)),
            _ => None,
        };
        let (web_identity, remedy) = match half {
            Some((set, missing)) => (
                format!("{set} is set, and {missing} is not set"),
                format!("Set {missing} too, for a web identity; otherwise set {KEY_ID} and {KEY}."),
            ),
            None => (
                format!("{TOKEN_FILE} and {ROLE_ARN} are not set"),
                format!(
                    "Set {KEY_ID} and {KEY}, or run where a role is attached: an EC2 instance, an ECS task or an EKS pod."
                ),
            ),
        };
        let tried = [
            "the connection string names no access key".to_owned(),
            format!("{KEY_ID} and {KEY} are not set"),
            web_identity,
            format!("{ECS_URI} is not set"),
            format!("{CONTAINER_URI} is not set"),
            format!(
                "the EC2 metadata service at {} {failure}",
                self.services.aws_ec2
            ),
        ];
        cause(
            CauseCode::AwsCredentialsMissing,
            format!("no AWS credentials were found: {}", tried.join("; ")),
            remedy,
        )
        .fact("sources", tried.to_vec())
    }
}

/// The cause of a failure: that of a limit of this host, or the one that `explain` finds.
fn explained(failure: Failure, explain: impl FnOnce(&Failure) -> Cause) -> Cause {
    match failure {
        Failure::Limited(limit) => {
            let message = format!("no AWS credentials were obtained: {}", limit.message());
            limit
                .with_message(message)
                .fact("mechanism", AuthMechanism::MongodbAws.as_str())
        }
        failure => explain(&failure),
    }
}

fn container_failed(failure: &Failure, has_token_file: bool) -> Cause {
    let remedy = match failure {
        Failure::Local(_) if has_token_file => format!(
            "Check {CONTAINER_TOKEN_FILE}: the file must be there, readable, and hold a token. EKS writes it into the pod."
        ),
        Failure::Local(_) => format!(
            "Check {CONTAINER_URI} and {CONTAINER_TOKEN}, which EKS and ECS set; where this is no container of theirs, unset them."
        ),
        _ => format!(
            "Check that the service account of the pod has a Pod Identity association and that the EKS Pod Identity agent \
             runs on the node; where this is no container of AWS, unset {CONTAINER_URI}."
        ),
    };
    cause(
        CauseCode::CredentialServiceFailed,
        format!("the container credential service of AWS gave no credentials: {failure}"),
        remedy,
    )
}

fn sts_failed(failure: &Failure, role: &str) -> Cause {
    let (code, remedy) = match failure {
        Failure::Refused(_) => (
            CauseCode::AwsStsRefused,
            "Check that the trust policy of the role names the identity provider and the subject of the token, and that the token has not expired.",
        ),
        Failure::Local(_) => (
            CauseCode::CredentialServiceFailed,
            "Check AWS_WEB_IDENTITY_TOKEN_FILE: the file must be there, readable, and hold a token.",
        ),
        _ => (
            CauseCode::CredentialServiceFailed,
            "Check that this host reaches AWS STS, by https_proxy if need be, and trusts its CA.",
        ),
    };
    cause(
        code,
        format!(
            "AWS STS gave no credentials for the role {role}: {failure}",
            role = Quoted(&role)
        ),
        remedy,
    )
    .fact("role", role)
}

fn cause(code: CauseCode, message: String, remedy: impl Into<String>) -> Cause {
    Cause::new(code, message, remedy).fact("mechanism", AuthMechanism::MongodbAws.as_str())
}

/// How long before their end credentials are renewed.
const MARGIN: Duration = Duration::from_secs(5 * 60);

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const KEY: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ROLE_ARN: &str = "AWS_ROLE_ARN";
const ECS_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const CONTAINER_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const CONTAINER_TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const CONTAINER_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
