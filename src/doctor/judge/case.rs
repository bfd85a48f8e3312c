//! The data that rules use, and what several rules need.

use crate::address::ServerAddress;
use crate::doctor::report::Examination;
use crate::doctor::topology::Member;
use crate::options::ClientOptions;
use crate::sdam::{ServerDescription, ServerType, TopologyDescription};

/// The data that rules use.
pub(super) struct DeploymentCase<'a> {
    pub(super) options: &'a ClientOptions,
    pub(super) examinations: &'a [Examination],
    /// The description of each host; in the order of the examinations, like the members.
    pub(super) servers: &'a [ServerDescription],
    pub(super) members: &'a [Member],
    pub(super) topology: &'a TopologyDescription,
    pub(super) is_complete: bool,
}

/// Returns true if a client connects to the members that a server names.
pub(super) fn discovers_members(options: &ClientOptions) -> bool {
    options.direct_connection != Some(true) && !options.load_balanced
}

/// Returns true for a member of a replica set that knows its set.
pub(super) fn is_member(server_type: ServerType) -> bool {
    matches!(
        server_type,
        ServerType::RsPrimary
            | ServerType::RsSecondary
            | ServerType::RsArbiter
            | ServerType::RsOther
    )
}

/// Lists several hosts in one phrase: of many, the first few and a number.
pub(super) fn list<'a>(servers: impl IntoIterator<Item = &'a ServerAddress>) -> String {
    let servers: Vec<_> = servers.into_iter().collect();
    let shown = match servers.len() {
        few @ ..=NAMED => few,
        _ => NAMED - 1,
    };
    let (shown, more) = servers.split_at(shown);
    let mut names: Vec<String> = shown.iter().map(ToString::to_string).collect();
    if !more.is_empty() {
        names.push(format!("{} more", more.len()));
    }
    match names.pop() {
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} and {last}", names.join(", ")),
        None => "none".to_owned(),
    }
}

/// The singular or the plural.
pub(super) fn number_of<'a>(count: usize, one: &'a str, several: &'a str) -> &'a str {
    if count == 1 { one } else { several }
}

/// The number of hosts that a message names before it counts the rest.
const NAMED: usize = 5;
