//! What only signed updates have: signatures, clocks, lost answers, several primaries, serials.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runbook_dns::verify::read_back;
use runbook_dns::{
    AuthFault, Change, ChangeStatus, ErrorKind, Expected, Provider, RecordSet, RecordType, Sort,
};
use runbook_sim::dns::{DnsServer, Edge, Fault, RecordKind, Scope, Verdict};

use super::worlds::{NAMES, ZONE, cname, name, random_key, rfc2136, start_sandbox};
use crate::servers::{Bind, KEY};

const LIMIT: Duration = Duration::from_secs(2);

/// A sandbox with `harbor` pointing at `ams`.
async fn harbor() -> (Arc<DnsServer>, Arc<dyn Provider>, String) {
    let secret = random_key();
    let server = Arc::new(start_sandbox(&secret, Duration::ZERO).await);
    server
        .set_record(
            &format!("harbor.{ZONE}"),
            RecordKind::Cname,
            &[&format!("ams.{ZONE}")],
            60,
        )
        .unwrap();
    let key = STANDARD.encode(&secret);
    let both = [server.primary(), server.secondary()];
    let provider = rfc2136(&[server.primary()], "ops", &key, Some(&both));
    (server, provider, key)
}

fn swap() -> Change {
    Change {
        name: name("harbor"),
        expected: Expected::Exactly(cname("harbor", 60, "ams")),
        desired: Some(cname("harbor", 60, "fra")),
        marker: None,
    }
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_key_are_told_apart() {
    let bind = Bind::start(ZONE, &["harbor 60 IN CNAME ams"], &NAMES);
    let (server, _, _) = harbor().await;
    for (address, key) in [(bind.address, KEY), (server.primary(), "ops")] {
        let wrong = STANDARD.encode(random_key());
        let error = rfc2136(&[address], key, &wrong, None)
            .apply(&swap(), "t")
            .await
            .unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::Unauthenticated(AuthFault::Secret),
            "{error:?}"
        );
        assert_eq!(error.code.as_deref(), Some("BADSIG"));
        let error = rfc2136(&[address], "nobody", &wrong, None)
            .apply(&swap(), "t")
            .await
            .unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::Unauthenticated(AuthFault::Key),
            "{error:?}"
        );
        assert_eq!(error.code.as_deref(), Some("BADKEY"));
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_named() {
    let (server, provider, _) = harbor().await;
    server.inject(Scope::Updates, Fault::ClockSkew(4000), None);
    let error = provider.apply(&swap(), "t").await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Unauthenticated(AuthFault::Clock),
        "{error:?}"
    );
    assert_eq!(server.log()[0].rcode, "BADTIME");
    assert!(server.log()[0].effects.is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_next_attempt_finds_it_done() {
    let (server, provider, _) = harbor().await;
    server.inject(Scope::Updates, Fault::LoseReply, Some(1));
    let error = provider.apply(&swap(), "t").await.unwrap_err();
    assert_eq!(
        (&error.kind, error.sort()),
        (&ErrorKind::OutcomeUnknown, Sort::Unknown)
    );
    let log = server.log();
    assert_eq!(
        (log.len(), log[0].replied, log[0].effects.len()),
        (1, false, 1),
        "one attempt, no retry of its own"
    );
    provider.apply(&swap(), "t").await.unwrap();
    let effects: usize = server.log().iter().map(|update| update.effects.len()).sum();
    assert_eq!(effects, 1);
}

#[tokio::test]
async fn late_work_is_done_although_the_client_has_gone() {
    let (server, provider, _) = harbor().await;
    server.inject(
        Scope::Updates,
        Fault::Delay(LIMIT + Duration::from_millis(300)),
        Some(1),
    );
    let error = provider.apply(&swap(), "t").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutcomeUnknown);
    while server.log().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        provider.read(&name("harbor")).await.unwrap().sets,
        [cname("harbor", 60, "fra")]
    );
}

#[tokio::test]
async fn a_server_in_trouble_is_told_from_a_refusal() {
    let (server, provider, _) = harbor().await;
    // Unsigned, so it could come from anyone: it proves nothing either way.
    server.inject(Scope::Updates, Fault::ServFail, Some(1));
    assert_eq!(
        provider.apply(&swap(), "t").await.unwrap_err().kind,
        ErrorKind::OutcomeUnknown
    );
    server.inject(Scope::Updates, Fault::Refuse, Some(1));
    let error = provider.apply(&swap(), "t").await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Unauthenticated(AuthFault::Unspecified)
    );
    server.inject(Scope::PrimaryQueries, Fault::ServFail, None);
    assert_eq!(
        provider.read(&name("harbor")).await.unwrap_err().kind,
        ErrorKind::Unavailable
    );
    assert_eq!(server.serial(), 2, "only the record planted by hand");
}

#[tokio::test]
async fn a_dead_primary_is_unavailable_and_the_next_one_is_tried() {
    let (server, _, key) = harbor().await;
    let dead = {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap()
    };
    let error = rfc2136(&[dead], "ops", &key, None)
        .apply(&swap(), "t")
        .await
        .unwrap_err();
    assert_eq!(
        (&error.kind, error.sort()),
        (&ErrorKind::Unavailable, Sort::Transient)
    );
    let both = rfc2136(&[dead, server.primary()], "ops", &key, None);
    both.apply(&swap(), "t").await.unwrap();
    assert_eq!(
        both.read(&name("harbor")).await.unwrap().sets,
        [cname("harbor", 60, "fra")]
    );
}

#[tokio::test]
async fn someone_between_the_look_and_the_write_makes_the_server_refuse() {
    let (server, provider, _) = harbor().await;
    let (other, once) = (Arc::downgrade(&server), AtomicBool::new(true));
    server.on_request(Arc::new(move |seen| {
        if seen.update && seen.edge == Edge::Before && once.swap(false, Ordering::Relaxed) {
            let server = other.upgrade().unwrap();
            server
                .set_record(
                    &format!("harbor.{ZONE}"),
                    RecordKind::Cname,
                    &[&format!("other.{ZONE}")],
                    60,
                )
                .unwrap();
        }
        Verdict::Proceed
    }));
    let error = provider.apply(&swap(), "t").await.unwrap_err();
    assert!(
        matches!(&error.kind, ErrorKind::Conflict { found } if found.sets == [cname("harbor", 60, "other")])
    );
    assert_eq!(error.code.as_deref(), Some("NXRRSET"));
}

#[tokio::test]
async fn a_name_that_vanishes_under_a_success_code_is_noticed_and_put_back() {
    let (server, provider, _) = harbor().await;
    server.inject(Scope::Updates, Fault::DropRecord, Some(1));
    provider.apply(&swap(), "t").await.unwrap();
    let servers = [server.primary(), server.secondary()];
    for (_, read) in read_back(&servers, &name("harbor"), RecordType::Cname, LIMIT).await {
        assert_eq!(read.unwrap(), None);
    }
    let previous = cname("harbor", 60, "ams");
    let put_back = Change {
        expected: Expected::Absent,
        desired: Some(previous.clone()),
        ..swap()
    };
    provider.apply(&put_back, "t").await.unwrap();
    for (_, read) in read_back(&servers, &name("harbor"), RecordType::Cname, LIMIT).await {
        assert_eq!(read.unwrap().as_ref(), Some(&previous));
    }
}

#[tokio::test]
async fn in_sync_means_every_server_has_the_serial() {
    let (server, provider, _) = harbor().await;
    server.set_secondary_lag(Duration::from_secs(3600));
    let receipt = provider.apply(&swap(), "t").await.unwrap();
    assert_eq!(receipt.serial, Some(3));
    assert_eq!(
        provider.status(&receipt).await.unwrap(),
        ChangeStatus::Pending
    );
    server.set_secondary_lag(Duration::ZERO);
    assert_eq!(
        provider.status(&receipt).await.unwrap(),
        ChangeStatus::InSync
    );
}

#[tokio::test]
async fn a_change_of_type_is_refused() {
    let (server, provider, _) = harbor().await;
    let address = RecordSet::new(name("harbor"), RecordType::A, 60, ["192.0.2.1"]).unwrap();
    let change = Change {
        desired: Some(address),
        ..swap()
    };
    assert_eq!(
        provider.apply(&change, "t").await.unwrap_err().kind,
        ErrorKind::Unsupported
    );
    assert!(server.log().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_zone_that_is_not_there_is_named() {
    let bind = Bind::start("other.test", &[], &[]);
    let provider = rfc2136(&[bind.address], KEY, &bind.secret, None);
    assert_eq!(provider.zone().await.unwrap_err().kind, ErrorKind::NotFound);
    let error = provider.apply(&swap(), "t").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");
}
