//! Words for sources of credentials: OIDC callbacks and environments, and those of MONGODB-AWS.

use std::borrow::Cow;

#[cfg(feature = "cloud")]
use crate::cause::Cause;
use crate::cause::{CauseCode, Explanation};
use crate::data::auth_mechanism::AuthMechanism;
#[cfg(feature = "cloud")]
use crate::explain::limit::local_limit;
use crate::explain::wording::{limit_ms, within};
use crate::printable::Quoted;
use crate::reason::auth::{AccessTokenFailure, AccessTokenProblem, AccessTokenSource};
#[cfg(feature = "cloud")]
use crate::reason::auth::{
    AwsFailure, ContainerProblem, CredentialServiceProblem, StsProblem, TokenFileFailure,
    TokenFileProblem, WebIdentityVariables,
};

pub(super) fn host_not_allowed(host: &str, allowed: &str) -> Explanation {
    Explanation::new(
        CauseCode::OidcHostNotAllowed,
        format!(
            "the OIDC callback is not called for {host}: the allowed hosts are {allowed}",
            host = Quoted(host)
        ),
        "If the host is one of yours, name it in oidc_allowed_hosts.",
    )
    .fact("mechanism", AuthMechanism::MongodbOidc.as_str())
    .fact("allowed_hosts", allowed)
}

pub(super) fn access_token(failure: &AccessTokenFailure) -> Explanation {
    let AccessTokenFailure { source, problem } = failure;
    let name = source_name(*source);
    #[cfg(feature = "cloud")]
    if let AccessTokenProblem::TokenFile(failure) = problem {
        if let Some(explanation) = limited_file(failure) {
            return limited_source(explanation, AuthMechanism::MongodbOidc, *source);
        }
    }
    let code = match source {
        AccessTokenSource::Callback => CauseCode::OidcCallbackFailed,
        #[cfg(feature = "cloud")]
        _ => CauseCode::CredentialServiceFailed,
    };
    let remedy = match (source, problem) {
        (AccessTokenSource::Callback, _) => {
            "Check the program's OIDC callback, and the identity provider that it uses."
        }
        #[cfg(feature = "cloud")]
        (_, AccessTokenProblem::TokenFile(_)) => {
            "Check that this program runs in the environment that ENVIRONMENT names, as a pod with a service account \
             whose token is mounted, and that it may read the file."
        }
        #[cfg(feature = "cloud")]
        _ => {
            "Check that this program runs in the environment that ENVIRONMENT names, that an identity is assigned to it \
             there, and that TOKEN_RESOURCE is the audience that the server expects."
        }
    };
    let message = format!("{name} gave no access token: {}", problem_text(problem));
    let explanation = Explanation::new(code, message, remedy)
        .fact("mechanism", AuthMechanism::MongodbOidc.as_str());
    let explanation = match source {
        AccessTokenSource::Callback => explanation,
        #[cfg(feature = "cloud")]
        _ => explanation.fact("service", name),
    };
    match problem {
        AccessTokenProblem::TimedOut(elapsed) => explanation
            .fact("limit_ms", limit_ms(*elapsed))
            .fact("option", elapsed.kind.option()),
        #[cfg(feature = "cloud")]
        AccessTokenProblem::TokenFile(failure) => {
            explanation.fact("path", failure.path.display().to_string())
        }
        _ => explanation,
    }
}

fn source_name(source: AccessTokenSource) -> &'static str {
    match source {
        AccessTokenSource::Callback => "the OIDC callback",
        #[cfg(feature = "cloud")]
        AccessTokenSource::Azure => "Azure",
        #[cfg(feature = "cloud")]
        AccessTokenSource::GoogleCloud => "Google Cloud",
        #[cfg(feature = "cloud")]
        AccessTokenSource::Kubernetes => "Kubernetes",
        #[cfg(feature = "cloud")]
        AccessTokenSource::TestEnvironment => "the test environment",
    }
}

/// A sentence about the source of tokens.
fn problem_text(problem: &AccessTokenProblem) -> Cow<'_, str> {
    match problem {
        AccessTokenProblem::Callback(text) => Cow::Borrowed(text),
        AccessTokenProblem::Panicked => Cow::Borrowed("it panicked"),
        AccessTokenProblem::EmptyToken => Cow::Borrowed("it gave an empty access token"),
        AccessTokenProblem::TimedOut(elapsed) => {
            Cow::Owned(format!("it did not end {}", within(*elapsed)))
        }
        #[cfg(feature = "cloud")]
        AccessTokenProblem::VariableNotSet(name) => Cow::Owned(format!("{name} is not set")),
        #[cfg(feature = "cloud")]
        AccessTokenProblem::TokenFile(failure) => Cow::Owned(token_file(failure)),
        #[cfg(feature = "cloud")]
        AccessTokenProblem::MetadataService { url, problem } => Cow::Owned(format!(
            "its metadata service at {url} {}",
            service_problem(problem)
        )),
    }
}

/// Explains that a limit of this host prevents an OIDC environment from giving a token; `cause` names the limit.
#[cfg(feature = "cloud")]
pub(crate) fn limited_environment(cause: Cause, source: AccessTokenSource) -> Cause {
    cause.reworded(|explanation| limited_source(explanation, AuthMechanism::MongodbOidc, source))
}

#[cfg(feature = "cloud")]
fn limited_source(
    explanation: Explanation,
    mechanism: AuthMechanism,
    source: AccessTokenSource,
) -> Explanation {
    let name = source_name(source);
    let message = format!("{name} gave no access token: {}", explanation.message());
    explanation
        .with_message(message)
        .fact("mechanism", mechanism.as_str())
        .fact("service", name)
}

/// Explains that a limit of this host prevents MONGODB-AWS from getting credentials; `cause` names the limit.
#[cfg(feature = "cloud")]
pub(crate) fn limited_aws(cause: Cause) -> Cause {
    cause.reworded(limited_aws_credentials)
}

#[cfg(feature = "cloud")]
fn limited_aws_credentials(explanation: Explanation) -> Explanation {
    let message = format!(
        "no AWS credentials were obtained: {}",
        explanation.message()
    );
    explanation
        .with_message(message)
        .fact("mechanism", AuthMechanism::MongodbAws.as_str())
}

/// A limit of this host because of which a token file was not read, if there is one.
#[cfg(feature = "cloud")]
fn limited_file(failure: &TokenFileFailure) -> Option<Explanation> {
    let TokenFileProblem::System(error) = &failure.problem else {
        return None;
    };
    let path = Quoted(failure.path.display());
    let what = format!("the token file {path} cannot be read");
    Some(local_limit(&what, error.limit.as_ref()?))
}

/// A sentence about a token file.
#[cfg(feature = "cloud")]
fn token_file(failure: &TokenFileFailure) -> String {
    let path = Quoted(failure.path.display());
    let problem = match &failure.problem {
        TokenFileProblem::System(error) => format!("cannot be read: {}", error.text),
        TokenFileProblem::NotRead(why) => format!("cannot be used: {why}"),
        TokenFileProblem::NotUtf8 => "is not UTF-8".to_owned(),
        TokenFileProblem::Empty => "is empty".to_owned(),
    };
    format!("the token file {path} {problem}")
}

/// The end of a sentence about a service.
#[cfg(feature = "cloud")]
fn service_problem(problem: &CredentialServiceProblem) -> Cow<'_, str> {
    match problem {
        CredentialServiceProblem::Http(text) => Cow::Borrowed(text),
        CredentialServiceProblem::InvalidUrl(why) => Cow::Owned(format!("was not called: {why}")),
        CredentialServiceProblem::Tls(text) => {
            Cow::Owned(format!("cannot be reached by TLS: {text}"))
        }
        CredentialServiceProblem::Status { status, body } if body.is_empty() => {
            Cow::Owned(format!("answered with HTTP status {status}"))
        }
        CredentialServiceProblem::Status { status, body } => {
            Cow::Owned(format!("answered with HTTP status {status}: {body}"))
        }
        CredentialServiceProblem::NotJson { line, column } => Cow::Owned(format!(
            "answered with something other than the JSON of credentials (line {line}, column {column})"
        )),
        CredentialServiceProblem::Missing(part) => Cow::Owned(format!("answered without {part}")),
        CredentialServiceProblem::Unreadable(part) => {
            Cow::Owned(format!("answered with {part} that cannot be read"))
        }
    }
}

#[cfg(feature = "cloud")]
pub(super) fn aws(failure: &AwsFailure) -> Explanation {
    let token_file = match failure {
        AwsFailure::Sts {
            problem: StsProblem::TokenFile(failure),
            ..
        }
        | AwsFailure::Container {
            problem: ContainerProblem::TokenFile(failure),
            ..
        } => limited_file(failure),
        _ => None,
    };
    if let Some(explanation) = token_file {
        return limited_aws_credentials(explanation);
    }
    match failure {
        AwsFailure::EnvironmentIncomplete { missing } => {
            let missing = missing.join(" and ");
            of_aws(
                CauseCode::AwsCredentialsMissing,
                format!("the environment has a part of AWS credentials and lacks {missing}"),
                format!(
                    "Set {missing}, or unset AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN so that \
                     another source is used."
                ),
            )
        }
        AwsFailure::Sts { role, problem } => sts(role, problem),
        AwsFailure::Ecs { url, problem } => of_aws(
            CauseCode::CredentialServiceFailed,
            format!(
                "AWS ECS gave no credentials: its agent at {url} {}",
                service_problem(problem)
            ),
            "Check that the task has a task role and that its agent runs; if this is not an ECS task, unset \
             AWS_CONTAINER_CREDENTIALS_RELATIVE_URI.",
        )
        .fact("service", url.as_str()),
        AwsFailure::Container {
            problem,
            has_token_file,
        } => container(problem, *has_token_file),
        AwsFailure::NoSource {
            web_identity,
            ec2_url,
            ec2_problem,
        } => no_source(*web_identity, ec2_url, ec2_problem),
        AwsFailure::Signing(text) => of_aws(
            CauseCode::MechanismUnsupported,
            format!("this OpenSSL refuses what MONGODB-AWS needs: {text}"),
            "MONGODB-AWS signs by HMAC with SHA-256: make sure that the configuration of OpenSSL offers both, and \
             random numbers.",
        ),
    }
}

#[cfg(feature = "cloud")]
fn sts(role: &str, problem: &StsProblem) -> Explanation {
    let (code, why, remedy) = match problem {
        StsProblem::Rejected { status, error } => (
            CauseCode::AwsStsRefused,
            match error {
                Some(error) => format!("it answered {error}"),
                None => format!("it answered with HTTP status {status}"),
            },
            "Check that the trust policy of the role names the identity provider and the subject of the token, and that \
             the token has not expired.",
        ),
        StsProblem::TokenFile(failure) => (
            CauseCode::CredentialServiceFailed,
            token_file(failure),
            CHECK_WEB_IDENTITY_TOKEN,
        ),
        StsProblem::RandomNumbers(text) => (
            CauseCode::CredentialServiceFailed,
            format!("there are no random numbers: {text}"),
            CHECK_WEB_IDENTITY_TOKEN,
        ),
        StsProblem::Service { url, problem } => (
            CauseCode::CredentialServiceFailed,
            format!("{url} {}", service_problem(problem)),
            "Check that this host reaches AWS STS, by https_proxy if need be, and trusts its CA.",
        ),
    };
    let message = format!(
        "AWS STS gave no credentials for the role {role}: {why}",
        role = Quoted(role)
    );
    of_aws(code, message, remedy).fact("role", role)
}

#[cfg(feature = "cloud")]
fn container(problem: &ContainerProblem, has_token_file: bool) -> Explanation {
    let why = match problem {
        ContainerProblem::InvalidUrl(why) => {
            format!("AWS_CONTAINER_CREDENTIALS_FULL_URI is refused: {why}")
        }
        ContainerProblem::HttpHost(host) => format!(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI names the host {} by http, which is allowed only for loopback addresses, \
             169.254.170.2, 169.254.170.23 and fd00:ec2::23",
            Quoted(host)
        ),
        ContainerProblem::TokenFile(failure) => token_file(failure),
        ContainerProblem::TokenNotHeader => {
            "the authorization token holds a character that a header cannot hold".to_owned()
        }
        ContainerProblem::Service { host, problem } => {
            format!("the service at {host} {}", service_problem(problem))
        }
    };
    let remedy = match problem {
        ContainerProblem::Service { .. } => {
            "Check that the service account of the pod has a Pod Identity association and that the EKS Pod Identity agent \
             runs on the node; if this is not a container of AWS, unset AWS_CONTAINER_CREDENTIALS_FULL_URI."
        }
        _ if has_token_file => {
            "Check AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: the file must exist, be readable, and hold a token. EKS writes \
             it into the pod."
        }
        _ => {
            "Check AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN, which EKS and ECS set; if \
             this is not a container of AWS, unset them."
        }
    };
    of_aws(
        CauseCode::CredentialServiceFailed,
        format!("the container credential service of AWS gave no credentials: {why}"),
        remedy,
    )
}

/// Names each source, and why it has no credentials.
#[cfg(feature = "cloud")]
fn no_source(
    web_identity: WebIdentityVariables,
    ec2_url: &str,
    ec2_problem: &CredentialServiceProblem,
) -> Explanation {
    let half = match web_identity {
        WebIdentityVariables::NoneSet => None,
        WebIdentityVariables::OnlyTokenFile => {
            Some(("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"))
        }
        WebIdentityVariables::OnlyRole => Some(("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")),
    };
    let (web_identity, remedy) = match half {
        Some((set, missing)) => (
            format!("{set} is set, and {missing} is not set"),
            format!(
                "Set {missing} too, for a web identity; otherwise set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            ),
        ),
        None => (
            "AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN are not set".to_owned(),
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached: an EC2 instance, an ECS \
             task or an EKS pod."
                .to_owned(),
        ),
    };
    let sources = vec![
        "the connection string names no access key".to_owned(),
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set".to_owned(),
        web_identity,
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set".to_owned(),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI is not set".to_owned(),
        format!(
            "the EC2 metadata service at {ec2_url} {}",
            service_problem(ec2_problem)
        ),
    ];
    of_aws(
        CauseCode::AwsCredentialsMissing,
        format!("no AWS credentials were found: {}", sources.join("; ")),
        remedy,
    )
    .fact("sources", sources)
}

#[cfg(feature = "cloud")]
fn of_aws(code: CauseCode, message: String, remedy: impl Into<String>) -> Explanation {
    Explanation::new(code, message, remedy).fact("mechanism", AuthMechanism::MongodbAws.as_str())
}

#[cfg(feature = "cloud")]
const CHECK_WEB_IDENTITY_TOKEN: &str =
    "Check AWS_WEB_IDENTITY_TOKEN_FILE: the file must exist, be readable, and hold a token.";
