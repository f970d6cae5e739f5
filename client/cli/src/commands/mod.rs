//! Which commands are there?

pub mod completions;
pub mod demo;
pub mod doctor;
pub mod endorsements;
pub mod exec;
pub mod explain;
pub mod image;
pub mod import;
pub mod inspect;
pub mod key;
pub mod lifecycle;
pub mod local;
pub mod lock;
pub mod logs;
pub mod man;
pub mod measure;
pub mod policy;
pub mod ps;
pub mod up;
pub mod verify;

use std::path::PathBuf;

use casemate_api::agent::{self, OwnerReply};
use casemate_endorse::Cache;
use clap::{Parser, Subcommand};

use crate::{
    Error, api::Validator, app::App, clock, deployment::Deployment, endorsements::complete_bytes, home::Home,
    output::Output, policy::PolicyFile, session::Question, token::Token,
};

/// Runs a compose app in a confidential VM on a machine you need not trust, and checks that it did.
#[derive(Debug, Parser)]
#[command(name = "casemate", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "Every failure ends with `hint:`. Exit codes: docs/reference/exit-codes.md.")]
pub struct Cli {
    /// Answer in JSON on stdout
    #[arg(long, global = true, help_heading = COMMON)]
    pub json: bool,
    /// No progress on stderr
    #[arg(long, short, global = true, help_heading = COMMON)]
    pub quiet: bool,
    /// Validator to ask, instead of this machine's own: unix:/PATH, http://HOST:PORT or https://HOST
    #[arg(long, global = true, help_heading = COMMON, env = "CASEMATE_VALIDATOR", hide_env_values = true)]
    #[arg(value_name = "ADDRESS")]
    pub validator: Option<String>,
    /// File with the token that a validator named with --validator, now or when the VM was made, asks for
    #[arg(long, global = true, help_heading = COMMON, env = "CASEMATE_TOKEN_FILE", hide_env_values = true)]
    #[arg(value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Where certificates come from
    #[command(flatten)]
    pub endorsements: crate::endorsements::Options,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Where help lists the options of every command.
pub(crate) const COMMON: &str = "Options of every command";

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "each command's text stands with its arguments")]
pub enum Command {
    Up(up::Arguments),
    Ps(ps::Arguments),
    Verify(verify::Arguments),
    Explain(explain::Arguments),
    Inspect(inspect::Arguments),
    Logs(logs::Arguments),
    Exec(exec::Arguments),
    Stop(lifecycle::Stop),
    Start(lifecycle::Start),
    Down(lifecycle::Down),
    Policy(policy::Arguments),
    Endorsements(endorsements::Arguments),
    Lock(lock::Arguments),
    Image(image::Arguments),
    Key(key::Arguments),
    Local(local::Arguments),
    Doctor(doctor::Arguments),
    Demo(demo::Arguments),
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
    /// `--token-file`.
    pub token_file: Option<PathBuf>,
    /// `--offline`, `--key-server`.
    pub endorsements: crate::endorsements::Options,
}

impl Context {
    /// The certificates of this home, and whom to ask for more.
    ///
    /// # Errors
    /// [`Error::Endorsements`].
    pub fn endorsements(&self) -> Result<Cache, Error> {
        self.endorsements.cache(&self.home)
    }

    /// The validator to ask; this machine's own is not started for it.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub fn validator(&self) -> Result<Validator, Error> {
        match &self.validator {
            Some(address) => self.named_validator(address),
            None => crate::local::validator_if_running(&self.home),
        }
    }

    /// A validator that somebody named: it alone is shown the token.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Token`].
    pub fn named_validator(&self, address: &str) -> Result<Validator, Error> {
        let token = self.token_file.as_deref().map(Token::read).transpose()?;
        Ok(Validator::with_token(address, token.as_ref())?)
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
            token_file: self.token_file,
            endorsements: self.endorsements,
        };
        match self.command {
            Command::Up(arguments) => up::run(&context, arguments).await,
            Command::Ps(arguments) => ps::run(&context, arguments).await,
            Command::Verify(arguments) => verify::run(&context, arguments).await,
            Command::Explain(arguments) => explain::run(&context, arguments),
            Command::Inspect(arguments) => inspect::run(&context, arguments),
            Command::Logs(arguments) => logs::run(&context, arguments).await,
            Command::Exec(arguments) => exec::run(&context, arguments).await,
            Command::Stop(arguments) => lifecycle::stop(&context, arguments).await,
            Command::Start(arguments) => lifecycle::start(&context, arguments).await,
            Command::Down(arguments) => lifecycle::down(&context, arguments).await,
            Command::Policy(arguments) => policy::run(&context, arguments),
            Command::Endorsements(arguments) => endorsements::run(&context, arguments).await,
            Command::Image(arguments) => image::run(&context, arguments),
            Command::Lock(arguments) => lock::run(&context, arguments).await,
            Command::Key(arguments) => key::run(&context, arguments),
            Command::Local(arguments) => local::run(&context, arguments).await,
            Command::Demo(arguments) => demo::run(&context, arguments).await,
            Command::Doctor(arguments) => doctor::run(&context, arguments).await,
            Command::Completions(arguments) => completions::run(arguments),
            Command::Man(arguments) => man::run(arguments),
        }
    }
}

/// Verifies the guest `name`, then gives it an order of its owner.
async fn order(context: &Context, name: &str, command: &agent::Command) -> Result<OwnerReply, Error> {
    let deployment = Deployment::open(&context.home, name)?;
    let validator = verify::validator_of(context, &deployment)?;
    let policy = PolicyFile::read(&deployment.policy)?;
    let service = verify::key_service_of(context, &deployment, &validator).await?;
    let expected = verify::expected_of(&deployment, deployment.simulated, service.roster())?;
    let question = Question::new();
    let bundle = question.ask(&validator, name).await?;
    let bundle = complete_bytes(&context.endorsements()?, context.output, bundle, clock::now_ms()).await?;
    let session = question.appraise(&bundle, &policy.policy, &expected)?.session()?;
    let owner = crate::key::unlock(&context.home)?;
    let number = App::open(&deployment.folder)?.next_order()?;
    session.order(&validator, name, &owner, number, command).await
}
