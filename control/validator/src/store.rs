//! What does the validator remember?
//!
//! One row per VM, at most one unfinished job per VM, and a list of events. Each change of state is
//! made inside the transaction that records why, so a process that dies between two steps finds
//! either both or neither.

use std::path::Path;

use casemate_api::validator::{Failure, Port, Vm, VmEvent, VmSpec};
use sqlx::{
    Connection as _, Row, SqlStr, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

use crate::{
    Error,
    lifecycle::{Event, State, next},
};

/// What is still to be done to a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Put it on a host, if it is not, and boot it.
    Start,
    /// Stop its guest and keep its disks.
    Stop,
    /// Take it off its host.
    Remove {
        /// Whether its disks are deleted too.
        disks: bool,
    },
}

impl Verb {
    fn columns(self) -> (&'static str, i64) {
        match self {
            Verb::Start => ("start", 0),
            Verb::Stop => ("stop", 0),
            Verb::Remove { disks } => ("remove", i64::from(disks)),
        }
    }

    fn request(self) -> Event {
        match self {
            Verb::Start => Event::StartRequested,
            Verb::Stop => Event::StopRequested,
            Verb::Remove { .. } => Event::RemoveRequested,
        }
    }
}

/// A job that is not done.
#[derive(Debug, Clone)]
pub struct Job {
    /// The VM it is about.
    pub vm: Vm,
    /// What is to be done.
    pub verb: Verb,
    /// How often it was tried.
    pub attempts: u32,
}

/// What a step adds to a VM's row, besides its state.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// What the guest reported since the host began to listen, oldest first.
    pub notices: Vec<Notice>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Ports as the host gave them.
    pub ports: Option<Vec<Port>>,
}

/// One phase that a guest reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// When the host received it, in Unix milliseconds.
    pub at_ms: u64,
    /// The phase, with its detail behind a space if it has one.
    pub phase: String,
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens or creates the database at `path` and brings its tables up to date.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        // One connection: writers queue in the process instead of meeting "database is locked".
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            // When the disk is full SQLite rolls back by itself; the driver, which does not hear of it, would
            // nest whatever follows in a transaction that is never committed.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options)
            .await?;
        migrations().run(&pool).await?;
        Ok(Self { pool })
    }

    /// Writes a new VM down, with the job to start it: both or neither.
    ///
    /// # Errors
    /// [`Error::NameTaken`] if another VM that is not removed holds the name.
    pub async fn create(&self, id: &str, spec: &VmSpec, now_ms: u64) -> Result<Vm, Error> {
        let mut transaction = self.pool.begin().await?;
        let holder = sqlx::query("SELECT id FROM vms WHERE name = ? AND state <> 'removed'")
            .bind(&spec.name)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(row) = holder {
            return Err(Error::NameTaken { name: spec.name.clone(), holder: row.get("id") });
        }
        sqlx::query(
            "INSERT INTO vms (id, name, spec, state, created_ms, changed_ms) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(&spec.name)
        .bind(serde_json::to_string(spec).expect("a specification is plain JSON"))
        .bind(State::Defined.word())
        .bind(now_ms.cast_signed())
        .bind(now_ms.cast_signed())
        .execute(&mut *transaction)
        .await?;
        add_event(&mut transaction, id, now_ms, "state", State::Defined.word(), None).await?;
        let vm = wish(&mut transaction, id, Verb::Start, now_ms).await?;
        transaction.commit().await?;
        Ok(vm)
    }

    /// The VM with this id, or the one that holds this name now.
    ///
    /// # Errors
    /// [`Error::VmNotFound`].
    pub async fn vm(&self, id_or_name: &str) -> Result<Vm, Error> {
        sqlx::query(
            "SELECT * FROM vms WHERE id = ?1 OR (name = ?1 AND state <> 'removed') ORDER BY id = ?1 DESC",
        )
        .bind(id_or_name)
        .fetch_optional(&self.pool)
        .await?
        .map(read_vm)
        .transpose()?
        .ok_or_else(|| Error::VmNotFound { asked: id_or_name.to_owned() })
    }

    /// Every VM that is not removed, oldest first.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn vms(&self) -> Result<Vec<Vm>, Error> {
        sqlx::query("SELECT * FROM vms WHERE state <> 'removed' ORDER BY created_ms, id")
            .fetch_all(&self.pool)
            .await?
            .into_iter()
            .map(read_vm)
            .collect()
    }

    /// Writes down that `verb` is to be done to a VM. A newer wish replaces an unfinished one.
    ///
    /// # Errors
    /// [`Error::IllegalTransition`] if it does not follow from where the VM stands.
    pub async fn request(&self, id: &str, verb: Verb, now_ms: u64) -> Result<Vm, Error> {
        let mut transaction = self.pool.begin().await?;
        let vm = wish(&mut transaction, id, verb, now_ms).await?;
        transaction.commit().await?;
        Ok(vm)
    }

    /// Every job that is not done, oldest first.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn jobs(&self) -> Result<Vec<Job>, Error> {
        let rows = sqlx::query(
            "SELECT vms.*, jobs.verb AS job_verb, jobs.disks AS job_disks, jobs.attempts AS job_attempts \
             FROM jobs JOIN vms ON vms.id = jobs.vm ORDER BY jobs.created_ms, jobs.vm",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let word: String = row.get("job_verb");
                let verb = match word.as_str() {
                    "start" => Verb::Start,
                    "stop" => Verb::Stop,
                    "remove" => Verb::Remove { disks: row.get::<i64, _>("job_disks") != 0 },
                    _ => return Err(Error::Corrupt { column: "jobs.verb" }),
                };
                let attempts = u32::try_from(row.get::<i64, _>("job_attempts")).unwrap_or(u32::MAX);
                Ok(Job { vm: read_vm(row)?, verb, attempts })
            })
            .collect()
    }

    /// Counts one more try of a VM's job.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tried(&self, id: &str) -> Result<(), Error> {
        sqlx::query("UPDATE jobs SET attempts = attempts + 1 WHERE vm = ?")
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes what happened to a VM; with `done`, its job of that verb is finished in the same
    /// transaction, unless a newer wish has replaced it.
    ///
    /// # Errors
    /// [`Error::IllegalTransition`].
    pub async fn happened(
        &self,
        id: &str,
        event: Option<Event>,
        change: &Change,
        done: Option<Verb>,
        now_ms: u64,
    ) -> Result<Vm, Error> {
        let mut transaction = self.pool.begin().await?;
        let vm = vm_by_id(&mut transaction, id).await?;
        match event {
            Some(event) => step(&mut transaction, &vm, event, change, now_ms).await?,
            None => write(&mut transaction, &vm, change, None, now_ms).await?,
        }
        if let Some(verb) = done {
            sqlx::query("DELETE FROM jobs WHERE vm = ? AND verb = ?")
                .bind(id)
                .bind(verb.columns().0)
                .execute(&mut *transaction)
                .await?;
        }
        let vm = vm_by_id(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(vm)
    }

    /// Events of a VM with a number above `after`, oldest first, at most 1,000.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn events(&self, id: &str, after: u64) -> Result<Vec<VmEvent>, Error> {
        let rows = sqlx::query("SELECT * FROM events WHERE vm = ? AND number > ? ORDER BY number LIMIT 1000")
            .bind(id)
            .bind(after.cast_signed())
            .fetch_all(&self.pool)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| VmEvent {
                number: row.get::<i64, _>("number").cast_unsigned(),
                at_ms: row.get::<i64, _>("at_ms").cast_unsigned(),
                kind: row.get("kind"),
                value: row.get("value"),
                detail: row.get("detail"),
            })
            .collect())
    }
}

/// The tables, oldest change first. A change that was released is never edited.
fn migrations() -> Migrator {
    let sql = SqlStr::from_static(include_str!("../migrations/0001_vms.sql"));
    Migrator::with_migrations(vec![Migration::new(1, "vms".into(), MigrationType::Simple, sql, false)])
}

type Transaction<'a> = sqlx::Transaction<'a, sqlx::Sqlite>;

async fn vm_by_id(transaction: &mut Transaction<'_>, id: &str) -> Result<Vm, Error> {
    sqlx::query("SELECT * FROM vms WHERE id = ?")
        .bind(id)
        .fetch_optional(&mut **transaction)
        .await?
        .map(read_vm)
        .transpose()?
        .ok_or_else(|| Error::VmNotFound { asked: id.to_owned() })
}

/// Takes the VM a step towards `verb` and leaves a job to do it.
async fn wish(transaction: &mut Transaction<'_>, id: &str, verb: Verb, now_ms: u64) -> Result<Vm, Error> {
    let vm = vm_by_id(transaction, id).await?;
    step(transaction, &vm, verb.request(), &Change::default(), now_ms).await?;
    let (word, disks) = verb.columns();
    // Disks that were to be deleted stay to be deleted, whoever asks again.
    sqlx::query(
        "INSERT INTO jobs (vm, verb, disks, created_ms) VALUES (?, ?, ?, ?) \
         ON CONFLICT (vm) DO UPDATE SET verb = excluded.verb, disks = MAX(jobs.disks, excluded.disks), \
         attempts = 0, created_ms = excluded.created_ms",
    )
    .bind(id)
    .bind(word)
    .bind(disks)
    .bind(now_ms.cast_signed())
    .execute(&mut **transaction)
    .await?;
    vm_by_id(transaction, id).await
}

async fn step(
    transaction: &mut Transaction<'_>,
    vm: &Vm,
    event: Event,
    change: &Change,
    now_ms: u64,
) -> Result<(), Error> {
    let before = State::from_word(&vm.state).ok_or(Error::Corrupt { column: "vms.state" })?;
    let after = next(before, event)?;
    write(transaction, vm, change, (after != before).then_some(after), now_ms).await
}

async fn write(
    transaction: &mut Transaction<'_>,
    vm: &Vm,
    change: &Change,
    state: Option<State>,
    now_ms: u64,
) -> Result<(), Error> {
    if let Some(state) = state {
        sqlx::query("UPDATE vms SET state = ?, changed_ms = ? WHERE id = ?")
            .bind(state.word())
            .bind(now_ms.cast_signed())
            .bind(&vm.id)
            .execute(&mut **transaction)
            .await?;
        let detail = change.failure.as_ref().map(|failure| failure.message.as_str());
        add_event(transaction, &vm.id, now_ms, "state", state.word(), detail).await?;
        if state == State::Starting {
            sqlx::query("UPDATE vms SET failure = NULL, phase = NULL WHERE id = ?")
                .bind(&vm.id)
                .execute(&mut **transaction)
                .await?;
        }
    }
    add_notices(transaction, vm, &change.notices).await?;
    if let Some(failure) = &change.failure {
        sqlx::query("UPDATE vms SET failure = ? WHERE id = ?")
            .bind(serde_json::to_string(failure).expect("a failure is plain JSON"))
            .bind(&vm.id)
            .execute(&mut **transaction)
            .await?;
    }
    if let Some(ports) = &change.ports {
        sqlx::query("UPDATE vms SET ports = ? WHERE id = ?")
            .bind(serde_json::to_string(ports).expect("ports are plain JSON"))
            .bind(&vm.id)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

/// Adds the notices that are not written down yet, and keeps the last as the VM's phase.
///
/// The host repeats what it has; the last one already written tells where the news begins.
async fn add_notices(transaction: &mut Transaction<'_>, vm: &Vm, notices: &[Notice]) -> Result<(), Error> {
    let last = sqlx::query(
        "SELECT at_ms, value FROM events WHERE vm = ? AND kind = 'phase' ORDER BY number DESC LIMIT 1",
    )
    .bind(&vm.id)
    .fetch_optional(&mut **transaction)
    .await?
    .map(|row| Notice { at_ms: row.get::<i64, _>("at_ms").cast_unsigned(), phase: row.get("value") });
    let known = last.and_then(|last| notices.iter().rposition(|notice| *notice == last));
    let news = &notices[known.map_or(0, |at| at + 1)..];
    for notice in news {
        add_event(transaction, &vm.id, notice.at_ms, "phase", &notice.phase, None).await?;
    }
    if let Some(newest) = news.last() {
        sqlx::query("UPDATE vms SET phase = ? WHERE id = ?")
            .bind(&newest.phase)
            .bind(&vm.id)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

async fn add_event(
    transaction: &mut Transaction<'_>,
    vm: &str,
    at_ms: u64,
    kind: &str,
    value: &str,
    detail: Option<&str>,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO events (vm, at_ms, kind, value, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(vm)
        .bind(at_ms.cast_signed())
        .bind(kind)
        .bind(value)
        .bind(detail)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

fn read_vm(row: SqliteRow) -> Result<Vm, Error> {
    let spec: VmSpec = read_json(row.get("spec"), "vms.spec")?;
    let ports = match row.get::<Option<String>, _>("ports") {
        Some(text) => read_json(text, "vms.ports")?,
        None => spec.ports.clone(),
    };
    let failure =
        row.get::<Option<String>, _>("failure").map(|text| read_json(text, "vms.failure")).transpose()?;
    let state: String = row.get("state");
    State::from_word(&state).ok_or(Error::Corrupt { column: "vms.state" })?;
    Ok(Vm {
        id: row.get("id"),
        spec,
        state,
        phase: row.get("phase"),
        failure,
        ports,
        created_ms: row.get::<i64, _>("created_ms").cast_unsigned(),
        changed_ms: row.get::<i64, _>("changed_ms").cast_unsigned(),
    })
}

fn read_json<T: serde::de::DeserializeOwned>(text: String, column: &'static str) -> Result<T, Error> {
    serde_json::from_str(&text).map_err(|_| Error::Corrupt { column })
}
