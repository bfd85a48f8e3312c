//! The alerts of TLS, by number and name (RFC 8446 §6, RFC 5246 §7.2).

/// An alert that the peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alert(u8);

macro_rules! alerts {
    ($($constant:ident = $number:literal, $name:literal;)*) => {
        impl Alert {
            $(pub(crate) const $constant: Self = Self($number);)*

            /// The name in IANA's registry, or `alert N` for a number that is not known here.
            pub(crate) fn name(self) -> String {
                match self.0 {
                    $($number => $name.to_owned(),)*
                    // Alerts without a rule of their own.
                    0 => "close_notify".to_owned(),
                    10 => "unexpected_message".to_owned(),
                    22 => "record_overflow".to_owned(),
                    47 => "illegal_parameter".to_owned(),
                    50 => "decode_error".to_owned(),
                    90 => "user_canceled".to_owned(),
                    100 => "no_renegotiation".to_owned(),
                    110 => "unsupported_extension".to_owned(),
                    113 => "bad_certificate_status_response".to_owned(),
                    115 => "unknown_psk_identity".to_owned(),
                    120 => "no_application_protocol".to_owned(),
                    number => format!("alert {number}"),
                }
            }
        }
    };
}

alerts! {
    HANDSHAKE_FAILURE = 40, "handshake_failure";
    BAD_CERTIFICATE = 42, "bad_certificate";
    UNSUPPORTED_CERTIFICATE = 43, "unsupported_certificate";
    CERTIFICATE_REVOKED = 44, "certificate_revoked";
    CERTIFICATE_EXPIRED = 45, "certificate_expired";
    CERTIFICATE_UNKNOWN = 46, "certificate_unknown";
    UNKNOWN_CA = 48, "unknown_ca";
    ACCESS_DENIED = 49, "access_denied";
    DECRYPT_ERROR = 51, "decrypt_error";
    PROTOCOL_VERSION = 70, "protocol_version";
    INSUFFICIENT_SECURITY = 71, "insufficient_security";
    BAD_RECORD_MAC = 20, "bad_record_mac";
    INTERNAL_ERROR = 80, "internal_error";
    INAPPROPRIATE_FALLBACK = 86, "inappropriate_fallback";
    MISSING_EXTENSION = 109, "missing_extension";
    UNRECOGNIZED_NAME = 112, "unrecognized_name";
    CERTIFICATE_REQUIRED = 116, "certificate_required";
}

impl Alert {
    /// OpenSSL reports a fatal alert as the reason 1000 + number (`SSL_AD_REASON_OFFSET`).
    pub(crate) fn from_reason(reason: i32) -> Option<Self> {
        reason
            .checked_sub(1000)
            .and_then(|number| u8::try_from(number).ok())
            .map(Self)
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }
}
