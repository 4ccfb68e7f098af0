//! The state file on bad days.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use runbook_engine::event::{Event, Outcome};
use runbook_engine::journal::{Journal, JournalError};
use runbook_engine::runlog::{Blind, Lost, RunLog};

use crate::rig::{Life, RUN, Rig, step};

async fn open(path: &Path) -> Result<(), JournalError> {
    Journal::open(path).await.map(drop)
}

#[tokio::test]
async fn a_newer_file_is_left_alone() {
    let rig = Rig::new(vec![step("a")]).await;
    rig.begin().await.outcome();
    rig.run_sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (2, 'next', 1, x'00', 1)",
    )
    .await
    .expect("written");
    assert!(matches!(
        open(&rig.file).await,
        Err(JournalError::Newer { .. })
    ));
    assert!(matches!(
        Journal::open_read(&rig.file).await,
        Err(JournalError::Newer { .. })
    ));
    assert!(matches!(
        Journal::open_inbox(&rig.file).await,
        Err(JournalError::Newer { .. })
    ));
}

#[tokio::test]
async fn what_is_no_database_is_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.db");
    std::fs::write(&path, "version: 1\nsites: {}\n".repeat(500)).expect("written");
    for result in [
        open(&path).await,
        Journal::open_read(&path).await.map(drop),
        Journal::open_inbox(&path).await.map(drop),
    ] {
        assert!(
            matches!(result, Err(JournalError::Corrupt { .. })),
            "{result:?}"
        );
    }
    let text = std::fs::read_to_string(&path).expect("still there");
    assert!(
        text.starts_with("version: 1"),
        "and nothing was written to it"
    );
}

#[tokio::test]
async fn a_database_of_another_program_is_not_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.db");
    use sqlx::{ConnectOptions as _, Connection as _};
    let mut db = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .connect()
        .await
        .expect("open");
    sqlx::query("CREATE TABLE journal (x)")
        .execute(&mut db)
        .await
        .expect("made");
    db.close().await.expect("closed");
    assert!(matches!(
        Journal::open_read(&path).await,
        Err(JournalError::Corrupt { .. })
    ));
    assert!(open(&path).await.is_err());
}

#[tokio::test]
async fn a_file_that_may_not_be_written_is_named() {
    let rig = Rig::new(vec![step("a")]).await;
    rig.begin().await.outcome();
    std::fs::set_permissions(&rig.file, std::fs::Permissions::from_mode(0o400)).expect("set");
    let error = open(&rig.file).await.expect_err("refused");
    assert!(
        matches!(&error, JournalError::ReadOnly { .. }) && error.to_string().contains("state.db"),
        "{error}"
    );
    Journal::open_read(&rig.file)
        .await
        .expect("to look it needs no right to write");
}

#[tokio::test]
async fn a_folder_is_made_and_what_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    open(&folder.path().join("new/er/state.db"))
        .await
        .expect("made");
    let mode = std::fs::metadata(folder.path().join("new/er/state.db"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "it holds what a run saw of the world");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    assert!(matches!(
        open(&file.join("state.db")).await,
        Err(JournalError::ReadOnly { .. })
    ));
    assert!(matches!(
        open(folder.path()).await,
        Err(JournalError::ReadOnly { .. })
    ));
    let missing = folder.path().join("missing.db");
    assert!(matches!(
        Journal::open_read(&missing).await,
        Err(JournalError::Missing { .. })
    ));
    assert!(matches!(
        Journal::open_inbox(&missing).await,
        Err(JournalError::Missing { .. })
    ));
    assert!(!missing.exists(), "looking makes nothing");
}

#[tokio::test]
async fn a_damaged_page_is_found() {
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    rig.begin().await.outcome();
    let copy = rig.file.with_file_name("copy.db");
    let target: &'static str =
        Box::leak(format!("VACUUM INTO '{}'", copy.display()).into_boxed_str());
    rig.run_sql(target).await.expect("copied");
    let whole = std::fs::read(&copy).expect("read");
    let pages = whole.len() / 4096;
    assert!(pages > 4);
    for page in 1..pages {
        let mut bytes = whole.clone();
        bytes[page * 4096..page * 4096 + 64].fill(0xa5);
        std::fs::write(&copy, bytes).expect("written");
        let _ = std::fs::remove_file(copy.with_file_name("copy.db-wal"));
        let _ = std::fs::remove_file(copy.with_file_name("copy.db-shm"));
        match Journal::open_read(&copy).await {
            Err(JournalError::Corrupt { .. }) => continue,
            Err(other) => panic!("page {page}: {other}"),
            Ok(journal) => match journal.events(RUN).await {
                Err(JournalError::Corrupt { .. }) => {}
                // A page that holds none of them.
                Ok(events) => assert_eq!(events.len(), rig.recorded().await.len(), "page {page}"),
                Err(other) => panic!("page {page}: {other}"),
            },
        }
    }
}

#[tokio::test]
async fn a_full_disk_ends_the_driver_and_loses_nothing() {
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    let holder = rig.holder();
    let log = RunLog::begin(
        rig.journal(),
        RUN,
        rig.plan.clone(),
        &holder,
        rig.clock.clone(),
        Arc::new(Blind),
    )
    .await
    .expect("begun");
    rig.journal()
        .limit_pages(1)
        .await
        .expect("it cannot shrink, so it is full now");
    let started = Event::AttemptStarted {
        step: "a".into(),
        attempt: 1,
        token: "t".repeat(4_000_000),
    };
    let error = log.append(vec![started]).await.expect_err("full");
    assert!(
        matches!(error, Lost::Journal(JournalError::Full { .. })),
        "{error}"
    );
    assert_eq!(
        log.state().steps[0].attempts,
        0,
        "what is not on disk is not so"
    );
    assert_eq!(rig.recorded().await.len(), 1);
    rig.journal()
        .limit_pages(1_000_000)
        .await
        .expect("room again");
    drop(log);
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
}

#[tokio::test]
async fn a_commit_that_fails_is_an_error_and_never_looks_done() {
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    assert!(matches!(rig.begin_and_die_after(2).await, Life::Died));
    let before = rig.recorded().await.len();
    // Refused at the commit itself, after all rows went in: a check that SQLite makes only there.
    rig.run_sql("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        .await
        .expect("made");
    rig.run_sql(
        "CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
    )
    .await
    .expect("made");
    rig.run_sql("CREATE TRIGGER fails_at_commit AFTER INSERT ON journal BEGIN INSERT INTO child VALUES (7); END").await.expect("made");
    let life = rig.resume().await;
    assert!(
        matches!(life, Life::NotResumed(_) | Life::Lost(_)),
        "{life:?}"
    );
    assert_eq!(rig.recorded().await.len(), before);
    rig.run_sql("DROP TRIGGER fails_at_commit")
        .await
        .expect("dropped");
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
}
