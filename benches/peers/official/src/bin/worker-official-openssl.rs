//! With OpenSSL.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker_official::main()
}
