//! Examples of credentials that could not be obtained.

use std::path::Path;

use mongotls::bson::doc;
use mongotls::internals::CloudServices;
use mongotls::options::OidcToken;
use mongotls::{CauseCode, Client};
use mongotls_testbench::http_server::{HttpServer, Response};
use mongotls_testbench::server::{Auth, AwsMechanism, OidcMechanism, Server};

use super::{Inject, Lab};

pub(super) fn injections(code: CauseCode) -> &'static [Inject] {
    match code {
        CauseCode::AwsCredentialsMissing => &[
            |lab| {
                let services = crate::aws::services(&[]);
                let output = lab.aws(services)?;
                Some(real(&output, "169.254.169.254"))
            },
            |lab| {
                lab.aws(crate::aws::services(&[(
                    "AWS_ACCESS_KEY_ID",
                    "AKIDEXAMPLE",
                )]))
            },
            |lab| {
                let token = lab.file("token", "");
                let token = token.to_str().unwrap();
                lab.aws(crate::aws::services(&[(
                    "AWS_WEB_IDENTITY_TOKEN_FILE",
                    token,
                )]))
            },
        ],
        CauseCode::AwsStsRefused => &[|lab| {
            let (_sts, _dir, services) = crate::aws::sts(|_| {
                Response::status(
                    400,
                    r#"{"Error":{"Code":"ExpiredTokenException","Message":"Token expired: current date/time must be before the expiration date/time"}}"#,
                )
            });
            lab.aws(services)
        }],
        CauseCode::CredentialServiceFailed => &[
            |lab| {
                let variable = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials");
                let services = crate::aws::services(&[variable]);
                let output = lab.aws(services)?;
                Some(real(&output, "169.254.170.2"))
            },
            |lab| {
                let variables = [
                    ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
                    ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/app"),
                ];
                lab.aws(crate::aws::services(&variables))
            },
            |lab| {
                let azure = HttpServer::start(|_| {
                    Response::status(
                        400,
                        r#"{"error":"invalid_request","error_description":"Identity not found"}"#,
                    )
                });
                let services = CloudServices {
                    azure: azure.url(),
                    ..CloudServices::default()
                };
                let uri = "authMechanismProperties=ENVIRONMENT:azure,TOKEN_RESOURCE:api%3A%2F%2Fdb";
                let output = lab.oidc(uri, |builder| builder.cloud_services(services))?;
                let shown = azure.url().replace("127.0.0.1", "192.0.2.10");
                Some(output.replace(&shown, "http://169.254.169.254"))
            },
            |lab| {
                let server = Server::builder().start();
                let options = "authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s";
                let variable = ("AZURE_FEDERATED_TOKEN_FILE", Path::new("/var/run/token"));
                lab.doctor_in(&format!("{}?{options}", server.uri()), &[variable])
            },
        ],
        CauseCode::OidcCallbackFailed => &[
            |lab| {
                lab.oidc("", |builder| {
                    builder.oidc_callback(|_| Err("the vault is sealed".into()))
                })
            },
            |lab| {
                lab.oidc("", |builder| {
                    builder.oidc_callback(|_| panic!("for the example"))
                })
            },
            |lab| {
                lab.oidc("", |builder| {
                    builder.oidc_callback(|_| Ok(OidcToken::new("")))
                })
            },
            |lab| {
                lab.oidc("connectTimeoutMS=200", |builder| {
                    builder.oidc_callback(|request| {
                        std::thread::sleep(request.timeout * 2);
                        Ok(OidcToken::new("late"))
                    })
                })
            },
        ],
        CauseCode::OidcHostNotAllowed => &[|lab| {
            lab.oidc("", |builder| {
                builder
                    .oidc_human_callback(|_| Ok(OidcToken::new("token")))
                    .oidc_allowed_hosts(["*.example.net"])
            })
        }],
        CauseCode::KerberosTicketMissing => &[
            |lab| kerberos(lab, None, "ada%40EXAMPLE.COM"),
            |lab| kerberos(lab, Some(1), "ada%40EXAMPLE.COM"),
        ],
        CauseCode::KerberosServiceUnknown => &[|lab| kerberos(lab, Some(600), "ada%40EXAMPLE.COM")],
        CauseCode::KerberosFailed => &[|lab| kerberos(lab, None, "ada%40EXAMPLE.COM:wrong")],
        _ => &[],
    }
}

/// Replaces the address of the test's server by that of a service of AWS.
fn real(output: &str, address: &str) -> String {
    let output = output.replace("http://192.0.2.10:1 ", &format!("http://{address} "));
    output.replace("192.0.2.10:1 ", &format!("{address}:80 "))
}

/// The doctor's output for a user with a ticket of this number of seconds, for a service that the KDC does not know.
/// `None` without a KDC or without the feature: then the entry is kept.
#[cfg(feature = "gssapi")]
fn kerberos(lab: &Lab, ticket: Option<u32>, user: &str) -> Option<String> {
    use std::path::PathBuf;

    use mongotls_testbench::peers::{Kdc, or_skip};

    let kdc = or_skip(Kdc::start())?;
    kdc.user("ada", "pencil");
    if let Some(seconds) = ticket {
        kdc.ticket("ada", "pencil", seconds);
        if seconds == 1 {
            std::thread::sleep(std::time::Duration::from_millis(3100));
        }
    }
    let server = Server::builder().start();
    let user = user.replace("EXAMPLE.COM", Kdc::REALM);
    let uri = format!(
        "mongodb://{user}@localhost:{}/?authMechanism=GSSAPI",
        server.port()
    );
    let environment = kdc.env();
    let variables: Vec<(&str, &Path)> = environment
        .iter()
        .map(|(name, path)| (*name, path.as_path()))
        .collect();
    let output = lab.doctor_in(&uri, &variables)?;
    let folder = environment[0].1.parent().map(PathBuf::from)?;
    let output = output.replace(&folder.display().to_string(), "/tmp");
    Some(output.replace(Kdc::REALM, "EXAMPLE.COM"))
}

#[cfg(not(feature = "gssapi"))]
fn kerberos(_: &Lab, _: Option<u32>, _: &str) -> Option<String> {
    None
}

impl Lab {
    /// The error of a program that authenticates by MONGODB-AWS.
    fn aws(&self, services: CloudServices) -> Option<String> {
        let server = crate::aws::server_of(AwsMechanism::new());
        let client = crate::aws::client(&server, services);
        let error = crate::aws::count(&client).unwrap_err();
        Some(self.normalise(&format!("{error:?}"), Some(&server.port().to_string())))
    }

    /// The error of a program that authenticates by MONGODB-OIDC.
    fn oidc(
        &self,
        options: &str,
        change: impl FnOnce(
            mongotls::options::ClientOptionsBuilder,
        ) -> mongotls::options::ClientOptionsBuilder,
    ) -> Option<String> {
        let auth = Auth::new().external(OidcMechanism::new());
        let server = Server::builder().auth(auth).start();
        let uri = format!("{}?authMechanism=MONGODB-OIDC&{options}", server.uri());
        let builder = mongotls::ConnectionString::parse(&uri)
            .unwrap()
            .into_builder();
        let client = Client::with_options(change(builder).build().unwrap()).unwrap();
        let error = client
            .database("db")
            .run_command(doc! { "count": "things" })
            .unwrap_err();
        Some(self.normalise(&format!("{error:?}"), Some(&server.port().to_string())))
    }
}
