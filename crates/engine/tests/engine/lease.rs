//! One driver per run, and one unfinished run per topology.

use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use runbook_engine::event::{About, Event, Outcome};
use runbook_engine::journal::{Journal, JournalError};
use runbook_engine::lease::{AcquireError, Holder, TERM, holder};
use runbook_engine::runlog::{Blind, Lost, ResumeError, RunLog};
use serde_json::json;

use crate::rig::{Life, REQUEST, RUN, Rig, Words, look, step};

/// A live process that drives nothing.
struct Bystander(Child);

impl Bystander {
    fn new() -> Bystander {
        let child = Process::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep is everywhere");
        Bystander(child)
    }

    fn holder(&self) -> Holder {
        Holder::of_process("ana@jump", self.0.id())
    }

    /// It ends, and its zombie stays.
    fn kill(&mut self) {
        self.0.kill().expect("it lives");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn begun(rig: &Rig, by: &Holder) -> Arc<RunLog> {
    RunLog::begin(
        rig.journal(),
        RUN,
        rig.plan.clone(),
        by,
        rig.clock.clone(),
        Arc::new(Blind),
    )
    .await
    .expect("begun")
}

async fn resumed(rig: &Rig) -> Result<Arc<RunLog>, ResumeError> {
    RunLog::resume_with(
        rig.journal(),
        RUN,
        &rig.holder(),
        rig.clock.clone(),
        Arc::new(Blind),
    )
    .await
}

fn started(step: &str) -> Event {
    Event::AttemptStarted {
        step: step.into(),
        attempt: 1,
        token: "t".into(),
    }
}

#[tokio::test]
async fn a_live_holder_is_named() {
    let rig = Rig::new(vec![step("a")]).await;
    let ana = Bystander::new();
    begun(&rig, &ana.holder()).await;
    let error = resumed(&rig).await.err().expect("held");
    let ResumeError::Acquire(AcquireError::Held {
        owner,
        pid,
        run,
        until,
    }) = error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (owner.as_str(), pid, run.as_str()),
        ("ana@jump", i64::from(ana.0.id()), RUN)
    );
    assert_eq!(until, rig.clock.after(TERM + REQUEST));
    assert_eq!(
        holder(&rig.journal(), RUN).await.expect("read"),
        Some(ana.holder())
    );
}

#[tokio::test]
async fn a_dead_holder_is_taken_over_at_once_a_zombie_too() {
    for reaped in [false, true] {
        let rig = Rig::new(vec![step("a")]).await;
        let mut ana = Bystander::new();
        let log = begun(&rig, &ana.holder()).await;
        log.append(vec![started("a")]).await.expect("written");
        ana.kill();
        if reaped {
            ana.0.wait().expect("it ended");
        } else {
            // A killed process is a zombie a moment later.
            while resumed_by_nobody(&rig).await {
                tokio::task::yield_now().await;
            }
        }
        let before = rig.clock.now();
        let log = resumed(&rig).await.expect("taken over");
        assert_eq!(rig.clock.now(), before, "nothing was waited for");
        let told = rig.told().await;
        assert_eq!(told[told.len() - 2..], ["taken-over", "attempt-lost a"]);
        let Some(Event::TakenOver {
            from,
            requests_over_at,
            ..
        }) = rig
            .events()
            .await
            .into_iter()
            .find(|event| matches!(event, Event::TakenOver { .. }))
        else {
            panic!("not recorded")
        };
        assert!(from.contains("gone"), "{from}");
        assert_eq!(requests_over_at, rig.clock.after(REQUEST));
        assert_eq!(log.lease().epoch, 2);
    }
}

async fn resumed_by_nobody(rig: &Rig) -> bool {
    holder(&rig.journal(), RUN).await.expect("read").is_some()
}

#[tokio::test]
async fn another_process_with_the_same_number_is_another_process() {
    let rig = Rig::new(vec![step("a")]).await;
    let ana = Bystander::new();
    begun(
        &rig,
        &Holder {
            started: "1".into(),
            ..ana.holder()
        },
    )
    .await;
    assert_eq!(holder(&rig.journal(), RUN).await.expect("read"), None);
    assert_eq!(resumed(&rig).await.expect("taken over").lease().epoch, 2);
}

#[tokio::test]
async fn a_process_of_another_host_is_not_taken_for_dead() {
    let rig = Rig::new(vec![step("a")]).await;
    let far = Holder {
        host: "elsewhere 1234".into(),
        ..rig.holder()
    };
    begun(&rig, &far).await;
    assert!(matches!(
        resumed(&rig).await,
        Err(ResumeError::Acquire(AcquireError::Held { .. }))
    ));
}

#[tokio::test]
async fn a_silent_holder_is_taken_over_after_its_lease_and_its_last_request() {
    let rig = Rig::new(vec![step("a")]).await;
    let ana = Bystander::new();
    begun(&rig, &ana.holder()).await;
    let until = rig.clock.after(TERM);
    rig.clock.sleep(TERM + REQUEST).await;
    assert!(resumed(&rig).await.is_err(), "not yet");
    rig.clock.sleep(Duration::from_millis(1)).await;
    resumed(&rig).await.expect("taken over");
    let events = rig.events().await;
    let Some(Event::TakenOver {
        from,
        requests_over_at,
        ..
    }) = events.last()
    else {
        panic!("not recorded")
    };
    assert!(from.contains("silent"), "{from}");
    assert_eq!(*requests_over_at, until + REQUEST);
}

#[tokio::test]
async fn a_driver_that_was_taken_over_writes_nothing() {
    let rig = Rig::new(vec![step("a")]).await;
    let stale = begun(&rig, &rig.holder()).await;
    let other = Arc::new(Journal::open(&rig.file).await.expect("a second process"));
    let fresh = RunLog::resume_with(
        other,
        RUN,
        &rig.holder(),
        rig.clock.clone(),
        Arc::new(Blind),
    )
    .await
    .expect("taken over");
    assert!(stale.lease().holds(), "nobody told it");
    let before = rig.recorded().await.len();
    for finish in [false, true] {
        let written = if finish {
            stale.finish(Vec::new(), Outcome::Aborted).await
        } else {
            stale.append(vec![started("a")]).await
        };
        assert!(
            matches!(written, Err(Lost::Journal(JournalError::Fenced))),
            "{written:?}"
        );
    }
    assert_eq!(rig.recorded().await.len(), before);
    assert_eq!(
        rig.journal().find(RUN).await.expect("the run").finished_at,
        None
    );
    assert_eq!(
        stale.state().steps[0].attempts,
        0,
        "what is not on disk is not so"
    );
    fresh
        .append(vec![started("a")])
        .await
        .expect("the driver drives");
}

#[tokio::test]
async fn a_driver_without_its_lease_writes_nothing() {
    let rig = Rig::new(vec![step("a")]).await;
    let log = begun(&rig, &rig.holder()).await;
    // As after a suspension that was longer than the term.
    log.lease().end();
    assert!(
        !log.lease().holds(),
        "what writes to the world asks this before each request"
    );
    assert!(matches!(
        log.append(vec![started("a")]).await,
        Err(Lost::Expired)
    ));
    assert!(matches!(
        log.finish(Vec::new(), Outcome::Aborted).await,
        Err(Lost::Expired)
    ));
    assert_eq!(rig.recorded().await.len(), 1);
}

#[tokio::test]
async fn a_driver_whose_lease_ends_in_the_middle_of_a_step_stops() {
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    let log = begun(&rig, &rig.holder()).await;
    let lease = log.lease().clone();
    log.append(vec![started("a")]).await.expect("written");
    lease.end();
    drop(log);
    // The next one finds an attempt in doubt, as after a crash.
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
    assert_eq!(rig.count("attempt-lost a").await, 1);
}

#[tokio::test]
async fn a_driver_that_leaves_gives_the_lease_back() {
    let rig = Rig::new(vec![
        look("consent").doing(json!({ "asks": About::Approval })),
    ])
    .await;
    rig.begin().await.question();
    assert_eq!(holder(&rig.journal(), RUN).await.expect("read"), None);
    rig.resume().await.question();
    assert_eq!(rig.count("taken-over").await, 0);
    let epochs: Vec<i64> = rig
        .recorded()
        .await
        .iter()
        .map(|recorded| recorded.epoch)
        .collect();
    assert!(epochs.iter().all(|epoch| *epoch == 1));
}

#[tokio::test]
async fn one_unfinished_run_per_topology() {
    let rig = Rig::new(vec![
        look("consent").doing(json!({ "asks": About::Approval })),
    ])
    .await;
    rig.begin().await.question();
    let second = RunLog::begin(
        rig.journal(),
        "other",
        rig.plan.clone(),
        &rig.holder(),
        rig.clock.clone(),
        Arc::new(Blind),
    )
    .await;
    let Err(Lost::Journal(JournalError::Unfinished { run, topology })) = second else {
        panic!("begun")
    };
    assert_eq!((run.as_str(), topology.as_str()), (RUN, "pair"));
    let mut elsewhere = rig.plan.clone();
    elsewhere.topology = "another".into();
    RunLog::begin(
        rig.journal(),
        "other",
        elsewhere,
        &rig.holder(),
        rig.clock.clone(),
        Arc::new(Blind),
    )
    .await
    .expect("begun");
    rig.send(runbook_engine::event::Command::Abort { undo: false })
        .await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Aborted);
    RunLog::begin(
        rig.journal(),
        "third",
        rig.plan.clone(),
        &rig.holder(),
        rig.clock.clone(),
        Arc::new(Blind),
    )
    .await
    .expect("begun");
}

#[tokio::test]
async fn a_run_that_is_over_can_be_looked_at_but_not_gone_on_with() {
    let rig = Rig::new(vec![step("a")]).await;
    rig.begin().await.outcome();
    let told = rig.told().await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
    assert_eq!(rig.told().await, told);
    let nobody = RunLog::resume_with(
        rig.journal(),
        "nobody",
        &rig.holder(),
        rig.clock.clone(),
        Arc::new(Blind),
    )
    .await;
    assert!(matches!(
        nobody,
        Err(ResumeError::Journal(JournalError::NoRun(_)))
    ));
}

#[tokio::test]
async fn a_driver_that_is_dropped_stops_renewing() {
    let rig = Rig::new(vec![
        look("consent").doing(json!({ "asks": About::Approval })),
    ])
    .await;
    assert!(matches!(rig.begin_and_die_after(2).await, Life::Died));
    // Its process is gone, and so is the task that kept its lease.
    assert_eq!(rig.resume().await.question().about, About::Approval);
    assert_eq!(rig.count("taken-over").await, 1);
}
