//! What the runs of a topology left: which site serves, what is owed, which originals a failback restores.

use std::collections::BTreeMap;

use runbook_engine::event::{Outcome, Owed};
use runbook_engine::journal::{Journal, RunRow};
use runbook_engine::run::RunState;
use runbook_steps::bindings::{Bindings, Inherited};
use serde_json::Value;

use crate::failure::{Failure, Result};

/// The runbook that pays what is owed.
pub const SETTLE: &str = "settle";

/// What the runs of one topology add up to.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The run that moved the clients last, and where to. None: they are where the configuration says.
    pub moved: Option<(String, String)>,
    /// What is owed, by site.
    pub owed: Vec<Owed>,
    /// The run that has not ended.
    pub unfinished: Option<RunRow>,
    /// What the next run inherits.
    pub inherited: Inherited,
}

impl History {
    /// Reads the history of a topology. Without a state file there is none.
    pub async fn of(journal: Option<&Journal>, topology: &str) -> Result<History> {
        let Some(journal) = journal else {
            return Ok(History::default());
        };
        let runs: Vec<RunRow> = journal
            .runs()
            .await?
            .into_iter()
            .filter(|run| run.topology == topology)
            .collect();
        let mut history = History {
            moved: moved(&runs).map(|(run, site)| (run.id.clone(), site.to_owned())),
            unfinished: runs.iter().find(|run| run.finished_at.is_none()).cloned(),
            ..History::default()
        };
        for run in owing(&runs) {
            // Steps write roles; which site that was only the bindings of their run know.
            let bindings = Bindings::of(&journal.plan(&run.id).await?).ok();
            let name = |role: &str| {
                bindings
                    .as_ref()
                    .map_or(role, |bindings| bindings.site(role))
                    .to_owned()
            };
            history.owed.extend(run.owed.iter().map(|owed| Owed {
                site: name(&owed.site),
                what: owed.what.clone(),
            }));
        }
        history.owed.sort();
        history.owed.dedup();
        history.inherited.owed = history.owed.clone();
        if let Some((run, _)) = &history.moved {
            let mut originals = originals(journal, run).await?;
            // What could not be read then was first written to when its site was settled.
            let since = runs.iter().take_while(|other| other.id != *run);
            for settle in since
                .filter(|other| other.runbook == SETTLE)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
            {
                for (object, document) in self::originals(journal, &settle.id).await? {
                    let known = originals.entry(object).or_default();
                    if known.is_null() {
                        *known = document;
                    }
                }
            }
            history.inherited.run = Some(run.clone());
            history.inherited.originals = originals
                .into_iter()
                .map(|((site, object), document)| (site, object, document))
                .collect();
        }
        Ok(history)
    }

    /// Returns what is owed and must be paid before the clients may go back: a side that may still take pushes, or
    /// whose policies may still copy.
    pub fn in_the_way(&self) -> Vec<&Owed> {
        self.owed
            .iter()
            .filter(|owed| matches!(owed.what.as_str(), "silence" | "fence"))
            .collect()
    }
}

/// Returns what a run saved before it first wrote to it, by site and object. Null: it could not be read.
async fn originals(journal: &Journal, run: &str) -> Result<BTreeMap<(String, String), Value>> {
    let plan = journal.plan(run).await?;
    let events = journal.events(run).await?;
    let state = RunState::of(&plan, events.iter().map(|event| (event.at, &event.event)))
        .map_err(|error| Failure::from(runbook_engine::runlog::Lost::from(error)))?;
    Ok(state.originals)
}

/// Returns the newest run that moved the clients. `runs` are newest first.
fn moved(runs: &[RunRow]) -> Option<(&RunRow, &str)> {
    runs.iter()
        .find_map(|run| Some((run, run.moved_to.as_deref()?)))
}

/// Returns the runs of which something may still be owed: those that moved the clients since the last settle that
/// was done, and that settle with what it could not strike.
fn owing(runs: &[RunRow]) -> Vec<&RunRow> {
    let mut owing = Vec::new();
    for run in runs.iter().filter(|run| run.finished_at.is_some()) {
        if run.runbook == SETTLE && run.outcome == Some(Outcome::Done) {
            owing.push(run);
            break;
        }
        if run.moved_to.is_some() {
            owing.push(run);
        }
    }
    owing
}

#[cfg(test)]
mod tests {
    use runbook_engine::plan::Mode;

    use super::*;
    use crate::samples::time;

    fn run(id: &str, runbook: &str, outcome: Option<Outcome>, moved_to: Option<&str>) -> RunRow {
        RunRow {
            id: id.into(),
            topology: "dr".into(),
            runbook: runbook.into(),
            mode: Mode::Planned,
            created_at: time(0),
            finished_at: outcome.map(|_| time(1)),
            outcome,
            moved_to: moved_to.map(str::to_owned),
            owed: Vec::new(),
        }
    }

    fn ids(runs: &[&RunRow]) -> Vec<String> {
        runs.iter().map(|run| run.id.clone()).collect()
    }

    #[test]
    fn the_newest_move_counts_also_of_a_run_that_was_aborted_after_it() {
        let runs = [
            run("d", "failover", None, None),
            run("c", "failback", Some(Outcome::Undone), None),
            run("b", "failover", Some(Outcome::Aborted), Some("dr")),
            run("a", "failback", Some(Outcome::Done), Some("primary")),
        ];
        assert_eq!(
            moved(&runs).map(|(run, site)| (run.id.as_str(), site)),
            Some(("b", "dr"))
        );
        assert_eq!(moved(&runs[..2]).map(|(run, _)| run.id.as_str()), None);
    }

    #[test]
    fn a_settle_that_was_done_strikes_what_came_before_it() {
        let done = Some(Outcome::Done);
        let runs = [
            run("e", "settle", Some(Outcome::Refused), None),
            run("d", "failover", Some(Outcome::Aborted), Some("dr")),
            run("c", "settle", done, None),
            run("b", "failover", done, Some("dr")),
        ];
        assert_eq!(ids(&owing(&runs)), ["d", "c"]);
        assert_eq!(ids(&owing(&runs[3..])), ["b"]);
    }
}
