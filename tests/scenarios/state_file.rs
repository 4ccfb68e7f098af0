//! The state file full, read-only, damaged, newer, or none at all: nothing is lost and nothing is done blindly.

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
    // Somebody who knows the file well enough to take the lock off first.
    for sql in [
        "DROP TRIGGER journal_is_never_changed",
        "UPDATE journal SET payload = replace(payload, 'raise-ttl', 'raize-ttl')",
    ] {
        sqlite(&pair.state(), sql).await;
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
        "set -e; shift; mount --bind \"$0\" \"$0\"; mount -o remount,bind,ro \"$0\"; exec \"$@\"";
    let folder = pair.folder().join("ro");
    std::fs::create_dir(&folder).expect("a folder");
    for entry in std::fs::read_dir(pair.folder())
        .expect("a folder")
        .flatten()
    {
        if entry.file_name().to_string_lossy().contains(".db") {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
        }
    }
    let ran = unshared(&pair, script, &folder, "-", RESUME).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["state.db", "runbook resume"]);
    assert_eq!(pair.serves(), serves);
    assert!(bytes(&pair).starts_with(&kept[..100]));
    let before = tags(pair.sandbox.primary());
    pair.expect(0, RESUME).await;
    pair.is_moved(&before);
}

/// Runs the binary in a mount namespace of its own, by a script that gets the folder, a word and the command.
async fn unshared(
    pair: &Pair,
    script: &str,
    folder: &Path,
    word: &str,
    arguments: &[&str],
) -> crate::pair::Ran {
    let inner = pair.command(arguments);
    let mut outer = Command::new("unshare");
    // Whoever is not root becomes so in a namespace.
    if !rustix::process::geteuid().is_root() {
        outer.arg("--map-root-user");
    }
    outer
        .args(["--mount", "sh", "-c", script])
        .arg(folder)
        .arg(word)
        .arg(env!("CARGO_BIN_EXE_runbook"))
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
    crate::pair::finish(outer.spawn().expect("it starts"), arguments).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_while_journaling_stops_the_run_and_loses_nothing() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    let full = pair.folder().join("full");
    std::fs::create_dir(&full).expect("a folder");
    // A disk of 2 MiB with all but some of it taken. What is on it at the end is copied off, since it goes with the
    // namespace; from then on it is the state.
    let script = "set -e; free=$1; shift; mount -t tmpfs -o size=2m,mode=700 tmpfs \"$0\"; \
        cp -p \"$0\"/../state.db* \"$0\"/../inventory.db* \"$0\" 2>/dev/null || true; \
        left=$(($(stat -f -c '%a * %S' \"$0\") / 1024 - free)); \
        if [ \"$left\" -gt 0 ]; then head -c $((left * 1024)) /dev/zero > \"$0\"/taken || true; fi; \
        set +e; \"$@\"; code=$?; rm -f \"$0\"/taken; cp -p \"$0\"/* \"$0\"/..; exit $code";
    let mut stopped = Vec::new();
    for kilobytes in ["16", "64", "120", "200", "300", "420", "560", "720"] {
        let runs = pair.runs().await;
        let unfinished = runs.iter().any(|run| run["finished_at"].is_null());
        let arguments: &[&str] = match unfinished {
            true => &["resume", "--confirm", "dr", "--no-input"],
            false => PLANNED,
        };
        let ran = unshared(&pair, script, &full, kilobytes, arguments).await;
        if ran.code == Some(0) {
            break;
        }
        assert_eq!(ran.code, Some(1), "with {kilobytes} KiB: {ran:?}");
        ran.says(&["state.db", "space"]);
        stopped.push(kilobytes);
    }
    assert!(!stopped.is_empty(), "no disk was small enough");
    if pair
        .runs()
        .await
        .iter()
        .any(|run| run["finished_at"].is_null())
    {
        pair.expect(0, &["resume", "--confirm", "dr", "--no-input"])
            .await;
    } else if pair.serves() == "primary" {
        pair.expect(0, PLANNED).await;
    }
    pair.is_moved(&before);
    pair.expect(0, &["journal"]).await;
}
