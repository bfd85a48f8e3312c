//! Explains advertised hosts that fail although the seed works: a client connects by one name, receives the names of the
//! members from the server, and connects by those from then on.
//!
//! The configuration of the replica set has these names (`rs.conf()`). They may resolve only among the members, be
//! addresses inside a network of containers, or be missing in the certificates. Then a connection string that works for
//! one connection fails for a client, and the error shows a name that is not in the connection string.

use super::super::topology::{Member, TopologyFinding, TopologyFindingCode};
use super::case::{DeploymentCase, list, number_of};
use crate::address::ServerAddress;
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Stage};
use crate::explain;
use crate::reason::Reason;
use crate::reason::hello::HelloFailure;
use crate::sdam::ServerType;
use crate::tls::Severity;

/// The explanations of members that fail under the names that others gave them.
#[derive(Default)]
pub(super) struct Explained {
    /// The replacements of errors, with the index of the examination.
    pub(super) errors: Vec<(usize, Error)>,
    pub(super) findings: Vec<TopologyFinding>,
}

/// Explains each member outside of the seed list that cannot be used. All members with the same code share one finding.
pub(super) fn explanations(case: &DeploymentCase<'_>) -> Explained {
    let mut explained = Explained::default();
    let mut alike: Vec<(CauseCode, Vec<usize>)> = Vec::new();
    for (at, (member, examination)) in case.members.iter().zip(case.examinations).enumerate() {
        let Some(error) = &examination.error else {
            continue;
        };
        let (Some(cause), Some(stage)) = (error.cause(), error.stage()) else {
            continue;
        };
        // If one host rejects a user, all hosts reject it.
        if member.is_seed || stage > Stage::Hello {
            continue;
        }
        let advertised =
            explain::sdam::advertised(cause.clone(), &member.server, &member.advertised_by);
        explained
            .errors
            .push((at, error.clone().replace_cause(advertised)));
        // Another rule reports these.
        if is_of_another_set(cause) {
            continue;
        }
        match alike.iter_mut().find(|(code, _)| *code == cause.code()) {
            Some((_, places)) => places.push(at),
            None => alike.push((cause.code(), vec![at])),
        }
    }
    let findings = alike.iter().filter_map(|(_, places)| finding(case, places));
    explained.findings = findings.collect();
    explained
}

/// The finding about members with the same code, if a seed that names one of them answers.
fn finding(case: &DeploymentCase<'_>, places: &[usize]) -> Option<TopologyFinding> {
    let failed: Vec<&Member> = places.iter().map(|at| &case.members[*at]).collect();
    let error = case.examinations[*places.first()?].error.as_ref()?;
    let cause = error.cause()?;
    let answering: Vec<&Member> = case
        .members
        .iter()
        .filter(|member| member.server_type != ServerType::Unknown)
        .collect();
    // Other members that the seed names may have named them.
    let seed = answering.iter().find(|member| member.is_seed)?;
    let named_by = |other: &ServerAddress| {
        let mut failed = failed.iter();
        failed.any(|member| member.advertised_by.contains(other))
    };
    let advertisers = answering.iter().map(|member| &member.server);
    let advertisers: Vec<_> = advertisers.filter(|other| named_by(other)).collect();
    let advertisers_text = match advertisers.contains(&&seed.server) {
        true => format!(
            "{} {}, and {}",
            list(advertisers.iter().copied()),
            number_of(advertisers.len(), "answers", "answer"),
            match (advertisers.len(), failed.len()) {
                (1, 1) => "the member that it names does not work",
                (1, _) => "the members that it names do not work",
                (_, 1) => "the member that they name does not work",
                _ => "the members that they name do not work",
            }
        ),
        false => format!(
            "{} answers, and {} named by {} {} not work",
            seed.server,
            number_of(failed.len(), "the member", "the members"),
            list(advertisers.iter().copied()),
            number_of(failed.len(), "does", "do"),
        ),
    };
    let hosts = list(failed.iter().map(|member| &member.server));
    let (code, meaning) = (cause.code(), cause.code().meaning());
    let own = explain::sdam::advertised_remedy(cause, &failed[0].server)
        .unwrap_or_else(|| cause.remedy().to_owned());
    Some(TopologyFinding {
        code: TopologyFindingCode::AdvertisedHostFails,
        severity: Severity::Failure,
        message: format!("{advertisers_text}: {hosts} ({code}: {meaning})"),
        remedy: format!("{own}{}", workaround(case, &advertisers)),
        servers: failed.iter().map(|member| member.server.clone()).collect(),
    })
}

/// Returns true if the connection was closed because the host belongs to another replica set.
fn is_of_another_set(cause: &Cause) -> bool {
    matches!(cause.reason(), Reason::Hello(HelloFailure::WrongSet { .. }))
}

/// The advice for the time until then: connect to the one usable seed, preferably the primary.
fn workaround(case: &DeploymentCase<'_>, advertisers: &[&ServerAddress]) -> String {
    let mut usable: Vec<&Member> = case
        .members
        .iter()
        .zip(case.examinations)
        .filter(|(member, examination)| member.is_seed && examination.error.is_none())
        .map(|(member, _)| member)
        .filter(|member| advertisers.contains(&&member.server))
        .collect();
    usable.sort_by_key(|member| member.server_type != ServerType::RsPrimary);
    match usable.first() {
        Some(member) => format!(
            " Until then, directConnection=true with {} as the only host reaches that {} alone.",
            member.server,
            match member.server_type {
                ServerType::RsPrimary => "primary",
                ServerType::RsSecondary => "secondary",
                _ => "member",
            }
        ),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
