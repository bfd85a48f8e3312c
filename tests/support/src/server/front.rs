//! The data that a TLS front sends about a connection: the PROXY protocol, version 2.
//!
//! Source: `proxy-protocol.txt` of HAProxy, sections 2.2 and 2.2.5 (`PP2_TYPE_SSL`). HAProxy sends it with
//! `send-proxy-v2-ssl-cn`. Of a certificate it contains only the common name: a subject of one part.

use std::io::{self, ErrorKind, Read};

/// Reads the header; returns the subject of the client certificate that the front has verified.
pub(super) fn read_subject(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut header = [0; 16];
    stream.read_exact(&mut header)?;
    let [.., high, low] = header;
    if !header.starts_with(b"\r\n\r\n\0\r\nQUIT\n") || header[12] != 0x21 {
        return Err(io::Error::new(ErrorKind::InvalidData, "no PROXY protocol"));
    }
    let mut rest = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut rest)?;
    // Addresses and ports: TCP over IPv4, or over IPv6.
    let skipped = match header[13] {
        0x11 => 12,
        0x21 => 36,
        _ => 0,
    };
    let details = rest.get(skipped..).unwrap_or_default();
    Ok(
        values(details).find_map(|(kind, value)| match (kind, value) {
            (PP2_TYPE_SSL, [client, v0, v1, v2, v3, inner @ ..]) => {
                let is_verified = [*v0, *v1, *v2, *v3] == [0; 4];
                let has_certificate = client & (PP2_CLIENT_CERT_CONN | PP2_CLIENT_CERT_SESS) != 0;
                let (_, name) = values(inner).find(|(kind, _)| *kind == PP2_SUBTYPE_SSL_CN)?;
                let name = String::from_utf8_lossy(name);
                (is_verified && has_certificate).then(|| format!("CN={name}"))
            }
            _ => None,
        }),
    )
}

/// Splits into type, length, value, as far as they are complete.
fn values(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [kind, high, low, rest @ ..] = bytes else {
            return None;
        };
        let (value, rest) =
            rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        bytes = rest;
        Some((*kind, value))
    })
}

const PP2_TYPE_SSL: u8 = 0x20;
const PP2_SUBTYPE_SSL_CN: u8 = 0x22;
/// The client sent a certificate on this connection, or on the one whose TLS session it resumes.
const PP2_CLIENT_CERT_CONN: u8 = 0x02;
const PP2_CLIENT_CERT_SESS: u8 = 0x04;
