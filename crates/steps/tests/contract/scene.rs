//! What happens around a run: a person who answers, somebody who meddles, and what came of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use async_trait::async_trait;
use jiff::Timestamp;
use runbook_engine::event::{About, Change, Event, Outcome, Owed};
use runbook_engine::executor::{Answer, Ended, Person};
use runbook_engine::journal::Recorded;
use runbook_engine::plan::Plan;
use runbook_engine::run::{Question, RunState, StepRecord};
use runbook_engine::runlog::Observer;
use runbook_engine::state::StepState;
use runbook_engine::stop::StopSender;
use runbook_sim::Sandbox;
use serde_json::Value;

pub const DONE: Ended = Ended::Finished(Outcome::Done);

/// What happens around a run.
#[derive(Default)]
pub struct Scene {
    pub person: Script,
    pub stage: Stage,
}

impl Scene {
    /// Somebody does something once, right after a step is done.
    pub fn after(mut self, step: &str, act: impl Fn(&Sandbox) + Send + Sync + 'static) -> Scene {
        self.stage.acts.push(Act {
            step: step.to_owned(),
            done: Mutex::new(false),
            act: Box::new(act),
        });
        self
    }

    /// The driver is asked to stop right after a step is done.
    pub fn stops_after(mut self, step: &str) -> Scene {
        self.stage.stop_after = Some(step.to_owned());
        self
    }

    /// Nobody accepts what a gate found.
    pub fn leaves_gates(mut self) -> Scene {
        self.person.accepts = false;
        self
    }
}

/// Approves everything; gates only if told so.
pub struct Script {
    pub accepts: bool,
}

impl Default for Script {
    fn default() -> Script {
        Script { accepts: true }
    }
}

#[async_trait]
impl Person for Script {
    async fn answer(&self, _step: &str, question: &Question) -> Answer {
        if question.about == About::Gate && !self.accepts {
            return Answer::Leave;
        }
        let reason = (question.about == About::Gate).then(|| "tested".to_owned());
        Answer::Approve {
            by: "test".into(),
            reason,
        }
    }
}

/// Sees the events of a run and lets people meddle at them.
#[derive(Default)]
pub struct Stage {
    acts: Vec<Act>,
    sandbox: OnceLock<Weak<Sandbox>>,
    stop_after: Option<String>,
    stop: OnceLock<StopSender>,
    begun: Mutex<BTreeMap<String, usize>>,
}

struct Act {
    step: String,
    done: Mutex<bool>,
    act: Box<dyn Fn(&Sandbox) + Send + Sync>,
}

impl Stage {
    pub fn begin(&self, sandbox: &Arc<Sandbox>, stop: StopSender) {
        self.stop.get_or_init(|| stop);
        self.sandbox.get_or_init(|| Arc::downgrade(sandbox));
    }

    pub fn begun(&self) -> BTreeMap<String, usize> {
        self.begun.lock().expect("a lock").clone()
    }
}

impl Observer for Stage {
    fn recorded(&self, _at: Timestamp, event: &Event, _run: &RunState) {
        let Some(sandbox) = self.sandbox.get().and_then(Weak::upgrade) else {
            return;
        };
        if let Event::AttemptStarted { step, .. } = event {
            let seen = sandbox.log().len();
            self.begun
                .lock()
                .expect("a lock")
                .entry(step.clone())
                .or_insert(seen);
        }
        let (Event::Succeeded { step, .. }
        | Event::Owed { step, .. }
        | Event::Approved { step, .. }) = event
        else {
            return;
        };
        if self.stop_after.as_ref() == Some(step)
            && let Some(stop) = self.stop.get()
        {
            stop.request("test");
        }
        for act in self.acts.iter().filter(|act| act.step == *step) {
            let mut done = act.done.lock().expect("a lock");
            if !std::mem::replace(&mut *done, true) {
                (act.act)(&sandbox);
            }
        }
    }
}

/// What a run came to.
pub struct Ran {
    pub id: String,
    pub plan: Plan,
    pub ended: Ended,
    pub state: RunState,
    pub events: Vec<Recorded>,
    /// How many mutating requests the sites had seen when a step first began.
    pub begun: BTreeMap<String, usize>,
}

impl Ran {
    /// Fails with the whole journal unless the run was done.
    #[track_caller]
    pub fn done(self) -> Ran {
        assert_eq!(self.ended, DONE, "\n{}", self.told());
        self
    }

    /// Returns the question that the run stands at.
    #[track_caller]
    pub fn asks(&self, step: &str, about: About) -> &str {
        match &self.ended {
            Ended::Asking { step: at, question } if at == step && question.about == about => {
                &question.text
            }
            other => panic!(
                "{other:?} instead of a question of `{step}`\n{}",
                self.told()
            ),
        }
    }

    /// Returns the error at which the run stands.
    #[track_caller]
    pub fn halts(&self, step: &str) -> &str {
        match &self.ended {
            Ended::Halted { step: at, error } if at == step => error,
            other => panic!("{other:?} instead of a halt at `{step}`\n{}", self.told()),
        }
    }

    /// Returns why the check refused the run.
    #[track_caller]
    pub fn refused(&self) -> &str {
        assert_eq!(
            self.ended,
            Ended::Finished(Outcome::Refused),
            "\n{}",
            self.told()
        );
        self.step("check").error.as_deref().unwrap_or_default()
    }

    #[track_caller]
    pub fn step(&self, id: &str) -> &StepRecord {
        self.state
            .step(id)
            .unwrap_or_else(|| panic!("the plan has no step `{id}`"))
    }

    pub fn output(&self, id: &str) -> &Value {
        &self.step(id).output
    }

    pub fn is_owed(&self, id: &str) -> bool {
        self.step(id).state == StepState::Owed
    }

    pub fn owed(&self) -> Vec<Owed> {
        self.state.owed()
    }

    /// Each way back: from which step to which.
    pub fn ways_back(&self) -> Vec<(&str, &str)> {
        self.events
            .iter()
            .filter_map(|recorded| match &recorded.event {
                Event::WentBack { step, to, .. } => Some((step.as_str(), to.as_str())),
                _ => None,
            })
            .collect()
    }

    /// What a step reported to have changed, sorted.
    pub fn changes(&self, id: &str) -> Vec<Change> {
        let mut changes = self.step(id).changes.clone();
        changes.sort();
        changes
    }

    /// References under a key of an output, as `repository:reference`.
    pub fn references(&self, id: &str, key: &str) -> Vec<String> {
        let items = self.output(id)[key].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        items
            .iter()
            .map(|item| format!("{}:{}", text(&item["repository"]), text(&item["reference"])))
            .collect()
    }

    /// Every question that was asked, in its order.
    pub fn questions(&self) -> Vec<(String, About, String)> {
        self.events
            .iter()
            .filter_map(|recorded| match &recorded.event {
                Event::Asked {
                    step,
                    about,
                    question,
                    ..
                } => Some((step.clone(), *about, question.clone())),
                _ => None,
            })
            .collect()
    }

    /// The journal in words, for a failed assertion.
    pub fn told(&self) -> String {
        let mut text = format!("{:?}\n", self.ended);
        for recorded in &self.events {
            text.push_str(&format!("{:3} {:?}\n", recorded.seq, recorded.event));
        }
        text
    }
}
