//! What only Route 53 has: zones by name, change ids, credentials, refusals in two forms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runbook_dns::{
    AuthFault, Change, ChangeStatus, Error, ErrorKind, Expected, Provider, ProviderConfig,
    RecordSet, RecordType, Route53Config, Sort, open,
};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::worlds::{Elsewhere, World, ZONE, cname, name};
use crate::servers::{AccessKey, Moto};

fn provider(url: &str, zone: &str, key: &AccessKey) -> Arc<dyn Provider> {
    try_open(url, zone, key).unwrap()
}

fn try_open(url: &str, zone: &str, key: &AccessKey) -> Result<Arc<dyn Provider>, Error> {
    let config = ProviderConfig::Route53(Route53Config {
        zone: zone.into(),
        kind: RecordType::Cname,
        ttl: 60,
        endpoint_url: Some(url.into()),
        region: None,
        access_key_id: Some("env:ID".into()),
        secret_access_key: Some("env:KEY".into()),
        session_token: None,
        authoritative: None,
    });
    let key = key.clone();
    open(&config, &move |reference| match reference {
        "env:ID" => Some(SecretString::from(key.id.clone())),
        "env:KEY" => Some(SecretString::from(key.secret.clone())),
        _ => None,
    })
}

fn any_key() -> AccessKey {
    AccessKey {
        id: "unchecked".into(),
        secret: "unchecked".into(),
    }
}

/// moto with rights judged: an operator, a reader, and someone unknown.
pub fn world() -> World {
    let moto = Arc::new(Moto::start());
    let zone = moto.create_zone(ZONE);
    let operator = moto.create_user("operator", &["route53:*"]);
    let reader = moto.create_user(
        "reader",
        &["route53:GetHostedZone", "route53:ListResourceRecordSets"],
    );
    moto.judge_rights();
    let stranger = AccessKey {
        id: "AKIAUNKNOWN".into(),
        secret: operator.secret.clone(),
    };
    World {
        provider: provider(&moto.url, &zone, &operator),
        stranger: provider(&moto.url, &zone, &stranger),
        powerless: provider(&moto.url, &zone, &reader),
        elsewhere: Box::new(MotoEdit { moto, zone }),
    }
}

struct MotoEdit {
    moto: Arc<Moto>,
    zone: String,
}

impl Elsewhere for MotoEdit {
    fn put(&self, set: &RecordSet) {
        self.moto.trust_all();
        let (name, kind) = (set.name.to_string(), set.kind.to_string());
        self.moto.put(
            &self.zone,
            &name,
            &kind,
            set.ttl,
            &format!("{}.", set.values[0]),
        );
        self.moto.judge_rights();
    }

    fn remove(&self, set: &RecordSet) {
        self.moto.trust_all();
        let (name, kind) = (set.name.to_string(), set.kind.to_string());
        self.moto.remove(
            &self.zone,
            &name,
            &kind,
            set.ttl,
            &format!("{}.", set.values[0]),
        );
        self.moto.judge_rights();
    }
}

fn first() -> Change {
    Change {
        name: name("harbor"),
        expected: Expected::Absent,
        desired: Some(cname("harbor", 60, "ams")),
        marker: None,
    }
}

fn swap() -> Change {
    Change {
        expected: Expected::Exactly(cname("harbor", 60, "ams")),
        desired: Some(cname("harbor", 60, "fra")),
        ..first()
    }
}

#[tokio::test]
async fn moto_as_shipped_takes_a_failover() {
    let moto = Moto::start_as_shipped();
    let by_id = provider(&moto.url, &moto.create_zone(ZONE), &any_key());
    by_id.apply(&first(), "t").await.unwrap();
    let receipt = by_id.apply(&swap(), "t").await.unwrap();
    assert_eq!(
        by_id.read(&name("harbor")).await.unwrap().sets,
        [cname("harbor", 60, "fra")]
    );
    assert_eq!(by_id.status(&receipt).await.unwrap(), ChangeStatus::InSync);
}

#[tokio::test]
async fn zones_are_found_by_name_and_never_guessed() {
    let moto = Moto::start();
    let by_name = || provider(&moto.url, "Example.test.", &any_key());
    assert_eq!(
        by_name().zone().await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    // The next zone in the order of the listing is not the one asked for.
    moto.create_zone("f.test");
    assert_eq!(
        by_name().zone().await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    let id = moto.create_zone(ZONE);
    assert_eq!(by_name().zone().await.unwrap().id, Some(id.clone()));
    moto.create_zone(ZONE);
    let error = by_name().zone().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::AmbiguousZone);
    assert!(error.message.contains(&id), "{error}");
    let gone = provider(&moto.url, "Z00000000000000", &any_key());
    assert_eq!(gone.zone().await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_wrong_secret_is_told_from_an_unknown_key() {
    let moto = Moto::start();
    let zone = moto.create_zone(ZONE);
    let operator = moto.create_user("operator", &["route53:*"]);
    moto.judge_rights();
    let wrong = AccessKey {
        secret: "wrong".into(),
        ..operator
    };
    let error = provider(&moto.url, &zone, &wrong).zone().await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Unauthenticated(AuthFault::Secret),
        "{error:?}"
    );
    let unknown = AccessKey {
        id: "AKIAUNKNOWN".into(),
        ..wrong
    };
    let error = provider(&moto.url, &zone, &unknown)
        .zone()
        .await
        .unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Unauthenticated(AuthFault::Key),
        "{error:?}"
    );
}

#[tokio::test]
async fn nobody_at_the_endpoint_is_unavailable() {
    let address = {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap()
    };
    let error = provider(&format!("http://{address}"), "Z1", &any_key())
        .zone()
        .await
        .unwrap_err();
    assert_eq!(
        (&error.kind, error.sort()),
        (&ErrorKind::Unavailable, Sort::Transient),
        "{error:?}"
    );
}

/// Answers that moto does not give: a fixed listing, and one scripted reply to every batch.
struct Scripted {
    url: String,
    batches: Arc<AtomicUsize>,
}

impl Scripted {
    /// `reply`: status and body for a batch; none: the connection is closed without a reply.
    async fn start(reply: Option<(u16, &'static str)>) -> Scripted {
        Scripted::start_with(reply, "ams").await
    }

    /// `after`: where `harbor` points once a batch has come in.
    async fn start_with(reply: Option<(u16, &'static str)>, after: &'static str) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let batches = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&batches);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    let request = read_request(&mut stream).await;
                    let (status, body) = if request.starts_with("POST") {
                        counter.fetch_add(1, Ordering::Relaxed);
                        match reply {
                            Some((status, body)) => (status, body.to_owned()),
                            None => return,
                        }
                    } else if request.contains("/change/") {
                        (
                            200,
                            format!(
                                "<GetChangeResponse xmlns=\"urn:r53\">{PENDING}</GetChangeResponse>"
                            ),
                        )
                    } else if request.contains("/rrset") {
                        (
                            200,
                            listing(if counter.load(Ordering::Relaxed) == 0 {
                                "ams"
                            } else {
                                after
                            }),
                        )
                    } else {
                        let zone = format!(
                            "<HostedZone><Id>/hostedzone/Z1</Id><Name>{ZONE}.</Name><CallerReference>r</CallerReference></HostedZone>"
                        );
                        (
                            200,
                            format!(
                                "<GetHostedZoneResponse xmlns=\"urn:r53\">{zone}</GetHostedZoneResponse>"
                            ),
                        )
                    };
                    let head = format!(
                        "HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        Scripted { url, batches }
    }

    async fn apply(&self) -> Error {
        let error = provider(&self.url, "Z1", &any_key())
            .apply(&swap(), "t")
            .await
            .unwrap_err();
        assert_eq!(
            self.batches.load(Ordering::Relaxed),
            1,
            "a write is attempted once: {error:?}"
        );
        error
    }
}

const PENDING: &str = "<ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo>";

/// `harbor` and where it points, then a neighbour: the listing runs past the name that was asked for.
fn listing(target: &str) -> String {
    let set = |name: &str| {
        format!(
            "<ResourceRecordSet><Name>{name}.{ZONE}.</Name><Type>CNAME</Type><TTL>60</TTL><ResourceRecords><ResourceRecord>\
             <Value>{target}.{ZONE}</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>"
        )
    };
    format!(
        "<ListResourceRecordSetsResponse xmlns=\"urn:r53\"><ResourceRecordSets>{}{}</ResourceRecordSets>\
         <IsTruncated>false</IsTruncated><MaxItems>100</MaxItems></ListResourceRecordSetsResponse>",
        set("harbor"),
        set("harbor2")
    )
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.unwrap_or(0);
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if n == 0 {
                return text;
            }
            continue;
        };
        let length = head.lines().find_map(|l| {
            l.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(|v| v.trim().parse().unwrap_or(0))
        });
        if n == 0 || body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

#[tokio::test]
async fn a_refusal_is_understood_in_both_its_forms() {
    let bare = "<InvalidChangeBatch xmlns=\"urn:r53\"><Messages><Message>values do not match</Message></Messages></InvalidChangeBatch>";
    let wrapped = "<ErrorResponse xmlns=\"urn:r53\"><Error><Type>Sender</Type><Code>InvalidChangeBatch</Code><Message>values do not match</Message></Error><RequestId>r1</RequestId></ErrorResponse>";
    for body in [bare, wrapped] {
        // All still as expected, so the reason is another one than a conflict.
        let error = Scripted::start(Some((400, body))).await.apply().await;
        assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
        assert_eq!(error.code.as_deref(), Some("InvalidChangeBatch"));
        assert!(error.message.contains("values do not match"), "{error}");
    }
}

#[tokio::test]
async fn someone_between_the_look_and_the_write_makes_the_batch_fail() {
    let body = "<InvalidChangeBatch xmlns=\"urn:r53\"><Messages><Message>values do not match</Message></Messages></InvalidChangeBatch>";
    let error = Scripted::start_with(Some((400, body)), "other")
        .await
        .apply()
        .await;
    assert!(
        matches!(&error.kind, ErrorKind::Conflict { found } if found.sets == [cname("harbor", 60, "other")])
    );
    // An earlier attempt whose answer was lost came through in between: all is as wanted, which is success.
    let scripted = Scripted::start_with(Some((400, body)), "fra").await;
    provider(&scripted.url, "Z1", &any_key())
        .apply(&swap(), "t")
        .await
        .unwrap();
}

#[tokio::test]
async fn throttling_is_transient_and_not_retried_here() {
    for code in ["Throttling", "PriorRequestNotComplete"] {
        let body: &'static str = Box::leak(
            format!("<ErrorResponse xmlns=\"urn:r53\"><Error><Type>Sender</Type><Code>{code}</Code><Message>slow down</Message></Error><RequestId>r1</RequestId></ErrorResponse>").into_boxed_str(),
        );
        let error = Scripted::start(Some((400, body))).await.apply().await;
        assert_eq!(
            (&error.kind, error.sort()),
            (&ErrorKind::Throttled { after: None }, Sort::Transient),
            "{error:?}"
        );
        assert_eq!(error.request_id.as_deref(), Some("r1"));
    }
}

#[tokio::test]
async fn a_lost_answer_is_unknown() {
    let error = Scripted::start(None).await.apply().await;
    assert_eq!(
        (&error.kind, error.sort()),
        (&ErrorKind::OutcomeUnknown, Sort::Unknown),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_taken_change_is_pending_until_said_otherwise() {
    let body: &'static str = Box::leak(
        format!("<ChangeResourceRecordSetsResponse xmlns=\"urn:r53\">{PENDING}</ChangeResourceRecordSetsResponse>").into_boxed_str(),
    );
    let scripted = Scripted::start(Some((200, body))).await;
    let provider = provider(&scripted.url, "Z1", &any_key());
    let receipt = provider.apply(&swap(), "t").await.unwrap();
    assert_eq!(receipt.change_id.as_deref(), Some("C1"));
    assert_eq!(
        provider.status(&receipt).await.unwrap(),
        ChangeStatus::Pending
    );
}
