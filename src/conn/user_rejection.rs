//! Finds out more about the rejection of a user than the server's error contains, for the doctor.

use std::time::Instant;

use bson::{RawDocumentBuf, cstr};

use super::{Connector, Request};
use crate::address::ServerAddress;
use crate::auth::read_user_mechanisms;
use crate::cause::Cause;
use crate::error::{Error, Result};
use crate::options::{AuthMechanism, Credential};
use crate::reason::Reason;
use crate::reason::auth::{AuthFailure, CredentialRejection, UserMechanisms};

impl Connector {
    /// Queries which databases have a rejected user, and with which mechanisms, and explains the rejection with that.
    /// If this cannot be found out, `error` is returned unchanged.
    ///
    /// It opens one more connection, without a user. In its reply to hello before authentication, MongoDB names the
    /// mechanisms of a user, and no mechanisms for an unknown user.
    pub(crate) fn probe_rejection(
        &self,
        server: &ServerAddress,
        credential: &Credential,
        databases: &[&str],
        error: Error,
    ) -> Error {
        let Some(user) = &credential.username else {
            return error;
        };
        let Some(Reason::Auth(reason)) = error.cause().map(Cause::reason) else {
            return error;
        };
        let AuthFailure::Rejected(rejection) = &**reason else {
            return error;
        };
        if !matches!(
            rejection.mechanism,
            AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256
        ) {
            return error;
        }
        let Ok(mut connection) = self.establish_without_user(server, None, &mut ()) else {
            return error;
        };
        let deadline = self.connect_deadline(Instant::now());
        let mut discover = |database: &str| -> Result<UserMechanisms> {
            let name = format!("{database}.{user}");
            let mut body = RawDocumentBuf::new();
            body.append(connection.hello_name().as_cstr(), 1_i32);
            body.append(cstr!("saslSupportedMechs"), name);
            let request = Request::new("admin", &body);
            let reply = connection.run(&request, Some(deadline))?;
            Ok(read_user_mechanisms(&reply))
        };
        let Ok(user_mechanisms) = discover(&credential.source) else {
            return error;
        };
        let others = databases.iter().filter(|name| **name != credential.source);
        let knows = |name: &&&str| matches!(discover(name), Ok(UserMechanisms::Listed(_)));
        let known_in: Vec<String> = others.filter(knows).map(|&name| name.to_owned()).collect();
        let rejection = CredentialRejection {
            user_mechanisms,
            known_in,
            ..(**rejection).clone()
        };
        let reason = AuthFailure::Rejected(Box::new(rejection));
        error.replace_cause(reason.into())
    }
}
