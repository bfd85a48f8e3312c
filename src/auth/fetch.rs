//! Asking a credential service by HTTP or HTTPS, bounded in time and size.
//!
//! Services on the link of the host are asked in the clear and never through a proxy; others by HTTPS,
//! with a certificate that is verified as that of a database server is.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::cause::{Cause, CauseCode};
use crate::net::http::{self, HttpError, Method, Request, Route, Url};
use crate::options::TlsOptions;
use crate::printable::sanitize;
use crate::time::{Deadline, TimeoutKind};
use crate::tls::{Offer, TlsContext};

/// What to ask.
pub(super) struct Query<'a> {
    /// The whole URL.
    pub(super) url: &'a str,
    pub(super) method: Method<'a>,
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The trust anchors for `https`; none means the system's.
    pub(super) ca_file: Option<&'a Path>,
}

/// The reason why no usable answer came. `Display` prints the end of a sentence that begins with "the service".
#[derive(Debug)]
pub(super) enum FetchError {
    /// There was no answer.
    Unreachable(String),
    /// This host lacks a resource for the question: the cause `local-limit`.
    Limited(Cause),
    /// There was an answer, and it was none.
    Refused {
        status: u16,
        body: Zeroizing<Vec<u8>>,
    },
}

/// Asks, and gives the body of an answer with status 200.
///
/// `deadline` is that of the connection; one exchange may take no more than 10 s of it ("Driver
/// Authentication", "ECS endpoint"). Redirects are not followed.
pub(super) fn fetch(
    query: &Query<'_>,
    deadline: &Deadline,
) -> Result<Zeroizing<Vec<u8>>, FetchError> {
    let unreachable = |error: HttpError| match error.local_limit() {
        Some(failed) => FetchError::Limited(failed.cause()),
        None => FetchError::Unreachable(error.to_string()),
    };
    let own = Deadline::after(Instant::now(), Some(LIMIT), TimeoutKind::CredentialService);
    let deadline = deadline.earlier(own);
    let url = Url::parse_any(query.url)
        .map_err(|why| FetchError::Unreachable(format!("was not asked: {why}")))?;
    let request = Request {
        url: &url,
        method: query.method,
        headers: query.headers,
        largest: LARGEST,
        route: match url.is_secure() {
            true => Route::Environment,
            false => Route::Direct,
        },
    };
    let reply = match url.is_secure() {
        false => http::exchange(&request, &deadline).map_err(unreachable)?,
        true => {
            let failed = |error: crate::Error| match error.cause() {
                Some(cause) if cause.code() == CauseCode::LocalLimit => {
                    FetchError::Limited(cause.clone())
                }
                cause => FetchError::Unreachable(format!(
                    "cannot be reached by TLS: {}",
                    cause.map_or_else(|| error.to_string(), |it| it.message().to_owned())
                )),
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
            // One question seldom follows another soon.
            let offer = Offer::NoSession;
            let stream = tls.connect_to(query.url, url.host(), socket, Some(deadline), offer);
            let mut stream = stream.map_err(|refused| failed(refused.error))?;
            http::talk(&mut stream, &request).map_err(unreachable)?
        }
    };
    match reply.status {
        200 => Ok(reply.body),
        status => Err(FetchError::Refused {
            status,
            body: reply.body,
        }),
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Limited(cause) => write!(f, "was not asked: {}", cause.message()),
            Self::Refused { status, body } => {
                write!(f, "answered with HTTP status {status}")?;
                // What comes with another status may be the credential after all.
                match sanitize(body) {
                    text if *status >= 400 && !text.is_empty() => write!(f, ": {text}"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// What one exchange may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The largest answer: a token of a cloud has some thousand bytes.
const LARGEST: usize = 64 << 10;
