//! Driving a run in this process: its clients, its signals, and what is said at its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use runbook_engine::decide::effect;
use runbook_engine::event::{About, Command, Event, Outcome};
use runbook_engine::executor::{Driver, Ended};
use runbook_engine::journal::Journal;
use runbook_engine::lease::Lease;
use runbook_engine::plan::{InDoubt, Plan};
use runbook_engine::run::{Question, RunState};
use runbook_engine::runlog::{Observer, RunLog};
use runbook_engine::state::StepState;
use runbook_engine::step::Step;
use runbook_engine::stop::{StopSender, stop};
use runbook_steps::bindings::Bindings;
use runbook_steps::{OpenError, Sites};

use crate::codes::Code;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::labels::Labels;
use crate::output::{Format, Output};
use crate::person::{Consent, Terminal};
use crate::progress::Progress;
use crate::report::Report;
use crate::report_text;
use crate::secrets::{self, Resolved};
use crate::settings::Settings;
use crate::signals::Signals;

/// Everything that driving a plan needs and that can fail without anything having happened.
pub struct Ready {
    plan: Plan,
    steps: Vec<Box<dyn Step<Sites>>>,
    sites: Sites,
    /// Set when the run is this process's; what writes asks it before each request.
    lease: Arc<OnceLock<Lease>>,
}

/// A run to drive.
pub enum Which<'a> {
    /// A new one with this id.
    New(&'a str),
    /// One that was begun, and the command with which this process goes on, decided on its state once the run is
    /// this process's.
    Begun(
        &'a str,
        &'a (dyn Fn(&RunState) -> Option<Command> + Send + Sync),
    ),
}

impl Ready {
    /// Makes steps and clients. Sends nothing.
    pub async fn new(plan: Plan, settings: &Settings, secrets: Resolved) -> Result<Ready> {
        let steps = build(&plan)?;
        let bindings = bindings(&plan)?;
        let lease: Arc<OnceLock<Lease>> = Arc::default();
        let held = lease.clone();
        let before_write: runbook_harbor::BeforeWrite = Arc::new(move || match held.get() {
            Some(lease) if lease.holds() => Ok(()),
            _ => Err("the lease of this driver has run out".into()),
        });
        let inventory = private_folder(settings)?;
        let sites = Sites::open(
            &bindings,
            &move |reference: &str| secrets.get(reference),
            before_write,
            &inventory,
        )
        .await
        .map_err(|error| no_clients(&error))?;
        Ok(Ready {
            plan,
            steps,
            sites,
            lease,
        })
    }

    /// Makes them for a run that was begun, from its plan alone: after planning nobody reads YAML again.
    pub async fn of_run(plan: Plan, settings: &Settings) -> Result<Ready> {
        let secrets = secrets::resolve(&bindings(&plan)?.secret_references()).await?;
        Ready::new(plan, settings, secrets).await
    }

    /// Drives a run until it is over or cannot go on.
    pub async fn drive(
        self,
        journal: Arc<Journal>,
        which: Which<'_>,
        settings: &Settings,
        out: Output,
        consent: Consent,
    ) -> Result<Exit> {
        let (Which::New(id) | Which::Begun(id, _)) = which;
        let Ready {
            plan,
            steps,
            sites,
            lease,
        } = self;
        let progress = Arc::new(Progress::new(out, id, Labels::of(&plan)));
        let holder = settings.holder();
        let (caller, called) = stop();
        // Who wanted the run ended does not want it driven on if that is refused.
        let refusals = Arc::new(Refusals {
            progress: progress.clone(),
            caller: caller.clone(),
            abort: AtomicBool::new(false),
            why: Mutex::default(),
        });
        let log = match which {
            Which::New(id) => {
                let clock = runbook_engine::clock::Clock::wall(plan.time_scale);
                RunLog::begin(
                    journal.clone(),
                    id,
                    plan.clone(),
                    &holder,
                    clock,
                    progress.clone(),
                )
                .await?
            }
            Which::Begun(id, first) => {
                let log = RunLog::resume(journal.clone(), id, &holder, refusals.clone()).await?;
                if let Some(command) = log.look(first) {
                    if let Err(why) = log.look(|run| effect(&plan, run, &command)) {
                        log.release().await?;
                        return Err(Failure::refused(
                            Code::CommandRefused,
                            format!("run `{id}` cannot take this now: {why}"),
                        )
                        .hint(format!("look: `runbook show {id}`")));
                    }
                    let aborts = matches!(command, Command::Abort { .. });
                    refusals.abort.store(aborts, Ordering::SeqCst);
                    journal.send(id, &settings.who, &command).await?;
                }
                log
            }
        };
        let _ = lease.set(log.lease().clone());
        let first = format!(
            "stopping at the next safe point; go on later with `runbook resume {id}`; again: stop now"
        );
        let signals = Signals::listen(caller, first);
        let person = Terminal {
            out,
            who: &settings.who,
            run: id,
            plan: &plan,
            steps: &steps,
            reader: runbook_engine::step::World::reader(&sites),
            consent,
            progress: progress.clone(),
        };
        let driver = Driver {
            log: log.clone(),
            steps: &steps,
            world: &sites,
            person: &person,
            stop: called,
            chance: &crate::chance::number,
        };
        let ended = driver.drive().await;
        progress.pause();
        let state = log.state();
        let ended = ended.map_err(|lost| {
            world(&plan, &state)
                .into_iter()
                .fold(Failure::from(lost), Failure::note)
        })?;
        if let (Some(why), Ended::Paused { .. }) = (refusals.why(), &ended) {
            let text = format!("run `{id}` cannot take this now: {why}");
            let failure = Failure::new(Exit::Refused, Code::CommandRefused, text);
            return Err(world(&plan, &state)
                .into_iter()
                .fold(failure, Failure::note)
                .hint(format!("go on with it: `runbook resume {id}`")));
        }
        conclude(&journal, id, &plan, &state, ended, out, &signals).await
    }
}

/// Shows a run, and stops driving it when the abort that this process brought is refused.
struct Refusals {
    progress: Arc<Progress>,
    caller: StopSender,
    abort: AtomicBool,
    why: Mutex<Option<String>>,
}

impl Refusals {
    fn why(&self) -> Option<String> {
        let why = self.why.lock();
        why.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Refusals {
    fn recorded(&self, at: Timestamp, event: &Event, run: &RunState) {
        self.progress.recorded(at, event, run);
        if let Event::CommandTaken {
            command: Command::Abort { .. },
            refused: Some(why),
            ..
        } = event
            && self.abort.load(Ordering::SeqCst)
        {
            *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
            self.caller.request("the refusal");
        }
    }

    fn waiting(&self, step: &str, text: &str) {
        self.progress.waiting(step, text);
    }
}

/// Makes the steps of a plan.
pub fn build(plan: &Plan) -> Result<Vec<Box<dyn Step<Sites>>>> {
    runbook_steps::build(plan).map_err(|error| {
        Failure::usage(
            Code::NoPlan,
            "the plan has a step that this version cannot take",
        )
        .because(&error)
        .note("nothing was changed")
    })
}

/// Reads the bindings of a plan.
pub fn bindings(plan: &Plan) -> Result<Bindings> {
    Bindings::of(plan).map_err(|error| {
        Failure::unexpected(Code::NoPlan, "the plan cannot be read").because(&error)
    })
}

/// Clients could not be made, or the file beside the state file could not be opened.
pub fn no_clients(error: &OpenError) -> Failure {
    if matches!(error, OpenError::Inventories(_)) {
        let text = "the inventories beside the state file `state.db` cannot be opened";
        return Failure::unexpected(Code::StateError, text)
            .because(error)
            .note("nothing was changed")
            .hint("free some space or make the folder writable, then the same command or `runbook resume`; or name another file with `--state FILE`");
    }
    Failure::usage(Code::NoClients, "the clients of the run cannot be made")
        .because(error)
        .note("nothing was sent")
}

/// Makes the folder of the state file, for its owner alone, and returns the file of inventories in it.
pub fn private_folder(settings: &Settings) -> Result<std::path::PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let inventory = settings.inventory()?;
    if let Some(folder) = inventory
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty() && !folder.exists())
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| {
                Failure::unexpected(
                    Code::StateReadOnly,
                    format!("the folder `{}` cannot be made", folder.display()),
                )
                .because(&error)
                .note("nothing was changed")
            })?;
    }
    Ok(inventory)
}

/// Makes the report of a run from its journal.
pub async fn report(journal: &Journal, id: &str) -> Result<Report> {
    let plan = journal.plan(id).await?;
    let events = journal.events(id).await?;
    Report::of(id, &plan, &events).map_err(|error| runbook_engine::runlog::Lost::from(error).into())
}

/// Says how a run that is over ended, and picks the exit code.
pub fn over(id: &str, plan: &Plan, report: &Report, outcome: Outcome, out: Output) -> Result<Exit> {
    match outcome {
        Outcome::Done => {
            let missed = report.missed();
            if !report.owed.is_empty() {
                let owed: Vec<String> = report
                    .owed
                    .iter()
                    .map(|owed| format!("{} {}", owed.what, owed.site))
                    .collect();
                out.say(&format!(
                    "owed: {}; when the site is back: `runbook run settle`",
                    owed.join(", ")
                ));
            }
            if report.moved && plan.runbook != "failback" {
                out.say("way back: `runbook run failback`");
            }
            if missed.is_empty() {
                return Ok(Exit::Done);
            }
            out.say(&format!("target missed: {}", missed.join(", ")));
            Ok(Exit::TargetMissed)
        }
        Outcome::Refused => {
            // A check joins its faults into one text.
            let errors = report
                .steps
                .iter()
                .filter_map(|step| step.error.as_ref())
                .flat_map(|error| error.split("; ").map(str::to_owned));
            let failure = Failure::refused(Code::RunRefused, format!("run `{id}` was refused"));
            let failure = errors.fold(failure, Failure::cause);
            Err(failure.hint(format!("when the cause is gone, run it again; a rehearsal changes nothing: `runbook run {} --dry-run`", plan.runbook)))
        }
        Outcome::Aborted => {
            out.say("the run was ended as it was; what it changed stays, and is listed above");
            Ok(Exit::Aborted)
        }
        Outcome::Undone => {
            out.say("every original is back");
            Ok(Exit::Aborted)
        }
        Outcome::UndoIncomplete => {
            let stuck = report.steps.iter().filter(|step| step.state == "stuck");
            let left = stuck
                .map(|step| format!("{}: {}", step.step, step.error.clone().unwrap_or_default()));
            let failure = Failure::new(
                Exit::UndoIncomplete,
                Code::UndoLeft,
                format!("the undo of run `{id}` is incomplete"),
            );
            let failure = left.fold(failure, Failure::cause);
            Err(failure.hint(format!(
                "put these back by hand; how they were: `runbook journal {id} -o json`"
            )))
        }
    }
}

async fn conclude(
    journal: &Journal,
    id: &str,
    plan: &Plan,
    state: &RunState,
    ended: Ended,
    out: Output,
    signals: &Signals,
) -> Result<Exit> {
    let report = report(journal, id).await?;
    match out.format.unwrap_or(Format::Table) {
        Format::Json => out.json(&report),
        Format::Table if matches!(ended, Ended::Finished(outcome) if outcome != Outcome::Refused) =>
        {
            out.data(&report_text::page(&report));
        }
        Format::Table | Format::Jsonl | Format::Yaml => {}
    }
    match ended {
        Ended::Finished(outcome) => over(id, plan, &report, outcome, out),
        Ended::Paused { by } => {
            for note in world(plan, state) {
                out.say(&format!("note: {note}"));
            }
            out.say(&format!(
                "stopped by {by} with nothing under way; go on: `runbook resume {id}`"
            ));
            Ok(signals.exit())
        }
        Ended::Halted { step, error } => {
            let attempts = state.step(&step).map_or(0, |record| record.attempts);
            let most = plan
                .position(&step)
                .map_or(0, |i| plan.steps[i].retry.attempts);
            let text = if attempts > 0 {
                format!("step `{step}` failed (attempt {attempts} of {most})")
            } else {
                format!("step `{step}` failed")
            };
            let failure = Failure::new(Exit::Stopped, Code::StepFailed, text).cause(error);
            let failure = world(plan, state).into_iter().fold(failure, Failure::note);
            Err(ways(id, plan, state, Some(&step))
                .into_iter()
                .fold(failure, Failure::hint))
        }
        Ended::Asking { step, question } => Err(asking(id, plan, state, &step, &question)),
    }
}

/// A run that waits for a person.
pub fn asking(id: &str, plan: &Plan, state: &RunState, step: &str, question: &Question) -> Failure {
    let text = format!("run `{id}` waits for a person at step `{step}`");
    let failure =
        Failure::new(Exit::Waiting, Code::PersonWanted, text).cause(question.text.clone());
    let failure = world(plan, state).into_iter().fold(failure, Failure::note);
    match question.about {
        About::Approval | About::Gate => failure
            .hint(format!(
                "say yes: `runbook approve {id}`; say no: `runbook decline {id}`"
            ))
            .hint(format!("then go on: `runbook resume {id}`")),
        About::Doubt | About::Guard | About::Failure => ways(id, plan, state, Some(step))
            .into_iter()
            .fold(failure, Failure::hint),
    }
}

/// Returns the commands that lead on from a run that stands still.
pub fn ways(id: &str, plan: &Plan, state: &RunState, step: Option<&str>) -> Vec<String> {
    let mut ways = vec![format!("when the cause is gone: `runbook resume {id}`")];
    if let Some(step) = step {
        ways.push(format!("done by hand: `runbook resume {id} --done {step}`"));
    }
    ways.push(match plan.cutover() {
        Some(cut) if state.steps[cut].state.is_over() => {
            format!("no undo leads back across the cutover: end it with `runbook abort {id}`, then `runbook run failback`")
        }
        _ => format!("go back: `runbook abort {id} --undo`"),
    });
    ways
}

/// Says how the world stands as far as the run changed it.
pub fn world(plan: &Plan, state: &RunState) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut changes: Vec<(String, String)> = Vec::new();
    for change in state.steps.iter().flat_map(|record| &record.changes) {
        let object = format!("{} {}", change.object, change.field);
        // The last change of a field is how it is now.
        changes.retain(|(other, _)| *other != object);
        changes.push((object, change.after.clone()));
    }
    let changes: Vec<String> = changes
        .into_iter()
        .map(|(object, after)| format!("{object} is {after}"))
        .collect();
    let begun: Vec<String> = plan
        .steps
        .iter()
        .zip(&state.steps)
        .filter(|(step, record)| {
            record.touched
                && !record.state.is_over()
                && record.state != StepState::Undone
                && step.in_doubt != InDoubt::Repeat
        })
        .map(|(step, _)| format!("`{}`", step.id))
        .collect();
    match changes.as_slice() {
        [] if begun.is_empty() => notes.push("nothing was changed".to_owned()),
        [] => {}
        changes => notes.push(format!("so far: {}", changes.join("; "))),
    }
    if !begun.is_empty() {
        notes.push(format!(
            "begun, and may have changed something: {}",
            begun.join(", ")
        ));
    }
    if let Some(cut) = plan.cutover() {
        let record = &state.steps[cut];
        notes.push(match record.state {
            StepState::Succeeded => format!("the service name was moved to `{}`", plan.to),
            _ if record.touched => format!(
                "whether the service name was moved from `{}` to `{}` is in doubt",
                plan.from, plan.to
            ),
            _ => format!("the service name was not moved from `{}`", plan.from),
        });
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn after(count: usize) -> (Plan, RunState) {
        let plan = samples::plan();
        let events = samples::planned_failover();
        let state = RunState::of(
            &plan,
            events.iter().take(count).map(|(at, event)| (*at, event)),
        )
        .expect("they add up");
        (plan, state)
    }

    #[test]
    fn the_world_is_told_as_the_journal_knows_it() {
        let told = |count| {
            let (plan, state) = after(count);
            world(&plan, &state).join(" | ")
        };
        assert_eq!(
            told(1),
            "nothing was changed | the service name was not moved from `primary`"
        );
        assert_eq!(
            told(9),
            "so far: primary read_only is true | the service name was not moved from `primary`"
        );
        assert_eq!(
            told(11),
            "so far: primary read_only is true | begun, and may have changed something: `dns-upsert` | \
             whether the service name was moved from `primary` to `dr` is in doubt"
        );
        assert!(told(15).ends_with("the service name was moved to `dr`"));
    }

    #[test]
    fn undo_is_offered_until_the_cutover() {
        let offers = |count| {
            let (plan, state) = after(count);
            ways("7f3kq", &plan, &state, Some("x"))
                .pop()
                .expect("three ways")
        };
        assert_eq!(offers(9), "go back: `runbook abort 7f3kq --undo`");
        assert!(offers(15).contains("run failback"));
    }

    #[test]
    fn a_run_that_is_over_has_the_exit_code_of_its_outcome() {
        let (plan, _) = after(0);
        let events = samples::recorded(samples::planned_failover());
        let mut report = Report::of("7f3kq", &plan, &events).expect("they add up");
        let out = Output {
            format: None,
            quiet: true,
            asks: false,
        };
        let code = |report: &Report, outcome| {
            over("7f3kq", &plan, report, outcome, out).unwrap_or_else(|failure| failure.exit)
        };
        assert_eq!(code(&report, Outcome::Done), Exit::Done);
        assert_eq!(code(&report, Outcome::Refused), Exit::Refused);
        assert_eq!(code(&report, Outcome::Aborted), Exit::Aborted);
        assert_eq!(code(&report, Outcome::Undone), Exit::Aborted);
        assert_eq!(code(&report, Outcome::UndoIncomplete), Exit::UndoIncomplete);
        report.rto_target_seconds = Some(1.0);
        assert_eq!(code(&report, Outcome::Done), Exit::TargetMissed);
    }
}
