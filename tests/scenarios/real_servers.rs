//! Failover and failback with a DNS server that is not ours: BIND 9, and Route 53 as moto answers it. The Harbors are
//! the sandbox's.
//!
//! moto answers no DNS. What its zone says is mirrored to the sandbox's DNS server, twenty times a second, so that the
//! authoritative look and the clients see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runbook_sim::dns::RecordKind;

use crate::pair::Pair;
use crate::servers::{Bind, KEY, Moto};
use crate::stage::{self, FAILBACK, PLANNED, RESUME, Watched, tags};

const ZONE: &str = "sandbox.test";

/// Takes another provider, with the lines of YAML below `dns:`.
fn provide(pair: &Pair, lines: &str) {
    pair.edit_config(|text| {
        let (head, tail) = text.split_once("      dns:\n").expect("a provider");
        let (_, rest) = tail.split_once("      targets:").expect("its end");
        format!("{head}      dns:\n{lines}      targets:{rest}")
    });
}

fn put_secret(pair: &Pair, name: &str, value: &str) -> String {
    let path = pair.folder().join("secrets").join(name);
    std::fs::write(&path, value).expect("the secret is written");
    format!("file:{}", path.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_with_bind_9() {
    let pair = stage::pull().await;
    let address = |site: &runbook_sim::Harbor| site.address().ip().to_string();
    let (primary, dr) = (address(pair.sandbox.primary()), address(pair.sandbox.dr()));
    let records = [
        format!("primary 60 IN A {primary}"),
        format!("dr 60 IN A {dr}"),
        "harbor 60 IN CNAME primary".to_owned(),
    ];
    let lines: Vec<&str> = records.iter().map(String::as_str).collect();
    let bind = tokio::task::block_in_place(|| Bind::start(ZONE, &lines, &["harbor"]));
    let server = bind.address;
    let secret = put_secret(&pair, "bind", &bind.secret);
    provide(
        &pair,
        &format!(
            "        - rfc2136:\n            zone: {ZONE}\n            server: \"{server}\"\n            type: CNAME\n            ttl: 60\n            key: {{ name: {KEY}, algorithm: hmac-sha256, secret: \"{secret}\" }}\n            authoritative: [\"{server}\"]\n"
        ),
    );
    let ours = pair.sandbox.dns().primary();
    pair.edit_config(|text| {
        text.replace(
            &format!("resolver: \"{ours}\""),
            &format!("resolver: \"{server}\""),
        )
    });
    let before = tags(pair.sandbox.primary());

    // Killed in the middle, gone on with.
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "final-sync").await;
    run.kill().await;
    pair.expect(0, RESUME).await;
    assert!(pair.sandbox.primary().is_read_only());
    let there = tags(pair.sandbox.dr());
    assert!(
        before
            .iter()
            .all(|(tag, digest)| there.get(tag) == Some(digest))
    );
    assert_eq!(dig(server, "harbor.sandbox.test").await, "dr.sandbox.test.");
    pair.sandbox
        .dr()
        .push_tag("production/app", "since", "since")
        .expect("it is open");

    pair.expect(0, FAILBACK).await;
    assert_eq!(
        dig(server, "harbor.sandbox.test").await,
        "primary.sandbox.test."
    );
    assert!(
        pair.sandbox
            .primary()
            .digest("production/app", "since")
            .is_some()
    );
    assert!(!pair.sandbox.dr().is_read_only());

    // Somebody else was quicker at this server too.
    tokio::task::block_in_place(|| {
        bind.edit("update delete harbor.sandbox.test CNAME\nupdate add harbor.sandbox.test 60 CNAME elsewhere.sandbox.test.");
    });
    pair.expect(3, PLANNED)
        .await
        .says(&["elsewhere.sandbox.test"]);
    assert_eq!(
        dig(server, "harbor.sandbox.test").await,
        "elsewhere.sandbox.test."
    );
}

/// Asks as anybody would.
async fn dig(server: std::net::SocketAddr, name: &str) -> String {
    let asked = tokio::process::Command::new("dig")
        .arg(format!("@{}", server.ip()))
        .args([
            "-p",
            &server.port().to_string(),
            "+short",
            "+tries=1",
            name,
            "CNAME",
        ])
        .output()
        .await
        .expect("dig is installed: `make deps`");
    String::from_utf8_lossy(&asked.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_with_route_53() {
    let pair = Arc::new(stage::pull().await);
    let moto = tokio::task::block_in_place(Moto::start);
    let zone = tokio::task::block_in_place(|| {
        let zone = moto.create_zone(ZONE);
        moto.put(
            &zone,
            "harbor.sandbox.test",
            "CNAME",
            60,
            "primary.sandbox.test",
        );
        zone
    });
    let key = put_secret(&pair, "key-id", "test-key-id");
    let secret = put_secret(&pair, "key-secret", "test-key-secret");
    let (first, second) = (pair.sandbox.dns().primary(), pair.sandbox.dns().secondary());
    let url = moto.url.clone();
    provide(
        &pair,
        &format!(
            "        - route53:\n            zone: {zone}\n            type: CNAME\n            ttl: 60\n            endpoint-url: \"{url}\"\n            region: us-east-1\n            access-key-id: \"{key}\"\n            secret-access-key: \"{secret}\"\n            authoritative: [\"{first}\", \"{second}\"]\n"
        ),
    );
    let moto = Arc::new(moto);
    let over = Arc::new(AtomicBool::new(false));
    // A test that fails must not leave the mirror running: the runtime waits for it.
    let ends_with_the_test = SetOnDrop(over.clone());
    let mirror = tokio::task::spawn_blocking({
        let (pair, moto, zone, over) = (pair.clone(), moto.clone(), zone.clone(), over.clone());
        move || {
            let mut last = None;
            while !over.load(Ordering::SeqCst) {
                let record = moto.record(&zone, "harbor.sandbox.test", "CNAME");
                if record != last {
                    if let Some((ttl, value)) = &record {
                        pair.sandbox
                            .dns()
                            .set_record("harbor.sandbox.test", RecordKind::Cname, &[value], *ttl)
                            .expect("the mirror takes it");
                    }
                    last = record;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    let before = tags(pair.sandbox.primary());
    let record =
        || tokio::task::block_in_place(|| moto.record(&zone, "harbor.sandbox.test", "CNAME"));

    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "final-sync").await;
    run.kill().await;
    pair.expect(0, RESUME).await;
    assert_eq!(record(), Some((60, "dr.sandbox.test".into())));
    pair.is_moved(&before);

    pair.sandbox
        .dr()
        .push_tag("production/app", "since", "since")
        .expect("it is open");
    pair.expect(0, FAILBACK).await;
    assert_eq!(record(), Some((60, "primary.sandbox.test".into())));
    assert!(
        pair.sandbox
            .primary()
            .digest("production/app", "since")
            .is_some()
    );
    drop(ends_with_the_test);
    mirror.await.expect("it mirrored");
}

/// Sets a flag when it goes, also when a test fails.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
