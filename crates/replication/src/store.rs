//! Inventories on disk, in a file of their own, so that watching never delays a run.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tokio::sync::Mutex;

use crate::inventory::{Entry, Inventory};

/// How many inventories of a site are kept that were taken by a look, and how many that a run rests on: looking often
/// must not push out what a run will compare with.
const KEPT: [i64; 2] = [8, 32];

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS inventory (
    id INTEGER PRIMARY KEY, site TEXT NOT NULL, taken_at INTEGER NOT NULL, entries INTEGER NOT NULL,
    of_run INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS entry (
    inventory INTEGER NOT NULL REFERENCES inventory (id) ON DELETE CASCADE,
    repository TEXT NOT NULL, reference TEXT NOT NULL, digest TEXT NOT NULL, pushed_at INTEGER,
    PRIMARY KEY (inventory, repository, reference)
) STRICT, WITHOUT ROWID;";

/// The file that holds inventories.
pub struct InventoryStore {
    path: PathBuf,
    db: Mutex<SqliteConnection>,
}

/// Why inventories cannot be kept or found.
#[derive(Debug, thiserror::Error)]
#[error("inventory file `{path}`")]
pub struct StoreError {
    path: PathBuf,
    #[source]
    source: sqlx::Error,
}

impl InventoryStore {
    /// Opens the file, making it if it is missing.
    pub async fn open(path: &Path) -> Result<InventoryStore, StoreError> {
        let wrap = |source| StoreError {
            path: path.to_owned(),
            source,
        };
        // SQLite gives its log the mode of the file. What is pushed where is nobody else's business.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| wrap(error.into()))?;
        let mut db = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging()
            .connect()
            .await
            .map_err(wrap)?;
        sqlx::raw_sql(TABLES).execute(&mut db).await.map_err(wrap)?;
        Ok(InventoryStore {
            path: path.to_owned(),
            db: Mutex::new(db),
        })
    }

    /// Keeps an inventory that was taken by a look, and drops the oldest such of its site.
    pub async fn keep(&self, inventory: &Inventory) -> Result<(), StoreError> {
        self.insert(inventory, false).await
    }

    /// Keeps an inventory that a run rests on: its later steps compare with it.
    pub async fn keep_for_run(&self, inventory: &Inventory) -> Result<(), StoreError> {
        self.insert(inventory, true).await
    }

    async fn insert(&self, inventory: &Inventory, of_run: bool) -> Result<(), StoreError> {
        let wrap = |source| self.wrap(source);
        let rows: Vec<_> = inventory
            .entries
            .iter()
            .map(|((repository, reference), entry)| {
                (
                    repository,
                    reference,
                    &entry.digest,
                    entry.pushed_at.map(Timestamp::as_millisecond),
                )
            })
            .collect();
        let rows = serde_json::to_string(&rows).expect("text and numbers are JSON");
        let mut db = self.db.lock().await;
        let mut tx = db.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)?;
        let id = sqlx::query(
            "INSERT INTO inventory (site, taken_at, entries, of_run) VALUES (?1, ?2, ?3, ?4)",
        )
        .bind(&inventory.site)
        .bind(inventory.taken_at.as_millisecond())
        .bind(inventory.entries.len() as i64)
        .bind(i64::from(of_run))
        .execute(&mut *tx)
        .await
        .map_err(wrap)?
        .last_insert_rowid();
        sqlx::query(
            "INSERT INTO entry SELECT ?1, b.value->>0, b.value->>1, b.value->>2, b.value->>3 FROM json_each(?2) b",
        )
        .bind(id)
        .bind(rows)
        .execute(&mut *tx)
        .await
        .map_err(wrap)?;
        sqlx::query(
            "DELETE FROM inventory WHERE site = ?1 AND of_run = ?2 AND id NOT IN
             (SELECT id FROM inventory WHERE site = ?1 AND of_run = ?2 ORDER BY taken_at DESC, id DESC LIMIT ?3)",
        )
        .bind(&inventory.site)
        .bind(i64::from(of_run))
        .bind(KEPT[usize::from(of_run)])
        .execute(&mut *tx)
        .await
        .map_err(wrap)?;
        tx.commit().await.map_err(wrap)
    }

    /// Returns the last inventory of a site, if one was ever taken.
    pub async fn last(&self, site: &str) -> Result<Option<Inventory>, StoreError> {
        self.newest(site, Timestamp::MIN, Timestamp::MAX).await
    }

    /// Returns the inventory of a site that was taken at this time, to the millisecond, if it is still kept.
    pub async fn taken(&self, site: &str, at: Timestamp) -> Result<Option<Inventory>, StoreError> {
        self.newest(site, at, at).await
    }

    async fn newest(
        &self,
        site: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Inventory>, StoreError> {
        let wrap = |source| self.wrap(source);
        let mut db = self.db.lock().await;
        let found = sqlx::query(
            "SELECT id, taken_at FROM inventory WHERE site = ?1 AND taken_at BETWEEN ?2 AND ?3
             ORDER BY taken_at DESC, id DESC LIMIT 1",
        )
        .bind(site)
        .bind(from.as_millisecond())
        .bind(to.as_millisecond())
        .fetch_all(&mut *db)
        .await
        .map_err(wrap)?;
        let Some(row) = found.first() else {
            return Ok(None);
        };
        let rows = sqlx::query(
            "SELECT repository, reference, digest, pushed_at FROM entry WHERE inventory = ?1",
        )
        .bind(row.get::<i64, _>("id"))
        .fetch_all(&mut *db)
        .await
        .map_err(wrap)?;
        let entries = rows.iter().map(|row| {
            let pushed_at = row
                .get::<Option<i64>, _>("pushed_at")
                .and_then(|ms| Timestamp::from_millisecond(ms).ok());
            (
                (row.get("repository"), row.get("reference")),
                Entry {
                    digest: row.get("digest"),
                    pushed_at,
                },
            )
        });
        Ok(Some(Inventory {
            site: site.to_owned(),
            taken_at: Timestamp::from_millisecond(row.get("taken_at"))
                .unwrap_or(Timestamp::UNIX_EPOCH),
            entries: entries.collect(),
        }))
    }

    /// Tells whether a site was ever seen to hold this digest under this reference.
    pub async fn ever_had(
        &self,
        site: &str,
        repository: &str,
        reference: &str,
        digest: &str,
    ) -> Result<bool, StoreError> {
        let rows = sqlx::query(
            "SELECT 1 FROM entry e JOIN inventory i ON i.id = e.inventory
             WHERE i.site = ?1 AND e.repository = ?2 AND e.reference = ?3 AND e.digest = ?4 LIMIT 1",
        )
        .bind(site)
        .bind(repository)
        .bind(reference)
        .bind(digest)
        .fetch_all(&mut *self.db.lock().await)
        .await
        .map_err(|source| self.wrap(source))?;
        Ok(!rows.is_empty())
    }

    fn wrap(&self, source: sqlx::Error) -> StoreError {
        StoreError {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_inventory_comes_back_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = InventoryStore::open(&folder.path().join("inventory.db"))
            .await
            .unwrap();
        assert_eq!(store.last("a").await.unwrap(), None);
        for n in 0..12i64 {
            let at = Timestamp::from_second(n).unwrap();
            let entry = Entry {
                digest: format!("sha256:{n}"),
                pushed_at: Some(at),
            };
            let entries = [(("p/a".to_owned(), "v1".to_owned()), entry)].into();
            let inventory = Inventory {
                site: "a".into(),
                taken_at: at,
                entries,
            };
            store.keep(&inventory).await.unwrap();
            assert_eq!(store.last("a").await.unwrap(), Some(inventory));
        }
        assert!(store.ever_had("a", "p/a", "v1", "sha256:11").await.unwrap());
        assert!(!store.ever_had("a", "p/a", "v1", "sha256:1").await.unwrap());
        assert!(!store.ever_had("b", "p/a", "v1", "sha256:11").await.unwrap());
    }

    /// However often somebody looks, what a run will compare with stays.
    #[tokio::test]
    async fn looking_does_not_push_out_what_a_run_rests_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = InventoryStore::open(&folder.path().join("inventory.db"))
            .await
            .unwrap();
        let at = |n: i64| Timestamp::from_second(n).unwrap();
        let inventory = |n: i64| Inventory {
            site: "a".into(),
            taken_at: at(n),
            entries: [].into(),
        };
        store.keep_for_run(&inventory(0)).await.unwrap();
        for n in 1..40 {
            store.keep(&inventory(n)).await.unwrap();
        }
        assert_eq!(store.taken("a", at(0)).await.unwrap(), Some(inventory(0)));
        assert_eq!(store.taken("a", at(1)).await.unwrap(), None);
        assert_eq!(store.last("a").await.unwrap(), Some(inventory(39)));
    }
}
