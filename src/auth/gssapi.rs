//! GSSAPI: Kerberos, by the library of the system (RFC 4752).
//!
//! The library keeps tickets and talks to the KDC by its own rules (`krb5.conf`), in calls that no deadline
//! of ours can interrupt. So whatever may use the network runs on a thread of its own, which is left to
//! itself once the deadline has passed. Source: "GSSAPI" in "Driver Authentication".

use std::fmt;
use std::sync::mpsc;
use std::time::Instant;

use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::{Error as GssError, MajorFlags};
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE, GSS_NT_KRB5_PRINCIPAL, OidSet};
use zeroize::Zeroizing;

use super::sasl::SaslClient;
use super::{Context, server_not_proven};
use crate::cause::{Cause, CauseCode};
use crate::ffi::fork;
use crate::ffi::thread;
use crate::limit::Limit;
use crate::net::canonical_name;
use crate::options::{AuthMechanism, Credential, Secret};
use crate::printable::Quoted;
use crate::time::Deadline;

/// What the connections of one client share.
#[derive(Clone, Debug)]
pub(super) struct Gssapi {
    user: String,
    /// None takes a ticket that is there.
    password: Option<Secret>,
    service: String,
    realm: Option<String>,
    host: Option<String>,
    canonicalize: Canonicalize,
}

/// What becomes of the host's name before the KDC is asked for it (`CANONICALIZE_HOST_NAME`).
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

    /// Gets the ticket for the server, and begins the conversation of a connection.
    pub(super) fn client(&self, context: &Context<'_>) -> Result<GssapiClient, Cause> {
        let server = self.host.as_deref().unwrap_or(context.dns_name).to_owned();
        let own = self.clone();
        bounded(&context.deadline, move || {
            let target = own.target(&server);
            own.begin(&target)
                .map_err(|error| own.failed(&error, &target))
        })
    }

    /// The principal of the server: `mongodb@host`, whose realm the library finds, or
    /// `mongodb/host@REALM`.
    fn target(&self, server: &str) -> Target {
        let host = match self.canonicalize {
            Canonicalize::None => server.to_owned(),
            Canonicalize::Forward => canonical_name(server, false),
            Canonicalize::ForwardAndReverse => canonical_name(server, true),
        };
        Target {
            service: self.service.clone(),
            host,
            realm: self.realm.clone(),
        }
    }

    fn begin(&self, target: &Target) -> Result<GssapiClient, GssError> {
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
    /// What the library says → a cause. The numbers are MIT's `krb5_err.et`.
    fn failed(&self, error: &GssError, target: &Target) -> Cause {
        const SERVICE_UNKNOWN: i32 = -1_765_328_377;
        const TICKET_EXPIRED: i32 = -1_765_328_352;
        let user = &self.user;
        let text = in_one_line(error);
        let target = target.text();
        let is = |flag: MajorFlags| routine(error.major) == routine(flag);
        let minor = i32::from_ne_bytes(error.minor.to_ne_bytes());
        let expired = is(MajorFlags::GSS_S_CREDENTIALS_EXPIRED) || minor == TICKET_EXPIRED;
        let (code, message, remedy) = if expired {
            (
                CauseCode::KerberosTicketMissing,
                format!(
                    "the Kerberos ticket of {user} has expired: {text}",
                    user = Quoted(&user)
                ),
                format!(
                    "Get a new one by `kinit {user}`, or run a program that renews it (k5start)."
                ),
            )
        } else if minor == SERVICE_UNKNOWN {
            (
            CauseCode::KerberosServiceUnknown,
            format!("the KDC does not know the service {target}: {text}", target = Quoted(&target)),
            "Connect by the name that the service principal has, or set SERVICE_HOST, SERVICE_NAME, SERVICE_REALM or \
             CANONICALIZE_HOST_NAME in authMechanismProperties; `klist -k` on the server lists its principals."
                .to_owned(),
        )
        } else if is(MajorFlags::GSS_S_NO_CRED) && self.password.is_some() {
            (
            CauseCode::KerberosFailed,
            format!("the KDC gave no ticket to {user} for its password: {text}", user = Quoted(&user)),
            "Check the user name with its realm, and the password; and that the clock is right.".to_owned(),
        )
        } else if is(MajorFlags::GSS_S_NO_CRED) {
            (
                CauseCode::KerberosTicketMissing,
                format!(
                    "there is no Kerberos ticket of {user}: {text}",
                    user = Quoted(&user)
                ),
                format!(
                    "Get one by `kinit {user}`, or point KRB5CCNAME or KRB5_CLIENT_KTNAME to where there is one."
                ),
            )
        } else {
            (
                CauseCode::KerberosFailed,
                format!(
                    "Kerberos failed for the user {user} and the service {target}: {text}",
                    user = Quoted(&user),
                    target = Quoted(&target)
                ),
                KDC.to_owned(),
            )
        };
        cause(code, message, remedy)
            .fact("user", user.as_str())
            .fact("service", target)
    }
}

/// The service that a ticket is asked for.
struct Target {
    service: String,
    host: String,
    realm: Option<String>,
}

impl Target {
    fn name(&self) -> Result<Name, GssError> {
        let kind = match self.realm {
            Some(_) => GSS_NT_KRB5_PRINCIPAL,
            None => GSS_NT_HOSTBASED_SERVICE,
        };
        Name::new(self.text().as_bytes(), Some(kind))
    }

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

    fn answer(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
        if self.is_complete {
            return Err(broken("it sent a message where none is due"));
        }
        let refuse = |error: GssError| broken(&in_one_line(&error));
        if !self.context.is_complete() {
            // The server's own proof: nothing of this uses the network.
            let token = self.context.step(Some(message), None).map_err(refuse)?;
            return Ok(token.map(|token| token.to_vec()).unwrap_or_default().into());
        }
        let offer = self.context.unwrap(message).map_err(refuse)?;
        // Which security layers the server has, and the largest message; TLS does that work here.
        match offer[..] {
            [layers, _, _, _] if layers & NO_LAYER != 0 => {}
            [_, _, _, _] => return Err(broken("it demands a security layer of GSSAPI")),
            _ => return Err(broken("its offer of security layers cannot be read")),
        }
        let choice = [&[NO_LAYER, 0, 0, 0], self.user.as_bytes()].concat();
        let answer = self.context.wrap(false, &choice).map_err(refuse)?;
        self.is_complete = true;
        Ok(answer.to_vec().into())
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

/// Runs `work` on a thread of its own, and waits for it until the deadline.
fn bounded<T: Send + 'static>(
    deadline: &Deadline,
    work: impl FnOnce() -> Result<T, Cause> + Send + 'static,
) -> Result<T, Cause> {
    let late = || {
        let elapsed = deadline.elapsed();
        let limit = crate::error::Milliseconds(elapsed.limit);
        let option = elapsed.kind.option();
        let message = format!("the Kerberos library did not end within {limit} ({option})");
        cause(CauseCode::KerberosFailed, message, KDC).fact("option", option)
    };
    let (sender, outcome) = mpsc::sync_channel(1);
    // Nobody waits any more once the deadline has passed.
    let started = thread::spawn("mongotls-gssapi", move || drop(sender.send(work())));
    started.map_err(|_| {
        let cause = Limit::Threads.cause("the Kerberos library was not asked");
        cause.fact("mechanism", AuthMechanism::Gssapi.as_str())
    })?;
    fork::outside(|| match deadline.remaining(Instant::now()) {
        Ok(Some(left)) => outcome.recv_timeout(left).map_err(|_| late())?,
        Ok(None) => outcome.recv().map_err(|_| late())?,
        Err(_) => Err(late()),
    })
}

/// The routine error of a status, without what else is in its bits (RFC 2744 §3.9.1).
fn routine(major: MajorFlags) -> u32 {
    major.bits() & 0x00ff_0000
}

fn cause(code: CauseCode, message: String, remedy: impl Into<String>) -> Cause {
    Cause::new(code, message, remedy).fact("mechanism", AuthMechanism::Gssapi.as_str())
}

fn in_one_line(error: &GssError) -> String {
    super::excerpt::excerpt(error.to_string().as_bytes())
}

fn broken(what: &str) -> Cause {
    server_not_proven(AuthMechanism::Gssapi, what)
}

const KDC: &str = "Look at /etc/krb5.conf and at the way to the KDC; `KRB5_TRACE=/dev/stderr` shows what the library does.";

/// The layer that protects nothing (RFC 4752 §3.3).
const NO_LAYER: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_for_the_host_or_for_a_realm() {
        let mut target = Target {
            service: "mongodb".into(),
            host: "db.example".into(),
            realm: None,
        };
        assert_eq!(target.text(), "mongodb@db.example");
        target.realm = Some("EXAMPLE".into());
        assert_eq!(target.text(), "mongodb/db.example@EXAMPLE");
    }

    #[test]
    fn what_the_library_says_becomes_a_cause() {
        let target = Target {
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
            own.failed(&error, &target).code()
        };
        let failure = MajorFlags::GSS_S_FAILURE;
        assert_eq!(
            of(&own, failure, -1_765_328_377),
            CauseCode::KerberosServiceUnknown
        );
        assert_eq!(
            of(&own, failure, -1_765_328_352),
            CauseCode::KerberosTicketMissing
        );
        assert_eq!(of(&own, failure, -1_765_328_228), CauseCode::KerberosFailed);
        assert_eq!(
            of(&own, MajorFlags::GSS_S_NO_CRED, 0),
            CauseCode::KerberosTicketMissing
        );
        let expired = MajorFlags::GSS_S_CREDENTIALS_EXPIRED;
        assert_eq!(of(&own, expired, 0), CauseCode::KerberosTicketMissing);
        own.password = Some(Secret::from("password"));
        assert_eq!(
            of(&own, MajorFlags::GSS_S_NO_CRED, 0),
            CauseCode::KerberosFailed
        );
    }
}
