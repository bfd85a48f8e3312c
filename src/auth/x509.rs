//! MONGODB-X509: the certificate that TLS has shown is the user.

use crate::cause::{Cause, CauseCode};
use crate::options::{AuthMechanism, ClientOptions};

/// Whether there will be a certificate to show.
pub(super) fn check(options: &ClientOptions) -> Result<(), Cause> {
    let (what, remedy) = match &options.tls {
        None => (
            "tls is off",
            "Add tls=true and tlsCertificateKeyFile to the connection string.",
        ),
        Some(tls) if tls.identity().is_none() => (
            "no client certificate is configured",
            "Name the PEM file with the client's certificate and private key in tlsCertificateKeyFile.",
        ),
        Some(_) => return Ok(()),
    };
    Err(Cause::new(
        CauseCode::OptionConflict,
        format!("MONGODB-X509 takes the user from the client certificate, and {what}"),
        remedy,
    )
    .fact("mechanism", AuthMechanism::MongodbX509.as_str()))
}
