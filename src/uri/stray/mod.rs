//! Options that would otherwise be read as text, and unknown keys about TLS.
//!
//! `mongodb://h/tls=true` names a database, `/?appName=x;tls=true` an application, and `/?useSSL=true` is a key of
//! another driver. Ignoring one of them could send commands in plain text, so each is an error. Text that only looks
//! similar stays valid: an option needs a known key, or one about TLS, directly before a raw `=`. A `=` that is written
//! as `%3D` never makes an option.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::{Discretion, invalid};
use super::keys::{KEYS, KeyLookup};
use crate::error::Error;
use crate::reason::options::{EquivalentKey, StrayOption, UriPlace, UriProblem};

/// An option inside the name of a database or inside another option.
pub(super) struct Stray<'a> {
    key: String,
    position: Position<'a>,
}

/// The text before a stray option.
#[derive(Clone, Copy)]
enum Position<'a> {
    Start,
    Separator(&'a str),
}

impl<'a> Stray<'a> {
    /// Finds an option in `text` that follows a separator or, if `at_start` is set, begins the text.
    pub(super) fn find(text: &'a str, at_start: bool) -> Option<Self> {
        let mut begin = 0;
        for (end, _) in text.match_indices('=') {
            let before = text[begin..end].trim_end();
            let separator = last_separator(before);
            let start = separator.map_or(0, |(at, length)| at + length);
            let may_be_option = separator.is_some() || (at_start && begin == 0);
            let key = may_be_option.then(|| token(&before[start..]));
            if let Some(key) = key.filter(|key| is_option(key)) {
                let position = match separator {
                    None => Position::Start,
                    Some((at, _)) if is_html_ampersand(&before[..at]) => {
                        Position::Separator("&amp;")
                    }
                    Some((at, length)) => Position::Separator(&before[at..at + length]),
                };
                return Some(Self { key, position });
            }
            begin = end + 1;
        }
        None
    }

    /// Returns the error for an option at `place`. The key is not quoted inside a secret.
    pub(super) fn error(&self, place: UriPlace, discretion: Discretion, in_secret: bool) -> Error {
        let is_known = !matches!(KeyLookup::look_up(&self.key), KeyLookup::Unknown);
        let equivalent = equivalent(&self.key).filter(|_| !is_known && !in_secret);
        let is_in_table = is_known || equivalent.is_some();
        let key = shown(&self.key, is_in_table, discretion).filter(|_| !in_secret);
        invalid(place, UriProblem::Stray(self.found(key, equivalent)))
    }

    /// Returns the error for an option that directly follows the hosts. It may be a piece of a password, so only keys
    /// of our tables are quoted.
    pub(super) fn error_behind_hosts(&self) -> Error {
        let is_known = !matches!(KeyLookup::look_up(&self.key), KeyLookup::Unknown);
        let equivalent = equivalent(&self.key).filter(|_| !is_known);
        let key = (is_known || equivalent.is_some()).then_some(self.key.as_str());
        let problem = UriProblem::StrayAfterHosts(self.found(key, equivalent));
        invalid(UriPlace::Hosts, problem)
    }

    /// The option as data; `key` is `None` if it must not be quoted.
    fn found(&self, key: Option<&str>, equivalent: Option<EquivalentKey>) -> StrayOption {
        StrayOption {
            key: key.map(str::to_owned),
            separator: match self.position {
                Position::Start => None,
                Position::Separator(text) => Some(text.to_owned()),
            },
            equivalent,
        }
    }
}

/// The error for an unknown key about TLS.
pub(super) fn unknown_tls_key(place: UriPlace, name: &str, discretion: Discretion) -> Error {
    let key = token(name);
    let equivalent = equivalent(&key);
    let names = KEYS.iter().map(|key| key.name);
    let problem = UriProblem::UnknownTlsKey {
        key: shown(&key, equivalent.is_some(), discretion).map(str::to_owned),
        equivalent,
        known: names.filter(|name| name.starts_with("tls")).collect(),
    };
    invalid(place, problem)
}

/// Returns true if one of the words of `key` is tls or ssl, or the key begins with one of them.
///
/// Words end at every character that is neither a letter nor a digit, and at a capital letter; `use`, `enable`,
/// `require`, `mode` and similar words may also be joined to it in lower case.
pub(super) fn is_about_tls(key: &str) -> bool {
    let key = decoded(key);
    let mut parts = key
        .split(|c: char| !c.is_alphanumeric())
        .filter(|part| !part.is_empty());
    let begins = |part: &str| {
        let start = part.get(..3).unwrap_or_default();
        start.eq_ignore_ascii_case("tls") || start.eq_ignore_ascii_case("ssl")
    };
    parts
        .next()
        .is_some_and(|first| begins(first) || has_tls_word(first))
        || parts.any(has_tls_word)
}

/// Looks for tls or ssl as a word of `part`, which contains only letters and digits.
fn has_tls_word(part: &str) -> bool {
    let lower = part.to_ascii_lowercase();
    let found = lower.match_indices("tls").chain(lower.match_indices("ssl"));
    found.map(|(at, word)| at..at + word.len()).any(|range| {
        let word = &part[range.clone()];
        let rest = &word[1..];
        let is_capital = word.starts_with(|c: char| c.is_ascii_uppercase());
        let is_upper = is_capital && rest.chars().all(|c| c.is_ascii_uppercase());
        if !is_upper && !rest.chars().all(|c| c.is_ascii_lowercase()) {
            // As in "classLoader", which contains the end of one word and the start of another.
            return false;
        }
        let (left, right) = (&part[..range.start], &part[range.end..]);
        let begins = match left.chars().next_back() {
            None => true,
            Some(c) => c.is_ascii_digit() || (is_capital && !c.is_uppercase()),
        };
        let ends = match right.chars().next() {
            None => true,
            Some(c) => is_upper || c.is_ascii_digit() || c.is_uppercase(),
        };
        (begins || is_made_of_affixes(left)) && (ends || is_made_of_affixes(right))
    })
}

/// Returns true if `text` consists of words that are joined to tls and ssl.
fn is_made_of_affixes(text: &str) -> bool {
    let mut rest = text.to_ascii_lowercase();
    while let Some(affix) = AFFIXES.iter().find(|affix| rest.starts_with(**affix)) {
        rest.drain(..affix.len());
    }
    rest.is_empty()
}

/// Longer words first.
const AFFIXES: [&str; 19] = [
    "required",
    "requires",
    "require",
    "enabled",
    "enables",
    "enable",
    "disabled",
    "disable",
    "protocols",
    "protocol",
    "uses",
    "use",
    "force",
    "start",
    "with",
    "verify",
    "mode",
    "is",
    "no",
];

/// Returns true if a token before a `=` is the key of an option, or of TLS in another spelling.
fn is_option(key: &str) -> bool {
    let is_key = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    !matches!(KeyLookup::look_up(key), KeyLookup::Unknown)
        || (key.chars().all(is_key) && is_about_tls(key))
}

/// Returns a key without percent-encoding, without the rest of an encoded `&amp;`, and without quotes, brackets and
/// spaces around it.
fn token(text: &str) -> String {
    let bare = |text: &str| {
        let text = text.strip_prefix("amp;").unwrap_or(text);
        text.trim_matches(|c: char| !c.is_alphanumeric()).to_owned()
    };
    bare(&decoded(text))
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Returns the position of the last separator in `text`, and its length in bytes.
fn last_separator(text: &str) -> Option<(usize, usize)> {
    let is_separator = |c: char| matches!(c, '?' | ';' | ',' | '&' | '#') || c.is_whitespace();
    let raw = text.char_indices().rfind(|(_, c)| is_separator(*c));
    let raw = raw.map(|(at, c)| (at, c.len_utf8()));
    let encoded = text.rfind("%26").map(|at| (at, "%26".len()));
    raw.max(encoded)
}

/// Returns true if `text` ends in the `&amp` of HTML; the `&` itself separates options and may be cut off.
fn is_html_ampersand(text: &str) -> bool {
    text == "amp" || text.ends_with("&amp")
}

/// Returns the part of the key that an error may quote. A key of one of our tables is always harmless.
fn shown(key: &str, is_in_table: bool, discretion: Discretion) -> Option<&str> {
    match is_in_table {
        true => Some(key),
        false => discretion.show(key),
    }
}

/// The replacement for a key of another driver, of an older version or of another program. Case, `_`, `-` and `.` do not
/// count; ssl and tls mean the same.
fn equivalent(key: &str) -> Option<EquivalentKey> {
    let plain: String = key
        .chars()
        .filter(|c| !matches!(c, '_' | '-' | '.'))
        .collect();
    let plain = plain.to_ascii_lowercase().replace("ssl", "tls");
    let known = KEYS
        .iter()
        .find(|known| known.name.eq_ignore_ascii_case(&plain));
    match known {
        Some(key) if key.name == "tls" => Some(EquivalentKey::Tls),
        Some(key) => Some(EquivalentKey::Key(key.name)),
        None => {
            let mut rows = EQUIVALENTS.iter();
            let row = rows.find(|(names, _)| names.contains(&plain.as_str()));
            row.map(|(_, equivalent)| *equivalent)
        }
    }
}

/// The keys of other drivers, of older versions and of other programs, in lower case and with tls for ssl.
static EQUIVALENTS: &[(&[&str], EquivalentKey)] = &[
    (
        &[
            "usetls",
            "enabletls",
            "requiretls",
            "forcetls",
            "withtls",
            "tlsenable",
            "tlsenabled",
            "tlsrequire",
            "tlsrequired",
            "tlsmode",
            "tlson",
            "tlsactive",
            "usetlsmode",
            "istls",
            "tlsonly",
        ],
        EquivalentKey::Tls,
    ),
    (
        &[
            "tlsca",
            "tlscas",
            "tlscacert",
            "tlscacerts",
            "tlscacertfile",
            "tlscacertificate",
            "tlscacertificatefile",
            "tlscapath",
            "tlscabundle",
            "tlsrootca",
            "tlsrootcafile",
            "tlsrootcert",
            "tlsrootcertificate",
            "tlscertificateauthority",
            "tlscertificateauthorityfile",
            "tlstruststore",
        ],
        EquivalentKey::Key("tlsCAFile"),
    ),
    (
        &["tlscrl", "tlscrls", "tlscrlpath"],
        EquivalentKey::Key("tlsCRLFile"),
    ),
    (
        &[
            "tlscert",
            "tlscertfile",
            "tlscertpath",
            "tlscertificate",
            "tlscertificatefile",
            "tlscertificatepath",
            "tlskey",
            "tlskeyfile",
            "tlskeypath",
            "tlsprivatekey",
            "tlsprivatekeyfile",
            "tlspem",
            "tlspemfile",
            "tlspemkeyfile",
            "tlscertkey",
            "tlscertkeyfile",
            "tlscertificatekey",
            "tlsclientcert",
            "tlsclientcertfile",
            "tlsclientcertificate",
            "tlsclientcertificatefile",
            "tlsclientcertificatekeyfile",
            "tlsclientkey",
            "tlsclientkeyfile",
            "tlskeystore",
            "tlscertificateselector",
        ],
        EquivalentKey::CertificateKeyFile,
    ),
    (
        &[
            "tlspass",
            "tlspassword",
            "tlspassphrase",
            "tlspempassword",
            "tlspempassphrase",
            "tlspemkeypassword",
            "tlspemkeyfilepassword",
            "tlskeypass",
            "tlskeypassword",
            "tlskeypassphrase",
            "tlskeyfilepassword",
            "tlsprivatekeypassword",
            "tlscertificatepassword",
            "tlscertificatekeypassword",
            "tlsclientcertificatekeypassword",
        ],
        EquivalentKey::Key("tlsCertificateKeyFilePassword"),
    ),
    (
        &[
            "tlsallowinvalidcertificate",
            "tlsallowinvalidcerts",
            "tlsweakcertificatevalidation",
        ],
        EquivalentKey::Key("tlsAllowInvalidCertificates"),
    ),
    (
        &["tlsallowinvalidhostname", "tlsinvalidhostnameallowed"],
        EquivalentKey::Key("tlsAllowInvalidHostnames"),
    ),
    (
        &["tlsskipverify", "tlsinsecureskipverify"],
        EquivalentKey::Key("tlsInsecure"),
    ),
    (
        &[
            "tlsvalidate",
            "tlsverify",
            "tlsverifycert",
            "tlsverifycertificate",
            "tlsverifyservercertificate",
            "tlsverifypeer",
            "tlsverifymode",
            "tlsvalidatecertificate",
            "tlscertreqs",
        ],
        EquivalentKey::Opposite("tlsAllowInvalidCertificates"),
    ),
    (
        &[
            "tlsverifyhost",
            "tlsverifyhostname",
            "tlsmatchhostname",
            "tlscheckhostname",
        ],
        EquivalentKey::Opposite("tlsAllowInvalidHostnames"),
    ),
    (
        &["tlsverifyocspendpoint"],
        EquivalentKey::Opposite("tlsDisableOCSPEndpointCheck"),
    ),
    (
        &["tlscheckrevocation", "tlscheckcertificaterevocation"],
        EquivalentKey::Opposite("tlsDisableCertificateRevocationCheck"),
    ),
    (
        &[
            "tlsversion",
            "tlsminversion",
            "tlsmaxversion",
            "tlsprotocol",
            "tlsprotocols",
            "tlsdisabledprotocols",
            "enabledtlsprotocols",
            "tlscipher",
            "tlsciphers",
            "tlsciphersuites",
            "tlscipherconfig",
        ],
        EquivalentKey::Protocol,
    ),
    (&["tlsfipsmode"], EquivalentKey::FipsProvider),
    (
        &["tlsservername", "tlssni", "tlshostname", "tlstargetname"],
        EquivalentKey::HostName,
    ),
];

#[cfg(test)]
mod tests;
