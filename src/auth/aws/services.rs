//! The services of AWS that give credentials: STS, the agents of ECS and of EKS Pod Identity, the metadata service of EC2.
//!
//! Each answer is bounded in size and time, and must be the JSON that the specification describes. Source:
//! "AssumeRoleWithWebIdentity", "ECS endpoint" and "EC2 endpoint" in "Driver Authentication"; for EKS Pod Identity the
//! "Container credential provider" of the AWS SDKs and Tools Reference Guide.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use openssl::rand::rand_bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::credentials::{AwsCredentials, Temporary};
use crate::auth::fetch::{FetchError, Query, fetch};
use crate::cause::Cause;
use crate::limit::Limit;
use crate::net::http::{Method, Url};
use crate::options::{CloudServices, Secret};
use crate::printable::Quoted;
use crate::printable::sanitize;
use crate::time::Deadline;
use crate::tls::read_small;

/// The reason why a service gave nothing. `Display` prints the end of a sentence that begins with "the service"; for a
/// local reason it prints a whole one.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something on this host is missing; nothing was asked.
    Local(String),
    /// This host lacks a resource such as a descriptor: the cause `local-limit`.
    Limited(Cause),
    /// The service did not answer, or not in its language.
    Service(String),
    /// It understood and said no.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(why) | Self::Service(why) | Self::Refused(why) => f.write_str(why),
            Self::Limited(cause) => f.write_str(cause.message()),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::of("", error)
    }
}

impl Failure {
    /// A failed question to `service`, which begins the sentence if it has a name.
    fn of(service: &str, error: FetchError) -> Self {
        match error {
            FetchError::Limited(cause) => Self::Limited(cause),
            error if service.is_empty() => Self::Service(error.to_string()),
            error => Self::Service(format!("{service} {error}")),
        }
    }

    /// A token file that was not read.
    fn of_file(path: &str, error: TokenError) -> Self {
        match error {
            TokenError::Limited(cause) => Self::Limited(cause),
            TokenError::Unusable(why) => {
                Self::Local(format!("the token file {path} {why}", path = Quoted(&path)))
            }
        }
    }
}

/// Exchanges the token in the file at `path` for credentials of `role`.
pub(super) fn web_identity(
    services: &CloudServices,
    path: &str,
    role: &str,
    session: Option<String>,
    deadline: &Deadline,
) -> Result<Temporary, Failure> {
    let token = read_token(Path::new(path), deadline);
    let token = token.map_err(|error| Failure::of_file(path, error))?;
    let session = match session {
        Some(name) => name,
        None => random_session_name()?,
    };
    let escape = |text: &str| utf8_percent_encode(text, FORM).to_string();
    // In the body, where no log on the way keeps it.
    let body = Zeroizing::new(format!(
        "Action=AssumeRoleWithWebIdentity&RoleSessionName={}&RoleArn={}&WebIdentityToken={}&Version=2011-06-15",
        escape(&session),
        escape(role),
        Zeroizing::new(escape(token.expose())).as_str(),
    ));
    let answer = fetch(
        &Query {
            url: &format!("{}/", services.aws_sts),
            method: Method::Post(body.as_bytes(), "application/x-www-form-urlencoded"),
            headers: &[("Accept", "application/json")],
            ca_file: services.aws_sts_ca_file.as_deref(),
        },
        deadline,
    );
    let body = answer.map_err(|error| match error {
        FetchError::Refused { status, body } if (400..500).contains(&status) => {
            Failure::Refused(refusal(status, &body))
        }
        // Without the body: a page about a failure may repeat the request, and so the token.
        FetchError::Refused { status, .. } => Failure::Service(format!(
            "{} answered with HTTP status {status}",
            services.aws_sts
        )),
        error => Failure::of(&services.aws_sts, error),
    })?;
    parse_sts(&body).map_err(|why| Failure::Service(format!("{} {why}", services.aws_sts)))
}

/// Asks the agent of ECS at the path that the environment names.
pub(super) fn ecs(
    services: &CloudServices,
    path: &str,
    deadline: &Deadline,
) -> Result<Temporary, Failure> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let url = format!("{}{slash}{path}", services.aws_ecs);
    let body = fetch(&get(&url, &[("Accept", "application/json")]), deadline)?;
    parse(&body).map_err(Failure::Service)
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
) -> Result<Temporary, Failure> {
    let service = Url::parse_any(url).map_err(|why| {
        Failure::Local(format!(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI is refused: {why}"
        ))
    })?;
    if !service.is_secure() && !is_near(service.host()) {
        return Err(Failure::Local(format!(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI names the host {} by http, which is allowed only for loopback addresses, \
             169.254.170.2, 169.254.170.23 and fd00:ec2::23",
            Quoted(&service.host())
        )));
    }
    let token = match token {
        ContainerToken::Value(token) => token.clone(),
        ContainerToken::File(path) => {
            let token = read_token(Path::new(path), deadline);
            Some(token.map_err(|error| Failure::of_file(path, error))?)
        }
    };
    let is_header = |token: &Secret| {
        token
            .expose()
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~'))
    };
    if !token.iter().all(is_header) {
        let why = "the authorization token holds a character that a header cannot hold";
        return Err(Failure::Local(why.to_owned()));
    }
    let mut headers = vec![("Accept", "application/json")];
    headers.extend(token.iter().map(|token| ("Authorization", token.expose())));
    let body = fetch(&get(url, &headers), deadline)
        .map_err(|error| Failure::of(&format!("the service at {}", service.host()), error))?;
    parse(&body).map_err(|why| Failure::Service(format!("the service at {} {why}", service.host())))
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

/// Asks the metadata service of EC2, by version 2 of its protocol.
pub(super) fn ec2(services: &CloudServices, deadline: &Deadline) -> Result<Temporary, Failure> {
    let base = &services.aws_ec2;
    let token = fetch(
        &Query {
            url: &format!("{base}/latest/api/token"),
            method: Method::Put,
            headers: &[("X-aws-ec2-metadata-token-ttl-seconds", "30")],
            ca_file: None,
        },
        deadline,
    )?;
    let unreadable =
        |what: &str| Failure::Service(format!("answered with {what} that cannot be read"));
    let token = std::str::from_utf8(&token).map_err(|_| unreadable("a session token"))?;
    let headers = [("X-aws-ec2-metadata-token", token.trim())];
    let roles = format!("{base}/latest/meta-data/iam/security-credentials/");
    let names = fetch(&get(&roles, &headers), deadline)?;
    let names = std::str::from_utf8(&names).map_err(|_| unreadable("a role name"))?;
    let role = names.lines().next().unwrap_or_default().trim();
    // IAM allows letters, digits and some marks in the name of a role.
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if role.is_empty() || role.len() > 128 || !role.chars().all(is_name) {
        return Err(unreadable("a role name"));
    }
    let body = fetch(&get(&format!("{roles}{role}"), &headers), deadline)?;
    parse(&body).map_err(Failure::Service)
}

fn get<'a>(url: &'a str, headers: &'a [(&'a str, &'a str)]) -> Query<'a> {
    Query {
        url,
        method: Method::Get,
        headers,
        ca_file: None,
    }
}

/// The reason why a file gave no token.
pub(in crate::auth) enum TokenError {
    /// The end of a sentence that begins with the file.
    Unusable(String),
    /// This host lacks a resource such as a descriptor: the cause `local-limit`.
    Limited(Cause),
}

/// Reads the token in a file, which may be of a few thousand bytes. A pipe is read until `deadline`, for at most 10 s.
pub(in crate::auth) fn read_token(path: &Path, deadline: &Deadline) -> Result<Secret, TokenError> {
    const LARGEST: usize = 64 << 10;
    const PATIENCE: Duration = Duration::from_secs(10);
    let left = deadline.remaining(Instant::now());
    let left = left.unwrap_or(Some(Duration::ZERO)).unwrap_or(PATIENCE);
    let unusable = |why: &str| TokenError::Unusable(why.to_owned());
    let bytes = read_small(path, LARGEST, left.min(PATIENCE)).map_err(|unread| {
        let source = unread.source();
        match (source.as_ref().and_then(Limit::of), source) {
            (Some(limit), _) => {
                let what = format!("the token file {} cannot be read", Quoted(path.display()));
                TokenError::Limited(limit.cause(&what))
            }
            (None, Some(error)) => TokenError::Unusable(format!("cannot be read: {error}")),
            (None, None) => TokenError::Unusable(format!("cannot be used: {}", unread.why)),
        }
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("is not UTF-8"))?;
    match text.trim() {
        "" => Err(unusable("is empty")),
        token => Ok(Secret::from(token)),
    }
}

fn random_session_name() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    rand_bytes(&mut bytes)
        .map_err(|error| Failure::Local(format!("there are no random numbers: {error}")))?;
    Ok(format!("mongotls-{:016x}", u64::from_be_bytes(bytes)))
}

/// The JSON of ECS and EC2, and what STS wraps. Further fields are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    secret_access_key: Option<Secret>,
    #[serde(default, deserialize_with = "secret")]
    token: Option<Secret>,
    #[serde(default, deserialize_with = "secret")]
    session_token: Option<Secret>,
    expiration: Option<Expiration>,
}

/// STS gives seconds since 1970, the others RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expiration {
    Text(String),
    Seconds(f64),
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Secret::from))
}

fn parse(body: &[u8]) -> Result<Temporary, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    answer.into_temporary()
}

fn parse_sts(body: &[u8]) -> Result<Temporary, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Response {
        assume_role_with_web_identity_response: Option<Wrapped>,
        credentials: Option<Answer>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wrapped {
        assume_role_with_web_identity_result: Option<Credentials>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Credentials {
        credentials: Option<Answer>,
    }
    let response: Response = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    let wrapped = response
        .assume_role_with_web_identity_response
        .and_then(|wrapped| wrapped.assume_role_with_web_identity_result)
        .and_then(|result| result.credentials);
    let answer = wrapped.or(response.credentials);
    answer
        .ok_or("answered without Credentials")?
        .into_temporary()
}

/// Where the JSON breaks; serde_json's words may repeat a value.
fn not_json(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    format!(
        "answered with something other than the JSON of credentials (line {line}, column {column})"
    )
}

impl Answer {
    fn into_temporary(self) -> Result<Temporary, String> {
        let missing = |name: &str| format!("answered without {name}");
        let present = |value: &Secret| !value.expose().is_empty();
        let expiration = self.expiration.and_then(|expiration| match expiration {
            Expiration::Text(text) => bson::DateTime::parse_rfc3339_str(text).ok(),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "saturates, and the year 10^8 is for ever"
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

/// What STS says when it refuses: `{"Error": {"Code": …, "Message": …}}`.
fn refusal(status: u16, body: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Response {
        error: Said,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Said {
        code: String,
        message: Option<String>,
    }
    match serde_json::from_slice::<Response>(body) {
        Ok(Response { error }) => {
            let message = error.message.unwrap_or_default();
            let text = sanitize(format!("{}: {message}", error.code).as_bytes());
            format!("it answered {text}")
        }
        Err(_) => format!("it answered with HTTP status {status}"),
    }
}

/// What is escaped in a form: all but the unreserved characters of RFC 3986.
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
    fn answers_are_read_in_the_forms_of_each_service() {
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
    fn answers_of_another_form_are_refused_and_not_repeated() {
        for (body, reason) in [
            ("", "line 1, column 0"),
            ("<html>s3cret", "line 1, column 1"),
            (
                r#"{"AccessKeyId":"A","SecretAccessKey":["s3cret"]}"#,
                "line 1, column",
            ),
            ("{}", "without AccessKeyId"),
            (r#"{"AccessKeyId":""}"#, "without AccessKeyId"),
            (
                r#"{"AccessKeyId":"A","Token":"s3cret"}"#,
                "without SecretAccessKey",
            ),
            (
                r#"{"AccessKeyId":"A","SecretAccessKey":"s3cret"}"#,
                "without a session token",
            ),
        ] {
            let why = parse(body.as_bytes()).unwrap_err();
            assert!(
                why.contains(reason) && !why.contains("s3cret"),
                "{body}: {why}"
            );
        }
        assert!(
            parse_sts(b"{}")
                .unwrap_err()
                .contains("without Credentials")
        );
        let ends = r#"{"AccessKeyId":"A","SecretAccessKey":"s","Token":"t","Expiration":"soon"}"#;
        assert_eq!(parse(ends.as_bytes()).unwrap().expiration, None);
    }

    #[test]
    fn an_end_of_any_size_is_read() {
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
    fn a_refusal_of_sts_is_told_in_its_words() {
        let said = br#"{"Error":{"Code":"AccessDenied","Message":"Not authorized to\nperform","Type":"Sender"},"RequestId":"x"}"#;
        assert_eq!(
            refusal(403, said),
            "it answered AccessDenied: Not authorized to perform"
        );
        assert_eq!(refusal(403, b"<xml/>"), "it answered with HTTP status 403");
    }
}
