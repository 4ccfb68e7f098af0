//! The journal: runs, events, leases and the inbox in one SQLite file.
//!
//! Nothing outside this file, `state_file.rs` and `lease.rs` knows SQLite. Writes go through `execute` and `fetch_all`
//! alone: sqlx reports the result of `fetch_one` on a writing statement before the commit has happened, and then a
//! commit that failed looks like one that did not.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};
use tokio::sync::Mutex;

use crate::event::{Command, Event, Outcome, Owed};
use crate::failpoint;
use crate::plan::{Mode, Plan, hex};
use crate::state_file::{self, wrap};

pub use crate::state_file::JournalError;

/// The file that holds the runs.
pub struct Journal {
    path: PathBuf,
    pub(crate) db: Mutex<SqliteConnection>,
    read_only: bool,
    commits: AtomicU64,
}

/// An event as it stands in the journal.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// 1, 2, 3 ... in each run.
    pub seq: i64,
    /// When it was written.
    pub at: Timestamp,
    /// The fencing token of its writer.
    pub epoch: i64,
    /// The event.
    pub event: Event,
    /// SHA-256 over the hash before, seq, at and payload.
    pub hash: String,
}

/// A run without its events.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Its id.
    pub id: String,
    /// Its topology.
    pub topology: String,
    /// Its runbook.
    pub runbook: String,
    /// Planned or unplanned.
    pub mode: Mode,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The site that serves since this run, if it moved the clients.
    pub moved_to: Option<String>,
    /// What is owed since this run.
    pub owed: Vec<Owed>,
}

/// A command that waits in the inbox.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its row.
    pub id: i64,
    /// Who sent it.
    pub by: String,
    /// The command.
    pub command: Command,
}

/// What is written with the last event of a run.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub outcome: Outcome,
    pub moved_to: Option<String>,
    pub owed: Vec<Owed>,
}

/// A row about to be appended.
pub(crate) struct NewRow {
    pub seq: i64,
    pub at: Timestamp,
    pub event: Event,
    pub payload: String,
    pub hash: String,
}

const APPEND: &str = "INSERT INTO journal (run, seq, at, epoch, event, payload, hash)
 SELECT ?1, b.value->>0, b.value->>1, ?2, b.value->>2, b.value->>3, b.value->>4 FROM json_each(?3) b
 WHERE EXISTS (SELECT 1 FROM lease WHERE run = ?1 AND epoch = ?2)
   AND coalesce((SELECT max(seq) FROM journal WHERE run = ?1), 0) = ?4";

impl Journal {
    /// Opens the state file for a driver, making it if it is missing.
    pub async fn open(path: &Path) -> Result<Journal, JournalError> {
        Ok(Journal::new(
            path,
            state_file::for_driver(path).await?,
            false,
        ))
    }

    /// Opens the state file for looking.
    pub async fn open_read(path: &Path) -> Result<Journal, JournalError> {
        Ok(Journal::new(
            path,
            state_file::for_reader(path).await?,
            true,
        ))
    }

    /// Opens the state file for sending a command, without the work that only a driver needs.
    pub async fn open_inbox(path: &Path) -> Result<Journal, JournalError> {
        Ok(Journal::new(
            path,
            state_file::for_sender(path).await?,
            false,
        ))
    }

    fn new(path: &Path, db: SqliteConnection, read_only: bool) -> Journal {
        Journal {
            path: path.to_owned(),
            db: Mutex::new(db),
            read_only,
            commits: AtomicU64::new(0),
        }
    }

    /// Returns where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True if it was opened for looking.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Returns how many commits of events this connection has made: what a run pays for its promises.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Lets the file grow to so many pages of 4 KiB and no further: a full disk, for tests.
    #[doc(hidden)]
    pub async fn limit_pages(&self, pages: u32) -> Result<(), JournalError> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "PRAGMA max_page_count = {pages}"
        )))
        .fetch_all(&mut *self.db.lock().await)
        .await
        .map(drop)
        .map_err(|error| wrap(&self.path, error))
    }

    /// Appends rows under a fencing token. Nothing is written unless the token is the newest and the rows follow the
    /// head.
    pub(crate) async fn append(
        &self,
        run: &str,
        epoch: i64,
        head: i64,
        rows: &[NewRow],
    ) -> Result<(), JournalError> {
        failpoint::reach("append", failpoint::Edge::Before);
        let mut db = self.db.lock().await;
        let done = sqlx::query(APPEND)
            .bind(run)
            .bind(epoch)
            .bind(as_json(rows))
            .bind(head)
            .execute(&mut *db)
            .await
            .map_err(|error| wrap(&self.path, error))?;
        if done.rows_affected() as usize != rows.len() {
            return Err(JournalError::Fenced);
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        failpoint::reach("append", failpoint::Edge::After);
        Ok(())
    }

    /// Appends the last rows of a run together with what the list of runs shows of its end.
    pub(crate) async fn finish(
        &self,
        run: &str,
        epoch: i64,
        head: i64,
        rows: &[NewRow],
        ending: &Ending,
    ) -> Result<(), JournalError> {
        failpoint::reach("append", failpoint::Edge::Before);
        let wrap = |error| wrap(&self.path, error);
        let mut db = self.db.lock().await;
        let mut tx = db.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)?;
        let done = sqlx::query(APPEND)
            .bind(run)
            .bind(epoch)
            .bind(as_json(rows))
            .bind(head)
            .execute(&mut *tx)
            .await
            .map_err(wrap)?;
        if done.rows_affected() as usize != rows.len() {
            return Err(JournalError::Fenced);
        }
        sqlx::query(
            "UPDATE run SET finished_at = ?2, outcome = ?3, moved_to = ?4, owed = ?5 WHERE id = ?1",
        )
        .bind(run)
        .bind(rows.last().map_or(0, |row| row.at.as_millisecond()))
        .bind(word(&ending.outcome))
        .bind(ending.moved_to.as_deref())
        .bind(to_text(&ending.owed))
        .execute(&mut *tx)
        .await
        .map_err(wrap)?;
        tx.commit().await.map_err(wrap)?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        failpoint::reach("append", failpoint::Edge::After);
        Ok(())
    }

    /// Returns the events of a run, oldest first, and proves their chain.
    pub async fn events(&self, run: &str) -> Result<Vec<Recorded>, JournalError> {
        let rows = sqlx::query(
            "SELECT seq, at, epoch, payload, hash FROM journal WHERE run = ?1 ORDER BY seq",
        )
        .bind(run)
        .fetch_all(&mut *self.db.lock().await)
        .await
        .map_err(|error| wrap(&self.path, error))?;
        let mut events = Vec::with_capacity(rows.len());
        let mut before = String::new();
        for (i, row) in rows.iter().enumerate() {
            let (seq, at, payload, hash): (i64, i64, String, String) = (
                row.get("seq"),
                row.get("at"),
                row.get("payload"),
                row.get("hash"),
            );
            let at = time(at);
            if seq != i as i64 + 1 || chain(&before, seq, at, &payload) != hash {
                return Err(self.corrupt(format!(
                    "event {seq} of run `{run}` does not fit the ones before it"
                )));
            }
            let event = serde_json::from_str(&payload)
                .map_err(|error| self.corrupt(format!("event {seq} of run `{run}`: {error}")))?;
            before.clone_from(&hash);
            events.push(Recorded {
                seq,
                at,
                epoch: row.get("epoch"),
                event,
                hash,
            });
        }
        Ok(events)
    }

    /// Returns all runs, newest first.
    pub async fn runs(&self) -> Result<Vec<RunRow>, JournalError> {
        let rows = sqlx::query(
            "SELECT id, topology, runbook, mode, created_at, finished_at, outcome, moved_to, owed
             FROM run ORDER BY created_at DESC, rowid DESC",
        )
        .fetch_all(&mut *self.db.lock().await)
        .await
        .map_err(|error| wrap(&self.path, error))?;
        rows.iter().map(|row| self.run_row(row)).collect()
    }

    /// Returns the run with this id, or whose id begins so.
    pub async fn find(&self, id: &str) -> Result<RunRow, JournalError> {
        let mut fits: Vec<RunRow> = self
            .runs()
            .await?
            .into_iter()
            .filter(|run| run.id.starts_with(id))
            .collect();
        if let Some(exact) = fits.iter().position(|run| run.id == id) {
            return Ok(fits.swap_remove(exact));
        }
        match fits.len() {
            0 => Err(JournalError::NoRun(id.to_owned())),
            1 => Ok(fits.swap_remove(0)),
            _ => Err(JournalError::Ambiguous(id.to_owned())),
        }
    }

    /// Returns the plan of a run.
    pub async fn plan(&self, run: &str) -> Result<Plan, JournalError> {
        let rows = sqlx::query("SELECT plan, plan_digest FROM run WHERE id = ?1")
            .bind(run)
            .fetch_all(&mut *self.db.lock().await)
            .await
            .map_err(|error| wrap(&self.path, error))?;
        let row = rows
            .first()
            .ok_or_else(|| JournalError::NoRun(run.to_owned()))?;
        let (text, digest): (String, String) = (row.get("plan"), row.get("plan_digest"));
        let plan: Plan = serde_json::from_str(&text)
            .map_err(|error| self.corrupt(format!("the plan of run `{run}`: {error}")))?;
        if plan.digest() != digest {
            return Err(self.corrupt(format!(
                "the plan of run `{run}` is not the one that was stored"
            )));
        }
        Ok(plan)
    }

    /// Puts a command into the inbox of a run.
    pub async fn send(&self, run: &str, by: &str, command: &Command) -> Result<(), JournalError> {
        sqlx::query("INSERT INTO inbox (run, at, by, command) VALUES (?1, ?2, ?3, ?4)")
            .bind(run)
            .bind(Timestamp::now().as_millisecond())
            .bind(by)
            .bind(to_text(command))
            .execute(&mut *self.db.lock().await)
            .await
            .map(drop)
            .map_err(|error| wrap(&self.path, error))
    }

    /// Returns the commands that came after a row of the inbox.
    pub async fn inbox(&self, run: &str, after: i64) -> Result<Vec<Waiting>, JournalError> {
        let rows =
            sqlx::query("SELECT id, by, command FROM inbox WHERE run = ?1 AND id > ?2 ORDER BY id")
                .bind(run)
                .bind(after)
                .fetch_all(&mut *self.db.lock().await)
                .await
                .map_err(|error| wrap(&self.path, error))?;
        rows.iter()
            .map(|row| {
                let command = serde_json::from_str(row.get::<String, _>("command").as_str())
                    .map_err(|error| self.corrupt(format!("a command to run `{run}`: {error}")))?;
                Ok(Waiting {
                    id: row.get("id"),
                    by: row.get("by"),
                    command,
                })
            })
            .collect()
    }

    /// Writes the rows of a new run and takes its lease, or says which run is in the way.
    pub(crate) async fn insert_run(
        &self,
        id: &str,
        plan: &Plan,
        first: &NewRow,
        holder: &crate::lease::Holder,
        until: Timestamp,
    ) -> Result<(), JournalError> {
        failpoint::reach("append", failpoint::Edge::Before);
        let wrap = |error| wrap(&self.path, error);
        let mut db = self.db.lock().await;
        let mut tx = db.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)?;
        let other = sqlx::query("SELECT id FROM run WHERE topology = ?1 AND finished_at IS NULL")
            .bind(&plan.topology)
            .fetch_all(&mut *tx)
            .await
            .map_err(wrap)?;
        if let Some(row) = other.first() {
            return Err(JournalError::Unfinished {
                run: row.get("id"),
                topology: plan.topology.clone(),
            });
        }
        sqlx::query(
            "INSERT INTO run (id, topology, runbook, mode, plan, plan_digest, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(id)
        .bind(&plan.topology)
        .bind(&plan.runbook)
        .bind(word(&plan.mode))
        .bind(to_text(plan))
        .bind(plan.digest())
        .bind(first.at.as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(wrap)?;
        sqlx::query(
            "INSERT INTO lease (run, epoch, owner, host, pid, started, until) VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(id)
        .bind(&holder.owner)
        .bind(&holder.host)
        .bind(holder.pid)
        .bind(&holder.started)
        .bind(until.as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(wrap)?;
        sqlx::query(APPEND)
            .bind(id)
            .bind(1i64)
            .bind(as_json(std::slice::from_ref(first)))
            .bind(0i64)
            .execute(&mut *tx)
            .await
            .map_err(wrap)?;
        tx.commit().await.map_err(wrap)?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        failpoint::reach("append", failpoint::Edge::After);
        Ok(())
    }

    pub(crate) fn wrap(&self, error: sqlx::Error) -> JournalError {
        wrap(&self.path, error)
    }

    fn corrupt(&self, detail: String) -> JournalError {
        JournalError::Corrupt {
            path: self.path.clone(),
            detail,
        }
    }

    fn run_row(&self, row: &SqliteRow) -> Result<RunRow, JournalError> {
        let parse =
            |text: String| serde_json::from_str::<Value>(&text).unwrap_or(Value::String(text));
        let bad = |error: serde_json::Error| self.corrupt(format!("the list of runs: {error}"));
        Ok(RunRow {
            id: row.get("id"),
            topology: row.get("topology"),
            runbook: row.get("runbook"),
            mode: serde_json::from_value(Value::String(row.get("mode"))).map_err(bad)?,
            created_at: time(row.get("created_at")),
            finished_at: row.get::<Option<i64>, _>("finished_at").map(time),
            outcome: row
                .get::<Option<String>, _>("outcome")
                .map(|word| serde_json::from_value(Value::String(word)))
                .transpose()
                .map_err(bad)?,
            moved_to: row.get("moved_to"),
            owed: serde_json::from_value(parse(row.get("owed"))).map_err(bad)?,
        })
    }
}

/// Returns the hash of an event from the one before it.
pub(crate) fn chain(before: &str, seq: i64, at: Timestamp, payload: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(before);
    digest.update(seq.to_be_bytes());
    digest.update(at.as_millisecond().to_be_bytes());
    digest.update(payload);
    hex(&digest.finalize())
}

/// Writes a value that JSON can always hold.
pub(crate) fn to_text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types hold nothing that JSON cannot")
}

fn word<T: serde::Serialize>(value: &T) -> String {
    to_text(value).trim_matches('"').to_owned()
}

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn as_json(rows: &[NewRow]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.seq,
                row.at.as_millisecond(),
                row.event.name(),
                row.payload.as_str(),
                row.hash.as_str(),
            )
        })
        .collect();
    to_text(&rows)
}
