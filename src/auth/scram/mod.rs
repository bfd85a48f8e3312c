//! SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677): client and server prove to each other that they
//! know the password, without sending it.

use zeroize::Zeroizing;

use super::sasl::SaslClient;
use crate::cause::Cause;
use crate::options::{AuthMechanism, Credential};

/// What the SCRAM conversations of a client share.
#[derive(Debug)]
pub(super) struct Scram {}

impl Scram {
    pub(super) fn new(_credential: &Credential) -> Self {
        Self {}
    }

    /// Whether the password can be used with SCRAM-SHA-256.
    pub(super) fn check_password(&self) -> Result<(), Cause> {
        Ok(())
    }

    /// A conversation by that mechanism.
    pub(super) fn client(&self, mechanism: AuthMechanism) -> Result<Client, Cause> {
        Err(super::unsupported(mechanism))
    }
}

/// The client's side of one conversation.
#[derive(Debug)]
pub(super) struct Client {}

impl SaslClient for Client {
    fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
        Ok(Zeroizing::default())
    }

    fn answer(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
        Ok(Zeroizing::default())
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn skips_empty_exchange(&self) -> bool {
        true
    }
}
