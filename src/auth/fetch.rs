//! Fetches credentials: from a service by HTTP or HTTPS, or from a token file; limited in time and size.
//!
//! Requests to services on the link of the host use plain HTTP and never a proxy. Requests to other services use HTTPS,
//! and the certificate is verified like that of a database server.

use std::path::Path;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::cause::{Cause, CauseCode};
use crate::net::http::{self, HttpRequest, Method, ProxyPolicy, Url};
use crate::options::{Secret, TlsOptions};
use crate::printable::sanitize;
use crate::reason::auth::{CredentialServiceProblem, TokenFileFailure, TokenFileProblem};
use crate::reason::http::HttpFailure;
use crate::reason::io::OsError;
use crate::time::{Deadline, TimeoutKind};
use crate::tls::{SessionOffer, TlsContext, read_small};

/// A request to a credential service.
pub(super) struct ServiceRequest<'a> {
    /// The whole URL.
    pub(super) url: &'a str,
    pub(super) method: Method<'a>,
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The trust anchors for `https`, or `None` for the system's.
    pub(super) ca_file: Option<&'a Path>,
}

/// The reason why a request got no reply with status 200.
#[derive(Debug)]
pub(super) enum FetchError {
    /// This host lacks a resource for the request: the cause `local-limit`.
    Limited(Cause),
    /// There was no reply.
    NoReply(CredentialServiceProblem),
    /// The reply has another status.
    Status {
        status: u16,
        body: Zeroizing<Vec<u8>>,
    },
}

/// The reason why a service returned no credential.
#[derive(Debug)]
pub(super) enum ServiceError {
    /// This host lacks a resource for the request: the cause `local-limit`.
    Limited(Cause),
    Problem(CredentialServiceProblem),
}

impl From<CredentialServiceProblem> for ServiceError {
    fn from(problem: CredentialServiceProblem) -> Self {
        Self::Problem(problem)
    }
}

impl From<FetchError> for ServiceError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Limited(cause) => Self::Limited(cause),
            FetchError::NoReply(problem) => Self::Problem(problem),
            FetchError::Status { status, body } => {
                Self::Problem(CredentialServiceProblem::Status {
                    status,
                    // The body of a status below 400 may still be the credential.
                    body: match status >= 400 {
                        true => sanitize(&body),
                        false => String::new(),
                    },
                })
            }
        }
    }
}

/// Sends a request, and returns the body of a reply with status 200.
///
/// `deadline` is that of the connection; one exchange may take at most 10 s of it ("Driver Authentication", "ECS
/// endpoint"). Redirects are not followed.
pub(super) fn fetch(
    query: &ServiceRequest<'_>,
    deadline: &Deadline,
) -> Result<Zeroizing<Vec<u8>>, FetchError> {
    let unreachable = |error: HttpFailure| match error.local_limit() {
        Some(failed) => FetchError::Limited(failed.into()),
        None => FetchError::NoReply(CredentialServiceProblem::Http(error.to_string())),
    };
    let own = Deadline::after(Instant::now(), Some(LIMIT), TimeoutKind::CredentialService);
    let deadline = deadline.earlier(own);
    let url = Url::parse_any(query.url)
        .map_err(|why| FetchError::NoReply(CredentialServiceProblem::InvalidUrl(why.to_owned())))?;
    let request = HttpRequest {
        url: &url,
        method: query.method,
        headers: query.headers,
        largest: LARGEST,
        proxy: match url.is_secure() {
            true => ProxyPolicy::Environment,
            false => ProxyPolicy::Direct,
        },
    };
    let reply = match url.is_secure() {
        false => http::exchange(&request, &deadline).map_err(unreachable)?,
        true => {
            let failed = |error: crate::Error| match error.cause() {
                Some(cause) if cause.code() == CauseCode::LocalLimit => {
                    FetchError::Limited(cause.clone())
                }
                cause => {
                    let text =
                        cause.map_or_else(|| error.to_string(), |it| it.message().to_owned());
                    FetchError::NoReply(CredentialServiceProblem::Tls(text))
                }
            };
            let mut options = TlsOptions::builder();
            if let Some(path) = query.ca_file {
                options = options.ca_file(path);
            }
            let tls = options
                .build()
                .and_then(|options| TlsContext::new(&options));
            let tls = tls.map_err(failed)?;
            let socket = http::open(&request, &deadline).map_err(unreachable)?;
            // The next request comes too late to resume the session.
            let offer = SessionOffer::NoSession;
            let stream = tls.connect_to(query.url, url.host(), socket, Some(deadline), offer);
            let mut stream = stream.map_err(|refused| failed(refused.error))?;
            http::exchange_over(&mut stream, &request).map_err(unreachable)?
        }
    };
    match reply.status {
        200 => Ok(reply.body),
        status => Err(FetchError::Status {
            status,
            body: reply.body,
        }),
    }
}

/// Reads the token in a file, which may have a few thousand bytes. A pipe is read until `deadline`, for at most 10 s.
pub(super) fn read_token(path: &Path, deadline: &Deadline) -> Result<Secret, TokenFileFailure> {
    let failed = |problem| TokenFileFailure {
        path: path.to_owned(),
        problem,
    };
    let remaining = deadline.remaining(Instant::now());
    let left = remaining.unwrap_or(Some(Duration::ZERO)).unwrap_or(LIMIT);
    let bytes = read_small(path, LARGEST, left.min(LIMIT)).map_err(|unread| {
        failed(match unread.source() {
            Some(error) => TokenFileProblem::System(OsError::from(&error)),
            None => TokenFileProblem::NotRead(unread.problem),
        })
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| failed(TokenFileProblem::NotUtf8))?;
    match text.trim() {
        "" => Err(failed(TokenFileProblem::Empty)),
        token => Ok(Secret::from(token)),
    }
}

/// The time limit of one exchange, and of reading one file.
const LIMIT: Duration = Duration::from_secs(10);

/// The largest reply and the largest file: a token of a cloud has a few thousand bytes.
const LARGEST: usize = 64 << 10;
