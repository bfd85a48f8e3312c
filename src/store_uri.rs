//! The printable parts of OpenSSL store URIs. Such a URI may be used instead of a path.

use std::path::Path;

/// Returns the scheme of a URI, which must be in lower case, or `None` for a path.
pub(crate) fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

/// Returns a store URI without parts that may be secret. For `file:` it keeps the path, for `pkcs11:` the attributes
/// that name a token or an object (RFC 7512 §2.3), and for all others only the scheme. A PIN may be anywhere else.
pub(crate) fn shown_uri(uri: &str) -> String {
    const REDACTED: &str = "<redacted>";
    let until = |end: &[char]| uri.split(end).next().unwrap_or_default();
    match scheme(uri) {
        None => until(&['?']).to_owned(),
        Some(scheme) if scheme.eq_ignore_ascii_case("file") => until(&['?', '#']).to_owned(),
        Some(scheme) if scheme.eq_ignore_ascii_case("pkcs11") => {
            let attributes = &until(&['?'])[scheme.len() + 1..];
            let shown = attributes
                .split(';')
                .map(|attribute| match attribute.split_once('=') {
                    Some((name, _)) if PKCS11_NAMES.contains(&name) => attribute.to_owned(),
                    Some((name, _))
                        if name
                            .bytes()
                            .all(|byte| byte.is_ascii_lowercase() || byte == b'-') =>
                    {
                        format!("{name}={REDACTED}")
                    }
                    _ if attribute.is_empty() => String::new(),
                    _ => REDACTED.to_owned(),
                });
            format!("{scheme}:{}", shown.collect::<Vec<_>>().join(";"))
        }
        Some(scheme) => format!("{scheme}:{REDACTED}"),
    }
}

/// The attributes of `pkcs11:` that name a token or an object.
const PKCS11_NAMES: [&str; 13] = [
    "token",
    "manufacturer",
    "serial",
    "model",
    "library-manufacturer",
    "library-version",
    "library-description",
    "object",
    "type",
    "id",
    "slot-manufacturer",
    "slot-description",
    "slot-id",
];

/// Returns the printable form of a path, which may be the URI of a store with a PIN.
pub(crate) fn shown_path(path: &Path) -> String {
    shown_uri(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_uri_is_shown_without_secrets() {
        for (uri, shown) in [
            ("file:/etc/key.pem", "file:/etc/key.pem"),
            ("/etc/key.pem", "/etc/key.pem"),
            ("file:/etc/key.pem?pin=1234", "file:/etc/key.pem"),
            ("pkcs11:", "pkcs11:"),
            (
                "pkcs11:token=My%20token;object=key;type=private?pin-value=1234",
                "pkcs11:token=My%20token;object=key;type=private",
            ),
            (
                "pkcs11:object=key;pin-value=1234;id=%01",
                "pkcs11:object=key;pin-value=<redacted>;id=%01",
            ),
            (
                "PKCS11:x-pin=1234;1234",
                "PKCS11:x-pin=<redacted>;<redacted>",
            ),
            ("pkcs11:Pin-Value=1234", "pkcs11:<redacted>"),
            ("pkcs11:pin%2Dvalue=1234", "pkcs11:<redacted>"),
            ("engine:pkcs11:1234", "engine:<redacted>"),
            (
                "org.openssl.engine:pkcs11:1234",
                "org.openssl.engine:<redacted>",
            ),
            ("https://user:1234@host/key", "https:<redacted>"),
            ("handle:0x81000001?pass=1234", "handle:<redacted>"),
        ] {
            assert_eq!(shown_uri(uri), shown);
        }
    }
}
