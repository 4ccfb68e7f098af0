//! Opening the file that holds the journal, and sorting what goes wrong with it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqlSafeStr};

const INIT: &str = include_str!("../../../migrations/0001_journal.sql");
/// How long a statement waits for another process's commit.
const BUSY: Duration = Duration::from_secs(5);
/// How often the tables are looked for while another process may be making them.
const MIGRATION_TRIES: u32 = 4;
const BETWEEN_MIGRATIONS: Duration = Duration::from_millis(50);
/// No room for the index of the log, which SQLite calls an I/O error (`SQLITE_IOERR_SHMSIZE`).
const NO_ROOM_FOR_INDEX: i32 = 4874;
/// A commit that appends to a growing WAL costs about twice as much as one that overwrites an old frame, so the file
/// is grown at start to what a run writes.
const WAL_BYTES: i64 = 1024 * 1024;

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Not a database, or damaged.
    #[error("state file `{path}` is damaged: {detail}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Written by a newer version of this program.
    #[error("state file `{path}` was written by a newer version of runbook")]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("state file `{path}` cannot be written: {detail}")]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// The disk is full.
    #[error("no space left for state file `{path}`")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("there is no state file at `{path}`")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A setting that the promises rest on did not take.
    #[error(
        "state file `{path}`: `{pragma}` is `{found}`, not `{wanted}`: an acknowledged step could be lost in a power cut"
    )]
    Pragma {
        /// The file.
        path: PathBuf,
        /// The setting.
        pragma: &'static str,
        /// As it is.
        found: String,
        /// As it must be.
        wanted: &'static str,
    },
    /// Another run on the topology has not ended.
    #[error("run `{run}` on topology `{topology}` has not ended")]
    Unfinished {
        /// That run.
        run: String,
        /// The topology.
        topology: String,
    },
    /// There is no such run.
    #[error("there is no run `{0}`")]
    NoRun(String),
    /// An abbreviated id fits several runs.
    #[error("`{0}` fits more than one run")]
    Ambiguous(String),
    /// Another driver holds the run now.
    #[error("another driver has taken the run over")]
    Fenced,
    /// Anything else that the database says.
    #[error("state file `{path}`")]
    Database {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: sqlx::Error,
    },
}

/// Opens the file for a driver, making it if it is missing.
pub(crate) async fn for_driver(path: &Path) -> Result<SqliteConnection, JournalError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(|error| JournalError::ReadOnly {
            path: path.to_owned(),
            detail: error.to_string(),
        })?;
    }
    make_private(path)?;
    let mut db = options(path)
        .connect()
        .await
        .map_err(|error| wrap(path, error))?;
    migrate(path, &mut db).await?;
    require(path, &mut db, "PRAGMA journal_mode", "journal_mode", "wal").await?;
    require(path, &mut db, "PRAGMA synchronous", "synchronous", "2").await?;
    grow_wal(&mut db).await.map_err(|error| wrap(path, error))?;
    Ok(db)
}

/// Opens the file for looking.
pub(crate) async fn for_reader(path: &Path) -> Result<SqliteConnection, JournalError> {
    // Without the settings of a writer: to make them is to write.
    existing(path, plain(path).read_only(true)).await
}

/// Opens the file for sending a command, without the work that only a driver needs.
pub(crate) async fn for_sender(path: &Path) -> Result<SqliteConnection, JournalError> {
    existing(path, options(path)).await
}

async fn existing(
    path: &Path,
    options: SqliteConnectOptions,
) -> Result<SqliteConnection, JournalError> {
    if !path.exists() {
        return Err(JournalError::Missing {
            path: path.to_owned(),
        });
    }
    let mut db = options
        .create_if_missing(false)
        .connect()
        .await
        .map_err(|error| wrap(path, error))?;
    if is_empty(path, &mut db).await? {
        return Err(JournalError::Missing {
            path: path.to_owned(),
        });
    }
    check_version(path, &mut db).await?;
    Ok(db)
}

/// True if nothing was ever kept in it: the disk was full, or its maker died, or is at it now.
async fn is_empty(path: &Path, db: &mut SqliteConnection) -> Result<bool, JournalError> {
    const TABLES: &str = "SELECT count(*) AS tables FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('_sqlx_migrations', 'sqlite_sequence')";
    let rows = sqlx::query(TABLES)
        .fetch_all(db)
        .await
        .map_err(|error| wrap(path, error))?;
    Ok(rows
        .first()
        .is_none_or(|row| row.get::<i64, _>("tables") == 0))
}

fn options(path: &Path) -> SqliteConnectOptions {
    plain(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
}

fn plain(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .disable_statement_logging()
}

/// The file holds what a run saw of the world: for its owner alone.
fn make_private(path: &Path) -> Result<(), JournalError> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let denied = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull => JournalError::Full {
            path: path.to_owned(),
        },
        _ => JournalError::ReadOnly {
            path: path.to_owned(),
            detail: error.to_string(),
        },
    };
    if path.is_dir() {
        return Err(JournalError::ReadOnly {
            path: path.to_owned(),
            detail: "it is a folder".into(),
        });
    }
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(denied)?;
    if file.metadata().map_err(denied)?.permissions().mode() & 0o200 == 0 {
        // Root may write a file that says that nobody should; the intention is clear all the same.
        return Err(JournalError::ReadOnly {
            path: path.to_owned(),
            detail: "its permissions forbid it".into(),
        });
    }
    Ok(())
}

async fn migrate(path: &Path, db: &mut SqliteConnection) -> Result<(), JournalError> {
    let migrations = vec![Migration::new(
        1,
        "journal".into(),
        MigrationType::Simple,
        INIT.into_sql_str(),
        false,
    )];
    let migrator = Migrator::with_migrations(migrations);
    let mut tries = 0;
    let migrated = loop {
        tries += 1;
        match migrator.run_direct(None, db, false).await {
            // Two processes that make the file at once both find it empty, and nothing locks the look: the second then
            // finds the tables of the first, and at its next look that there is nothing to do.
            Err(MigrateError::ExecuteMigration(..)) if tries < MIGRATION_TRIES => {
                tokio::time::sleep(BETWEEN_MIGRATIONS).await;
            }
            migrated => break migrated,
        }
    };
    migrated.map_err(|error| match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => JournalError::Newer {
            path: path.to_owned(),
        },
        MigrateError::Execute(error) => wrap(path, error),
        MigrateError::ExecuteMigration(error, _) => wrap(path, error),
        other => JournalError::Corrupt {
            path: path.to_owned(),
            detail: other.to_string(),
        },
    })
}

async fn check_version(path: &Path, db: &mut SqliteConnection) -> Result<(), JournalError> {
    let rows = sqlx::query("SELECT max(version) AS version FROM _sqlx_migrations")
        .fetch_all(db)
        .await
        .map_err(|error| match wrap(path, error) {
            JournalError::Database { .. } => JournalError::Corrupt {
                path: path.to_owned(),
                detail: "it is not a state file of runbook".into(),
            },
            known => known,
        })?;
    match rows
        .first()
        .and_then(|row| row.get::<Option<i64>, _>("version"))
    {
        Some(1) => Ok(()),
        Some(_) => Err(JournalError::Newer {
            path: path.to_owned(),
        }),
        None => Err(JournalError::Corrupt {
            path: path.to_owned(),
            detail: "it holds no journal".into(),
        }),
    }
}

/// Reads a setting back: a file system without shared memory, for instance, refuses WAL without an error.
async fn require(
    path: &Path,
    db: &mut SqliteConnection,
    query: &'static str,
    pragma: &'static str,
    wanted: &'static str,
) -> Result<(), JournalError> {
    let rows = sqlx::query(query)
        .fetch_all(db)
        .await
        .map_err(|error| wrap(path, error))?;
    let found = rows.first().map_or_else(String::new, |row| {
        row.try_get::<String, _>(0)
            .or_else(|_| row.try_get::<i64, _>(0).map(|n| n.to_string()))
            .unwrap_or_default()
    });
    if found == wanted {
        Ok(())
    } else {
        Err(JournalError::Pragma {
            path: path.to_owned(),
            pragma,
            found,
            wanted,
        })
    }
}

async fn grow_wal(db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("CREATE TABLE ballast (bytes BLOB) STRICT")
        .execute(&mut *tx)
        .await?;
    sqlx::query("INSERT INTO ballast VALUES (zeroblob(?1))")
        .bind(WAL_BYTES)
        .execute(&mut *tx)
        .await?;
    sqlx::query("DROP TABLE ballast").execute(&mut *tx).await?;
    tx.commit().await?;
    sqlx::query("PRAGMA wal_checkpoint(RESTART)")
        .fetch_all(db)
        .await?;
    Ok(())
}

/// Sorts what SQLite says: <https://sqlite.org/rescode.html>.
pub(crate) fn wrap(path: &Path, error: sqlx::Error) -> JournalError {
    let path = path.to_owned();
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| i32::from_str(&code).ok());
    match code.map(|code| code & 0xff) {
        _ if code == Some(NO_ROOM_FOR_INDEX) => JournalError::Full { path },
        Some(11 | 26) => JournalError::Corrupt {
            path,
            detail: error.to_string(),
        },
        Some(13) => JournalError::Full { path },
        Some(8 | 14) => JournalError::ReadOnly {
            path,
            detail: error.to_string(),
        },
        _ => JournalError::Database {
            path,
            source: error,
        },
    }
}
