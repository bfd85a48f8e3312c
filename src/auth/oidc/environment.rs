//! The built-in sources of access tokens: the metadata services of Azure and Google Cloud, and a file in
//! Kubernetes.
//!
//! Source: "Built-in OIDC Environment Integrations" in "Driver Authentication".

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::auth::aws::{TokenError, read_token};
use crate::auth::fetch::{FetchError, Query, fetch};
use crate::cause::{Cause, CauseCode};
use crate::net::http::Method;
use crate::options::{AuthMechanism, CloudServices, Credential, OidcToken, Secret};
use crate::printable::Quoted;
use crate::time::Deadline;

/// Where the process runs.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    kind: Kind,
    services: CloudServices,
}

#[derive(Clone, Debug)]
enum Kind {
    Azure {
        resource: String,
        client_id: Option<String>,
    },
    Gcp {
        resource: String,
    },
    Kubernetes,
    /// For tests of drivers.
    Test,
}

impl Environment {
    /// The environment that the checked credential names; none if it names none.
    pub(super) fn of(credential: &Credential, services: &CloudServices) -> Option<Self> {
        let property = |name: &str| Some(credential.properties.get(name)?.expose().to_owned());
        let resource = property("TOKEN_RESOURCE").unwrap_or_default();
        let kind = match property("ENVIRONMENT")?.as_str() {
            "azure" => Kind::Azure {
                resource,
                client_id: credential.username.clone(),
            },
            "gcp" => Kind::Gcp { resource },
            "k8s" => Kind::Kubernetes,
            "test" => Kind::Test,
            _ => return None,
        };
        Some(Self {
            kind,
            services: services.clone(),
        })
    }

    /// What people call it.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Azure { .. } => AZURE,
            Kind::Gcp { .. } => GCP,
            Kind::Kubernetes => KUBERNETES,
            Kind::Test => TEST,
        }
    }

    /// An access token. Nothing is kept here.
    pub(super) fn token(&self, deadline: &Deadline) -> Result<OidcToken, Cause> {
        match &self.kind {
            Kind::Azure {
                resource,
                client_id,
            } => self.azure(resource, client_id.as_deref(), deadline),
            Kind::Gcp { resource } => self.gcp(resource, deadline),
            Kind::Kubernetes => of_file(KUBERNETES, &self.kubernetes_file(), deadline),
            Kind::Test => match self.services.variable("OIDC_TOKEN_FILE") {
                Some(path) => of_file(TEST, Path::new(&path), deadline),
                None => Err(failed(TEST, "OIDC_TOKEN_FILE is not set")),
            },
        }
    }

    fn azure(
        &self,
        resource: &str,
        client_id: Option<&str>,
        deadline: &Deadline,
    ) -> Result<OidcToken, Cause> {
        const NAME: &str = AZURE;
        let base = &self.services.azure;
        let mut url = format!(
            "{base}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={}",
            escape(resource)
        );
        if let Some(client_id) = client_id {
            url += &format!("&client_id={}", escape(client_id));
        }
        let headers = [("Accept", "application/json"), ("Metadata", "true")];
        let body = ask(NAME, base, &url, &headers, deadline)?;
        let answer: AzureAnswer = serde_json::from_slice(&body).map_err(|_| {
            failed(
                NAME,
                &format!("its metadata service at {base} answered without an access_token"),
            )
        })?;
        let AzureAnswer { access_token } = answer;
        Ok(OidcToken::new(Secret::from(access_token)))
    }

    fn gcp(&self, resource: &str, deadline: &Deadline) -> Result<OidcToken, Cause> {
        const NAME: &str = GCP;
        let base = &self.services.gcp;
        let url = format!(
            "{base}/computeMetadata/v1/instance/service-accounts/default/identity?audience={}",
            escape(resource)
        );
        let body = ask(NAME, base, &url, &[("Metadata-Flavor", "Google")], deadline)?;
        match std::str::from_utf8(&body).map(str::trim) {
            Ok(token) if !token.is_empty() => Ok(OidcToken::new(token)),
            _ => Err(failed(
                NAME,
                &format!("its metadata service at {base} answered without a token"),
            )),
        }
    }

    /// The token of the service account: where the webhooks of AKS and EKS put it, or where Kubernetes
    /// itself does.
    fn kubernetes_file(&self) -> PathBuf {
        let named = ["AZURE_FEDERATED_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"];
        let named = named.iter().find_map(|name| self.services.variable(name));
        named.map_or_else(|| self.services.kubernetes_token.clone(), PathBuf::from)
    }
}

/// What Azure answers, of which one field counts: `expires_in` is text there, and the server tells when a
/// token has ended.
#[derive(Deserialize)]
struct AzureAnswer {
    access_token: String,
}

fn ask(
    name: &str,
    base: &str,
    url: &str,
    headers: &[(&str, &str)],
    deadline: &Deadline,
) -> Result<zeroize::Zeroizing<Vec<u8>>, Cause> {
    let query = Query {
        url,
        method: Method::Get,
        headers,
        ca_file: None,
    };
    fetch(&query, deadline).map_err(|error| match error {
        FetchError::Limited(cause) => limited(name, cause),
        error => failed(name, &format!("its metadata service at {base} {error}")),
    })
}

fn of_file(name: &str, path: &Path, deadline: &Deadline) -> Result<OidcToken, Cause> {
    let token = read_token(path, deadline).map(OidcToken::new);
    token.map_err(|error| {
        let why = match error {
            TokenError::Limited(cause) => return limited(name, cause),
            TokenError::Unusable(why) => why,
        };
        let remedy = "Check that this program runs where ENVIRONMENT says, as a pod with a service account whose token \
                      is mounted, and that it may read the file.";
        failed_with(name, &format!("the token file {path} {why}", path = Quoted(path.display())), remedy)
            .fact("path", path.display().to_string())
    })
}

/// This host lacks a resource for the question.
fn limited(name: &str, cause: Cause) -> Cause {
    let message = format!("{name} gave no access token: {}", cause.message());
    cause
        .with_message(message)
        .fact("mechanism", AuthMechanism::MongodbOidc.as_str())
        .fact("service", name)
}

/// The environment gave no token.
pub(super) fn failed(name: &str, why: &str) -> Cause {
    let remedy = "Check that this program runs in the environment that ENVIRONMENT names, that an identity is assigned \
                  to it there, and that TOKEN_RESOURCE is the audience that the server expects.";
    failed_with(name, why, remedy)
}

fn failed_with(name: &str, why: &str, remedy: &str) -> Cause {
    Cause::new(
        CauseCode::CredentialServiceFailed,
        format!("{name} gave no access token: {why}"),
        remedy,
    )
    .fact("mechanism", AuthMechanism::MongodbOidc.as_str())
    .fact("service", name)
}

fn escape(text: &str) -> String {
    const QUERY: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, QUERY).to_string()
}

const AZURE: &str = "Azure";
const GCP: &str = "Google Cloud";
const KUBERNETES: &str = "Kubernetes";
const TEST: &str = "the test environment";
