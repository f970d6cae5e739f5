//! Which commands are there?

pub mod completions;
pub mod doctor;
pub mod key;
pub mod local;
pub mod lock;
pub mod man;
pub mod ps;

use clap::{Parser, Subcommand};

use crate::{Error, api::Validator, home::Home, output::Output};

/// Runs a compose app in a confidential VM on a machine you need not trust, and checks that it did.
#[derive(Debug, Parser)]
#[command(name = "casemate", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "Every failure ends with `hint:`. Exit codes: docs/reference/exit-codes.md.")]
pub struct Cli {
    /// Answer in JSON on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress on stderr
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Validator to ask, instead of this machine's own: unix:/PATH, http://HOST:PORT or https://HOST
    #[arg(long, global = true, env = "CASEMATE_VALIDATOR", value_name = "ADDRESS")]
    pub validator: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "each command's text stands with its arguments")]
pub enum Command {
    Ps(ps::Arguments),
    Lock(lock::Arguments),
    Key(key::Arguments),
    Local(local::Arguments),
    Doctor(doctor::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// What every command has at hand.
#[derive(Debug)]
pub struct Context {
    /// Where it speaks.
    pub output: Output,
    /// Where things are kept.
    pub home: Home,
    /// `--validator`.
    pub validator: Option<String>,
}

impl Context {
    /// The validator to ask; this machine's own is not started for it.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub fn validator(&self) -> Result<Validator, Error> {
        match &self.validator {
            Some(address) => Ok(Validator::at(address)?),
            None => crate::local::validator_if_running(&self.home),
        }
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`]; otherwise the exit code.
    pub async fn run(self) -> Result<u8, Error> {
        let context = Context {
            output: Output::new(self.json, self.quiet),
            home: Home::open()?,
            validator: self.validator,
        };
        match self.command {
            Command::Ps(arguments) => ps::run(&context, arguments).await,
            Command::Lock(arguments) => lock::run(&context, arguments).await,
            Command::Key(arguments) => key::run(&context, arguments),
            Command::Local(arguments) => local::run(&context, arguments).await,
            Command::Doctor(arguments) => doctor::run(&context, arguments).await,
            Command::Completions(arguments) => completions::run(arguments),
            Command::Man(arguments) => man::run(arguments),
        }
    }
}
