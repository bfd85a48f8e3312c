//! The certificates of a file of the system, by name. They are decoded when a chain needs them.
//!
//! Such a file has about 140 certificates, of which a handshake needs one, and OpenSSL 3 takes a tenth of a millisecond
//! or more to decode each. A file that is unusual in any way is not indexed: the caller then decodes it as a whole, which
//! finds the exact error.

use std::cmp::Ordering;
use std::sync::OnceLock;

use openssl::x509::{X509, X509Name, X509NameRef};

use crate::tls::config::files;
use crate::tls::config::pem::{self, PemBlock};

/// See the [module documentation](self).
pub(crate) struct AnchorIndex {
    /// Sorted by subject.
    entries: Vec<Entry>,
}

struct Entry {
    subject: X509Name,
    der: Vec<u8>,
    /// The certificate once it was needed, or `None` if OpenSSL cannot decode it.
    decoded: OnceLock<Option<X509>>,
}

impl AnchorIndex {
    /// Reads the certificates of a PEM file. Returns `None` if there is none, or anything that needs a closer look.
    pub(crate) fn of_pem(bytes: &[u8]) -> Option<Self> {
        if files::has_pkcs7(bytes) || pem::cut_block(bytes, pem::is_certificate_label).is_some() {
            return None;
        }
        let blocks = pem::pem_blocks(bytes).filter(PemBlock::is_certificate);
        let entries = blocks.map(|block| Entry::of(&block, &bytes[block.body.clone()]));
        let mut entries = entries.collect::<Option<Vec<_>>>()?;
        entries.sort_by(|a, b| compare(&a.subject, &b.subject));
        (!entries.is_empty()).then_some(Self { entries })
    }

    /// The number of certificates.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Decodes the certificates with this subject. One that OpenSSL cannot decode is left out.
    pub(crate) fn find(&self, name: &X509NameRef) -> Vec<X509> {
        let entries = &self.entries;
        let is_before = |entry: &Entry| compare(&entry.subject, name) == Ordering::Less;
        entries[entries.partition_point(is_before)..]
            .iter()
            .take_while(|entry| compare(&entry.subject, name) == Ordering::Equal)
            .filter_map(Entry::decode)
            .cloned()
            .collect()
    }

    /// Returns whether a certificate has this subject.
    pub(crate) fn contains_name(&self, name: &X509NameRef) -> bool {
        let found = self
            .entries
            .binary_search_by(|entry| compare(&entry.subject, name));
        found.is_ok()
    }

    /// Decodes all certificates that OpenSSL can decode.
    pub(crate) fn all(&self) -> impl Iterator<Item = &X509> {
        self.entries.iter().filter_map(Entry::decode)
    }
}

impl Entry {
    fn of(block: &PemBlock<'_>, body: &[u8]) -> Option<Self> {
        // The rest of a `TRUSTED CERTIFICATE` are its trust settings.
        if block.label == "TRUSTED CERTIFICATE" || !has_short_lines(body) {
            return None;
        }
        let mut der = body.to_vec();
        let length = pem::decode_in_place(&mut der)?;
        der.truncate(length);
        der.shrink_to_fit();
        Some(Self {
            subject: X509Name::from_der(subject(&der)?).ok()?,
            der,
            decoded: OnceLock::new(),
        })
    }

    fn decode(&self) -> Option<&X509> {
        let decode = || X509::from_der(&self.der).ok();
        self.decoded.get_or_init(decode).as_ref()
    }
}

/// Compares names as OpenSSL does in a chain: without regard to case and repeated spaces (RFC 5280 §7.1).
fn compare(a: &X509NameRef, b: &X509NameRef) -> Ordering {
    // It fails only without memory.
    a.try_cmp(b).unwrap_or(Ordering::Less)
}

/// Returns whether base64 is laid out as RFC 7468 demands, in lines of at most 76 digits without spaces.
fn has_short_lines(body: &[u8]) -> bool {
    let mut lines = body.split(|byte| *byte == b'\n');
    let line = |line: &[u8]| {
        let digits = line.strip_suffix(b"\r").unwrap_or(line);
        digits.len() <= 76 && !digits.iter().any(u8::is_ascii_whitespace)
    };
    // The first line ends the line of the label.
    lines
        .next()
        .is_some_and(|first| matches!(first, b"" | b"\r"))
        && lines.all(line)
}

/// The subject of a certificate in DER form (RFC 5280 §4.1), with its tag and length. `None` if the certificate does
/// not have the usual structure up to there, or does not end with the bytes.
fn subject(der: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const VERSION: u8 = 0xa0;
    let expect = |bytes, expected| {
        let (tag, contents, rest) = pem::der_value(bytes)?;
        (tag == expected).then_some((contents, rest))
    };
    let (certificate, rest) = expect(der, SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    let (fields, _) = expect(certificate, SEQUENCE)?;
    let fields = expect(fields, VERSION).map_or(fields, |(_, rest)| rest);
    let (_, fields) = expect(fields, INTEGER)?;
    // The algorithm, the issuer and the validity.
    let mut fields = fields;
    for _ in 0..3 {
        (_, fields) = expect(fields, SEQUENCE)?;
    }
    pem::first_der(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: &[u8] = include_bytes!("../../../vendor-certs/mozilla-roots.pem");

    #[test]
    fn each_certificate_is_found_by_its_name() {
        let index = AnchorIndex::of_pem(BUNDLE).unwrap();
        let all = pem::certificates(BUNDLE).unwrap();
        assert_eq!(index.len(), all.len());
        for certificate in &all {
            let name = certificate.subject_name();
            let expected: Vec<_> = all
                .iter()
                .filter(|other| other.subject_name().try_cmp(name).unwrap().is_eq())
                .map(|other| other.to_der().unwrap())
                .collect();
            let found = index.find(name);
            let found: Vec<_> = found.iter().map(|it| it.to_der().unwrap()).collect();
            assert_eq!(found, expected);
            assert!(index.contains_name(name));
        }
        assert_eq!(index.all().count(), all.len());
    }

    #[test]
    fn names_are_compared_as_in_a_chain() {
        let index = AnchorIndex::of_pem(BUNDLE).unwrap();
        let certificate = index.all().next().unwrap().clone();
        let name = |change: fn(&str) -> String| {
            let mut name = X509Name::builder().unwrap();
            for entry in certificate.subject_name().entries() {
                let text = entry.data().to_string().unwrap();
                let nid = entry.object().nid();
                name.append_entry_by_nid(nid, &change(&text)).unwrap();
            }
            name.build()
        };
        let same = name(|text| text.to_lowercase().replace(' ', "   "));
        assert_eq!(index.find(&same), std::slice::from_ref(&certificate));
        let other = name(|text| text.replace(' ', ""));
        assert!(index.find(&other).is_empty());
        assert!(!index.contains_name(&other));
    }

    /// Everything that the decoder of whole files rejects or treats specially.
    #[test]
    fn unusual_files_are_not_indexed() {
        let text = std::str::from_utf8(BUNDLE).unwrap();
        let end = "-----END CERTIFICATE-----\n";
        let one = &text[text.find("-----BEGIN").unwrap()..text.find(end).unwrap() + end.len()];
        assert_eq!(AnchorIndex::of_pem(one.as_bytes()).unwrap().len(), 1);
        let crlf = one.replace('\n', "\r\n");
        assert_eq!(AnchorIndex::of_pem(crlf.as_bytes()).unwrap().len(), 1);
        let lines: Vec<&str> = one.lines().collect();
        let (first, last) = (lines[0], lines[lines.len() - 1]);
        let body = lines[1..lines.len() - 1].join("\n");
        let files = [
            String::new(),
            "no PEM\n".to_owned(),
            one.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
            one.replace(end, ""),
            format!("{one}-----BEGIN CERTIFICATE-----\n"),
            format!("{one}-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n"),
            format!("{first}{body}\n{last}\n"),
            format!("{first}\n{}\n{last}\n", body.replace('\n', "")),
            format!("{first}\n{}\n{last}\n", body.replace('\n', "\n ")),
            format!("{first}\n{}\n{last}\n", body.replace('\n', "\\n")),
            format!("{first}\n{}\n{last}\n", &body[..body.len() / 2]),
            format!("{first}\n{last}\n"),
            format!("{first}\nMAA=\n{last}\n"),
            format!("{first}\nDEK-Info: x\n\n{body}\n{last}\n"),
        ];
        for file in files {
            assert!(AnchorIndex::of_pem(file.as_bytes()).is_none(), "{file}");
            let both = format!("{one}{file}");
            let has_more = file.contains("-----");
            assert_eq!(
                AnchorIndex::of_pem(both.as_bytes()).is_none(),
                has_more,
                "{both}"
            );
        }
    }

    #[test]
    fn an_undecodable_certificate_is_left_out() {
        let good = pem::certificates(BUNDLE).unwrap().remove(0);
        let mut der = good.to_der().unwrap();
        // The signature is no bit string any more.
        let (_, certificate, _) = pem::der_value(&der).unwrap();
        let (_, _, rest) = pem::der_value(certificate).unwrap();
        let (_, _, signature) = pem::der_value(rest).unwrap();
        let tag = der.len() - signature.len();
        der[tag] = 0x02;
        assert!(X509::from_der(&der).is_err());
        let body = openssl::base64::encode_block(&der);
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .map(|it| std::str::from_utf8(it).unwrap())
            .collect();
        let text = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        );
        let both = [text.as_bytes(), &good.to_pem().unwrap()].concat();
        let index = AnchorIndex::of_pem(&both).unwrap();
        assert_eq!(index.len(), 2);
        assert_eq!(index.find(good.subject_name()), [good]);
        assert_eq!(index.all().count(), 1);
    }
}
