//! The error for a name that is not in a fixed list.

use std::fmt;

/// The error for a text that is not a known name. `Display` lists the valid names, without repeating the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName(&'static str);

impl UnknownName {
    pub(super) const COMPRESSOR: Self = Self("not a compressor: use snappy, zlib or zstd");
    pub(super) const MECHANISM: Self = Self(
        "not an authentication mechanism: use SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509, PLAIN, GSSAPI, MONGODB-AWS or \
         MONGODB-OIDC, in capitals",
    );
    pub(super) const SERVER_API_VERSION: Self = Self("not a version of the Stable API: use 1");
    pub(super) const READ_PREFERENCE: Self = Self(
        "not a read preference: use primary, primaryPreferred, secondary, secondaryPreferred or nearest",
    );
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UnknownName {}

#[cfg(test)]
mod tests {
    use crate::ServerAddress;
    use crate::options::{
        AuthMechanism, ClientOptions, Compressor, ReadPreferenceMode, ServerApiVersion,
    };

    type Anything = Box<dyn std::error::Error + Send + Sync>;

    #[test]
    fn parsing_fails_with_errors_that_say_what_is_wrong() {
        fn parse<T: std::str::FromStr<Err: Into<Anything>>>(text: &str) -> Result<T, Anything> {
            text.parse().map_err(Into::into)
        }
        let text = |error: Anything| error.to_string();
        assert_eq!(
            parse::<Compressor>("gzip").map_err(text),
            Err("not a compressor: use snappy, zlib or zstd".to_owned())
        );
        assert_eq!(
            parse::<AuthMechanism>("plain").map_err(text),
            Err("not an authentication mechanism: use SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509, PLAIN, GSSAPI, \
                 MONGODB-AWS or MONGODB-OIDC, in capitals"
                .to_owned())
        );
        assert_eq!(
            parse::<ReadPreferenceMode>("Primary").map_err(text),
            Err("not a read preference: use primary, primaryPreferred, secondary, secondaryPreferred or nearest"
                .to_owned())
        );
        assert_eq!(
            parse::<ServerApiVersion>("2").map_err(text),
            Err("not a version of the Stable API: use 1".to_owned())
        );
        assert_eq!(
            parse::<ServerAddress>("h:0").map_err(text),
            Err("not the address of a server: write host, host:port or [IPv6 address]:port, with a port from 1 to \
                 65535"
                .to_owned())
        );
    }

    #[test]
    fn literals_need_no_suffix_and_errors_can_be_boxed() -> Result<(), Anything> {
        let options = ClientOptions::builder()
            .host("h:1".parse()?)
            .max_pool_size(10)
            .min_pool_size(1)
            .max_connecting(3)
            .max_adaptive_retries(4)
            .max_log_document_length(500)
            .zlib_compression_level(6)
            .compressors(["zlib".parse()?])
            .build()?;
        assert_eq!((options.max_pool_size, options.min_pool_size), (10, 1));
        assert_eq!(
            (options.max_connecting, options.max_adaptive_retries),
            (3, 4)
        );
        assert_eq!(options.max_log_document_length, 500);
        Ok(())
    }
}
