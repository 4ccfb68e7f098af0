//! The state file full, read-only, damaged, newer, or none at all: nothing is lost and nothing is done blindly.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::pair::Pair;
use crate::stage::{self, PLANNED, RESUME, Watched, tags};

/// The bytes of a state file and of its log.
fn bytes(pair: &Pair) -> Vec<u8> {
    std::fs::read(pair.state()).expect("the state file")
}

/// A run that was killed in the middle.
async fn unfinished(pair: &Pair) {
    let mut run = Watched::start(pair, PLANNED);
    run.until("now", "final-sync").await;
    run.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_a_database() {
    let pair = stage::pull().await;
    std::fs::write(
        pair.state(),
        "this is a shopping list, not a journal\n".repeat(400),
    )
    .expect("written");
    for command in [PLANNED, RESUME, &["runs"], &["show"]] {
        let ran = pair.expect(1, command).await;
        ran.says(&["state.db", "--state"]);
    }
    assert_eq!(pair.writes(), 0);
    assert!(
        bytes(&pair).starts_with(b"this is a shopping list"),
        "it was not touched"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_in_the_middle() {
    let pair = stage::pull().await;
    unfinished(&pair).await;
    let damaged: Vec<u8> = {
        let mut all = bytes(&pair);
        let middle = all.len() / 2;
        for byte in &mut all[4096..middle.max(8192)] {
            *byte ^= 0x5a;
        }
        all
    };
    let wal = pair.state().with_file_name("state.db-wal");
    let _ = std::fs::remove_file(wal);
    std::fs::write(pair.state(), damaged).expect("damaged");
    let serves = pair.serves();
    let ran = pair.run(RESUME).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["state"]);
    assert_eq!(pair.serves(), serves);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_that_was_changed_breaks_the_chain() {
    let pair = stage::pull().await;
    pair.expect(0, PLANNED).await;
    // Same length, other words: an edit that SQLite itself cannot notice.
    for name in ["state.db", "state.db-wal"] {
        let path = pair.folder().join(name);
        let Ok(mut all) = std::fs::read(&path) else {
            continue;
        };
        let (from, to) = (b"raise-ttl", b"raize-ttl");
        let at: Vec<usize> = all
            .windows(from.len())
            .enumerate()
            .filter(|(_, window)| window == from)
            .map(|(at, _)| at)
            .collect();
        for at in at {
            all[at..at + to.len()].copy_from_slice(to);
        }
        std::fs::write(&path, all).expect("edited");
    }
    let ran = pair.run(&["journal"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn written_by_a_newer_version() {
    let pair = stage::pull().await;
    unfinished(&pair).await;
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
               VALUES (9999, 'from the future', 1, x'00', 0)";
    sqlite(&pair.state(), sql).await;
    let (serves, events) = (pair.serves(), bytes(&pair).len());
    let ran = pair.expect(1, RESUME).await;
    ran.says(&["newer", "--state FILE"]);
    assert_eq!(pair.serves(), serves);
    assert_eq!(bytes(&pair).len(), events);
    sqlite(
        &pair.state(),
        "DELETE FROM _sqlx_migrations WHERE version = 9999",
    )
    .await;
    pair.expect(0, RESUME).await;
}

/// Python's own module, since there is no other client on every host.
async fn sqlite(file: &Path, sql: &str) {
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\ndb.execute(sys.argv[2])\ndb.commit()\ndb.close()\n";
    let done = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .arg(sql)
        .stderr(Stdio::piped())
        .output()
        .await
        .expect("python3 is installed: `make deps`");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written() {
    let pair = stage::pull().await;
    // A file where a folder should be: not even root can write there.
    let mut command = pair.command(PLANNED);
    std::fs::write(pair.folder().join("file"), "").expect("a file");
    command.env("RUNBOOK_STATE", pair.folder().join("file/state.db"));
    let ran = Watched::of(command).expect(1).await;
    ran.says(&["nothing was changed"]);
    assert_eq!(pair.writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_file_on_a_read_only_filesystem() {
    let pair = stage::pull().await;
    unfinished(&pair).await;
    let serves = pair.serves();
    let kept = bytes(&pair);
    // Root writes everywhere but where the filesystem refuses.
    let script =
        "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && shift 0 && exec \"$@\"";
    let folder = pair.folder().join("ro");
    std::fs::create_dir(&folder).expect("a folder");
    for name in [
        "state.db",
        "state.db-wal",
        "state.db-shm",
        "inventory.db",
        "inventory.db-wal",
        "inventory.db-shm",
    ] {
        let _ = std::fs::copy(pair.folder().join(name), folder.join(name));
    }
    let ran = unshared(&pair, script, &folder, RESUME).await;
    if let Some(ran) = ran {
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.says(&["state.db", "runbook resume"]);
    } else {
        // Without the right to mount: take the right to write instead.
        std::fs::set_permissions(pair.state(), std::fs::Permissions::from_mode(0o400))
            .expect("set");
        let ran = pair.expect(1, RESUME).await;
        ran.says(&["state.db", "runbook resume"]);
        std::fs::set_permissions(pair.state(), std::fs::Permissions::from_mode(0o600))
            .expect("set");
    }
    assert_eq!(pair.serves(), serves);
    assert!(bytes(&pair).starts_with(&kept[..100]));
    let before = tags(pair.sandbox.primary());
    pair.expect(0, RESUME).await;
    pair.is_moved(&before);
}

/// Runs the binary in a mount namespace of its own. None: this host does not allow it.
async fn unshared(
    pair: &Pair,
    script: &str,
    folder: &Path,
    arguments: &[&str],
) -> Option<crate::pair::Ran> {
    let allowed = Command::new("unshare")
        .args(["--mount", "true"])
        .stderr(Stdio::null())
        .status()
        .await
        .is_ok_and(|status| status.success());
    if !allowed {
        return None;
    }
    let binary = env!("CARGO_BIN_EXE_runbook");
    let inner = pair.command(arguments);
    let mut outer = Command::new("unshare");
    outer
        .args(["--mount", "sh", "-c", script])
        .arg(folder)
        .arg(binary)
        .args(arguments)
        .current_dir(pair.folder())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for (name, value) in inner.as_std().get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    outer.env("RUNBOOK_STATE", folder.join("state.db"));
    Some(crate::pair::finish(outer.spawn().expect("it starts"), arguments).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_while_journaling_stops_the_run_and_loses_nothing() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    let binary = env!("CARGO_BIN_EXE_runbook");
    let mut stopped = 0;
    // The limit bites at some write or other, of this file or of its log.
    for kilobytes in [40, 64, 100, 160, 256, 400, 640, 1000] {
        let arguments: Vec<&str> = if pair
            .runs()
            .await
            .iter()
            .any(|run| run["finished_at"].is_null())
        {
            vec!["resume", "--confirm", "dr", "--no-input"]
        } else if pair.serves() == "primary" {
            PLANNED.to_vec()
        } else {
            break;
        };
        let inner = pair.command(&arguments);
        let mut limited = Command::new("prlimit");
        limited
            .arg(format!("--fsize={}", kilobytes * 1024))
            .arg(binary)
            .args(&arguments)
            .current_dir(pair.folder())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, value) in inner.as_std().get_envs() {
            if let Some(value) = value {
                limited.env(name, value);
            }
        }
        let ran =
            crate::pair::finish(limited.spawn().expect("prlimit is installed"), &arguments).await;
        if ran.code == Some(0) {
            break;
        }
        stopped += 1;
        assert_eq!(ran.code, Some(1), "at {kilobytes} KiB: {ran:?}");
        ran.says(&["state", "runbook"]);
    }
    assert!(stopped > 0, "no limit was small enough");
    // With space again it goes on from where the journal ends.
    if pair.serves() == "primary"
        || pair
            .runs()
            .await
            .iter()
            .any(|run| run["finished_at"].is_null())
    {
        let unfinished = pair
            .runs()
            .await
            .iter()
            .any(|run| run["finished_at"].is_null());
        let again: &[&str] = if unfinished {
            &["resume", "--confirm", "dr", "--no-input"]
        } else {
            PLANNED
        };
        pair.expect(0, again).await;
    }
    pair.is_moved(&before);
    pair.expect(0, &["journal"]).await;
}
