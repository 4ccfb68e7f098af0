//! One driver per run.
//!
//! A lease carries a fencing token, the epoch. Every append names it, so a driver that was taken over writes nothing.
//! A dead process on this host is taken over at once; a live but silent one after its lease and the longest time that
//! one of its requests can be under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Connection as _, Row};

use crate::clock::later;
use crate::journal::{Journal, JournalError};

/// How long a driver may be silent.
pub const TERM: Duration = Duration::from_secs(5);

/// A process that drives runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// For people: who, where.
    pub owner: String,
    /// Host name and boot id. A process id means something only there.
    pub host: String,
    /// The process.
    pub pid: i64,
    /// When it started, in the kernel's count since boot. A process id is used again.
    pub started: String,
}

impl Holder {
    /// Returns this process, in the name of `owner`.
    pub fn this_process(owner: &str) -> Holder {
        Holder::of_process(owner, std::process::id())
    }

    /// Returns a process of this host, in the name of `owner`. One that does not run counts as dead.
    pub fn of_process(owner: &str, pid: u32) -> Holder {
        Holder {
            owner: owner.to_owned(),
            host: this_host(),
            pid: i64::from(pid),
            started: start_time(i64::from(pid)).unwrap_or_default(),
        }
    }

    /// True if it ran on this host and is gone.
    fn is_dead(&self) -> bool {
        self.host == this_host()
            && start_time(self.pid).is_none_or(|started| started != self.started)
    }
}

/// A lease that this process holds.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The fencing token.
    pub epoch: i64,
    /// Milliseconds of the boot clock until which this process may act.
    until: Arc<AtomicU64>,
}

impl Lease {
    pub(crate) fn new(epoch: i64) -> Lease {
        let lease = Lease {
            epoch,
            until: Arc::new(AtomicU64::new(0)),
        };
        lease.extend();
        lease
    }

    /// True while this process may act. A process that was stopped or suspended for longer finds it false when it
    /// wakes up, before anybody tells it.
    pub fn holds(&self) -> bool {
        boot_ms() < self.until.load(Ordering::SeqCst)
    }

    /// Ends it in this process: from now on it writes nothing to the journal and begins no request.
    pub fn end(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// Measured from before the renewal was sent: the lease in the file can only be longer.
    fn extend(&self) {
        self.extend_from(boot_ms());
    }

    fn extend_from(&self, ms: u64) {
        self.until
            .store(ms + TERM.as_millis() as u64, Ordering::SeqCst);
    }
}

/// How a lease was come by.
pub(crate) enum Acquired {
    /// Nobody held it: the driver before had released it.
    Free(Lease),
    /// The driver before is gone.
    TakenOver {
        lease: Lease,
        from: String,
        /// When its last request can no longer arrive.
        requests_over_at: Timestamp,
    },
}

/// Why a lease could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// A live driver holds it.
    #[error("run `{run}` is being driven by {owner} (process {pid})")]
    Held {
        /// The run.
        run: String,
        /// Who.
        owner: String,
        /// Its process.
        pid: i64,
        /// When it could be taken over if it stayed silent.
        until: Timestamp,
    },
    /// The state file.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Takes the lease of a run, if its holder released it, is dead, or was silent for too long.
pub(crate) async fn acquire(
    journal: &Journal,
    run: &str,
    holder: &Holder,
    now: Timestamp,
    request: Duration,
) -> Result<Acquired, AcquireError> {
    let wrap = |error| journal.wrap(error);
    let mut db = journal.db.lock().await;
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)?;
    let rows =
        sqlx::query("SELECT epoch, owner, host, pid, started, until FROM lease WHERE run = ?1")
            .bind(run)
            .fetch_all(&mut *tx)
            .await
            .map_err(wrap)?;
    let row = rows
        .first()
        .ok_or_else(|| JournalError::NoRun(run.to_owned()))?;
    let before = Holder {
        owner: row.get("owner"),
        host: row.get("host"),
        pid: row.get("pid"),
        started: row.get("started"),
    };
    let (epoch, until): (i64, i64) = (row.get("epoch"), row.get("until"));
    let until_time = Timestamp::from_millisecond(until).unwrap_or(Timestamp::UNIX_EPOCH);
    let dead = before.is_dead();
    if until != 0 && !dead && now <= later(until_time, request) {
        return Err(AcquireError::Held {
            run: run.to_owned(),
            owner: before.owner,
            pid: before.pid,
            until: later(until_time, request),
        });
    }
    sqlx::query("UPDATE lease SET epoch = ?2, owner = ?3, host = ?4, pid = ?5, started = ?6, until = ?7 WHERE run = ?1")
        .bind(run)
        .bind(epoch + 1)
        .bind(&holder.owner)
        .bind(&holder.host)
        .bind(holder.pid)
        .bind(&holder.started)
        .bind(later(now, TERM).as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(wrap)?;
    let lease = Lease::new(epoch + 1);
    tx.commit().await.map_err(wrap)?;
    if until == 0 {
        return Ok(Acquired::Free(lease));
    }
    // It sent nothing after its lease ended, and nothing after it died.
    let last_request = now.min(until_time);
    Ok(Acquired::TakenOver {
        lease,
        from: format!(
            "{} (process {}, {})",
            before.owner,
            before.pid,
            if dead { "gone" } else { "silent" }
        ),
        requests_over_at: later(last_request, request),
    })
}

/// Renews a lease. Fenced if another driver has it now.
pub(crate) async fn renew(
    journal: &Journal,
    run: &str,
    lease: &Lease,
    now: Timestamp,
) -> Result<(), JournalError> {
    let sent_at = boot_ms();
    let renewed = set_until(journal, run, lease, later(now, TERM).as_millisecond()).await;
    match &renewed {
        Ok(()) => lease.extend_from(sent_at),
        // Another driver has it: this one need not wait for its own term to notice.
        Err(JournalError::Fenced) => lease.end(),
        Err(_) => {}
    }
    renewed
}

/// Gives a lease back, so that the next driver need not wait.
pub(crate) async fn release(
    journal: &Journal,
    run: &str,
    lease: &Lease,
) -> Result<(), JournalError> {
    lease.end();
    set_until(journal, run, lease, 0).await
}

async fn set_until(
    journal: &Journal,
    run: &str,
    lease: &Lease,
    until: i64,
) -> Result<(), JournalError> {
    let done = sqlx::query("UPDATE lease SET until = ?3 WHERE run = ?1 AND epoch = ?2")
        .bind(run)
        .bind(lease.epoch)
        .bind(until)
        .execute(&mut *journal.db.lock().await)
        .await
        .map_err(|error| journal.wrap(error))?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(JournalError::Fenced)
    }
}

/// Says who holds a run, if a live driver does.
pub async fn holder(journal: &Journal, run: &str) -> Result<Option<Holder>, JournalError> {
    let rows = sqlx::query("SELECT owner, host, pid, started, until FROM lease WHERE run = ?1")
        .bind(run)
        .fetch_all(&mut *journal.db.lock().await)
        .await
        .map_err(|error| journal.wrap(error))?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let holder = Holder {
        owner: row.get("owner"),
        host: row.get("host"),
        pid: row.get("pid"),
        started: row.get("started"),
    };
    let held = row.get::<i64, _>("until") != 0 && !holder.is_dead();
    Ok(held.then_some(holder))
}

/// Counts on while the machine sleeps, unlike the monotonic clock.
fn boot_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

fn this_host() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let name = rustix::system::uname();
    format!("{} {}", name.nodename().to_string_lossy(), boot.trim())
}

/// Returns field 22 of `/proc/PID/stat`. The command's name before it may hold blanks and brackets. A zombie is dead:
/// it runs no more.
fn start_time(pid: i64) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    fields.get(19).map(|field| (*field).to_owned())
}
