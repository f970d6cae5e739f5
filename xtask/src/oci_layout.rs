//! How do root filesystem archives become an OCI image?

use std::{path::PathBuf, process::ExitCode};

use casemate_image::oci::{Empty, RunConfig, write_layout};

const USAGE: &str = "\
usage: cargo run -p xtask -- oci-layout --output DIR --reference NAME:TAG [options] LAYER.tar...

  --entrypoint ARG   first argument of the process; repeat for more
  --cmd ARG          further default argument; repeat for more
  --env NAME=VALUE   environment; may be repeated
  --user USER        user[:group]
  --workdir DIR      working directory
  --expose PORT      such as 80/tcp; may be repeated
  --volume DIR       directory that holds data; may be repeated
";

/// Writes the layout and prints the manifest's digest.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let Some((output, reference, layers, config)) = parse(arguments) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match write_layout(&output, &reference, &layers, &config) {
        Ok(written) => {
            println!("sha256:{}", written.manifest);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let because = std::error::Error::source(&error).map(|source| format!(" ({source})"));
            eprintln!("error: {error}{}", because.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<(PathBuf, String, Vec<PathBuf>, RunConfig)> {
    let (mut output, mut reference, mut layers) = (None, None, Vec::new());
    let mut config = RunConfig::default();
    while let Some(argument) = arguments.next() {
        if !argument.starts_with("--") {
            layers.push(PathBuf::from(argument));
            continue;
        }
        let value = arguments.next()?;
        match argument.as_str() {
            "--output" => output = Some(PathBuf::from(value)),
            "--reference" => reference = Some(value),
            "--entrypoint" => config.entrypoint.push(value),
            "--cmd" => config.cmd.push(value),
            "--env" => config.env.push(value),
            "--user" => config.user = value,
            "--workdir" => config.working_dir = value,
            "--expose" => drop(config.exposed_ports.insert(value, Empty {})),
            "--volume" => drop(config.volumes.insert(value, Empty {})),
            _ => return None,
        }
    }
    if layers.is_empty() {
        return None;
    }
    Some((output?, reference?, layers, config))
}
