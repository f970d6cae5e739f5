//! The `casemate` command.

use std::process::ExitCode;

use casemate_cli::commands::Cli;
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if json {
                let answer = serde_json::json!({
                    "error": error.to_string(), "hint": error.hint(), "exit": error.exit_code(),
                });
                eprintln!("{answer}");
            } else {
                eprintln!("error: {error}\nhint: {}", error.hint());
            }
            ExitCode::from(error.exit_code())
        }
    }
}
