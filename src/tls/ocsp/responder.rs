//! Asking the responders that a certificate names, side by side (RFC 6960 appendix A).
//!
//! Each is asked on a thread of its own; the first conclusive valid answer wins, and nobody waits for the
//! others, which end at the same deadline. A request that is short enough goes by GET, so that caches on
//! the way can answer it. Redirects are followed to `http`
//! on the same host only, and never for POST: a forged redirect must not send requests of this host elsewhere.

use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::cache::{Attempt, Learned};
use super::response::{self, LARGEST, Subject};
use crate::ffi::fork;
use crate::ffi::thread;
use crate::net::http::{self, HttpError, Method, Request, Route, Url};
use crate::time::Deadline;

/// How many responders of one certificate are asked; more are passed over.
const MOST: usize = 8;
/// How many redirects are followed.
const REDIRECTS: usize = 3;
/// What a GET request may be long, path included (RFC 6960 appendix A.1).
const LONGEST_GET: usize = 255;

/// What a responder sent, or why it sent nothing, and how long that took.
struct Fetched {
    url: String,
    outcome: Result<Vec<u8>, HttpError>,
    duration: Duration,
}

/// Asks `urls` about the subject until one gives a conclusive answer; the answer comes with its bytes.
pub(super) fn ask(
    urls: &[String],
    request: &[u8],
    subject: &Subject<'_>,
    deadline: Deadline,
) -> (Learned, Vec<u8>) {
    let began = Instant::now();
    let mut learned = Learned::default();
    let (sender, replies) = mpsc::channel();
    let (asked, passed_over) = urls.split_at(urls.len().min(MOST));
    for url in asked {
        let (sender, url, request) = (sender.clone(), url.clone(), request.to_vec());
        let worker = thread::spawn("mongotls-ocsp", {
            let url = url.clone();
            move || {
                let started = Instant::now();
                let outcome = fetch(&url, &request, &deadline);
                let duration = started.elapsed();
                // Nobody listens any more if another one was faster.
                let _ = sender.send(Fetched {
                    url,
                    outcome,
                    duration,
                });
            }
        });
        if let Err(error) = worker {
            learned.attempts.push(Attempt {
                url,
                outcome: format!("was not asked: the system has no thread left: {error}"),
                duration: Duration::ZERO,
            });
        }
    }
    drop(sender);
    while let Some(fetched) = next(&replies, &deadline) {
        let validated = fetched
            .outcome
            .map_err(|error| error.to_string())
            .and_then(|der| {
                let answer = response::validate(&der, subject, SystemTime::now());
                match answer {
                    Ok(answer) => Ok((answer, der)),
                    Err(invalid) => Err(format!("sent a response that is not valid: {invalid}")),
                }
            });
        let outcome = match &validated {
            Ok((answer, _)) => answer.status.to_string(),
            Err(why) => why.clone(),
        };
        learned.attempts.push(Attempt {
            url: fetched.url.clone(),
            outcome,
            duration: fetched.duration,
        });
        if let Ok((answer, der)) = validated {
            if answer.is_conclusive() {
                learned.answer = Some((answer, fetched.url));
                return (learned, der);
            }
        }
    }
    for url in asked {
        if learned.attempts.iter().all(|attempt| attempt.url != *url) {
            let elapsed = deadline.elapsed();
            learned.attempts.push(Attempt {
                url: url.clone(),
                outcome: format!("did not answer in time ({})", elapsed.kind.option()),
                duration: began.elapsed(),
            });
        }
    }
    for url in passed_over {
        learned.attempts.push(Attempt {
            url: url.clone(),
            outcome: format!("was not asked: only the first {MOST} are"),
            duration: Duration::ZERO,
        });
    }
    (learned, Vec::new())
}

/// The next that a worker sends, until all have sent or the deadline has passed.
fn next(replies: &mpsc::Receiver<Fetched>, deadline: &Deadline) -> Option<Fetched> {
    fork::outside(|| match deadline.remaining(Instant::now()) {
        Ok(Some(left)) => replies.recv_timeout(left).ok(),
        Ok(None) => replies.recv().ok(),
        // What is there already counts.
        Err(_) => replies.try_recv().ok(),
    })
}

/// The bytes that one responder sends for a request.
fn fetch(url: &str, request: &[u8], deadline: &Deadline) -> Result<Vec<u8>, HttpError> {
    let url = Url::parse(url).map_err(|why| HttpError(format!("was not asked: {why}")))?;
    let base64 = openssl::base64::encode_block(request);
    let segment = utf8_percent_encode(&base64, NON_ALPHANUMERIC).to_string();
    let by_get = url.with_segment(&segment);
    if by_get.to_string().len() <= LONGEST_GET {
        let reply = follow(by_get, Method::Get, deadline)?;
        // 405 and 501: a responder that knows POST alone.
        if !matches!(reply.status, 405 | 501) {
            return body(reply);
        }
    }
    let post = Method::Post(request, "application/ocsp-request");
    body(follow(url, post, deadline)?)
}

/// One exchange, and what redirects on the same host lead to.
fn follow(mut url: Url, method: Method<'_>, deadline: &Deadline) -> Result<http::Reply, HttpError> {
    for _ in 0..=REDIRECTS {
        let request = Request {
            url: &url,
            method,
            headers: &[],
            largest: LARGEST,
            route: Route::Environment,
        };
        let reply = http::exchange(&request, deadline)?;
        let redirects = matches!(reply.status, 301 | 302 | 303 | 307 | 308);
        let Some(location) = reply.location.as_deref().filter(|_| redirects) else {
            return Ok(reply);
        };
        if let Method::Post(..) = method {
            return Err(HttpError("redirects a POST, which is not followed".into()));
        }
        let target = url
            .join(location)
            .map_err(|why| HttpError(format!("redirects to where nobody is asked: {why}")))?;
        if !target.host().eq_ignore_ascii_case(url.host()) {
            return Err(HttpError(format!(
                "redirects to another host, {}, which is not asked",
                target.host()
            )));
        }
        url = target;
    }
    Err(HttpError(format!("redirects more than {REDIRECTS} times")))
}

fn body(reply: http::Reply) -> Result<Vec<u8>, HttpError> {
    match reply.status {
        200 => Ok(reply.body.to_vec()),
        status => Err(HttpError(format!("answered with HTTP status {status}"))),
    }
}
