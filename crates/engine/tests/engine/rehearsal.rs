//! A rehearsal writes nothing: it is handed a reader, which has no method for it.

use runbook_engine::plan::{Mode, Plan};
use runbook_engine::rehearsal::{Rehearsed, rehearse};

use crate::rig::{Rig, Words, plan, step};
use crate::world::{Fault, sets, steps};

async fn rehearsed(rig: &Rig, plan: &Plan) -> Vec<Rehearsed> {
    rehearse(plan, &steps(plan), &rig.toy.reader, &rig.clock).await
}

#[tokio::test]
async fn later_steps_see_what_earlier_ones_would_have_changed() {
    let plan = plan(vec![
        step("a").doing(sets(&["x"])),
        step("b").doing(sets(&["x", "y"])),
        step("c").doing(sets(&["y"])),
    ]);
    let rig = Rig::of(plan.clone()).await;
    rig.toy.put("x", "old");
    let seen = rehearsed(&rig, &plan).await;
    let changes: Vec<Vec<String>> = seen
        .iter()
        .map(|step| {
            step.changes
                .iter()
                .map(|change| format!("{} {} -> {}", change.object, change.before, change.after))
                .collect()
        })
        .collect();
    assert_eq!(
        changes,
        [
            vec!["x old -> new".to_owned()],
            vec!["y - -> new".to_owned()],
            vec![]
        ]
    );
    assert_eq!((rig.toy.writes(), rig.toy.effects().len()), (0, 0));
    // What it says is what a run does.
    rig.begin().await.outcome();
    let state = rig.state().await;
    let done: Vec<_> = state
        .steps
        .iter()
        .map(|record| record.changes.clone())
        .collect();
    assert_eq!(
        done,
        seen.into_iter()
            .map(|step| step.changes)
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn it_says_what_cannot_be_said() {
    let plan = plan(vec![
        step("a"),
        step("b"),
        step("c").doing(serde_json::json!({ "sets": ["c"], "finding": "no right" })),
        step("d").with(|step| step.modes = vec![Mode::Unplanned]),
        step("e").with(|step| step.cutover = true),
    ]);
    let rig = Rig::of(plan.clone()).await;
    rig.toy.script("probe a", &[Fault::Unknown]);
    rig.toy.script("probe b", &[Fault::Transient]);
    rig.toy.script("check b", &[Fault::Unreachable]);
    let seen = rehearsed(&rig, &plan).await;
    assert_eq!(
        seen.iter()
            .map(|step| step.step.as_str())
            .collect::<Vec<_>>(),
        ["a", "b", "c", "e"]
    );
    assert_eq!(seen[0].unknown.as_deref(), Some("the world cannot tell"));
    assert_eq!(seen[1].unknown.as_deref(), Some("503"));
    assert!(
        seen[1].findings[0]
            .text
            .contains("could not be checked: connection refused")
    );
    assert_eq!(seen[2].findings[0].text, "no right");
    assert!(seen[3].cutover);
}
