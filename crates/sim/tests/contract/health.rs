//! Health with each part down, as recorded in `health`.

use runbook_sim::Fault;

use crate::stage::{Stage, Tolerate, recording};

#[tokio::test]
async fn health_answers_as_recorded() {
    let mut stage = Stage::bare(100.0).await;
    stage.fill().await;
    stage.add_endpoint().await;
    let primary_to_dr = recording("registries")
        .into_iter()
        .last()
        .expect("recorded");
    stage.replay(&primary_to_dr, &[]).await;
    let push = recording("read-only-source")
        .into_iter()
        .next()
        .expect("recorded");
    stage.replay(&push, &[]).await;
    let first = recording("first-replication");
    for exchange in first
        .iter()
        .filter(|one| one.method() == "POST" && one.path().ends_with("/policies"))
    {
        stage.replay(exchange, &[]).await;
    }
    stage
        .harbor("dr")
        .push_tag("library/app", "v1.0.0", "x")
        .expect("a push");

    let mut down: Option<String> = None;
    for exchange in recording("health") {
        let part = exchange
            .note()
            .split_once(" down")
            .map(|(part, _)| match part {
                "postgres" => "database".to_owned(),
                part => part.to_owned(),
            });
        if part != down {
            for site in ["primary", "dr"] {
                let harbor = stage.harbor(site);
                harbor.repair_all().await.expect("repaired");
                if let Some(component) = &part {
                    harbor.inject(Fault::ComponentDown {
                        component: component.clone(),
                    });
                }
                harbor.refresh_health();
            }
            down = part;
        }
        // The standby of the recording had the image already.
        let mut exchange = exchange;
        if exchange.instance() == "dr" && exchange.path().starts_with("/v2/production") {
            exchange.0["path"] = "/v2/library/app/manifests/v1.0.0".into();
        }
        // How many policies there are differs; the texts of errors name ports, which are masked, and paths of
        // the inner addresses.
        let tolerated: &[Tolerate] = if exchange.path().contains("policies?") {
            &[Tolerate::Amount, Tolerate::Body]
        } else {
            &[]
        };
        // An unreadable database is reported in the driver's own words.
        let by_driver = down.as_deref() == Some("database") && exchange.path().starts_with("/v2/");
        let tolerated = if by_driver {
            &[Tolerate::Body][..]
        } else {
            tolerated
        };
        stage.replay(&exchange, tolerated).await;
    }
}

#[tokio::test]
async fn a_stopped_part_shows_after_the_next_probe_only() {
    let stage = Stage::bare(1.0).await;
    let status = |answer: crate::stage::Answer| answer.body["status"].as_str().map(str::to_owned);
    let ask = || stage.ask("dr", "GET", "/api/v2.0/health", None);
    assert_eq!(status(ask().await).as_deref(), Some("healthy"));
    stage.harbor("dr").inject(Fault::ComponentDown {
        component: "portal".to_owned(),
    });
    assert_eq!(
        status(ask().await).as_deref(),
        Some("healthy"),
        "the view is 10 s old at most"
    );
    stage.harbor("dr").refresh_health();
    assert_eq!(status(ask().await).as_deref(), Some("unhealthy"));
}
