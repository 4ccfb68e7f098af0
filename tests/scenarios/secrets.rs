//! Generated secrets are planted, everything is done with them, and they are found nowhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::pair::Pair;
use crate::stage::{self, FAILBACK, PLANNED, Watched};

/// All secrets of a pair, by name: passwords, the robots' secrets, the key.
fn planted(pair: &Pair) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = ["primary-password", "dr-password", "tsig"]
        .iter()
        .map(|name| {
            let text = std::fs::read_to_string(pair.folder().join("secrets").join(name))
                .expect("a secret");
            ((*name).to_owned(), text.trim().to_owned())
        })
        .collect();
    for site in [pair.sandbox.primary(), pair.sandbox.dr()] {
        let secret = site.robot_secret("dr-replication").expect("a robot");
        all.push((format!("robot of {}", site.name()), secret));
    }
    assert!(
        all.iter().all(|(_, secret)| secret.len() > 16),
        "long enough to be looked for"
    );
    all
}

fn contains(hay: &[u8], needle: &str) -> bool {
    hay.windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

#[track_caller]
fn clean(what: &str, text: &[u8], secrets: &[(String, String)]) {
    for (name, secret) in secrets {
        assert!(!contains(text, secret), "`{name}` stands in {what}");
        // As basic authentication carries it.
        let basic = base64(&format!("admin:{secret}"));
        assert!(
            !contains(text, &basic),
            "`{name}` stands in {what}, in base64"
        );
    }
}

/// A few lines rather than a dependency.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut coded = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for i in 0..4 {
            if i > three.len() {
                coded.push('=');
            } else {
                coded.push(char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]));
            }
        }
    }
    coded
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "secrets") {
                found.extend(files(&path));
            }
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_found_anywhere() {
    let pair = stage::push().await;
    let secrets = planted(&pair);
    assert_eq!(base64("admin:a"), "YWRtaW46YQ==", "the search searches");
    let argv: Arc<Mutex<BTreeSet<Vec<u8>>>> = Arc::default();
    // Every process that runs on this machine while the driver runs.
    let watch = tokio::task::spawn_blocking({
        let argv = argv.clone();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(3);
        move || {
            while std::time::Instant::now() < until {
                for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                    if let Ok(line) = std::fs::read(entry.path().join("cmdline")) {
                        argv.lock().expect("no panic").insert(line);
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    });
    let mut loud = PLANNED.to_vec();
    loud.extend(["-v", "-v"]);
    let mut run = Watched::start(&pair, &loud);
    run.until("now", "final-sync").await;
    run.kill().await;
    let mut said: Vec<(String, Vec<u8>)> = Vec::new();
    for arguments in [
        &["resume", "-v", "-v", "--no-input"][..],
        &["show"],
        &["show", "-o", "json"],
        &["journal"],
        &["journal", "-o", "json"],
        &["report"],
        &["report", "-o", "json"],
        &["runs", "-o", "json"],
        &["validate"],
        &[],
        &["compare", "primary", "dr"],
        &["run", "failback", "--dry-run", "-o", "json"],
        FAILBACK,
        &["journal", "-o", "jsonl"],
    ] {
        let ran = pair.run(arguments).await;
        let what = format!("the output of `runbook {}`", arguments.join(" "));
        said.push((
            what,
            [ran.stdout.into_bytes(), ran.stderr.into_bytes()].concat(),
        ));
    }
    watch.await.expect("it watched");
    for (what, text) in &said {
        clean(what, text, &secrets);
    }
    let kept = files(pair.folder());
    assert!(
        kept.iter().any(|path| path.ends_with("state.db")),
        "{kept:?}"
    );
    for path in kept {
        clean(
            &format!("`{}`", path.display()),
            &std::fs::read(&path).expect("a file"),
            &secrets,
        );
    }
    let seen = argv.lock().expect("no panic");
    assert!(
        seen.iter().any(|line| contains(line, "failover")),
        "the driver was seen"
    );
    for line in seen.iter() {
        clean("the arguments of a process", line, &secrets);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_of_the_state_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let pair = stage::pull().await;
    pair.expect(0, PLANNED).await;
    for name in ["state.db", "inventory.db"] {
        let mode = std::fs::metadata(pair.folder().join(name))
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "`{name}`: {mode:o}");
    }
}
