//! Can a seat start on this folder, and if not, what is wrong with it?
//!
//! Nothing is changed, and no secret is shown. Whoever wrote the folder can make it look right: this finds what
//! was lost or damaged, not what was rolled back.

use std::{
    fmt,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use casemate_crypto::sign::SigningKey;
use serde::Serialize;

use crate::{
    Error, StateFolder,
    appraise::Appraiser,
    folder::NEEDED,
    store::{self, Store},
    unfinished,
};

/// What is right or wrong with a folder.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The folder.
    pub folder: PathBuf,
    /// In one word.
    pub standing: Standing,
    /// One finding or more per file.
    pub findings: Vec<Finding>,
}

/// Whether a seat can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It can.
    Whole,
    /// One was born here, and something is missing or wrong.
    Damaged,
    /// None was born here.
    Unborn,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The file's name in the folder.
    pub file: &'static str,
    /// Right or wrong.
    pub state: State,
    /// What was found; of what is wrong also what was expected and what to do.
    pub found: String,
}

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Right,
    /// Worth knowing; a seat starts all the same.
    Notice,
    /// No seat starts.
    Wrong,
}

/// Looks at every file of the folder.
///
/// # Errors
/// [`Error::File`] if something cannot be looked at: then nothing is known.
pub fn check(path: &Path) -> Result<Report, Error> {
    let folder = StateFolder::unchecked(path);
    let mut report = Report { folder: path.to_owned(), standing: Standing::Whole, findings: Vec::new() };
    if let Some(left) = unfinished::interrupted(path) {
        let found = format!(
            "{} is what an interrupted birth or restore left; the next one removes it",
            left.display()
        );
        report.add(FOLDER, State::Notice, found);
    }
    match folder.must_be_born() {
        Err(unborn @ Error::Unborn { .. }) => {
            report.add(FOLDER, State::Wrong, unborn.to_string());
            report.standing = Standing::Unborn;
            return Ok(report);
        }
        other => other?,
    }
    report.see(&folder)?;
    if report.findings.iter().any(|finding| finding.state == State::Wrong) {
        report.standing = Standing::Damaged;
    }
    Ok(report)
}

impl Report {
    fn see(&mut self, folder: &StateFolder) -> Result<(), Error> {
        let mut missing = Vec::new();
        for needed in &NEEDED {
            if let Err(error) = folder.must_have(needed) {
                if folder.mode(needed.name)?.is_none() {
                    missing.push(needed.name);
                }
                self.add(needed.name, State::Wrong, error.to_string());
            }
        }
        let there = |name: &str| !missing.contains(&name);
        if there("floor-policy.toml") {
            let policy = folder.floor_policy().and_then(|text| Appraiser::new(&text, false, None));
            self.take("floor-policy.toml", policy.map(|_| "a policy".to_owned()))?;
        }
        if there("roster.cbor") {
            let roster = folder.chain().and_then(|chain| Ok(chain.verify(&chain.genesis.kms_id())?));
            let number = |roster: casemate_record::Roster| {
                format!("key service {}, roster {}", roster.kms_id, roster.number)
            };
            self.take("roster.cbor", roster.map(number))?;
        }
        self.see_operators_key(folder)?;
        if !there("roster.cbor") || !there("seat.keys") {
            return Ok(());
        }
        match folder.identity() {
            Ok(identity) => {
                self.add("seat.keys", State::Right, format!("seat {}", identity.seat.short()));
                if there("state.db") {
                    self.see_database(folder, &identity)?;
                }
            }
            Err(error) => self.take("seat.keys", Err(error))?,
        }
        Ok(())
    }

    fn see_database(&mut self, folder: &StateFolder, identity: &store::Identity) -> Result<(), Error> {
        if journal_is_hot(&folder.path("state.db-journal"))? {
            // Only a writer can undo it, and this is none.
            let found = "a write goes on or was interrupted, so the content was not read; a seat that starts undoes it";
            self.add("state.db", State::Notice, found.to_owned());
            return Ok(());
        }
        let contents = store::apart(Store::inspect(&folder.path("state.db"), identity))?;
        self.take(
            "state.db",
            contents.map(|found| {
                format!("{} apps, {} instances, {} volumes", found.apps, found.instances, found.volumes)
            }),
        )
    }

    fn see_operators_key(&mut self, folder: &StateFolder) -> Result<(), Error> {
        const FILE: &str = "operators.key";
        let Some(mode) = folder.mode(FILE)? else {
            self.add(FILE, State::Right, "not here: kept elsewhere, as it should be".to_owned());
            return Ok(());
        };
        if mode & 0o077 != 0 {
            let error = Error::Mode { path: folder.path(FILE), mode };
            self.add(FILE, State::Notice, error.to_string());
        }
        let bytes = zeroize::Zeroizing::new(folder.read(FILE)?);
        let key = <&[u8; 32]>::try_from(&bytes[..]).ok().and_then(|bytes| SigningKey::from_bytes(bytes).ok());
        let known = folder.chain().ok().map(|chain| chain.genesis.operators);
        let found = match (key, known) {
            (Some(key), Some(operators)) if key.public() == operators => {
                "it signs every change of seats; move it to a safe place"
            }
            _ => "not the key of this service's operators; find theirs, no seat can be changed without it",
        };
        self.add(FILE, State::Notice, found.to_owned());
        Ok(())
    }

    /// What is wrong with a file is a finding; that it cannot be read is not.
    fn take(&mut self, file: &'static str, outcome: Result<String, Error>) -> Result<(), Error> {
        match outcome {
            Ok(found) => self.add(file, State::Right, found),
            Err(error @ Error::File { .. }) => return Err(error),
            Err(error) => self.add(file, State::Wrong, error.to_string()),
        }
        Ok(())
    }

    fn add(&mut self, file: &'static str, state: State, found: String) {
        self.findings.push(Finding { file, state, found });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let state = match finding.state {
                State::Right => "right",
                State::Notice => "notice",
                State::Wrong => "wrong",
            };
            writeln!(f, "{state:<7}{:<18} {}", finding.file, finding.found)?;
        }
        let standing = match self.standing {
            Standing::Whole => "whole: a seat can start on it",
            Standing::Damaged => "damaged: no seat starts on it",
            Standing::Unborn => "unborn: there is no seat",
        };
        write!(f, "{} is {standing}", self.folder.display())
    }
}

/// Whether SQLite finds something to undo: a journal that is there, not empty, and does not begin with a zero
/// (sqlite.org/lockingv3.html, "Dealing with hot journals").
fn journal_is_hot(path: &Path) -> Result<bool, Error> {
    let refused = |source| Error::File { path: path.to_owned(), source };
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(refused(source)),
    };
    let mut first = [0; 1];
    Ok(file.read(&mut first).map_err(refused)? == 1 && first[0] != 0)
}

const FOLDER: &str = "folder";
