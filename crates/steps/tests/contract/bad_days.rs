//! What is refused with the object and the reason, before anything is changed; and what DNS does to the cutover.

use runbook_engine::event::About;
use runbook_engine::plan::Mode;
use runbook_harbor::{Endpoint, NewRegistry, Policy, Writer};
use runbook_sim::dns::{self, RecordKind};
use runbook_sim::{Direction, Fault, Mutation, Sandbox};
use secrecy::SecretString;
use serde_json::json;

use crate::pair::Pair;
use crate::scene::Scene;

struct Bad {
    direction: Direction,
    make: fn(&mut Pair),
    says: &'static [&'static str],
    never: &'static [&'static str],
}

const BAD: Bad = Bad {
    direction: Direction::Pull,
    make: |_| {},
    says: &[],
    never: &[],
};

fn delete(policy: &str) -> Mutation {
    Mutation::PolicyDeleted {
        policy: policy.into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_refuses_with_the_object_and_the_reason() {
    let cases = [
        Bad {
            make: |pair| pair.dr().change(&delete("dr-forward")).expect("a policy"),
            says: &["site `dr` has no replication policy `dr-forward`"],
            ..BAD
        },
        Bad {
            make: |pair| {
                pair.primary()
                    .change(&delete("dr-reverse"))
                    .expect("a policy")
            },
            says: &["site `primary` has no replication policy `dr-reverse`"],
            ..BAD
        },
        Bad {
            direction: Direction::Push,
            make: |pair| {
                pair.dr()
                    .change(&delete("dr-final-sync"))
                    .expect("a policy")
            },
            says: &["site `dr` has no replication policy `dr-final-sync`"],
            ..BAD
        },
        Bad {
            make: |pair| {
                let on = Mutation::PolicyEnabled {
                    policy: "dr-reverse".into(),
                    enabled: true,
                };
                pair.primary().change(&on).expect("a policy");
            },
            says: &[
                "primary policy `dr-reverse`",
                "is enabled; it must be disabled",
            ],
            ..BAD
        },
        Bad {
            make: |pair| pair.set_secret("dr-password", "wrong"),
            says: &[
                "dr: ",
                "the user or the password in the configuration is wrong",
            ],
            never: &["database is down"],
            ..BAD
        },
        Bad {
            make: |pair| {
                pair.dr().inject(Fault::ComponentDown {
                    component: "database".into(),
                })
            },
            says: &[
                "dr: unhealthy: ",
                "its database is down: the login cannot be checked",
            ],
            never: &["the password in the configuration is wrong"],
            ..BAD
        },
        Bad {
            make: |pair| {
                let secret = pair.dr().robot_secret("dr-replication").expect("a robot");
                pair.set_secret("dr-password", &secret);
                pair.tweak = |bindings| {
                    let site = bindings.sites.get_mut("dr").expect("a site");
                    site.user = "robot$dr-replication".into();
                };
            },
            says: &["the credentials are a robot's", "administrator"],
            ..BAD
        },
        Bad {
            make: |pair| pair.dr().inject(Fault::Down),
            says: &["harbor `dr` cannot be reached"],
            ..BAD
        },
        Bad {
            make: |pair| pair.dr().set_read_only(true),
            says: &["dr: is read-only"],
            ..BAD
        },
        Bad {
            make: |pair| pair.dr().inject(Fault::ClockSkew { offset_ms: 600_000 }),
            says: &["dr: its clock is off by"],
            ..BAD
        },
        Bad {
            make: |pair| point(&pair.sandbox, "elsewhere.sandbox.test"),
            says: &[
                "points to `elsewhere.sandbox.test`, not to `primary.sandbox.test` of site `primary`",
            ],
            ..BAD
        },
        Bad {
            make: |pair| own(&pair.sandbox, "v1 owner=somebody serves=primary"),
            says: &["belongs to another owner", "owner=somebody"],
            ..BAD
        },
        Bad {
            make: |pair| pair.set_secret("tsig", &format!("{}=", "A".repeat(43))),
            says: &["rfc2136", "BADSIG"],
            ..BAD
        },
        Bad {
            make: |pair| {
                pair.sandbox
                    .dns()
                    .inject(dns::Scope::Updates, dns::Fault::ClockSkew(3600), None)
            },
            says: &["rfc2136", "BADTIME"],
            ..BAD
        },
        Bad {
            make: |pair| pair.sandbox.dns().set_update_policy(Some(Vec::new())),
            says: &["may not change", "REFUSED"],
            ..BAD
        },
        Bad {
            make: |pair| {
                pair.tweak =
                    |bindings| bindings.endpoint.url = "http://harbor.sandbox.test:9".into();
            },
            says: &["dr as `harbor.sandbox.test`"],
            ..BAD
        },
    ];
    futures_util::future::join_all(cases.iter().map(refused)).await;
}

async fn refused(bad: &Bad) {
    let mut pair = Pair::start(bad.direction).await;
    (bad.make)(&mut pair);
    let before = pair.world();
    let ran = pair.run("failover", Mode::Planned).await;
    let text = ran.refused();
    for says in bad.says {
        assert!(text.contains(says), "`{says}` is not in: {text}");
    }
    for never in bad.never {
        assert!(!text.contains(never), "`{never}` is in: {text}");
    }
    assert_eq!(pair.world(), before, "{text}");
    assert!(pair.sandbox.log().is_empty(), "{text}");
}

fn point(sandbox: &Sandbox, value: &str) {
    let name = sandbox.endpoint_name();
    sandbox
        .dns()
        .set_record(&name, RecordKind::Cname, &[value], 60)
        .expect("a record");
}

fn own(sandbox: &Sandbox, marker: &str) {
    let name = format!("_dr-owner.{}", sandbox.endpoint_name());
    sandbox
        .dns()
        .set_record(&name, RecordKind::Txt, &[marker], 60)
        .expect("a record");
}

/// A signing server was seen to answer NOERROR and lose the name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_vanishes_with_the_update_is_put_back() {
    for answer_lost in [false, true] {
        let mut pair = Pair::start(Direction::Pull).await;
        let scene = Scene::default().after("silence-standby", move |sandbox| {
            let dns = sandbox.dns();
            dns.inject(dns::Scope::Updates, dns::Fault::DropRecord, Some(1));
            if answer_lost {
                dns.inject(dns::Scope::Updates, dns::Fault::LoseReply, Some(1));
            }
        });
        let plan = pair.plan("failover", Mode::Planned);
        let ran = pair.drive(plan, scene).await;
        let text = ran.asks("dns-upsert", About::Failure);
        assert!(
            text.contains("lost the name; `primary.sandbox.test` was put back"),
            "{text}"
        );
        assert_eq!(
            pair.serves(),
            Some((vec!["primary.sandbox.test".into()], 5))
        );
        // The run can be ended as if nothing had been tried.
        pair.undo(&ran.id).await;
        assert_eq!(
            pair.serves(),
            Some((vec!["primary.sandbox.test".into()], 60))
        );
        assert!(!pair.primary().is_read_only());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_was_disabled_is_used_and_is_disabled_again_in_the_end() {
    let mut pair = Pair::start(Direction::Pull).await;
    let off = Mutation::PolicyEnabled {
        policy: "dr-forward".into(),
        enabled: false,
    };
    pair.dr().change(&off).expect("a policy");
    let before = pair.settings();
    pair.run("failover", Mode::Planned).await.done();
    let ran = pair.run("failback", Mode::Planned).await;
    assert_eq!(pair.settings(), before, "{}", ran.told());
}

/// Policies of the active towards other spokes are silenced with the rest; the report says which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_towards_others_than_the_pair_are_kept_for_the_report() {
    let mut pair = Pair::start(Direction::Pull).await;
    let password = SecretString::from(pair.primary().admin_password().to_owned());
    let url = pair.primary().url().to_owned();
    let endpoint = Endpoint {
        site: "primary".into(),
        url: url.parse().expect("a URL"),
        user: "admin".into(),
        password: password.clone(),
        timeout: std::time::Duration::from_secs(5),
        connect_to: None,
        ca_pem: None,
    };
    let writer = Writer::new(endpoint, std::sync::Arc::new(|| Ok(()))).expect("a client");
    let spoke = NewRegistry {
        name: "spoke".into(),
        url,
        user: "admin".into(),
        password,
        description: String::new(),
        kind: "harbor".into(),
        insecure: true,
    };
    let id = writer.create_registry(&spoke).await.expect("an endpoint");
    let document = json!({
        "name": "to-spoke", "dest_registry": { "id": id }, "trigger": { "type": "manual" },
        "filters": [], "enabled": true, "override": true,
    });
    let policy: Policy = serde_json::from_value(document).expect("a policy");
    writer
        .create_policy(&policy.to_document())
        .await
        .expect("a policy");

    let ran = pair.run("failover", Mode::Planned).await.done();
    let elsewhere = &ran.output("silence-active")["re_home"];
    assert_eq!(elsewhere[0]["policy"], "to-spoke", "{elsewhere}");
    assert_eq!(elsewhere.as_array().map(Vec::len), Some(1));
    let found = ran.output("check")["findings"].to_string();
    assert!(found.contains("primary policy `to-spoke`"), "{found}");
    assert_eq!(pair.primary().is_policy_enabled("to-spoke"), Some(false));
    pair.run("failback", Mode::Planned).await.done();
    assert_eq!(pair.primary().is_policy_enabled("to-spoke"), Some(true));
}
