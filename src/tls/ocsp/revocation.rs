//! The findings about the revocation of the server's own certificate.

use std::time::{Duration, SystemTime};

use crate::data::revocation::{Evidence, RevocationStatus, RevocationStep};

/// What was found out about the server's own certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) status: RevocationStatus,
    pub(crate) steps: Vec<RevocationStep>,
    pub(crate) valid_until: Option<SystemTime>,
}

impl Found {
    /// The CRLs do not list it: OpenSSL would have ended the handshake.
    pub(crate) fn by_crl() -> Self {
        let step = RevocationStep::new(Evidence::Crl, "does not list it", Duration::ZERO);
        Self {
            status: RevocationStatus::Good,
            steps: vec![step],
            valid_until: None,
        }
    }
}
