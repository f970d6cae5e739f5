//! What was recorded, and in which state is each volume?
//!
//! One SQLite file, one connection, one transaction per decision: a kill at any point leaves the state
//! before or after it. The file names its seat and is made at that seat's birth, never later: an empty one is
//! not a new one. Salts are overwritten when a volume is erased (`secure_delete`), and the rollback
//! journal is truncated with each commit; what the disk below keeps of overwritten sectors is beyond it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::sign::PublicKey;
use casemate_record::{
    AppId, AuthorityRecord, BootId, Genesis, InstanceId, InstanceRecord, KmsId, Record, VolumeName,
    VolumeRecord,
};
use casemate_release::seat::BootStanding;
use casemate_volume::VolumeState;
use sqlx::{
    Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
};

use crate::Error;

const SCHEMA: &str = "
create table apps (
    app_id blob primary key, genesis blob not null, authority blob not null, policy blob not null
) strict, without rowid;
create table instances (
    app_id blob not null, instance blob not null, number integer not null, record blob not null,
    primary key (app_id, instance)
) strict, without rowid;
create table boots (
    sequence integer primary key autoincrement, app_id blob not null, instance blob not null,
    boot_id blob not null, committed integer not null default 0, unique (app_id, instance, boot_id)
) strict;
create table volumes (
    app_id blob not null, instance blob not null, volume text not null, state blob not null, record blob,
    primary key (app_id, instance, volume)
) strict;
";
/// Since version 2 the file says whose it is.
const SEAT: &str = "
create table seat (
    row integer primary key check (row = 1), kms_id blob not null, signing blob not null
) strict;
";
const VERSION: i64 = 2;
/// How many of the newest boots of an instance are remembered, besides the current one.
const REMEMBERED_BOOTS: i64 = 64;

/// Whose database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub kms_id: KmsId,
    pub seat: PublicKey,
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Store {
    options: SqliteConnectOptions,
    connection: SqliteConnection,
}

/// One transaction: nothing counts until [`Transaction::commit`].
pub(crate) struct Transaction<'a>(sqlx::Transaction<'a, sqlx::Sqlite>);

/// An app as recorded.
pub(crate) struct App {
    pub genesis: Genesis,
    pub authority: AuthorityRecord,
    pub policy: Vec<u8>,
}

/// How much is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    pub apps: u64,
    pub instances: u64,
    pub volumes: u64,
}

/// Runs `work` to its end on a thread of its own, for callers that are no tasks.
pub(crate) fn apart<T: Send>(work: impl Future<Output = T> + Send) -> Result<T, Error> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::File { path: "tokio runtime".into(), source })?;
        Ok(runtime.block_on(work))
    };
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Store {
    /// Fills an empty file with the tables of a seat that was just born.
    pub async fn create(path: &Path, identity: &Identity) -> Result<(), Error> {
        let mut connection = SqliteConnection::connect_with(&options(path)).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
        sign(&mut transaction, identity).await?;
        transaction.commit().await?;
        Ok(connection.close().await?)
    }

    /// Opens the database of this very seat, undoes what a kill interrupted, and checks its structure.
    ///
    /// # Errors
    /// [`Error::DatabaseVersion`], [`Error::OtherSeat`], [`Error::DatabaseDamaged`], [`Error::Store`].
    pub async fn open(path: &Path, identity: &Identity) -> Result<Self, Error> {
        let options = options(path);
        let structure = Structure(path.to_owned());
        let mut connection = structure.refuse(SqliteConnection::connect_with(&options).await)?;
        let version = structure.version(&mut connection).await?;
        structure.whole(&mut connection).await?;
        if version == 1 {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sign(&mut transaction, identity).await?;
            transaction.commit().await?;
        }
        structure.belongs_to(&mut connection, identity).await?;
        Ok(Store { options, connection })
    }

    /// Reads everything and changes nothing, not even what a kill interrupted.
    ///
    /// # Errors
    /// As [`Store::open`], and [`Error::Stored`].
    pub async fn inspect(path: &Path, identity: &Identity) -> Result<Contents, Error> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let structure = Structure(path.to_owned());
        let mut connection = structure.refuse(SqliteConnection::connect_with(&options).await)?;
        let version = structure.version(&mut connection).await?;
        structure.whole(&mut connection).await?;
        if version > 1 {
            structure.belongs_to(&mut connection, identity).await?;
        }
        let mut transaction = Transaction(connection.begin().await?);
        let contents = structure.refuse_error(transaction.read_everything().await)?;
        drop(transaction);
        connection.close().await?;
        Ok(contents)
    }

    /// Closes the file.
    pub async fn close(self) -> Result<(), Error> {
        Ok(self.connection.close().await?)
    }

    /// Begins a transaction that already holds the write lock.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        // Behind the rollback of a transaction that was dropped.
        self.connection.ping().await?;
        // When the disk is full SQLite rolls back by itself; the driver, which does not hear of it, would
        // never begin another transaction.
        if self.connection.is_in_transaction() {
            self.connection = SqliteConnection::connect_with(&self.options).await?;
        }
        Ok(Transaction(self.connection.begin_with("BEGIN IMMEDIATE").await?))
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Truncate)
        .synchronous(SqliteSynchronous::Extra)
        .busy_timeout(Duration::from_secs(5))
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
}

/// Writes down whose database it is.
async fn sign(
    transaction: &mut sqlx::Transaction<'_, sqlx::Sqlite>,
    identity: &Identity,
) -> Result<(), Error> {
    sqlx::raw_sql(SEAT).execute(&mut **transaction).await?;
    sqlx::query("insert into seat (row, kms_id, signing) values (1, ?, ?)")
        .bind(&identity.kms_id.as_bytes()[..])
        .bind(&identity.seat.as_bytes()[..])
        .execute(&mut **transaction)
        .await?;
    sqlx::raw_sql("pragma user_version = 2").execute(&mut **transaction).await?;
    Ok(())
}

/// What must hold of a file before anything in it is believed.
struct Structure(PathBuf);

impl Structure {
    async fn version(&self, connection: &mut SqliteConnection) -> Result<i64, Error> {
        let row = self.refuse(sqlx::query("pragma user_version").fetch_one(connection).await)?;
        let found = row.try_get::<i64, _>(0)?;
        match found {
            1..=VERSION => Ok(found),
            _ => Err(Error::DatabaseVersion { path: self.0.clone(), found, expected: VERSION }),
        }
    }

    async fn whole(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        let row = self.refuse(sqlx::query("pragma integrity_check(1)").fetch_one(connection).await)?;
        match row.try_get::<String, _>(0)? {
            found if found == "ok" => Ok(()),
            found => Err(Error::DatabaseDamaged { path: self.0.clone(), found: found.into() }),
        }
    }

    async fn belongs_to(&self, connection: &mut SqliteConnection, identity: &Identity) -> Result<(), Error> {
        let row = sqlx::query("select kms_id, signing from seat").fetch_optional(connection).await;
        let damaged = |found: &str| Error::DatabaseDamaged { path: self.0.clone(), found: found.into() };
        let row = self.refuse(row)?.ok_or_else(|| damaged("it names no seat"))?;
        let (kms_id, seat): (Vec<u8>, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        let seat = PublicKey::try_from(&seat[..]).map_err(|_| damaged("its seat is no key"))?;
        if seat == identity.seat && kms_id == identity.kms_id.as_bytes() {
            return Ok(());
        }
        Err(Error::OtherSeat {
            path: self.0.clone(),
            found: Box::new(seat),
            expected: Box::new(identity.seat),
        })
    }

    fn refuse<T>(&self, outcome: Result<T, sqlx::Error>) -> Result<T, Error> {
        self.refuse_error(outcome.map_err(Error::Store))
    }

    /// Tells a broken file from a file that cannot be used now.
    fn refuse_error<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        match outcome {
            Err(Error::Store(error)) => match primary_code(&error) {
                Some(SQLITE_CORRUPT | SQLITE_NOTADB) => {
                    Err(Error::DatabaseDamaged { path: self.0.clone(), found: error.to_string().into() })
                }
                _ => Err(Error::Store(error)),
            },
            other => other,
        }
    }
}

/// The lower byte of SQLite's result code (sqlite.org/rescode.html).
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    Some(error.as_database_error()?.code()?.parse::<u32>().ok()? & 0xff)
}

const SQLITE_CORRUPT: u32 = 11;
const SQLITE_NOTADB: u32 = 26;

impl Transaction<'_> {
    /// Parses every row but those of boots, which are numbers.
    async fn read_everything(&mut self) -> Result<Contents, Error> {
        let (mut instances, mut volumes) = (0, 0);
        let apps = sqlx::query("select app_id from apps").fetch_all(&mut *self.0).await?;
        for row in &apps {
            let id = identifier::<AppId>(row, 0)?;
            self.app(&id).await?;
        }
        for row in sqlx::query("select app_id, instance from instances").fetch_all(&mut *self.0).await? {
            self.instance(&identifier(&row, 0)?, &identifier(&row, 1)?).await?;
            instances += 1;
        }
        for row in sqlx::query("select app_id, instance, volume from volumes").fetch_all(&mut *self.0).await?
        {
            let name: String = row.try_get(2)?;
            let name = VolumeName::new(&name)
                .map_err(|_| sqlx::Error::Decode("a volume's name that is none".into()))?;
            self.volume(&identifier(&row, 0)?, &identifier(&row, 1)?, &name).await?;
            volumes += 1;
        }
        Ok(Contents { apps: apps.len() as u64, instances, volumes })
    }

    /// Makes everything done in it count, on the disk.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit().await?)
    }

    pub async fn app(&mut self, app_id: &AppId) -> Result<Option<App>, Error> {
        let row = sqlx::query("select genesis, authority, policy from apps where app_id = ?")
            .bind(&app_id.as_bytes()[..])
            .fetch_optional(&mut *self.0)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let genesis: Vec<u8> = row.try_get(0)?;
        let authority: Vec<u8> = row.try_get(1)?;
        Ok(Some(App {
            genesis: read("genesis", &genesis, Genesis::MAXIMUM_BYTES)?,
            authority: read("authority record", &authority, AuthorityRecord::MAXIMUM_BYTES)?,
            policy: row.try_get(2)?,
        }))
    }

    /// Whether a guest of the app was ever granted keys.
    pub async fn was_granted_keys(&mut self, app_id: &AppId) -> Result<bool, Error> {
        let row = sqlx::query("select exists (select 1 from boots where app_id = ?)")
            .bind(&app_id.as_bytes()[..])
            .fetch_one(&mut *self.0)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Every app, and who owns it.
    pub async fn owners(&mut self) -> Result<Vec<(AppId, PublicKey)>, Error> {
        let rows = sqlx::query("select app_id, genesis from apps").fetch_all(&mut *self.0).await?;
        rows.iter()
            .map(|row| {
                let genesis: Vec<u8> = row.try_get(1)?;
                let genesis: Genesis = read("genesis", &genesis, Genesis::MAXIMUM_BYTES)?;
                Ok((identifier(row, 0)?, genesis.owner))
            })
            .collect()
    }

    pub async fn app_count(&mut self) -> Result<u64, Error> {
        let row = sqlx::query("select count(*) from apps").fetch_one(&mut *self.0).await?;
        Ok(row.try_get::<i64, _>(0)?.cast_unsigned())
    }

    pub async fn instance_count(&mut self, app_id: &AppId) -> Result<u64, Error> {
        let row = sqlx::query("select count(*) from instances where app_id = ?")
            .bind(&app_id.as_bytes()[..])
            .fetch_one(&mut *self.0)
            .await?;
        Ok(row.try_get::<i64, _>(0)?.cast_unsigned())
    }

    pub async fn volume_count(&mut self, app_id: &AppId) -> Result<u64, Error> {
        let row = sqlx::query("select count(*) from volumes where app_id = ?")
            .bind(&app_id.as_bytes()[..])
            .fetch_one(&mut *self.0)
            .await?;
        Ok(row.try_get::<i64, _>(0)?.cast_unsigned())
    }

    /// Bytes of the database that are in use.
    pub async fn size_bytes(&mut self) -> Result<u64, Error> {
        let row = sqlx::query(
            "select (page_count - freelist_count) * page_size \
             from pragma_page_count, pragma_freelist_count, pragma_page_size",
        )
        .fetch_one(&mut *self.0)
        .await?;
        Ok(row.try_get::<i64, _>(0)?.cast_unsigned())
    }

    pub async fn put_app(&mut self, app: &App) -> Result<(), Error> {
        sqlx::query("insert or replace into apps (app_id, genesis, authority, policy) values (?, ?, ?, ?)")
            .bind(&app.authority.app_id.as_bytes()[..])
            .bind(to_cbor(&app.genesis))
            .bind(to_cbor(&app.authority))
            .bind(&app.policy[..])
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    pub async fn instance(
        &mut self,
        app_id: &AppId,
        instance: &InstanceId,
    ) -> Result<Option<InstanceRecord>, Error> {
        let row = sqlx::query("select record from instances where app_id = ? and instance = ?")
            .bind(&app_id.as_bytes()[..])
            .bind(&instance.as_bytes()[..])
            .fetch_optional(&mut *self.0)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let record: Vec<u8> = row.try_get(0)?;
        read("instance record", &record, InstanceRecord::MAXIMUM_BYTES).map(Some)
    }

    pub async fn highest_instance_number(&mut self, app_id: &AppId) -> Result<u64, Error> {
        let row = sqlx::query("select coalesce(max(number), 0) from instances where app_id = ?")
            .bind(&app_id.as_bytes()[..])
            .fetch_one(&mut *self.0)
            .await?;
        Ok(row.try_get::<i64, _>(0)?.cast_unsigned())
    }

    pub async fn put_instance(&mut self, record: &InstanceRecord) -> Result<(), Error> {
        sqlx::query(
            "insert or replace into instances (app_id, instance, number, record) values (?, ?, ?, ?)",
        )
        .bind(&record.app_id.as_bytes()[..])
        .bind(&record.instance.as_bytes()[..])
        .bind(record.number.cast_signed())
        .bind(to_cbor(record))
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// How a boot stands that asks for keys; one never seen before is open.
    pub async fn boot(
        &mut self,
        app_id: &AppId,
        instance: &InstanceId,
        boot: &BootId,
    ) -> Result<BootStanding, Error> {
        let Some((newest, by)) = self.newest_committed(app_id, instance).await? else {
            return Ok(BootStanding::Open);
        };
        match self.sequence(app_id, instance, boot).await? {
            Some(sequence) if sequence < newest => Ok(BootStanding::Superseded { by }),
            _ => Ok(BootStanding::Open),
        }
    }

    /// How a boot stands that has keys already; one that was forgotten has been superseded long ago.
    pub async fn granted_boot(
        &mut self,
        app_id: &AppId,
        instance: &InstanceId,
        boot: &BootId,
    ) -> Result<BootStanding, Error> {
        let newest = self.newest_committed(app_id, instance).await?;
        let sequence = self.sequence(app_id, instance, boot).await?;
        match (sequence, newest) {
            (Some(sequence), Some((newest, by))) if sequence < newest => Ok(BootStanding::Superseded { by }),
            (None, Some((_, by))) => Ok(BootStanding::Superseded { by }),
            (None, None) => Ok(BootStanding::Superseded { by: *boot }),
            (Some(_), _) => Ok(BootStanding::Open),
        }
    }

    /// Notes that a boot was granted keys, in the order of first grants, and forgets the oldest boots.
    pub async fn note_boot(
        &mut self,
        app_id: &AppId,
        instance: &InstanceId,
        boot: &BootId,
    ) -> Result<(), Error> {
        sqlx::query("insert or ignore into boots (app_id, instance, boot_id) values (?, ?, ?)")
            .bind(&app_id.as_bytes()[..])
            .bind(&instance.as_bytes()[..])
            .bind(&boot.as_bytes()[..])
            .execute(&mut *self.0)
            .await?;
        sqlx::query(
            "delete from boots where app_id = ?1 and instance = ?2 \
             and sequence not in (select sequence from boots where app_id = ?1 and instance = ?2 \
             order by sequence desc limit ?3) \
             and sequence <> coalesce((select max(sequence) from boots where app_id = ?1 \
             and instance = ?2 and committed = 1), 0)",
        )
        .bind(&app_id.as_bytes()[..])
        .bind(&instance.as_bytes()[..])
        .bind(REMEMBERED_BOOTS)
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Makes a boot the current one: every boot that was granted keys before it is superseded.
    pub async fn commit_boot(
        &mut self,
        app_id: &AppId,
        instance: &InstanceId,
        boot: &BootId,
    ) -> Result<(), Error> {
        sqlx::query("update boots set committed = 1 where app_id = ? and instance = ? and boot_id = ?")
            .bind(&app_id.as_bytes()[..])
            .bind(&instance.as_bytes()[..])
            .bind(&boot.as_bytes()[..])
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    async fn sequence(
        &mut self,
        app_id: &AppId,
        instance: &InstanceId,
        boot: &BootId,
    ) -> Result<Option<i64>, Error> {
        let row = sqlx::query("select sequence from boots where app_id = ? and instance = ? and boot_id = ?")
            .bind(&app_id.as_bytes()[..])
            .bind(&instance.as_bytes()[..])
            .bind(&boot.as_bytes()[..])
            .fetch_optional(&mut *self.0)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn newest_committed(
        &mut self,
        app_id: &AppId,
        instance: &InstanceId,
    ) -> Result<Option<(i64, BootId)>, Error> {
        let row = sqlx::query(
            "select sequence, boot_id from boots where app_id = ? and instance = ? and committed = 1 \
             order by sequence desc limit 1",
        )
        .bind(&app_id.as_bytes()[..])
        .bind(&instance.as_bytes()[..])
        .fetch_optional(&mut *self.0)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let by: Vec<u8> = row.try_get(1)?;
        let by =
            BootId::try_from(&by[..]).map_err(|_| sqlx::Error::Decode("boot id of another length".into()))?;
        Ok(Some((row.try_get(0)?, by)))
    }

    pub async fn volume(
        &mut self,
        app_id: &AppId,
        instance: &InstanceId,
        volume: &VolumeName,
    ) -> Result<(VolumeState, Option<VolumeRecord>), Error> {
        let row =
            sqlx::query("select state, record from volumes where app_id = ? and instance = ? and volume = ?")
                .bind(&app_id.as_bytes()[..])
                .bind(&instance.as_bytes()[..])
                .bind(volume.as_str())
                .fetch_optional(&mut *self.0)
                .await?;
        let Some(row) = row else { return Ok((VolumeState::Absent, None)) };
        let state = zeroize::Zeroizing::new(row.try_get::<Vec<u8>, _>(0)?);
        let record: Option<Vec<u8>> = row.try_get(1)?;
        let record =
            record.map(|bytes| read("volume record", &bytes, VolumeRecord::MAXIMUM_BYTES)).transpose()?;
        Ok((VolumeState::from_storage(&state)?, record))
    }

    pub async fn put_volume(
        &mut self,
        app_id: &AppId,
        instance: &InstanceId,
        volume: &VolumeName,
        state: &VolumeState,
    ) -> Result<(), Error> {
        sqlx::query(
            "insert into volumes (app_id, instance, volume, state) values (?, ?, ?, ?) \
             on conflict (app_id, instance, volume) do update set state = excluded.state",
        )
        .bind(&app_id.as_bytes()[..])
        .bind(&instance.as_bytes()[..])
        .bind(volume.as_str())
        .bind(&state.to_storage()[..])
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    pub async fn put_volume_record(&mut self, record: &VolumeRecord) -> Result<(), Error> {
        sqlx::query("update volumes set record = ? where app_id = ? and instance = ? and volume = ?")
            .bind(to_cbor(record))
            .bind(&record.app_id.as_bytes()[..])
            .bind(&record.instance.as_bytes()[..])
            .bind(record.volume.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}

fn identifier<T: for<'b> TryFrom<&'b [u8]>>(row: &SqliteRow, place: usize) -> Result<T, Error> {
    let bytes: Vec<u8> = row.try_get(place)?;
    let wrong = || Error::Store(sqlx::Error::Decode("an identifier of another length".into()));
    T::try_from(&bytes[..]).map_err(|_| wrong())
}

fn read<T>(what: &'static str, bytes: &[u8], maximum_bytes: usize) -> Result<T, Error>
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()>,
{
    from_cbor(bytes, maximum_bytes).map_err(|source| Error::Stored { what, source })
}
