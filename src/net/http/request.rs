//! A request, as plain data.

use super::url::Url;

/// A request.
#[derive(Clone, Copy)]
pub(crate) struct HttpRequest<'a> {
    pub(crate) url: &'a Url,
    pub(crate) method: Method<'a>,
    /// Further headers. A value is visible ASCII and may contain a secret.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// The largest body of the reply, in bytes.
    pub(crate) largest: usize,
    pub(crate) proxy: ProxyPolicy,
}

/// The method of a request, with its body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method<'a> {
    Get,
    /// A request without a body.
    Put,
    /// A request with a body of this type.
    Post(&'a [u8], &'static str),
}

/// The proxy for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyPolicy {
    /// The proxy that the environment names, if any.
    Environment,
    /// No proxy: the server is on this host's link, and a proxy must not see its replies.
    Direct,
}
