//! Tasks of this repository that are neither product nor test.

use std::process::ExitCode;

mod oci_layout;

const USAGE: &str = "\
usage: cargo run -p xtask -- TASK ...

  oci-layout    wraps tar files of a root filesystem into an OCI image layout
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("oci-layout") => oci_layout::run(arguments),
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
