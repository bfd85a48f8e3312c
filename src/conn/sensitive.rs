//! Commands that carry secrets: their events and log lines are redacted, and they are not compressed.
//!
//! Sources: "Command Logging and Monitoring", "Security"; "OP_COMPRESSED", "Messages not allowed to be compressed".
//! Upper and lower case are equivalent, since a server accepts both for some of the names.

use bson::raw::RawDocument;

/// Returns true if command and reply must be redacted.
pub(super) fn is_secret(name: &str, command: &RawDocument) -> bool {
    is_of_users(name)
        || (is_hello(name)
            && matches!(command.get("speculativeAuthenticate"), Ok(Some(_)) | Err(_)))
}

/// Returns true if the command may be compressed. The compressed length of a command with a secret would reveal how
/// much of the secret was guessed.
pub(super) fn may_be_compressed(name: &str) -> bool {
    !is_hello(name) && !is_of_users(name)
}

fn is_hello(name: &str) -> bool {
    is_one_of(name, &["hello", "isMaster"])
}

/// The commands that both specifications name.
fn is_of_users(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "authenticate",
        "saslStart",
        "saslContinue",
        "getnonce",
        "createUser",
        "updateUser",
        "copydbgetnonce",
        "copydbsaslstart",
        "copydb",
    ];
    is_one_of(name, &NAMES)
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn both_lists_are_those_of_the_specifications() {
        let names = "authenticate saslStart saslContinue getnonce createUser updateUser copydbgetnonce \
                     copydbsaslstart copydbSaslStart copydb";
        for name in names.split_whitespace() {
            assert!(
                is_secret(name, &rawdoc! {}) && !may_be_compressed(name),
                "{name}"
            );
        }
        for name in ["hello", "isMaster", "ismaster"] {
            assert!(!may_be_compressed(name), "{name}");
            assert!(!is_secret(name, &rawdoc! { "helloOk": true }));
            let speculative = rawdoc! { "n": 1, "speculativeAuthenticate": { "saslStart": 1 } };
            assert!(is_secret(name, &speculative), "{name}");
        }
        for name in ["ping", "insert", "find", "usersInfo", ""] {
            assert!(
                may_be_compressed(name) && !is_secret(name, &rawdoc! {}),
                "{name}"
            );
        }
    }
}
