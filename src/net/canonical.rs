//! The canonical name of a host, as Kerberos requires it.
//!
//! Source: "Hostname Canonicalization" in "Driver Authentication".

use dns_lookup::{AddrInfoHints, SockType, getaddrinfo, getnameinfo};

/// The name that the aliases of `host` lead to or, with `reverse`, the name of its first address; `host` itself if the
/// resolver has neither. In lower case.
///
/// It calls the system's resolver without a deadline.
pub(crate) fn canonical_name(host: &str, reverse: bool) -> String {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        flags: libc::AI_CANONNAME,
        ..AddrInfoHints::default()
    };
    let found = getaddrinfo(Some(host), None, Some(hints)).ok();
    let Some(first) = found.and_then(|found| found.flatten().next()) else {
        return host.to_ascii_lowercase();
    };
    let reversed = || getnameinfo(&first.sockaddr, libc::NI_NAMEREQD).ok();
    let name = match reverse.then(reversed).flatten() {
        Some((name, _)) => Some(name),
        None => first.canonname,
    };
    name.unwrap_or_else(|| host.to_owned()).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_resolver_does_not_know_stays() {
        assert_eq!(canonical_name("Name.Invalid", false), "name.invalid");
        assert_eq!(canonical_name("name.invalid", true), "name.invalid");
        assert_eq!(canonical_name("LOCALHOST", false), "localhost");
    }
}
