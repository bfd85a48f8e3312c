//! Requests to the OCSP responders that a certificate names, in parallel (RFC 6960 appendix A).
//!
//! Each request runs on a separate thread. The first conclusive valid answer wins. The other requests are not waited
//! for; they end at the same deadline. A request that is short enough is sent by GET, so that caches can answer it.
//! Redirects are followed only to `http` on the same host, and never for POST: a forged redirect must not send requests
//! of this host to another host.

use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::cache::{ResponderRequest, ResponderResults};
use super::response::{self, LARGEST, OcspSubject};
use crate::ffi::fork;
use crate::ffi::thread;
use crate::limit::Limit;
use crate::net::http::{self, HttpRequest, Method, ProxyPolicy, Url};
use crate::reason::http::HttpFailure;
use crate::reason::revocation::ResponderResult;
use crate::time::Deadline;

/// The largest number of responders of one certificate that get a request.
const MOST: usize = 8;
/// The largest number of redirects that are followed.
const REDIRECTS: usize = 3;
/// The largest length of a GET request, path included (RFC 6960 appendix A.1).
const LONGEST_GET: usize = 255;

/// The bytes that a responder sent, or the reason why there are none, and the time that it took.
struct FetchedResponse {
    url: String,
    body: Result<Vec<u8>, ResponderResult>,
    duration: Duration,
}

/// Sends requests about the subject to `urls` until one responder gives a conclusive answer. The answer comes with its
/// bytes.
pub(super) fn request(
    urls: &[String],
    request: &[u8],
    subject: &OcspSubject<'_>,
    deadline: Deadline,
) -> (ResponderResults, Vec<u8>) {
    let began = Instant::now();
    let mut results = ResponderResults::default();
    let mut add = |url: &str, result, duration| {
        results.requests.push(ResponderRequest {
            url: url.to_owned(),
            result,
            duration,
        });
    };
    let (sender, replies) = mpsc::channel();
    let (urls, beyond_limit) = urls.split_at(urls.len().min(MOST));
    let mut pending: Vec<&String> = urls.iter().collect();
    for url in urls {
        let (sender, request) = (sender.clone(), request.to_vec());
        let worker = thread::spawn("mongotls-ocsp", {
            let url = url.clone();
            move || {
                let started = Instant::now();
                let body = fetch(&url, &request, &deadline);
                let duration = started.elapsed();
                // The receiver no longer exists if another responder was faster.
                let _ = sender.send(FetchedResponse {
                    url,
                    body,
                    duration,
                });
            }
        });
        if worker.is_err() {
            let result = ResponderResult::NoThread(Limit::Threads.reached());
            add(url, result, Duration::ZERO);
            pending.retain(|other| *other != url);
        }
    }
    drop(sender);
    while let Some(fetched) = next(&replies, &deadline) {
        let validated = fetched.body.and_then(|der| {
            let answer = response::validate(&der, subject, SystemTime::now());
            let answer = answer.map_err(ResponderResult::Invalid)?;
            Ok((answer, der))
        });
        let result = match &validated {
            Ok((answer, _)) => ResponderResult::Status(answer.status.clone()),
            Err(result) => result.clone(),
        };
        add(&fetched.url, result, fetched.duration);
        pending.retain(|other| **other != fetched.url);
        if let Ok((answer, der)) = validated {
            if answer.is_conclusive() {
                results.answer = Some((answer, fetched.url));
                return (results, der);
            }
        }
    }
    for url in pending {
        let result = ResponderResult::TimedOut(deadline.elapsed().kind);
        add(url, result, began.elapsed());
    }
    for url in beyond_limit {
        add(url, ResponderResult::BeyondLimit(MOST), Duration::ZERO);
    }
    (results, Vec::new())
}

/// Receives the next result of a request, until all have sent one or the deadline has passed.
fn next(replies: &mpsc::Receiver<FetchedResponse>, deadline: &Deadline) -> Option<FetchedResponse> {
    fork::outside(|| match deadline.remaining(Instant::now()) {
        Ok(Some(remaining)) => replies.recv_timeout(remaining).ok(),
        Ok(None) => replies.recv().ok(),
        // A result that has already arrived counts.
        Err(_) => replies.try_recv().ok(),
    })
}

/// Fetches the response of one responder to a request.
fn fetch(url: &str, request: &[u8], deadline: &Deadline) -> Result<Vec<u8>, ResponderResult> {
    let url = Url::parse(url).map_err(|why| ResponderResult::UnusableUrl(why.to_string()))?;
    let base64 = openssl::base64::encode_block(request);
    let segment = utf8_percent_encode(&base64, NON_ALPHANUMERIC).to_string();
    let by_get = url.with_segment(&segment);
    if by_get.to_string().len() <= LONGEST_GET {
        let reply = follow(by_get, Method::Get, deadline)?;
        // 405 and 501: the responder accepts only POST.
        if !matches!(reply.status, 405 | 501) {
            return body(reply);
        }
    }
    let post = Method::Post(request, "application/ocsp-request");
    body(follow(url, post, deadline)?)
}

/// Makes one exchange, and follows redirects on the same host.
fn follow(
    mut url: Url,
    method: Method<'_>,
    deadline: &Deadline,
) -> Result<http::HttpReply, ResponderResult> {
    for _ in 0..=REDIRECTS {
        let request = HttpRequest {
            url: &url,
            method,
            headers: &[],
            largest: LARGEST,
            proxy: ProxyPolicy::Environment,
        };
        let reply = http::exchange(&request, deadline).map_err(|error: HttpFailure| {
            let text = error.to_string();
            match error.local_limit() {
                Some(failed) => ResponderResult::Limited { text, failed },
                None => ResponderResult::Exchange(text),
            }
        })?;
        let redirects = matches!(reply.status, 301 | 302 | 303 | 307 | 308);
        let Some(location) = reply.location.as_deref().filter(|_| redirects) else {
            return Ok(reply);
        };
        if let Method::Post(..) = method {
            return Err(ResponderResult::PostRedirected);
        }
        let target = url
            .join(location)
            .map_err(|why| ResponderResult::UnusableRedirect(why.to_string()))?;
        if !target.host().eq_ignore_ascii_case(url.host()) {
            return Err(ResponderResult::RedirectToOtherHost(
                target.host().to_owned(),
            ));
        }
        url = target;
    }
    Err(ResponderResult::TooManyRedirects(REDIRECTS))
}

fn body(reply: http::HttpReply) -> Result<Vec<u8>, ResponderResult> {
    match reply.status {
        200 => Ok(reply.body.to_vec()),
        status => Err(ResponderResult::HttpStatus(status)),
    }
}
