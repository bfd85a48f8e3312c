//! The rules between options, and the ranges of single options, regardless of where they come from.
//!
//! [`ClientOptionsBuilder::build`](super::ClientOptionsBuilder::build) applies them to the options from a program or
//! a connection string. The fields of [`ClientOptions`] can be changed within the crate, so a client and the doctor
//! apply them again.

use std::time::Duration;

use super::builder::DeploymentOptions;
use super::{AuthMechanism, ClientOptions, DriverInfo, SrvOptions};
use crate::address::ServerAddress;
use crate::error::{Error, Result};
use crate::reason::options::OptionConflict;

impl ClientOptions {
    /// Checks the options, and converts time limits of zero to no limit.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) with every conflict found.
    pub(crate) fn checked(self) -> Result<Self> {
        let conflicts = self.conflicts();
        match conflicts.is_empty() {
            true => Ok(self.without_zero_limits()),
            false => Err(Error::configuration(conflicts)),
        }
    }

    /// Converts zero to no limit for all time limits except `timeout`, whose absence has another meaning.
    pub(super) fn without_zero_limits(mut self) -> Self {
        for limit in [
            &mut self.connect_timeout,
            &mut self.socket_timeout,
            &mut self.wait_queue_timeout,
            &mut self.max_idle_time,
        ] {
            *limit = limit.filter(|limit| !limit.is_zero());
        }
        self
    }

    /// Returns the broken rules, each with its specification.
    pub(super) fn conflicts(&self) -> Vec<OptionConflict> {
        let srv = self.srv.as_ref();
        let deployment = DeploymentOptions {
            hosts: self.hosts.len(),
            srv: srv.is_some(),
            max_hosts: srv.map_or(0, |srv| srv.max_hosts),
            replica_set: self.replica_set.is_some(),
            direct: self.direct_connection == Some(true),
            load_balanced: self.load_balanced,
        };
        let is_nowhere = |address: &ServerAddress| match address {
            ServerAddress::Tcp { host, port } => host.is_empty() || *port == 0,
            ServerAddress::Unix { path } => path.as_os_str().is_empty(),
        };
        let rules = [
            (
                self.hosts.is_empty() && srv.is_none(),
                OptionConflict::NoHost,
            ),
            (
                self.hosts.iter().any(is_nowhere),
                OptionConflict::HostWithoutNameOrPort,
            ),
            (
                self.connect_to
                    .keys()
                    .any(|server| matches!(server, ServerAddress::Unix { .. })),
                OptionConflict::ConnectToUnixSocket,
            ),
            (
                self.connect_to.values().any(is_nowhere),
                OptionConflict::ConnectToWithoutNameOrPort,
            ),
            (
                srv.is_some_and(|srv| !SrvOptions::is_service_name(&srv.service_name)),
                OptionConflict::SrvServiceName,
            ),
            (
                self.default_database.as_deref() == Some(""),
                OptionConflict::DefaultDatabaseEmpty,
            ),
            (
                self.app_name
                    .as_ref()
                    .is_some_and(|name| name.len() > Self::MAX_APP_NAME),
                OptionConflict::AppNameTooLong,
            ),
            (
                !self.driver_info.iter().all(DriverInfo::is_sound),
                OptionConflict::DriverInfo,
            ),
            (self.max_connecting == 0, OptionConflict::MaxConnectingZero),
            (
                self.heartbeat_frequency < Duration::from_millis(500),
                OptionConflict::HeartbeatFrequencyTooShort,
            ),
            (
                self.server_selection_timeout.is_zero(),
                OptionConflict::ServerSelectionTimeoutZero,
            ),
            (
                !(-1..=9).contains(&self.zlib_compression_level),
                OptionConflict::ZlibCompressionLevel,
            ),
            (
                self.max_pool_size > 0 && self.min_pool_size > self.max_pool_size,
                OptionConflict::PoolSizes,
            ),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
        let proxy = self
            .proxy
            .iter()
            .flat_map(|proxy| proxy.conflicts(&self.hosts));
        let fixed = broken
            .map(|(_, why)| why)
            .chain(deployment.conflicts())
            .chain(proxy);
        let mut conflicts: Vec<_> = fixed.collect();
        conflicts.extend(self.read_preference.check().err());
        conflicts.extend(self.write_concern.check().err());
        let has_callback = self.oidc_callback.is_some();
        let credential = self.credential.as_ref();
        conflicts.extend(credential.and_then(|own| own.check(has_callback).err()));
        conflicts
    }

    /// Returns a warning about AWS keys in the options, if there are any.
    ///
    /// "Driver Authentication", "MONGODB-AWS", requires since 2025-09-30 that drivers reject them. This driver does so
    /// only with [`aws_keys_from_environment_only`](super::ClientOptionsBuilder::aws_keys_from_environment_only).
    pub(crate) fn aws_keys_deprecation(&self) -> Option<&'static str> {
        let credential = self.credential.as_ref()?;
        let has_keys = credential.username.is_some() || credential.password.is_some();
        let is_aws = credential.mechanism == Some(AuthMechanism::MongodbAws);
        (is_aws && has_keys).then_some(
            "AWS keys in a connection string or in the options are deprecated: set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, or use a role of the host. aws_keys_from_environment_only rejects such keys",
        )
    }
}

/// Returns the reason why a database name is invalid on every server, or `None` if it is valid. Source: the MongoDB
/// manual, "Naming Restrictions".
pub(crate) fn database_name_problem(name: &str) -> Option<String> {
    const LONGEST: usize = 63;
    if name.is_empty() {
        return Some("the name of the database is empty".to_owned());
    }
    if name.len() > LONGEST {
        return Some(format!(
            "the name of the database is longer than {LONGEST} bytes"
        ));
    }
    let is_external = name == "$external";
    let forbidden = |c: &char| matches!(c, '/' | '\\' | '.' | ' ' | '"' | '$' | '\0');
    let found = name.chars().find(forbidden).filter(|_| !is_external);
    found.map(|c| format!("the name of a database cannot contain {c:?}"))
}

/// Returns the reason why a collection name is invalid on every server, or `None` if it is valid. Source: the MongoDB
/// manual, "Naming Restrictions".
pub(crate) fn collection_name_problem(name: &str) -> Option<String> {
    let problem = match name {
        "" => "the name of the collection is empty",
        _ if name.contains('\0') => "the name of a collection cannot contain a NUL",
        _ if name.starts_with('.') || name.ends_with('.') => {
            "the name of a collection cannot begin or end with a dot"
        }
        _ if name.contains("..") => "the name of a collection cannot contain two dots in a row",
        _ => return None,
    };
    Some(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cause::CauseCode;
    use crate::options::{Acknowledgment, Credential, ProxyCredential, ProxyOptions, Secret};

    fn parsed(uri: &str) -> ClientOptions {
        ClientOptions::parse(uri).unwrap().0
    }

    #[test]
    fn changed_options_obey_the_rules_of_the_builder() {
        let credential = |mechanism| Credential {
            username: None,
            password: Some(Secret::from("p")),
            source: "$external".to_owned(),
            mechanism,
            properties: BTreeMap::new(),
        };
        let proxy = |port, user: &str| ProxyOptions {
            host: "p".to_owned(),
            port,
            credential: Some(ProxyCredential {
                username: user.to_owned(),
                password: Secret::from("x"),
            }),
        };
        type Change<'a> = Box<dyn Fn(&mut ClientOptions) + 'a>;
        let rows: Vec<(Change<'_>, &str)> = vec![
            (Box::new(|o| o.hosts.clear()), "no host is given"),
            (
                Box::new(|o| o.hosts.push(ServerAddress::tcp("h", 0))),
                "a host needs a name and a port from 1 to 65535",
            ),
            (
                Box::new(|o| {
                    let socket = ServerAddress::unix("/tmp/m.sock");
                    o.connect_to.insert(socket, ServerAddress::tcp("h", 1));
                }),
                "connect_to replaces the address of a host, and a Unix socket is none",
            ),
            (
                Box::new(|o| {
                    let server = ServerAddress::tcp("h", 27017);
                    o.connect_to.insert(server, ServerAddress::tcp("h", 0));
                }),
                "a target of connect_to needs a name and a port from 1 to 65535",
            ),
            (
                Box::new(|o| o.max_connecting = 0),
                "maxConnecting must be 1 or more",
            ),
            (
                Box::new(|o| o.heartbeat_frequency = Duration::ZERO),
                "heartbeatFrequencyMS must be 500 or more",
            ),
            (
                Box::new(|o| o.server_selection_timeout = Duration::ZERO),
                "serverSelectionTimeoutMS must be 1 or more",
            ),
            (
                Box::new(|o| o.zlib_compression_level = 10),
                "zlibCompressionLevel must be between -1 and 9",
            ),
            (
                Box::new(|o| o.min_pool_size = 101),
                "minPoolSize is larger than maxPoolSize",
            ),
            (
                Box::new(|o| o.app_name = Some("x".repeat(129))),
                "appName is longer than 128 bytes",
            ),
            (
                Box::new(|o| o.driver_info.push(DriverInfo::new("a|b"))),
                "driver_info needs a name, and its texts hold no '|' and no NUL",
            ),
            (
                Box::new(|o| o.default_database = Some(String::new())),
                "the name of the default database is empty",
            ),
            (
                Box::new(|o| (o.load_balanced, o.replica_set) = (true, Some("rs".to_owned()))),
                "loadBalanced=true cannot be used with replicaSet",
            ),
            (
                Box::new(|o| {
                    o.direct_connection = Some(true);
                    o.hosts.push(ServerAddress::tcp("other", 1));
                }),
                "directConnection=true allows one host only",
            ),
            (
                Box::new(|o| o.proxy = Some(proxy(0, "u"))),
                "proxyPort must be 1 or more",
            ),
            (
                Box::new(|o| o.proxy = Some(proxy(1, ""))),
                "proxyUsername and proxyPassword go together",
            ),
            (
                Box::new(|o| o.read_preference.max_staleness = Some(Duration::from_secs(90))),
                "maxStalenessSeconds needs a readPreference other than primary",
            ),
            (
                Box::new(|o| {
                    o.write_concern.w = Some(Acknowledgment::Nodes(0));
                    o.write_concern.journal = Some(true);
                }),
                "w=0 asks for no acknowledgment and journal=true asks for one",
            ),
            (
                Box::new(|o| o.credential = Some(credential(None))),
                "the user name is empty",
            ),
            (
                Box::new(|o| o.credential = Some(credential(Some(AuthMechanism::MongodbX509)))),
                "MONGODB-X509 takes no password",
            ),
        ];
        for (change, expected) in rows {
            let mut options = parsed("mongodb://h/");
            change(&mut options);
            for outcome in [
                options.clone().checked().map(drop),
                crate::Client::with_options(options.clone()).map(drop),
            ] {
                let error = outcome.expect_err(expected);
                let cause = error.cause().unwrap();
                assert_eq!(
                    (cause.code(), cause.message()),
                    (CauseCode::OptionConflict, expected)
                );
            }
            let found = crate::doctor::examine_options(&options);
            let error = found.examinations[0].error.as_ref().unwrap();
            assert_eq!(error.cause().unwrap().message(), expected);
        }
    }

    #[test]
    fn all_broken_rules_are_named_at_once() {
        let mut options = parsed("mongodb://h/");
        (options.max_connecting, options.min_pool_size) = (0, 500);
        let error = options.checked().unwrap_err();
        assert_eq!(
            error.cause().unwrap().message(),
            "maxConnecting must be 1 or more; minPoolSize is larger than maxPoolSize"
        );
    }

    #[test]
    fn changed_options_may_say_no_limit_by_zero() {
        let mut options = parsed("mongodb://h/");
        options.connect_timeout = Some(Duration::ZERO);
        options.wait_queue_timeout = Some(Duration::ZERO);
        options.timeout = Some(Duration::ZERO);
        let options = options.checked().unwrap();
        assert_eq!(
            (options.connect_timeout, options.wait_queue_timeout),
            (None, None)
        );
        assert_eq!(options.timeout, Some(Duration::ZERO));
    }

    #[test]
    fn aws_keys_in_options_are_deprecated() {
        let warning = |uri: &str| parsed(uri).aws_keys_deprecation();
        let aws = "authMechanism=MONGODB-AWS";
        for keys in [
            "id:secret@h/?",
            "id:secret@h/?authMechanismProperties=AWS_SESSION_TOKEN:t&",
        ] {
            let text = warning(&format!("mongodb://{keys}{aws}")).unwrap();
            assert!(text.contains("deprecated") && text.contains("AWS_ACCESS_KEY_ID"));
            assert!(!text.contains("secret@"));
        }
        for uri in [
            format!("mongodb://h/?{aws}"),
            "mongodb://id:secret@h/".to_owned(),
        ] {
            assert_eq!(warning(&uri), None, "{uri}");
        }
    }

    #[test]
    fn names_that_no_server_accepts_are_known() {
        for (name, expected) in [
            ("", "the name of the database is empty"),
            ("a.b", "the name of a database cannot contain '.'"),
            ("a b", "the name of a database cannot contain ' '"),
            ("a/b", "the name of a database cannot contain '/'"),
            ("a\\b", "the name of a database cannot contain '\\\\'"),
            ("a\"b", "the name of a database cannot contain '\"'"),
            ("a\0b", "the name of a database cannot contain '\\0'"),
            ("$internal", "the name of a database cannot contain '$'"),
        ] {
            assert_eq!(
                database_name_problem(name).as_deref(),
                Some(expected),
                "{name}"
            );
        }
        let longest = "x".repeat(63);
        for name in [
            "admin",
            "$external",
            "a-b_c",
            "größe",
            "a;b=c",
            "A*<>:|?",
            &longest,
        ] {
            assert_eq!(database_name_problem(name), None, "{name}");
        }
        let expected = Some("the name of the database is longer than 63 bytes".to_owned());
        assert_eq!(database_name_problem(&format!("{longest}x")), expected);
    }
}
