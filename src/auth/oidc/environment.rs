//! The built-in sources of access tokens: the metadata services of Azure and Google Cloud, and a file in Kubernetes.
//!
//! Source: "Built-in OIDC Environment Integrations" in "Driver Authentication".

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::auth::fetch::{ServiceError, ServiceRequest, fetch, read_token};
use crate::cause::Cause;
use crate::explain;
use crate::net::http::Method;
use crate::options::{CloudServices, Credential, OidcToken, Secret};
use crate::reason::auth::{
    AccessTokenFailure, AccessTokenProblem, AccessTokenSource, AuthFailure,
    CredentialServiceProblem,
};
use crate::time::Deadline;

/// The environment in which the process runs.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    kind: EnvironmentKind,
    services: CloudServices,
}

#[derive(Clone, Debug)]
enum EnvironmentKind {
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
    /// Returns the environment that the checked credential names, if any.
    pub(super) fn of(credential: &Credential, services: &CloudServices) -> Option<Self> {
        let property = |name: &str| Some(credential.properties.get(name)?.expose().to_owned());
        let resource = property("TOKEN_RESOURCE").unwrap_or_default();
        let kind = match property("ENVIRONMENT")?.as_str() {
            "azure" => EnvironmentKind::Azure {
                resource,
                client_id: credential.username.clone(),
            },
            "gcp" => EnvironmentKind::Gcp { resource },
            "k8s" => EnvironmentKind::Kubernetes,
            "test" => EnvironmentKind::Test,
            _ => return None,
        };
        Some(Self {
            kind,
            services: services.clone(),
        })
    }

    /// The source of its tokens.
    pub(super) fn source(&self) -> AccessTokenSource {
        match self.kind {
            EnvironmentKind::Azure { .. } => AccessTokenSource::Azure,
            EnvironmentKind::Gcp { .. } => AccessTokenSource::GoogleCloud,
            EnvironmentKind::Kubernetes => AccessTokenSource::Kubernetes,
            EnvironmentKind::Test => AccessTokenSource::TestEnvironment,
        }
    }

    /// Gets an access token. It is not cached here.
    pub(super) fn token(&self, deadline: &Deadline) -> Result<OidcToken, Cause> {
        match &self.kind {
            EnvironmentKind::Azure {
                resource,
                client_id,
            } => self.azure(resource, client_id.as_deref(), deadline),
            EnvironmentKind::Gcp { resource } => self.gcp(resource, deadline),
            EnvironmentKind::Kubernetes => Ok(self.of_file(&self.kubernetes_file(), deadline)?),
            EnvironmentKind::Test => {
                const VARIABLE: &str = "OIDC_TOKEN_FILE";
                let path = self.services.variable(VARIABLE);
                let path =
                    path.ok_or_else(|| self.failed(AccessTokenProblem::VariableNotSet(VARIABLE)))?;
                Ok(self.of_file(Path::new(&path), deadline)?)
            }
        }
    }

    fn azure(
        &self,
        resource: &str,
        client_id: Option<&str>,
        deadline: &Deadline,
    ) -> Result<OidcToken, Cause> {
        let base = &self.services.azure;
        let mut url = format!(
            "{base}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={}",
            escape(resource)
        );
        if let Some(client_id) = client_id {
            url += &format!("&client_id={}", escape(client_id));
        }
        let headers = [("Accept", "application/json"), ("Metadata", "true")];
        let body = self.fetch(base, &url, &headers, deadline)?;
        let reply: AzureReply = serde_json::from_slice(&body).map_err(|_| {
            self.service_failed(base, CredentialServiceProblem::Missing("an access_token"))
        })?;
        let AzureReply { access_token } = reply;
        Ok(OidcToken::new(Secret::from(access_token)))
    }

    fn gcp(&self, resource: &str, deadline: &Deadline) -> Result<OidcToken, Cause> {
        let base = &self.services.gcp;
        let url = format!(
            "{base}/computeMetadata/v1/instance/service-accounts/default/identity?audience={}",
            escape(resource)
        );
        let body = self.fetch(base, &url, &[("Metadata-Flavor", "Google")], deadline)?;
        match std::str::from_utf8(&body).map(str::trim) {
            Ok(token) if !token.is_empty() => Ok(OidcToken::new(token)),
            _ => Err(self
                .service_failed(base, CredentialServiceProblem::Missing("a token"))
                .into()),
        }
    }

    fn fetch(
        &self,
        base: &str,
        url: &str,
        headers: &[(&str, &str)],
        deadline: &Deadline,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, Cause> {
        let query = ServiceRequest {
            url,
            method: Method::Get,
            headers,
            ca_file: None,
        };
        fetch(&query, deadline).map_err(|error| match ServiceError::from(error) {
            ServiceError::Limited(cause) => {
                explain::auth::limited_environment(cause, self.source())
            }
            ServiceError::Problem(problem) => self.service_failed(base, problem).into(),
        })
    }

    fn of_file(&self, path: &Path, deadline: &Deadline) -> Result<OidcToken, AuthFailure> {
        let token = read_token(path, deadline).map(OidcToken::new);
        token.map_err(|failure| self.failed(AccessTokenProblem::TokenFile(failure)))
    }

    fn service_failed(&self, base: &str, problem: CredentialServiceProblem) -> AuthFailure {
        self.failed(AccessTokenProblem::MetadataService {
            url: base.to_owned(),
            problem,
        })
    }

    fn failed(&self, problem: AccessTokenProblem) -> AuthFailure {
        let source = self.source();
        AuthFailure::AccessToken(AccessTokenFailure { source, problem })
    }

    /// The file with the token of the service account: that of the webhooks of AKS and EKS, or that of Kubernetes
    /// itself.
    fn kubernetes_file(&self) -> PathBuf {
        let named = ["AZURE_FEDERATED_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"];
        let named = named.iter().find_map(|name| self.services.variable(name));
        named.map_or_else(|| self.services.kubernetes_token.clone(), PathBuf::from)
    }
}

/// Azure's reply. Only one field is used: `expires_in` is text there, and the server reports an expired token.
#[derive(Deserialize)]
struct AzureReply {
    access_token: String,
}

fn escape(text: &str) -> String {
    const QUERY: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, QUERY).to_string()
}
