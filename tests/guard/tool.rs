//! Runs this program again, under a tool that observes it.

use std::env;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::process::{Command, Stdio};

use mongotls_testbench::peers::PeerUnavailable;

use crate::operations::Subject;

/// The word before a side, an operation, a server and a number of operations.
pub(crate) const WORD: &str = "run";

/// Runs operations under the tool, whose package has the same name.
///
/// # Errors
///
/// If it is not installed, or lacks the permission to trace.
pub(crate) fn run<A: AsRef<OsStr>>(
    tool: &str,
    arguments: &[A],
    (subject, server, times): (Subject, &str, u32),
) -> Result<(), PeerUnavailable> {
    let output = Command::new(tool)
        .args(arguments)
        .arg(env::current_exe().unwrap())
        .arg(WORD)
        .args(subject.words())
        .args([server, &times.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(PeerUnavailable {
                what: format!("there is no {tool}"),
                remedy: format!("install the package {tool}"),
            });
        }
        output => output.unwrap(),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("Operation not permitted") {
        return Err(PeerUnavailable {
            what: format!("there is no permission for {tool}"),
            remedy: "allow ptrace, in a container with --cap-add=SYS_PTRACE".into(),
        });
    }
    assert!(output.status.success(), "{tool}: {errors}");
    Ok(())
}
