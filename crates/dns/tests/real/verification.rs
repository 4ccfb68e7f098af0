//! Observations of real servers, and what they add up to.

use std::net::SocketAddr;
use std::time::Duration;

use runbook_dns::verify::{
    Convergence, Vantage, Verdict, authoritative_servers, judge, observe, observe_all,
    resolve_addresses, soa_serial,
};
use runbook_dns::{Name, RecordType};
use runbook_sim::dns::{DnsServer, Fault, RecordKind, Scope};

use super::worlds::{ZONE, cname, name, random_key, start_sandbox};
use crate::servers::Bind;

const LIMIT: Duration = Duration::from_secs(2);

async fn harbor() -> DnsServer {
    let server = start_sandbox(&random_key(), Duration::ZERO).await;
    server
        .set_record(
            &format!("harbor.{ZONE}"),
            RecordKind::Cname,
            &[&format!("ams.{ZONE}")],
            60,
        )
        .unwrap();
    server
        .set_record(
            &format!("ams.{ZONE}"),
            RecordKind::A,
            &["127.0.0.10", "127.0.0.11"],
            300,
        )
        .unwrap();
    server
}

#[tokio::test]
async fn an_observation_holds_the_chain_and_what_the_server_claims() {
    let server = harbor().await;
    let primary = Vantage::Authoritative(server.primary());
    let seen = observe(&primary, &name("harbor"), RecordType::A, LIMIT)
        .await
        .unwrap();
    assert!(seen.authoritative && !seen.truncated);
    assert_eq!(seen.rcode, "NOERROR");
    assert_eq!(seen.answers[0], cname("harbor", 60, "ams"));
    assert_eq!(seen.answers[1].values, ["127.0.0.10", "127.0.0.11"]);
    let nothing = observe(&primary, &name("nothing"), RecordType::A, LIMIT)
        .await
        .unwrap();
    assert_eq!(
        (nothing.rcode.as_str(), nothing.negative_ttl),
        ("NXDOMAIN", Some(5))
    );
}

#[tokio::test]
async fn a_lagging_secondary_holds_convergence_up_and_a_dead_one_delays_nobody() {
    let server = harbor().await;
    server.set_secondary_lag(Duration::from_secs(3600));
    server
        .set_record(
            &format!("harbor.{ZONE}"),
            RecordKind::Cname,
            &[&format!("fra.{ZONE}")],
            60,
        )
        .unwrap();
    let dead: SocketAddr = {
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap()
    };
    let required = [
        Vantage::Authoritative(server.primary()),
        Vantage::Authoritative(server.secondary()),
    ];
    let all = [
        required[0].clone(),
        required[1].clone(),
        Vantage::Resolver(dead),
    ];
    let (new, old) = (cname("harbor", 60, "fra"), cname("harbor", 60, "ams"));
    let mut convergence = Convergence::new(required.clone());
    let look = async |convergence: &mut Convergence| {
        let seen = observe_all(&all, &name("harbor"), RecordType::Cname, LIMIT).await;
        let verdicts: Vec<Verdict> = seen
            .iter()
            .map(|(_, o)| judge(o, &new, Some(&old)))
            .collect();
        for ((vantage, _), verdict) in seen.iter().zip(&verdicts) {
            convergence.record(vantage, verdict.clone());
        }
        verdicts
    };
    for _ in 0..3 {
        let verdicts = look(&mut convergence).await;
        assert_eq!(verdicts[..2], [Verdict::New, Verdict::Old]);
        assert!(matches!(verdicts[2], Verdict::Unreachable(_)));
        assert!(!convergence.converged());
    }
    server.set_secondary_lag(Duration::ZERO);
    look(&mut convergence).await;
    assert!(!convergence.converged(), "once is not twice");
    look(&mut convergence).await;
    assert!(convergence.converged());
    let serials = (
        soa_serial(server.primary(), &Name::parse(ZONE).unwrap(), LIMIT)
            .await
            .unwrap(),
        soa_serial(server.secondary(), &Name::parse(ZONE).unwrap(), LIMIT)
            .await
            .unwrap(),
    );
    assert_eq!(serials.0, serials.1);
}

#[tokio::test]
async fn a_server_that_hangs_or_refuses_is_unreachable_and_never_negative() {
    let server = harbor().await;
    let primary = Vantage::Authoritative(server.primary());
    let new = cname("harbor", 60, "fra");
    for fault in [
        Fault::Hang,
        Fault::Refuse,
        Fault::ServFail,
        Fault::LoseReply,
    ] {
        server.inject(Scope::PrimaryQueries, fault, Some(1));
        let seen = observe(
            &primary,
            &name("harbor"),
            RecordType::Cname,
            Duration::from_millis(300),
        )
        .await;
        assert!(
            matches!(judge(&seen, &new, None), Verdict::Unreachable(_)),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn addresses_are_resolved_through_aliases_and_servers_found_by_ns() {
    let server = harbor().await;
    let via = Vantage::Resolver(server.primary());
    let found = resolve_addresses(&via, &name("harbor"), LIMIT)
        .await
        .unwrap();
    assert_eq!(
        found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.10", "127.0.0.11"]
    );
    assert!(
        resolve_addresses(&via, &name("nothing"), LIMIT)
            .await
            .is_err()
    );
    let servers = authoritative_servers(&Name::parse(ZONE).unwrap(), &via, LIMIT)
        .await
        .unwrap();
    assert_eq!(
        servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.1:53", "127.0.0.2:53"]
    );
    let host = resolve_addresses(&Vantage::System, &Name::parse("localhost").unwrap(), LIMIT)
        .await
        .unwrap();
    assert!(host.iter().all(std::net::IpAddr::is_loopback));
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_over_tcp() {
    let long = "x".repeat(200);
    let records: Vec<String> = (0..10)
        .map(|n| format!("big 60 IN TXT \"{n}{long}\""))
        .collect();
    let lines: Vec<&str> = records.iter().map(String::as_str).collect();
    let bind = Bind::start(ZONE, &lines, &[]);
    let seen = observe(
        &Vantage::Authoritative(bind.address),
        &name("big"),
        RecordType::Txt,
        LIMIT,
    )
    .await
    .unwrap();
    assert!(seen.truncated);
    assert_eq!(seen.answers[0].values.len(), 10);
}
