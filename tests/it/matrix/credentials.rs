//! Credentials from other sources than the connection string, which do not arrive.

use mongotls::CauseCode;
use mongotls::error::Stage;
use mongotls_testbench::server::Server;
use serde_json::json;

use super::{Expected, Place, Seen};

pub(super) const CODES: &[CauseCode] = &[
    CauseCode::AwsCredentialsMissing,
    CauseCode::CredentialServiceFailed,
];

/// Variables that name neither a file nor a service.
fn place(variables: &[(&'static str, &str)]) -> Place {
    let variables = variables.iter();
    Place {
        variables: variables
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        ..Place::default()
    }
}

#[test]
fn sources_that_have_nothing_are_named() {
    let server = Server::builder().start();
    let mut seen = Seen::default();
    let mut check = |scenario, place: &Place, options: &str, expected: &Expected| {
        let uri = format!("{}?{options}", server.uri());
        seen.check_in(
            place,
            scenario,
            &uri,
            &expected.clone().at(Stage::Authentication),
        );
        assert_eq!(place.client_code(&uri), expected.code.as_str());
    };
    check(
        "half of a key",
        &place(&[("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")]),
        "authMechanism=MONGODB-AWS",
        &Expected::new(CauseCode::AwsCredentialsMissing)
            .fact("mechanism", "MONGODB-AWS")
            .says("lacks AWS_SECRET_ACCESS_KEY"),
    );
    check(
        "a web identity without its file",
        &place(&[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token"),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/app"),
        ]),
        "authMechanism=MONGODB-AWS",
        &Expected::new(CauseCode::CredentialServiceFailed)
            .fact("role", "arn:aws:iam::123456789012:role/app")
            .says("/nonexistent/token"),
    );
    check(
        "a pod without a token",
        &place(&[("AZURE_FEDERATED_TOKEN_FILE", "/nonexistent/token")]),
        "authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s",
        &Expected::new(CauseCode::CredentialServiceFailed)
            .fact("mechanism", "MONGODB-OIDC")
            .fact("service", json!("Kubernetes"))
            .says("/nonexistent/token"),
    );
    seen.are(CODES);
}
