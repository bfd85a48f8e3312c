//! The services of AWS that give credentials: STS, the agents of ECS and of EKS Pod Identity, the metadata service of EC2.
//!
//! Each reply is limited in size and time, and must be the JSON that the specification describes. Source:
//! "AssumeRoleWithWebIdentity", "ECS endpoint" and "EC2 endpoint" in "Driver Authentication"; for EKS Pod Identity the
//! "Container credential provider" of the AWS SDKs and Tools Reference Guide.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::credentials::{AwsCredentials, Temporary};
use crate::auth::fetch::{FetchError, ServiceError, ServiceRequest, fetch, read_token};
use crate::cause::Cause;
use crate::explain;
use crate::net::http::{Method, Url};
use crate::options::{CloudServices, Secret};
use crate::printable::sanitize;
use crate::reason::auth::{
    AuthFailure, AwsFailure, ContainerProblem, CredentialServiceProblem, StsProblem,
};
use crate::time::Deadline;

/// Exchanges the token in the file at `path` for credentials of `role`.
pub(super) fn web_identity(
    services: &CloudServices,
    path: &str,
    role: &str,
    session: Option<String>,
    deadline: &Deadline,
) -> Result<Temporary, Cause> {
    let failed = |problem| {
        let role = role.to_owned();
        Cause::from(AuthFailure::Aws(AwsFailure::Sts { role, problem }))
    };
    let token = read_token(Path::new(path), deadline);
    let token = token.map_err(|failure| failed(StsProblem::TokenFile(failure)))?;
    let session = match session {
        Some(name) => name,
        None => random_session_name()
            .map_err(|error| failed(StsProblem::RandomNumbers(error.to_string())))?,
    };
    let escape = |text: &str| utf8_percent_encode(text, FORM).to_string();
    // In the body, because a proxy may log a URL.
    let body = Zeroizing::new(format!(
        "Action=AssumeRoleWithWebIdentity&RoleSessionName={}&RoleArn={}&WebIdentityToken={}&Version=2011-06-15",
        escape(&session),
        escape(role),
        Zeroizing::new(escape(token.expose())).as_str(),
    ));
    let reply = fetch(
        &ServiceRequest {
            url: &format!("{}/", services.aws_sts),
            method: Method::Post(body.as_bytes(), "application/x-www-form-urlencoded"),
            headers: &[("Accept", "application/json")],
            ca_file: services.aws_sts_ca_file.as_deref(),
        },
        deadline,
    );
    let service_failed = |problem| AwsFailure::Sts {
        role: role.to_owned(),
        problem: StsProblem::Service {
            url: services.aws_sts.clone(),
            problem,
        },
    };
    let body = reply.map_err(|error| match error {
        FetchError::Status { status, body } if (400..500).contains(&status) => {
            let error = sts_error(&body);
            failed(StsProblem::Rejected { status, error })
        }
        // Without the body: an error page may repeat the request, and so the token.
        FetchError::Status { status, .. } => {
            let body = String::new();
            let problem = CredentialServiceProblem::Status { status, body };
            AuthFailure::Aws(service_failed(problem)).into()
        }
        error => explained(error.into(), service_failed),
    })?;
    parse_sts(&body).map_err(|problem| AuthFailure::Aws(service_failed(problem)).into())
}

/// Requests credentials from the agent of ECS, at the path in the environment.
pub(super) fn ecs(
    services: &CloudServices,
    path: &str,
    deadline: &Deadline,
) -> Result<Temporary, Cause> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let url = format!("{}{slash}{path}", services.aws_ecs);
    let temporary = fetch(&get(&url, &[("Accept", "application/json")]), deadline)
        .map_err(ServiceError::from)
        .and_then(|body| Ok(parse(&body)?));
    temporary.map_err(|error| {
        explained(error, |problem| AwsFailure::Ecs {
            url: services.aws_ecs.clone(),
            problem,
        })
    })
}

/// The token that a container credential service expects.
pub(super) enum ContainerToken<'a> {
    /// In this file, which is renewed.
    File(&'a str),
    Value(Option<Secret>),
}

/// Requests credentials from the URL in the environment, such as the agent of EKS Pod Identity.
///
/// Without TLS the service must be on this host or at one of AWS's link-local addresses: the token and the credentials
/// must not cross a network in plain text.
pub(super) fn container(
    url: &str,
    token: &ContainerToken<'_>,
    deadline: &Deadline,
) -> Result<Temporary, Cause> {
    let has_token_file = matches!(token, ContainerToken::File(_));
    let container = |problem| AwsFailure::Container {
        problem,
        has_token_file,
    };
    let failed = |problem| Cause::from(AuthFailure::Aws(container(problem)));
    let service =
        Url::parse_any(url).map_err(|why| failed(ContainerProblem::InvalidUrl(why.to_owned())))?;
    if !service.is_secure() && !is_near(service.host()) {
        let host = service.host().to_owned();
        return Err(failed(ContainerProblem::HttpHost(host)));
    }
    let token = match token {
        ContainerToken::Value(token) => token.clone(),
        ContainerToken::File(path) => {
            let token = read_token(Path::new(path), deadline);
            Some(token.map_err(|failure| failed(ContainerProblem::TokenFile(failure)))?)
        }
    };
    let is_header = |token: &Secret| {
        token
            .expose()
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~'))
    };
    if !token.iter().all(is_header) {
        return Err(failed(ContainerProblem::TokenNotHeader));
    }
    let mut headers = vec![("Accept", "application/json")];
    headers.extend(token.iter().map(|token| ("Authorization", token.expose())));
    let temporary = fetch(&get(url, &headers), deadline)
        .map_err(ServiceError::from)
        .and_then(|body| Ok(parse(&body)?));
    temporary.map_err(|error| {
        explained(error, |problem| {
            container(ContainerProblem::Service {
                host: service.host().to_owned(),
                problem,
            })
        })
    })
}

/// Returns true if this host is loopback or one of AWS's link-local addresses, for which plain HTTP is allowed.
fn is_near(host: &str) -> bool {
    const AGENTS: [IpAddr; 3] = [
        IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
        IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    ];
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || AGENTS.contains(&address),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Requests credentials from the metadata service of EC2, by version 2 of its protocol.
pub(super) fn ec2(
    services: &CloudServices,
    deadline: &Deadline,
) -> Result<Temporary, ServiceError> {
    let base = &services.aws_ec2;
    let token = fetch(
        &ServiceRequest {
            url: &format!("{base}/latest/api/token"),
            method: Method::Put,
            headers: &[("X-aws-ec2-metadata-token-ttl-seconds", "30")],
            ca_file: None,
        },
        deadline,
    )?;
    let unreadable = CredentialServiceProblem::Unreadable;
    let token = std::str::from_utf8(&token).map_err(|_| unreadable("a session token"))?;
    let headers = [("X-aws-ec2-metadata-token", token.trim())];
    let roles = format!("{base}/latest/meta-data/iam/security-credentials/");
    let names = fetch(&get(&roles, &headers), deadline)?;
    let names = std::str::from_utf8(&names).map_err(|_| unreadable("a role name"))?;
    let role = names.lines().next().unwrap_or_default().trim();
    // IAM allows letters, digits and some marks in the name of a role.
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if role.is_empty() || role.len() > 128 || !role.chars().all(is_name) {
        return Err(unreadable("a role name").into());
    }
    let body = fetch(&get(&format!("{roles}{role}"), &headers), deadline)?;
    Ok(parse(&body)?)
}

fn get<'a>(url: &'a str, headers: &'a [(&'a str, &'a str)]) -> ServiceRequest<'a> {
    ServiceRequest {
        url,
        method: Method::Get,
        headers,
        ca_file: None,
    }
}

fn random_session_name() -> Result<String, ErrorStack> {
    let mut bytes = [0; 8];
    rand_bytes(&mut bytes)?;
    Ok(format!("mongotls-{:016x}", u64::from_be_bytes(bytes)))
}

/// The JSON of ECS and EC2, which is also a part of that of STS. Other fields are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialsReply {
    access_key_id: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    secret_access_key: Option<Secret>,
    #[serde(default, deserialize_with = "secret")]
    token: Option<Secret>,
    #[serde(default, deserialize_with = "secret")]
    session_token: Option<Secret>,
    expiration: Option<Expiration>,
}

/// STS gives seconds since 1970, the other services RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expiration {
    Text(String),
    Seconds(f64),
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Secret::from))
}

/// Converts the error of a credential service: a limit of this host, or the failure that `failed` returns.
pub(super) fn explained(
    error: ServiceError,
    failed: impl FnOnce(CredentialServiceProblem) -> AwsFailure,
) -> Cause {
    match error {
        ServiceError::Limited(cause) => explain::auth::limited_aws(cause),
        ServiceError::Problem(problem) => AuthFailure::Aws(failed(problem)).into(),
    }
}

fn parse(body: &[u8]) -> Result<Temporary, CredentialServiceProblem> {
    let reply: CredentialsReply = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    reply.into_temporary()
}

fn parse_sts(body: &[u8]) -> Result<Temporary, CredentialServiceProblem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct AssumeRoleResponse {
        assume_role_with_web_identity_response: Option<Wrapped>,
        credentials: Option<CredentialsReply>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wrapped {
        assume_role_with_web_identity_result: Option<Credentials>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Credentials {
        credentials: Option<CredentialsReply>,
    }
    let response: AssumeRoleResponse =
        serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    let wrapped = response
        .assume_role_with_web_identity_response
        .and_then(|wrapped| wrapped.assume_role_with_web_identity_result)
        .and_then(|result| result.credentials);
    let reply = wrapped.or(response.credentials);
    reply
        .ok_or(CredentialServiceProblem::Missing("Credentials"))?
        .into_temporary()
}

/// Describes where the JSON is wrong. The text of serde_json may repeat a value, so it is not used.
fn not_json(error: &serde_json::Error) -> CredentialServiceProblem {
    CredentialServiceProblem::NotJson {
        line: error.line(),
        column: error.column(),
    }
}

impl CredentialsReply {
    fn into_temporary(self) -> Result<Temporary, CredentialServiceProblem> {
        let missing = CredentialServiceProblem::Missing;
        let present = |value: &Secret| !value.expose().is_empty();
        let expiration = self.expiration.and_then(|expiration| match expiration {
            Expiration::Text(text) => bson::DateTime::parse_rfc3339_str(text).ok(),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it saturates, and the year 10^8 never comes"
            )]
            Expiration::Seconds(seconds) => {
                Some(bson::DateTime::from_millis((seconds * 1000.0) as i64))
            }
        });
        let access_key_id = self.access_key_id.filter(|id| !id.is_empty());
        Ok(Temporary {
            credentials: AwsCredentials {
                access_key_id: access_key_id.ok_or_else(|| missing("AccessKeyId"))?,
                secret_access_key: self
                    .secret_access_key
                    .filter(present)
                    .ok_or_else(|| missing("SecretAccessKey"))?,
                session_token: Some(
                    self.session_token
                        .or(self.token)
                        .filter(present)
                        .ok_or_else(|| missing("a session token"))?,
                ),
            },
            expiration: expiration.map(bson::DateTime::to_system_time),
        })
    }
}

/// Reads the error of STS: `{"Error": {"Code": …, "Message": …}}`.
fn sts_error(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Response {
        error: StsError,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct StsError {
        code: String,
        message: Option<String>,
    }
    let Response { error } = serde_json::from_slice(body).ok()?;
    let message = error.message.unwrap_or_default();
    Some(sanitize(format!("{}: {message}", error.code).as_bytes()))
}

/// The characters to escape in a form: all but the unreserved characters of RFC 3986.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn plain_http_stays_on_this_host_or_on_the_link_of_aws() {
        for host in [
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "localhost",
            "LOCALHOST",
            "169.254.170.2",
            "169.254.170.23",
            "fd00:ec2::23",
            "fd00:0ec2:0::0023",
        ] {
            assert!(is_near(host), "{host}");
        }
        for host in [
            "169.254.169.254",
            "169.254.170.3",
            "fd00:ec2::254",
            "10.0.0.1",
            "0.0.0.0",
            "::",
            "::ffff:10.0.0.1",
            "localhost.example",
            "127.0.0.1.example",
            "127.1",
            "example.com",
            "",
        ] {
            assert!(!is_near(host), "{host}");
        }
    }

    #[test]
    fn replies_of_each_service_are_read() {
        let of_ecs = br#"{"RoleArn":"arn","AccessKeyId":"AKID","SecretAccessKey":"s","Token":"t","Expiration":"2026-08-12T17:00:03Z"}"#;
        let found = parse(of_ecs).unwrap();
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_786_554_003);
        assert_eq!(found.expiration, Some(end));
        assert_eq!(found.credentials.access_key_id, "AKID");
        assert_eq!(found.credentials.session_token, Some(Secret::from("t")));
        let inner = r#"{"AccessKeyId":"A","SecretAccessKey":"s","SessionToken":"t","Expiration":1786554003.0}"#;
        let of_sts = format!(
            r#"{{"AssumeRoleWithWebIdentityResponse":{{"AssumeRoleWithWebIdentityResult":{{"Credentials":{inner}}}}}}}"#
        );
        assert_eq!(parse_sts(of_sts.as_bytes()).unwrap().expiration, Some(end));
        let of_spec = format!(r#"{{"Credentials":{inner}}}"#);
        assert_eq!(parse_sts(of_spec.as_bytes()), parse_sts(of_sts.as_bytes()));
    }

    #[test]
    fn other_replies_are_refused_and_not_repeated() {
        let missing = CredentialServiceProblem::Missing;
        let not_json = |column| CredentialServiceProblem::NotJson { line: 1, column };
        for (body, problem) in [
            ("", not_json(0)),
            ("<html>s3cret", not_json(1)),
            (
                r#"{"AccessKeyId":"A","SecretAccessKey":["s3cret"]}"#,
                not_json(37),
            ),
            ("{}", missing("AccessKeyId")),
            (r#"{"AccessKeyId":""}"#, missing("AccessKeyId")),
            (
                r#"{"AccessKeyId":"A","Token":"s3cret"}"#,
                missing("SecretAccessKey"),
            ),
            (
                r#"{"AccessKeyId":"A","SecretAccessKey":"s3cret"}"#,
                missing("a session token"),
            ),
        ] {
            assert_eq!(parse(body.as_bytes()), Err(problem), "{body}");
        }
        assert_eq!(parse_sts(b"{}"), Err(missing("Credentials")));
        let ends = r#"{"AccessKeyId":"A","SecretAccessKey":"s","Token":"t","Expiration":"soon"}"#;
        assert_eq!(parse(ends.as_bytes()).unwrap().expiration, None);
    }

    #[test]
    fn an_expiration_of_any_size_is_read() {
        for (end, is_over) in [("-1e300", true), ("1e300", false), ("-9.3e15", true)] {
            let body = format!(
                r#"{{"AccessKeyId":"A","SecretAccessKey":"s","Token":"t","Expiration":{end}}}"#
            );
            let found = parse(body.as_bytes()).unwrap();
            let over = found.expiration.unwrap() < SystemTime::now();
            assert_eq!(over, is_over, "{end}");
        }
    }

    #[test]
    fn the_error_of_sts_is_read() {
        let body = br#"{"Error":{"Code":"AccessDenied","Message":"Not authorized to\nperform","Type":"Sender"},"RequestId":"x"}"#;
        let expected = "AccessDenied: Not authorized to perform";
        assert_eq!(sts_error(body).as_deref(), Some(expected));
        assert_eq!(sts_error(b"<xml/>"), None);
    }
}
