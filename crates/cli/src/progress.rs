//! What a person sees while a run goes on: one line per change of state, and on a terminal below them one live line.
//!
//! What is shown comes from events alone, so `show --watch` in another terminal shows the same.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use runbook_engine::event::{About, Change, Event, Outcome, Sort};
use runbook_engine::run::RunState;
use runbook_engine::runlog::Observer;
use runbook_engine::step::{Finding, Level};

use crate::labels::Labels;
use crate::output::{Format, Output, between, clock, style, words};

/// CI kills jobs that say nothing.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How often the live line is drawn again.
const TICK: Duration = Duration::from_millis(200);

/// Writes the progress of one run to standard error.
pub struct Progress {
    out: Output,
    run: String,
    labels: Labels,
    shown: Mutex<Shown>,
}

struct Shown {
    /// When a line was last written.
    at: Instant,
    /// The live line, while there is one.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shows a run.
    pub fn new(out: Output, run: &str, labels: Labels) -> Progress {
        Progress {
            out,
            run: run.to_owned(),
            labels,
            shown: Mutex::new(Shown {
                at: Instant::now(),
                bar: None,
            }),
        }
    }

    /// Shows one event.
    pub fn show(&self, at: Timestamp, event: &Event, run: &RunState) {
        if self.out.format == Some(Format::Jsonl) {
            self.out.json_line(
                &serde_json::json!({ "schema": 1, "run": self.run, "at": at, "event": event }),
            );
        }
        let lines = lines(&self.labels, &self.run, at, event, run);
        let mut shown = self.lock();
        shown.at = Instant::now();
        for line in lines {
            self.write(&shown, &line);
        }
        match event {
            Event::AttemptStarted { step, .. } | Event::UndoStarted { step } => {
                self.draw(&mut shown, at, run, step, "")
            }
            Event::Asked { .. } | Event::RunFinished { .. } | Event::Paused { .. } => {
                clear(&mut shown)
            }
            _ => {}
        }
    }

    /// Takes the live line away, so that a person can be asked.
    pub fn pause(&self) {
        clear(&mut self.lock());
    }

    fn draw(&self, shown: &mut Shown, at: Timestamp, run: &RunState, step: &str, waiting: &str) {
        if !self.out.is_live() {
            return;
        }
        let bar = shown.bar.get_or_insert_with(|| {
            let past = run
                .started_at
                .map_or(Duration::ZERO, |started| between(started, at));
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
                .with_elapsed(past);
            if let Ok(style) =
                ProgressStyle::with_template("run {prefix}  T+{elapsed_precise}  {wide_msg}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(self.run.clone());
            bar.enable_steady_tick(TICK);
            bar
        });
        let waiting = if waiting.is_empty() {
            String::new()
        } else {
            format!(": {waiting}")
        };
        bar.set_message(format!(
            "now {}{waiting}   Ctrl-C stops, resumable",
            self.labels.name(step)
        ));
    }

    fn write(&self, shown: &Shown, line: &str) {
        match &shown.bar {
            Some(bar) if self.out.color() => bar.println(line),
            Some(bar) => bar.println(anstream::adapter::strip_str(line).to_string()),
            None => self.out.say(line),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Observer for Progress {
    fn recorded(&self, at: Timestamp, event: &Event, run: &RunState) {
        self.show(at, event, run);
    }

    fn waiting(&self, step: &str, text: &str) {
        let mut shown = self.lock();
        if let Some(bar) = &shown.bar {
            bar.set_message(format!(
                "now {}: {text}   Ctrl-C stops, resumable",
                self.labels.name(step)
            ));
        } else if shown.at.elapsed() >= HEARTBEAT {
            shown.at = Instant::now();
            self.write(
                &shown,
                &format!(
                    "  {}  {}  {text}",
                    style::dim("wait"),
                    self.labels.name(step)
                ),
            );
        }
    }
}

fn clear(shown: &mut Shown) {
    if let Some(bar) = shown.bar.take() {
        bar.finish_and_clear();
    }
}

/// Writes an event as lines.
pub fn lines(
    labels: &Labels,
    id: &str,
    at: Timestamp,
    event: &Event,
    run: &RunState,
) -> Vec<String> {
    let name = |step: &str| labels.name(step);
    let since = run
        .started_at
        .map_or(Duration::ZERO, |started| between(started, at));
    let line = |word: &str, rest: String| {
        vec![format!(
            "{}  {word}  {rest}",
            style::dim(&format!("T+{}", clock(since)))
        )]
    };
    let took = |step: &str| {
        let record = run.step(step);
        let span = record.and_then(|record| Some(between(record.started_at?, at)));
        span.map_or_else(String::new, |span| format!("  {}", words(span)))
    };
    match event {
        Event::RunStarted {
            runbook, mode, by, ..
        } => {
            vec![format!(
                "{}  {mode} {runbook}, started by {by}",
                style::bold(&format!("run {id}"))
            )]
        }
        Event::TakenOver { from, .. } => line(
            &style::warn("over"),
            format!("this driver takes over from {from}"),
        ),
        Event::Paused { by } => line(
            &style::warn("stop"),
            format!("stopped by {by}; nothing is under way"),
        ),
        Event::AttemptStarted { step, attempt, .. } => {
            let again = if *attempt > 1 {
                format!("  attempt {attempt}")
            } else {
                String::new()
            };
            line(
                "now ",
                format!("{}  {}{again}", name(step), labels.summary(step)),
            )
        }
        Event::Succeeded {
            step,
            output,
            changes,
            probed,
        } => {
            let found = if *probed { "  found done" } else { "" };
            let mut all = line(
                &style::ok("done"),
                format!("{}{}{found}", name(step), took(step)),
            );
            all.extend(findings(output).iter().map(finding_line));
            all.extend(changes.iter().map(change_line));
            all
        }
        Event::Owed {
            step,
            items,
            reason,
        } => {
            let mut words: Vec<String> = items
                .iter()
                .map(|owed| format!("{} {}", owed.what, labels.site(&owed.site)))
                .collect();
            words.push(reason.clone());
            line(
                &style::warn("owed"),
                format!("{}{}  {}", name(step), took(step), words.join(": ")),
            )
        }
        // No attempt is left: what follows from it stands in the next event, of the same commit.
        Event::AttemptFailed {
            sort: Sort::Transient | Sort::Permanent,
            next_at,
            ..
        } if *next_at <= at => Vec::new(),
        Event::AttemptFailed {
            step,
            sort,
            error,
            next_at,
        } => {
            let wait = words(between(at, *next_at));
            let next = match sort {
                Sort::Transient => format!("again in {wait}"),
                Sort::Permanent => "not tried again".to_owned(),
                Sort::Unknown => format!(
                    "outcome unknown; looked at in {wait}, when the request can no longer arrive"
                ),
            };
            line(
                &style::warn("miss"),
                format!("{}  {error} ({next})", name(step)),
            )
        }
        Event::AttemptLost { step } => line(
            &style::warn("lost"),
            format!(
                "{}  the driver before died in it: it is probed first",
                name(step)
            ),
        ),
        Event::AttemptPaused { step } => {
            line("stop", format!("{}  left at a safe point", name(step)))
        }
        Event::FoundNotDone { step, remaining } => {
            let mut all = line("look", format!("{}  found not done", name(step)));
            all.extend(remaining.iter().map(change_line));
            all
        }
        Event::GaveUp { step, error } => line(
            &style::fail("FAIL"),
            format!("{}{}  {error}", name(step), took(step)),
        ),
        Event::PassedOver { step, error } => line(
            &style::warn("pass"),
            format!("{}  passed over: {error}", name(step)),
        ),
        Event::Asked {
            step,
            about,
            question,
            ..
        } => {
            let what = match about {
                About::Approval => "approval",
                About::Gate => "decision",
                About::Doubt => "in doubt",
                About::Guard => "no longer true",
                About::Failure => "failed",
            };
            let mut all = line(&style::warn("ask "), format!("{}  {what}", name(step)));
            all.extend(question.lines().map(|line| format!("          {line}")));
            all
        }
        Event::Approved { step, by, reason } => line(
            "yes ",
            format!("{}  by {by}{}", name(step), because(reason)),
        ),
        Event::Declined { step, by, reason } => line(
            "no  ",
            format!("{}  by {by}{}", name(step), because(reason)),
        ),
        Event::Retried { step, by } => {
            line("next", format!("{}  tried again, by {by}", name(step)))
        }
        Event::MarkedDone { step, by } => line(
            &style::warn("hand"),
            format!("{}  done by hand, says {by}", name(step)),
        ),
        Event::WentBack { step, to, reason } => line(
            &style::warn("back"),
            format!(
                "{} to {}  {reason}",
                name(step).trim_start(),
                name(to).trim_start()
            ),
        ),
        Event::CommandTaken {
            by,
            refused: Some(why),
            ..
        } => line(
            &style::warn("no  "),
            format!("a command by {by} is refused: {why}"),
        ),
        Event::AbortRequested { by, undo } => {
            let how = if *undo { "and undone" } else { "as it is" };
            line(&style::warn("end "), format!("ended {how}, by {by}"))
        }
        Event::UndoStarted { step } => line("undo", name(step)),
        Event::UndoFinished { step, changes } => {
            let mut all = line(&style::ok("back"), format!("{}  undone", name(step)));
            all.extend(changes.iter().map(change_line));
            all
        }
        Event::UndoFailed { step, error } => line(
            &style::fail("FAIL"),
            format!("{}  cannot be undone: {error}", name(step)),
        ),
        Event::RunFinished { outcome } => {
            let word = runbook_engine::decide::words(*outcome);
            let word = if *outcome == Outcome::Done {
                style::ok(word)
            } else {
                style::warn(word)
            };
            line(&word, format!("run {id}"))
        }
        Event::Checkpoint {
            step,
            name: what,
            value,
        } if what == "findings" => {
            let mut all = line("look", name(step));
            let found: Vec<Finding> = serde_json::from_value(value.clone()).unwrap_or_default();
            all.extend(found.iter().map(finding_line));
            all
        }
        Event::Checkpoint { .. } | Event::OriginalSaved { .. } | Event::CommandTaken { .. } => {
            Vec::new()
        }
    }
}

/// Returns what a check found, from its output.
pub fn findings(output: &serde_json::Value) -> Vec<Finding> {
    serde_json::from_value(output["findings"].clone()).unwrap_or_default()
}

/// Writes what a check found.
pub fn finding_line(finding: &Finding) -> String {
    let word = match finding.level {
        Level::Ok => style::ok("OK  "),
        Level::Warn => style::warn("WARN"),
        Level::Fail => style::fail("FAIL"),
    };
    format!("          {word}  {}: {}", finding.object, finding.text)
}

/// Writes a change.
pub fn change_line(change: &Change) -> String {
    format!(
        "          {}  {}: {} -> {}",
        change.object, change.field, change.before, change.after
    )
}

fn because(reason: &Option<String>) -> String {
    reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(": {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn each_change_of_state_is_a_line() {
        let plan = samples::plan();
        let labels = Labels::of(&plan);
        let mut run = RunState::new(&plan);
        let mut text = String::new();
        for (at, event) in samples::planned_failover() {
            run.apply(at, &event).expect("the events add up");
            for line in lines(&labels, "7f3kq", at, &event, &run) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        insta::assert_snapshot!(anstream::adapter::strip_str(&text));
    }
}
