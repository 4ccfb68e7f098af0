//! What every provider must do, whatever it is made of.

use runbook_dns::{
    Change, ErrorKind, Expected, Finding, FindingLevel, Found, MarkerChange, Name, RecordSet,
    RecordType, Sort,
};

use super::worlds::{self, World, ZONE, cname, name};

const MARK: &str = "v1 owner=one";
const TOKEN: &str = "run 7f3k token 4";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bind_conforms() {
    let world = worlds::bind();
    suite(&world).await;
    strangers(&world).await;
    without_right(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_conforms() {
    let (world, server) = worlds::sandbox().await;
    suite(&world).await;
    strangers(&world).await;
    server.set_update_policy(Some(vec![format!("elsewhere.{ZONE}")]));
    without_right(&world).await;
}

#[cfg(feature = "route53")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moto_conforms() {
    let world = super::route53::world();
    suite(&world).await;
    strangers(&world).await;
    without_right(&world).await;
}

async fn suite(world: &World) {
    let zone = world.provider.zone().await.unwrap();
    assert_eq!(zone.name.to_string(), ZONE);
    create(world).await;
    already_as_wanted(world).await;
    there_and_back(world).await;
    moved(world).await;
    ttl_only(world).await;
    foreign_owner(world).await;
    marker_missing(world).await;
    marker_only(world).await;
    vanished(world).await;
    addresses(world).await;
    check_changes_nothing(world).await;
    forced(world).await;
    impossible(world).await;
}

fn change(
    label: &str,
    expected: Expected,
    desired: Option<RecordSet>,
    marker: Option<(Option<&str>, &str)>,
) -> Change {
    let marker = marker.map(|(expected, desired)| MarkerChange {
        expected: expected.map(Into::into),
        desired: desired.into(),
    });
    Change {
        name: name(label),
        expected,
        desired,
        marker,
    }
}

/// The change of a failover: from one target to another, with the marker as a guard.
fn swap(label: &str, from: RecordSet, to: RecordSet) -> Change {
    change(
        label,
        Expected::Exactly(from),
        Some(to),
        Some((Some(MARK), MARK)),
    )
}

/// Writes a first record with its marker.
async fn plant(world: &World, set: &RecordSet, marker: Option<&str>) {
    let marker = marker.map(|text| MarkerChange {
        expected: None,
        desired: text.into(),
    });
    let first = Change {
        name: set.name.clone(),
        expected: Expected::Absent,
        desired: Some(set.clone()),
        marker,
    };
    world.provider.apply(&first, TOKEN).await.unwrap();
}

async fn read(world: &World, at: &Name) -> Found {
    world.provider.read(at).await.unwrap()
}

fn errors(findings: &[Finding]) -> Vec<&str> {
    findings
        .iter()
        .filter(|f| f.level == FindingLevel::Error)
        .map(|f| f.text.as_str())
        .collect()
}

async fn create(world: &World) {
    assert_eq!(read(world, &name("create")).await, Found::default());
    let set = cname("create", 60, "ams");
    plant(world, &set, Some(MARK)).await;
    let found = read(world, &name("create")).await;
    assert_eq!(found.sets, [set]);
    let marker = found.marker.unwrap();
    assert_eq!(
        (marker.name.to_string(), marker.values),
        (format!("_dr-owner.create.{ZONE}"), vec![MARK.to_owned()])
    );
}

async fn already_as_wanted(world: &World) {
    let set = cname("again", 60, "ams");
    let first = change(
        "again",
        Expected::Absent,
        Some(set.clone()),
        Some((None, MARK)),
    );
    world.provider.apply(&first, TOKEN).await.unwrap();
    // The answer to the first attempt was lost, say: the second finds all as wanted.
    world.provider.apply(&first, TOKEN).await.unwrap();
    let other = change(
        "again",
        Expected::Absent,
        Some(cname("again", 60, "fra")),
        None,
    );
    let error = world.provider.apply(&other, TOKEN).await.unwrap_err();
    let ErrorKind::Conflict { found } = &error.kind else {
        panic!("{error:?}")
    };
    assert_eq!(found.sets, [set]);
}

async fn there_and_back(world: &World) {
    let (ams, fra) = (cname("swap", 60, "ams"), cname("swap", 60, "fra"));
    plant(world, &ams, Some(MARK)).await;
    for (from, to) in [(&ams, &fra), (&fra, &ams), (&ams, &fra), (&fra, &ams)] {
        world
            .provider
            .apply(&swap("swap", from.clone(), to.clone()), TOKEN)
            .await
            .unwrap();
        let found = read(world, &name("swap")).await;
        assert_eq!(found.sets, std::slice::from_ref(to));
        assert_eq!(found.marker_text().as_deref(), Some(MARK));
    }
}

async fn moved(world: &World) {
    let (ams, fra) = (cname("moved", 60, "ams"), cname("moved", 60, "fra"));
    plant(world, &ams, Some(MARK)).await;
    let other = cname("moved", 60, "elsewhere");
    world.elsewhere.put(&other);
    let error = world
        .provider
        .apply(&swap("moved", ams, fra), TOKEN)
        .await
        .unwrap_err();
    assert_eq!(error.sort(), Sort::Permanent);
    let ErrorKind::Conflict { found } = &error.kind else {
        panic!("{error:?}")
    };
    assert_eq!(found.sets, std::slice::from_ref(&other));
    assert_eq!(read(world, &name("moved")).await.sets, [other]);
}

async fn ttl_only(world: &World) {
    let (long, short) = (cname("ttl", 60, "ams"), cname("ttl", 5, "ams"));
    plant(world, &long, Some(MARK)).await;
    for (from, to) in [(&long, &short), (&short, &long)] {
        world
            .provider
            .apply(&swap("ttl", from.clone(), to.clone()), TOKEN)
            .await
            .unwrap();
        assert_eq!(
            read(world, &name("ttl")).await.sets,
            std::slice::from_ref(to)
        );
    }
}

async fn foreign_owner(world: &World) {
    let (ams, fra) = (cname("foreign", 60, "ams"), cname("foreign", 60, "fra"));
    plant(world, &ams, Some("v1 owner=two")).await;
    let error = world
        .provider
        .apply(&swap("foreign", ams.clone(), fra.clone()), TOKEN)
        .await
        .unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::ForeignOwner {
            marker: "v1 owner=two".into()
        }
    );
    assert_eq!(
        read(world, &name("foreign")).await.sets,
        std::slice::from_ref(&ams)
    );
    let findings = world
        .provider
        .check(&swap("foreign", ams, fra))
        .await
        .unwrap();
    assert!(
        errors(&findings)
            .iter()
            .any(|text| text.contains("v1 owner=two")),
        "{findings:?}"
    );
}

async fn marker_missing(world: &World) {
    let (ams, fra) = (cname("unmarked", 60, "ams"), cname("unmarked", 60, "fra"));
    plant(world, &ams, None).await;
    let error = world
        .provider
        .apply(&swap("unmarked", ams.clone(), fra), TOKEN)
        .await
        .unwrap_err();
    let ErrorKind::Conflict { found } = &error.kind else {
        panic!("{error:?}")
    };
    assert_eq!(
        (found.sets.as_slice(), &found.marker),
        (std::slice::from_ref(&ams), &None)
    );
    assert_eq!(read(world, &name("unmarked")).await.sets, [ams]);
}

async fn marker_only(world: &World) {
    let ams = cname("marker", 60, "ams");
    plant(world, &ams, None).await;
    let claim = |expected| {
        change(
            "marker",
            Expected::Exactly(expected),
            None,
            Some((None, MARK)),
        )
    };
    let error = world
        .provider
        .apply(&claim(cname("marker", 60, "fra")), TOKEN)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Conflict { .. }),
        "{error:?}"
    );
    assert_eq!(read(world, &name("marker")).await.marker, None);
    world
        .provider
        .apply(&claim(ams.clone()), TOKEN)
        .await
        .unwrap();
    let found = read(world, &name("marker")).await;
    assert_eq!(
        (found.sets.as_slice(), found.marker_text().as_deref()),
        (std::slice::from_ref(&ams), Some(MARK))
    );
    let hand_over = change(
        "marker",
        Expected::Exactly(ams),
        None,
        Some((Some(MARK), "v1 owner=two")),
    );
    world.provider.apply(&hand_over, TOKEN).await.unwrap();
    assert_eq!(
        read(world, &name("marker")).await.marker_text().as_deref(),
        Some("v1 owner=two")
    );
}

async fn vanished(world: &World) {
    let (ams, fra) = (cname("vanished", 60, "ams"), cname("vanished", 60, "fra"));
    plant(world, &ams, Some(MARK)).await;
    world.elsewhere.remove(&ams);
    let error = world
        .provider
        .apply(&swap("vanished", ams.clone(), fra), TOKEN)
        .await
        .unwrap_err();
    let ErrorKind::Conflict { found } = &error.kind else {
        panic!("{error:?}")
    };
    assert!(found.sets.is_empty());
    let put_back = change(
        "vanished",
        Expected::Absent,
        Some(ams.clone()),
        Some((Some(MARK), MARK)),
    );
    world.provider.apply(&put_back, TOKEN).await.unwrap();
    assert_eq!(read(world, &name("vanished")).await.sets, [ams]);
}

async fn addresses(world: &World) {
    let set = |kind, values: &[&str]| RecordSet::new(name("addresses"), kind, 60, values).unwrap();
    let two = set(RecordType::A, &["192.0.2.1", "192.0.2.2"]);
    let one = set(RecordType::A, &["192.0.2.3"]);
    let six = set(RecordType::Aaaa, &["2001:db8::1"]);
    plant(world, &two, Some(MARK)).await;
    let beside = change("addresses", Expected::Any, Some(six.clone()), None);
    world.provider.apply(&beside, TOKEN).await.unwrap();
    // Half of the set is not the set.
    let half = set(RecordType::A, &["192.0.2.1"]);
    let error = world
        .provider
        .apply(&swap("addresses", half, one.clone()), TOKEN)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Conflict { .. }),
        "{error:?}"
    );
    world
        .provider
        .apply(&swap("addresses", two, one.clone()), TOKEN)
        .await
        .unwrap();
    assert_eq!(read(world, &name("addresses")).await.sets, [one, six]);
}

async fn check_changes_nothing(world: &World) {
    let (ams, fra) = (cname("check", 60, "ams"), cname("check", 60, "fra"));
    let first = change(
        "check",
        Expected::Absent,
        Some(ams.clone()),
        Some((None, MARK)),
    );
    let findings = world.provider.check(&first).await.unwrap();
    assert_eq!(errors(&findings), [""; 0]);
    assert_eq!(read(world, &name("check")).await, Found::default());
    plant(world, &ams, Some(MARK)).await;
    let before = read(world, &name("check")).await;
    let findings = world
        .provider
        .check(&swap("check", ams.clone(), fra.clone()))
        .await
        .unwrap();
    assert_eq!(errors(&findings), [""; 0]);
    assert!(
        findings.iter().any(|f| f.text.contains("may")),
        "the right is named: {findings:?}"
    );
    let findings = world
        .provider
        .check(&swap("check", fra, ams))
        .await
        .unwrap();
    assert!(!findings.is_empty(), "already as wanted is said");
    let wrong = swap(
        "check",
        cname("check", 60, "nowhere"),
        cname("check", 60, "fra"),
    );
    let findings = world.provider.check(&wrong).await.unwrap();
    assert!(
        errors(&findings)
            .iter()
            .any(|text| text.contains("not as expected")),
        "{findings:?}"
    );
    assert_eq!(read(world, &name("check")).await, before);
}

async fn forced(world: &World) {
    let first = change("any", Expected::Any, Some(cname("any", 60, "ams")), None);
    world.provider.apply(&first, TOKEN).await.unwrap();
    let second = change("any", Expected::Any, Some(cname("any", 60, "fra")), None);
    world.provider.apply(&second, TOKEN).await.unwrap();
    assert_eq!(
        read(world, &name("any")).await.sets,
        [cname("any", 60, "fra")]
    );
    // Force does not reach as far as an address beside an alias, which servers take with a success code and ignore.
    let address = RecordSet::new(name("any"), RecordType::A, 60, ["192.0.2.1"]).unwrap();
    let error = world
        .provider
        .apply(&change("any", Expected::Any, Some(address), None), TOKEN)
        .await
        .unwrap_err();
    assert_eq!(error.sort(), Sort::Permanent, "{error:?}");
    assert_eq!(
        read(world, &name("any")).await.sets,
        [cname("any", 60, "fra")]
    );
}

async fn impossible(world: &World) {
    let zone = Name::parse(ZONE).unwrap();
    let target = [format!("ams.{ZONE}")];
    let apex = RecordSet::new(zone.clone(), RecordType::Cname, 60, &target).unwrap();
    let outside_name = Name::parse("harbor.other.test").unwrap();
    let outside = RecordSet::new(outside_name.clone(), RecordType::Cname, 60, &target).unwrap();
    for (name, set) in [(zone, apex), (outside_name, outside)] {
        let wrong = Change {
            name,
            expected: Expected::Absent,
            desired: Some(set),
            marker: None,
        };
        assert_eq!(
            world.provider.apply(&wrong, TOKEN).await.unwrap_err().kind,
            ErrorKind::Invalid
        );
        assert_eq!(
            world.provider.check(&wrong).await.unwrap_err().kind,
            ErrorKind::Invalid
        );
    }
}

async fn strangers(world: &World) {
    let (ams, fra) = (cname("key", 60, "ams"), cname("key", 60, "fra"));
    plant(world, &ams, Some(MARK)).await;
    let swap = swap("key", ams.clone(), fra);
    let error = world.stranger.apply(&swap, TOKEN).await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Unauthenticated(_)),
        "{error:?}"
    );
    assert_eq!(error.sort(), Sort::Permanent);
    match world.stranger.check(&swap).await {
        Ok(findings) => assert!(!errors(&findings).is_empty(), "{findings:?}"),
        Err(error) => assert!(
            matches!(error.kind, ErrorKind::Unauthenticated(_)),
            "{error:?}"
        ),
    }
    assert_eq!(read(world, &name("key")).await.sets, [ams]);
}

async fn without_right(world: &World) {
    let (ams, fra) = (cname("right", 60, "ams"), cname("right", 60, "fra"));
    world.elsewhere.put(&ams);
    let swap = change("right", Expected::Exactly(ams.clone()), Some(fra), None);
    let error = world.powerless.apply(&swap, TOKEN).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
    let findings = world.powerless.check(&swap).await.unwrap();
    assert_eq!(errors(&findings).len(), 1, "{findings:?}");
    assert_eq!(read(world, &name("right")).await.sets, [ams]);
}
