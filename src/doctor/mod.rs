//! The examination of a deployment, stage by stage: the findings, the duration, and the error, if any.
//!
//! [`examine`] goes through the stages of every connection (options, resolve, connect, tls, revocation, hello,
//! authentication, command) for each host separately, outside of any pool, and keeps the findings. The hosts are those
//! of the connection string or of DNS. As for a client, the members of a replica set that they name are added, and the
//! members that those name. The examination changes nothing on the server. Besides the commands of authentication it
//! runs only `ping` and `buildInfo` and, if the user was rejected, a hello that requests the databases that have the
//! user. With TLS, a second connection shows if the server accepts the sessions that it issues; it is closed after
//! hello. Before connecting, the examination reads the files that the options name.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | from options to hosts |
//! | `report.rs` | the findings, as plain data |
//! | `deployment.rs` | the threads: many hosts in parallel, until no new one is named |
//! | `host.rs` | the examination of one host |
//! | `topology.rs` | the result of all examinations together: the topology of a client, as plain data |
//! | `judge/` | the rules: the problems of all hosts together |

mod deployment;
mod host;
mod judge;
mod report;
mod topology;

use std::collections::HashSet;
use std::time::{Instant, SystemTime};

pub use self::report::{Diagnosis, Examination, Findings, Outcome, StageReport};
pub use self::topology::{Member, TopologyFinding, TopologyFindingCode, TopologyReport};
use crate::conn::Connector;
use crate::error::{Result, Stage};
use crate::options::{ClientOptions, ClientOptionsBuilder};
use crate::printable::Quoted;
use crate::srv;
pub use crate::srv::SeedList;
use crate::tls::{FileReport, Files, FindingCode, Library, Reading, Severity};
use crate::uri::{ConnectionString, Warning};

/// Examines every host that a connection string names, and every member that those name.
///
/// With `directConnection=true` or `loadBalanced=true`, only the single host is examined. Up to 16 hosts are examined
/// in parallel, each within `connectTimeoutMS` for the connection, and at most 1000 members in total.
///
/// ```no_run
/// let diagnosis = mongotls::doctor::examine("mongodb://db.example.com/?tlsCAFile=ca.pem");
/// if let Some(error) = diagnosis.error() {
///     println!("{error}");
///     if let Some(cause) = error.cause() {
///         println!("what to do: {}", cause.remedy());
///     }
/// }
/// ```
pub fn examine(uri: &str) -> Diagnosis {
    examine_with(uri, |builder| builder)
}

/// Examines the deployment with options that `change` adds to those of the connection string.
///
/// ```no_run
/// use mongotls::doctor;
/// use mongotls::options::Secret;
///
/// let diagnosis = doctor::examine_with("mongodb://ada@db.example.com/", |builder| {
///     builder.password(Secret::new("pencil"))
/// });
/// println!("{}", diagnosis.is_ok());
/// ```
pub fn examine_with(
    uri: &str,
    change: impl FnOnce(ClientOptionsBuilder) -> ClientOptionsBuilder,
) -> Diagnosis {
    let started = Instant::now();
    let parsed = ConnectionString::parse(uri).and_then(|uri| {
        let warnings = uri.warnings().iter().map(Warning::to_string).collect();
        Ok((change(uri.into_builder()).build()?, warnings))
    });
    examine_parsed(started, parsed)
}

/// Examines every host that options name, and every member that those name, as [`examine`] does.
///
/// ```no_run
/// use mongotls::{ClientOptions, doctor};
///
/// let options = ClientOptions::builder().host("db.example.com:27017".parse()?).build()?;
/// for examination in doctor::examine_options(&options).examinations {
///     println!("{:?}", examination.stage());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn examine_options(options: &ClientOptions) -> Diagnosis {
    let checked = options.clone().checked();
    examine_parsed(Instant::now(), checked.map(|options| (options, Vec::new())))
}

fn examine_parsed(started: Instant, parsed: Result<(ClientOptions, Vec<String>)>) -> Diagnosis {
    let mut warnings = Vec::new();
    let mut files = Vec::new();
    let prepared = parsed.and_then(|(options, found)| {
        warnings = found;
        warnings.extend(options.aws_keys_deprecation().map(str::to_owned));
        // The files are read only once, because a pipe has no data for a second time.
        let tls = options.tls.as_ref();
        let read = tls.map(|tls| (tls, Files::of(tls, Reading::Once)));
        if tls.is_some() {
            warnings.extend(Library::inspect().problems());
        }
        if let Some((tls, read)) = &read {
            files = FileReport::of_options(tls, read, SystemTime::now());
        }
        let connector = Connector::with_files(&options, read.map(|(_, read)| read))?;
        Ok((options, connector))
    });
    let took = started.elapsed();
    // For a file that loads, the server decides. For a file that does not load, the error explains the problem.
    let worst = match prepared {
        Ok(_) => Severity::Failure,
        Err(_) => Severity::Warning,
    };
    warnings.extend(files.iter().flat_map(|file| warnings_of(file, worst)));
    let blank = |server, seed_list| Examination {
        server,
        stages: Vec::new(),
        error: None,
        warnings: warnings.clone(),
        seed_list,
        dns_name: None,
        clock_ahead: None,
    };
    let unusable = |error| {
        let mut examination = blank(None, None);
        examination.failed(Stage::Options, took, error);
        if let Some(report) = examination.stages.last_mut() {
            report.findings = Findings::Options {
                trust_anchors: None,
                files: files.clone(),
                library: Some(Library::inspect()),
            };
        }
        without_topology(examination)
    };
    let (mut options, mut connector) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return unusable(error),
    };
    let of_options = |connector: &Connector| Findings::Options {
        trust_anchors: connector.tls().map(|tls| tls.trust_anchors().clone()),
        files: files.clone(),
        library: connector.tls().map(|_| Library::inspect()),
    };
    let mut seed_list = None;
    if options.srv.is_some() {
        let started = Instant::now();
        // A TXT record may change the options that determine the connections.
        let completed = srv::resolve(&mut options)
            .and_then(|seed_list| Ok((seed_list, connector.with_options(&options)?)));
        match completed {
            Ok((found, updated)) => (seed_list, connector) = (Some(found), updated),
            Err(error) if error.stage() == Some(Stage::Resolve) => {
                let mut examination = blank(None, None);
                examination.passed(Stage::Options, took, of_options(&connector));
                examination.failed(Stage::Resolve, started.elapsed(), error);
                return without_topology(examination);
            }
            Err(error) => return unusable(error),
        }
    }
    let of_options = of_options(&connector);
    let found = deployment::examine_all(&options, |server| {
        let mut examination = blank(Some(server.clone()), seed_list.clone());
        examination.passed(Stage::Options, took, of_options.clone());
        host::examine(server, &options, &connector, &mut examination);
        examination
    });
    let deployment::DeploymentExaminations {
        mut examinations,
        is_complete,
    } = found;
    for examination in &mut examinations {
        let mut seen = HashSet::new();
        let warnings = &mut examination.warnings;
        warnings.retain(|warning| seen.insert(warning.clone()));
    }
    let topology = judge::judge(&options, &mut examinations, is_complete);
    Diagnosis {
        examinations,
        topology: Some(topology),
    }
}

/// A diagnosis of findings from before the hosts were known.
fn without_topology(examination: Examination) -> Diagnosis {
    Diagnosis {
        examinations: vec![examination],
        topology: None,
    }
}

/// The problems of a file, up to a severity. Many problems of one kind, as in a bundle of old CAs, are reported by the
/// first one and a count.
fn warnings_of(file: &FileReport, worst: Severity) -> Vec<String> {
    const MAX_PER_KIND: usize = 3;
    let name = format!(
        "{} {}",
        file.option.unwrap_or_default(),
        Quoted(&file.path.display().to_string())
    );
    let findings = file
        .findings
        .iter()
        .filter(|finding| finding.severity <= worst);
    let mut kinds: Vec<(FindingCode, Vec<&str>)> = Vec::new();
    for finding in findings {
        match kinds.iter_mut().find(|(code, _)| *code == finding.code) {
            Some((_, messages)) => messages.push(&finding.message),
            None => kinds.push((finding.code, vec![&finding.message])),
        }
    }
    let warnings = kinds.iter().flat_map(|(_, messages)| {
        let more = match messages.len() {
            count if count > MAX_PER_KIND => format!("; and {} more like it", count - 1),
            _ => String::new(),
        };
        let each = if more.is_empty() { MAX_PER_KIND } else { 1 };
        let name = &name;
        messages
            .iter()
            .take(each)
            .map(move |message| format!("{name}: {message}{more}"))
    });
    warnings.collect()
}
