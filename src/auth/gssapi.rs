//! GSSAPI: Kerberos, by the system's library (RFC 4752).
//!
//! The library caches tickets and talks to the KDC by its own rules (`krb5.conf`), in calls that no deadline of this
//! crate can interrupt. So calls that may use the network run on a separate thread, and a result that arrives after the
//! deadline is discarded. Source: "GSSAPI" in "Driver Authentication".

use std::fmt;
use std::sync::mpsc;
use std::time::Instant;

use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::{Error as GssError, MajorFlags};
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE, GSS_NT_KRB5_PRINCIPAL, OidSet};
use zeroize::Zeroizing;

use super::context::Context;
use super::sasl::{SaslClient, not_proven};
use crate::cause::Cause;
use crate::ffi::fork;
use crate::ffi::thread;
use crate::limit::Limit;
use crate::net::canonical_name;
use crate::options::{AuthMechanism, Credential, Secret};
use crate::printable::sanitize;
use crate::reason::auth::{AuthFailure, KerberosError, KerberosFailure, SaslViolation};
use crate::time::Deadline;

/// The user and the service that the connections of one client share.
#[derive(Clone, Debug)]
pub(super) struct Gssapi {
    user: String,
    /// Without a password, the library uses a ticket that it has cached.
    password: Option<Secret>,
    service: String,
    realm: Option<String>,
    host: Option<String>,
    canonicalize: Canonicalize,
}

/// The conversion of the host's name for the service principal (`CANONICALIZE_HOST_NAME`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Canonicalize {
    None,
    Forward,
    ForwardAndReverse,
}

impl Gssapi {
    pub(super) fn new(credential: &Credential) -> Self {
        let property = |name: &str| Some(credential.properties.get(name)?.expose().to_owned());
        Self {
            user: credential.username.clone().unwrap_or_default(),
            password: credential.password.clone(),
            service: property("SERVICE_NAME").unwrap_or_else(|| "mongodb".to_owned()),
            realm: property("SERVICE_REALM"),
            host: property("SERVICE_HOST"),
            canonicalize: match property("CANONICALIZE_HOST_NAME").as_deref() {
                Some("forward") => Canonicalize::Forward,
                Some("forwardAndReverse" | "true") => Canonicalize::ForwardAndReverse,
                _ => Canonicalize::None,
            },
        }
    }

    /// Gets the ticket for the server, and starts the conversation of a connection.
    pub(super) fn client(&self, context: &Context<'_>) -> Result<GssapiClient, AuthFailure> {
        let server = self.host.as_deref().unwrap_or(context.dns_name).to_owned();
        let own = self.clone();
        bounded(&context.deadline, move || {
            let target = own.target(&server);
            own.begin(&target)
                .map_err(|error| own.failed(&error, &target))
        })
    }

    /// Returns the name of the server's service.
    fn target(&self, server: &str) -> KerberosService {
        let host = match self.canonicalize {
            Canonicalize::None => server.to_owned(),
            Canonicalize::Forward => canonical_name(server, false),
            Canonicalize::ForwardAndReverse => canonical_name(server, true),
        };
        KerberosService {
            service: self.service.clone(),
            host,
            realm: self.realm.clone(),
        }
    }

    fn begin(&self, target: &KerberosService) -> Result<GssapiClient, GssError> {
        let user = Name::new(self.user.as_bytes(), Some(GSS_NT_KRB5_PRINCIPAL))?;
        let mechanisms = OidSet::singleton(GSS_MECH_KRB5)?;
        let (usage, mechanisms) = (CredUsage::Initiate, Some(&mechanisms));
        let credential = match &self.password {
            Some(password) => {
                let password = password.expose();
                Cred::acquire_with_password(Some(&user), password, None, usage, mechanisms)?
            }
            None => Cred::acquire(Some(&user), None, usage, mechanisms)?,
        };
        let flags = CtxFlags::GSS_C_MUTUAL_FLAG | CtxFlags::GSS_C_INTEG_FLAG;
        let name = target.name()?;
        let mut context = ClientCtx::new(Some(credential), name, flags, Some(GSS_MECH_KRB5));
        let first = context.step(None, None)?;
        Ok(GssapiClient {
            user: self.user.clone(),
            context,
            first: first.map(|token| token.to_vec()).unwrap_or_default(),
            is_complete: false,
        })
    }
}

impl Gssapi {
    /// Describes an error of the library. The numbers are those of MIT's `krb5_err.et`.
    fn failed(&self, error: &GssError, target: &KerberosService) -> AuthFailure {
        const SERVICE_UNKNOWN: i32 = -1_765_328_377;
        const TICKET_EXPIRED: i32 = -1_765_328_352;
        let is = |flag: MajorFlags| routine(error.major) == routine(flag);
        let minor = i32::from_ne_bytes(error.minor.to_ne_bytes());
        let meaning = if is(MajorFlags::GSS_S_CREDENTIALS_EXPIRED) || minor == TICKET_EXPIRED {
            KerberosError::TicketExpired
        } else if minor == SERVICE_UNKNOWN {
            KerberosError::ServiceUnknown
        } else if is(MajorFlags::GSS_S_NO_CRED) {
            match self.password {
                Some(_) => KerberosError::PasswordRejected,
                None => KerberosError::TicketMissing,
            }
        } else {
            KerberosError::Other
        };
        AuthFailure::Kerberos(KerberosFailure {
            error: meaning,
            user: self.user.clone(),
            service: target.text(),
            text: in_one_line(error),
        })
    }
}

/// The service that a ticket is requested for.
struct KerberosService {
    service: String,
    host: String,
    realm: Option<String>,
}

impl KerberosService {
    fn name(&self) -> Result<Name, GssError> {
        let kind = match self.realm {
            Some(_) => GSS_NT_KRB5_PRINCIPAL,
            None => GSS_NT_HOSTBASED_SERVICE,
        };
        Name::new(self.text().as_bytes(), Some(kind))
    }

    /// Returns `mongodb@host`, for which the library finds the realm, or the principal `mongodb/host@REALM`.
    fn text(&self) -> String {
        let Self { service, host, .. } = self;
        match &self.realm {
            Some(realm) => format!("{service}/{host}@{realm}"),
            None => format!("{service}@{host}"),
        }
    }
}

/// The client's side of one conversation.
pub(super) struct GssapiClient {
    user: String,
    context: ClientCtx,
    first: Vec<u8>,
    is_complete: bool,
}

impl SaslClient for GssapiClient {
    fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
        Ok(std::mem::take(&mut self.first).into())
    }

    fn respond(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
        if self.is_complete {
            return Err(violated(SaslViolation::UnexpectedMessage));
        }
        let refused = |error: GssError| violated(SaslViolation::Gssapi(in_one_line(&error)));
        if !self.context.is_complete() {
            // This verifies the server's proof, without the network.
            let token = self.context.step(Some(message), None).map_err(refused)?;
            return Ok(token.map(|token| token.to_vec()).unwrap_or_default().into());
        }
        let offer = self.context.unwrap(message).map_err(refused)?;
        // The server's security layers, and its largest message. TLS protects the connection, so no layer is selected.
        match offer[..] {
            [layers, _, _, _] if layers & NO_LAYER != 0 => {}
            [_, _, _, _] => return Err(violated(SaslViolation::SecurityLayerRequired)),
            _ => return Err(violated(SaslViolation::SecurityLayersMalformed)),
        }
        let choice = [&[NO_LAYER, 0, 0, 0], self.user.as_bytes()].concat();
        let response = self.context.wrap(false, &choice).map_err(refused)?;
        self.is_complete = true;
        Ok(response.to_vec().into())
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl fmt::Debug for GssapiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GssapiClient").finish_non_exhaustive()
    }
}

/// Runs `work` on a separate thread, and waits for its result until the deadline.
fn bounded<T: Send + 'static>(
    deadline: &Deadline,
    work: impl FnOnce() -> Result<T, AuthFailure> + Send + 'static,
) -> Result<T, AuthFailure> {
    let late = || AuthFailure::KerberosTimeout(deadline.elapsed());
    let (sender, result) = mpsc::sync_channel(1);
    // After the deadline, the receiver no longer exists.
    let started = thread::spawn("mongotls-gssapi", move || drop(sender.send(work())));
    started.map_err(|_| AuthFailure::NoThread {
        mechanism: AuthMechanism::Gssapi,
        reached: Limit::Threads.reached(),
    })?;
    fork::outside(|| match deadline.remaining(Instant::now()) {
        Ok(Some(remaining)) => result.recv_timeout(remaining).map_err(|_| late())?,
        Ok(None) => result.recv().map_err(|_| late())?,
        Err(_) => Err(late()),
    })
}

/// Returns the routine error of a status, without the other bits (RFC 2744 §3.9.1).
fn routine(major: MajorFlags) -> u32 {
    major.bits() & 0x00ff_0000
}

fn in_one_line(error: &GssError) -> String {
    sanitize(error.to_string().as_bytes())
}

fn violated(violation: SaslViolation) -> Cause {
    not_proven(AuthMechanism::Gssapi, violation).into()
}

/// The layer without any protection (RFC 4752 §3.3).
const NO_LAYER: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_for_the_host_or_for_a_realm() {
        let mut target = KerberosService {
            service: "mongodb".into(),
            host: "db.example".into(),
            realm: None,
        };
        assert_eq!(target.text(), "mongodb@db.example");
        target.realm = Some("EXAMPLE".into());
        assert_eq!(target.text(), "mongodb/db.example@EXAMPLE");
    }

    #[test]
    fn errors_of_the_library_are_distinguished() {
        let target = KerberosService {
            service: "mongodb".into(),
            host: "db.example".into(),
            realm: None,
        };
        let mut own = Gssapi {
            user: "ada@EXAMPLE".into(),
            password: None,
            service: String::new(),
            realm: None,
            host: None,
            canonicalize: Canonicalize::None,
        };
        let of = |own: &Gssapi, major: MajorFlags, minor: i32| {
            let error = GssError {
                major,
                minor: u32::from_ne_bytes(minor.to_ne_bytes()),
            };
            match own.failed(&error, &target) {
                AuthFailure::Kerberos(failure) => failure.error,
                other => panic!("{other:?}"),
            }
        };
        let failure = MajorFlags::GSS_S_FAILURE;
        let no_credential = MajorFlags::GSS_S_NO_CRED;
        let expired = MajorFlags::GSS_S_CREDENTIALS_EXPIRED;
        for (major, minor, expected) in [
            (failure, -1_765_328_377, KerberosError::ServiceUnknown),
            (failure, -1_765_328_352, KerberosError::TicketExpired),
            (failure, -1_765_328_228, KerberosError::Other),
            (no_credential, 0, KerberosError::TicketMissing),
            (expired, 0, KerberosError::TicketExpired),
        ] {
            assert_eq!(of(&own, major, minor), expected);
        }
        own.password = Some(Secret::from("password"));
        assert_eq!(of(&own, no_credential, 0), KerberosError::PasswordRejected);
    }
}
