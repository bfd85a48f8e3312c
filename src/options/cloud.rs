//! Where the credential services of clouds are found. Fixed by their makers; tests put others in place.

#![cfg_attr(
    not(feature = "_internals"),
    allow(unreachable_pub, reason = "only `internals` exports it, for tests")
)]

use std::collections::BTreeMap;
#[cfg(feature = "cloud")]
use std::env;
use std::path::PathBuf;

/// The credential services that MONGODB-AWS and MONGODB-OIDC ask, and the environment that names them.
///
/// No key of the connection string sets them, and only tests can: a program that could change them could read every
/// credential. Default: the real services. Source: "Driver Authentication".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudServices {
    /// The agent of AWS ECS, without a path.
    pub aws_ecs: String,
    /// The metadata service of AWS EC2, without a path.
    pub aws_ec2: String,
    /// AWS STS, without a path.
    pub aws_sts: String,
    /// The trust anchors of AWS STS; none means the system's.
    pub aws_sts_ca_file: Option<PathBuf>,
    /// The metadata service of Azure, without a path.
    pub azure: String,
    /// The metadata service of Google Cloud, without a path.
    pub gcp: String,
    /// The token of a Kubernetes service account.
    pub kubernetes_token: PathBuf,
    /// Stands for the environment of the process; none means that of the process.
    pub variables: Option<BTreeMap<String, String>>,
}

impl Default for CloudServices {
    fn default() -> Self {
        Self {
            aws_ecs: "http://169.254.170.2".to_owned(),
            aws_ec2: "http://169.254.169.254".to_owned(),
            aws_sts: "https://sts.amazonaws.com".to_owned(),
            aws_sts_ca_file: None,
            azure: "http://169.254.169.254".to_owned(),
            gcp: "http://metadata".to_owned(),
            kubernetes_token: "/var/run/secrets/kubernetes.io/serviceaccount/token".into(),
            variables: None,
        }
    }
}

#[cfg(feature = "cloud")]
impl CloudServices {
    /// The value of an environment variable, read now; none if it is empty or not UTF-8.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let value = match &self.variables {
            Some(variables) => variables.get(name).cloned(),
            None => env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }
}
