//! `runOnRequirements`: on which deployments a case may run.

use serde_json::Value;

use super::deployment::{Configuration, Deployment};
use super::json::{bson, items};
use super::matcher::{Lookup, matches};

/// Returns true if the file and the case allow this kind of deployment. Server parameters are checked later, because
/// only a running server knows them.
pub(crate) fn allow(configuration: Configuration, file: &Value, case: &Value) -> bool {
    // Authentication changes events and connections, so only cases that ask for it run with it.
    let asks = |part: &Value| {
        items(&part["runOnRequirements"])
            .iter()
            .any(|one| one["auth"] == true)
    };
    let is_asked = configuration.has_auth == (asks(file) || asks(case));
    is_asked
        && [file, case].into_iter().all(|part| {
            let requirements = items(&part["runOnRequirements"]);
            requirements.is_empty() || requirements.iter().any(|one| is_met(configuration, one))
        })
}

/// Returns true if a running deployment has the server parameters that the file and the case need.
pub(crate) fn has_parameters(deployment: &Deployment, file: &Value, case: &Value) -> bool {
    [file, case].into_iter().all(|part| {
        let requirements = items(&part["runOnRequirements"]);
        let fits = |one: &&Value| is_met(deployment.configuration, one);
        requirements.is_empty()
            || requirements
                .iter()
                .filter(fits)
                .any(|one| parameters_match(deployment, one))
    })
}

fn is_met(configuration: Configuration, requirement: &Value) -> bool {
    let version = configuration
        .version
        .numbers
        .map(|part| u64::try_from(part).unwrap_or(0));
    let is_within = requirement["minServerVersion"]
        .as_str()
        .is_none_or(|least| version >= parse(least))
        && requirement["maxServerVersion"]
            .as_str()
            .is_none_or(|most| version <= parse(most));
    let topologies = items(&requirement["topologies"]);
    let is_topology = topologies.is_empty()
        || topologies.iter().any(|name| {
            let name = name.as_str().unwrap_or_default();
            // The shards of the bench are replica sets.
            name.trim_end_matches("-replicaset") == configuration.topology.name()
        });
    let mechanism = requirement["authMechanism"].as_str();
    let has_mechanism = mechanism.is_none_or(|wanted| {
        let mut own = configuration.mechanisms().iter();
        own.any(|own| own.eq_ignore_ascii_case(wanted))
    });
    let csfle = &requirement["csfle"];
    let auth = requirement["auth"].as_bool();
    is_within
        && is_topology
        && auth.is_none_or(|wanted| wanted == configuration.has_auth)
        && has_mechanism
        && requirement["serverless"] != "require"
        && !(*csfle == true || csfle.is_object())
}

fn parse(version: &str) -> [u64; 3] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    [0; 3].map(|_| parts.next().unwrap_or(0))
}

fn parameters_match(deployment: &Deployment, requirement: &Value) -> bool {
    let mut parameters = requirement["serverParameters"]
        .as_object()
        .into_iter()
        .flatten();
    parameters.all(|(name, expected)| {
        let actual = deployment.parameter(name);
        let expected = bson(expected);
        expected
            .is_ok_and(|expected| matches(&expected, actual.as_ref(), false, &NoEntities).is_ok())
    })
}

/// There are no entities before a case begins.
struct NoEntities;

impl Lookup for NoEntities {
    fn value(&self, name: &str) -> Result<bson::Bson, String> {
        Err(format!("\"{name}\" is undefined"))
    }

    fn session_id(&self, name: &str) -> Result<bson::Document, String> {
        Err(format!("\"{name}\" is undefined"))
    }
}
