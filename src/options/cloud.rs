//! The addresses of the credential services of cloud providers. The providers define them; tests replace them.

#![cfg_attr(
    not(feature = "_internals"),
    allow(unreachable_pub, reason = "only `internals` exports it, for tests")
)]

use std::collections::BTreeMap;
#[cfg(feature = "cloud")]
use std::env;
use std::path::PathBuf;

/// The credential services that MONGODB-AWS and MONGODB-OIDC use, and the environment variables that configure them.
///
/// They are not part of the connection string, and only tests can set them: a program that could change them could
/// read every credential. Default: the real services. Source: "Driver Authentication".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudServices {
    /// The URL of the AWS ECS agent, without a path.
    pub aws_ecs: String,
    /// The URL of the AWS EC2 metadata service, without a path.
    pub aws_ec2: String,
    /// The URL of AWS STS, without a path.
    pub aws_sts: String,
    /// The trust anchors for AWS STS, or `None` for those of the system.
    pub aws_sts_ca_file: Option<PathBuf>,
    /// The URL of the Azure metadata service, without a path.
    pub azure: String,
    /// The URL of the Google Cloud metadata service, without a path.
    pub gcp: String,
    /// The token file of a Kubernetes service account.
    pub kubernetes_token: PathBuf,
    /// Replaces the environment of the process; `None` uses the environment of the process.
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
    /// Returns the current value of an environment variable, or `None` if it is unset, empty or not UTF-8.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let value = match &self.variables {
            Some(variables) => variables.get(name).cloned(),
            None => env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }
}
