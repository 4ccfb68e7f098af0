//! What a runbook must say beyond having the right shape. Everything wrong is found in one go.

use std::ops::Range;
use std::sync::Arc;

use runbook_engine::plan::Mode;

use crate::codes::Code;
use crate::diagnostics::{Diagnostics, Finding, Source};
use crate::located::Located;
use crate::runbook::{Kind, Runbook, RunbookFile, Step};
use crate::scalars::site::{ROLES, is_name};
use crate::suggest;

const MODES: [Mode; 2] = [Mode::Planned, Mode::Unplanned];

/// The most attempts of a step.
const MAX_ATTEMPTS: u32 = 100;

/// Checks a runbook that has the right shape.
pub(crate) fn check<K: Kind>(
    file: &RunbookFile<K>,
    source: &Arc<Source>,
) -> Result<(), Diagnostics> {
    let mut check = Check {
        source,
        steps: &file.steps,
        findings: Vec::new(),
    };
    if *file.version != 1 {
        let message = format!("version {} of the file is unknown", file.version);
        check.add(
            Code::Version,
            file.version.range(),
            message,
            "this tool knows version 1",
        );
    }
    check.name("runbook", &file.runbook);
    if file.steps.is_empty() {
        check.add(
            Code::Empty,
            file.steps.range(),
            "the runbook has no steps",
            "write at least one, with `id` and `do`",
        );
    }
    for (at, step) in file.steps.iter().enumerate() {
        check.step(at, step);
    }
    check.cutovers();
    Diagnostics::new(check.findings).map_or(Ok(()), Err)
}

/// Checks the roles and sites that a runbook's steps name.
pub(crate) fn sites<K: Kind>(runbook: &Runbook<K>, sites: &[&str]) -> Result<(), Diagnostics> {
    let allowed: Vec<&str> = ROLES.iter().chain(sites).copied().collect();
    let mut findings = Vec::new();
    for step in &runbook.steps {
        for role in step.action.roles() {
            if !allowed.contains(&role.as_str()) {
                let range = word_in(&runbook.source, step.action.range(), &role);
                let message = format!(
                    "step `{}` names `{role}`, which is neither a role nor a site",
                    step.id
                );
                let help = suggest::help(&role, "roles and sites", &allowed);
                findings.push(
                    Finding::new(&runbook.source, Code::UnknownRole, range, message).help(help),
                );
            }
        }
    }
    Diagnostics::new(findings).map_or(Ok(()), Err)
}

struct Check<'a, K> {
    source: &'a Arc<Source>,
    steps: &'a [Step<K>],
    findings: Vec<Finding>,
}

impl<K: Kind> Check<'_, K> {
    fn at(&self, code: Code, range: Option<Range<usize>>, message: impl AsRef<str>) -> Finding {
        Finding::new(self.source, code, range, message)
    }

    fn add(
        &mut self,
        code: Code,
        range: Option<Range<usize>>,
        message: impl AsRef<str>,
        help: &str,
    ) {
        self.findings.push(self.at(code, range, message).help(help));
    }

    fn step(&mut self, at: usize, step: &Step<K>) {
        self.name("step", &step.id);
        if let Some(first) = self.steps[..at]
            .iter()
            .find(|earlier| earlier.id == step.id)
        {
            let finding = self
                .at(
                    Code::DuplicateStep,
                    step.id.range(),
                    format!("two steps are called `{}`", step.id),
                )
                .help("guards, `back-to` and commands name steps: give each a name of its own")
                .see(first.id.range(), "the first one");
            self.findings.push(finding);
        }
        if step.timeout.is_zero() {
            let message = format!("step `{}` would have no time at all", step.id);
            self.add(
                Code::NotPositive,
                step.timeout.range(),
                message,
                "write a span such as `10s` or `15m`",
            );
        }
        let attempts = &step.retry.attempts;
        if !(1..=MAX_ATTEMPTS).contains(&**attempts) {
            let message = format!("{attempts} attempts are outside 1 to {MAX_ATTEMPTS}");
            self.add(
                Code::OutOfRange,
                attempts.range(),
                message,
                "1 means: no second attempt",
            );
        }
        for guard in &step.guards {
            let named = guard.step.clone().or_at(guard.range());
            self.earlier(at, step, &named, "guards");
            if let Some(age) = guard.max_age.as_ref().filter(|age| age.is_zero()) {
                let message = "a guard of no age can never hold";
                self.add(
                    Code::NotPositive,
                    age.range(),
                    message,
                    "write a span such as `15m`, or leave `max-age` out",
                );
            }
        }
        if let Some(back_to) = &step.back_to
            && let Some(target) = self.earlier(at, step, back_to, "back-to")
        {
            self.no_way_back_across_cutover(at, step, target, back_to);
        }
    }

    /// Checks a reference to an earlier step. Returns its position when it is good.
    fn earlier(
        &mut self,
        at: usize,
        step: &Step<K>,
        named: &Located<String>,
        what: &str,
    ) -> Option<usize> {
        let earlier: Vec<&str> = self.steps[..at]
            .iter()
            .map(|step| step.id.as_str())
            .collect();
        if let Some(target) = earlier.iter().position(|id| *id == named.as_str()) {
            let other = &self.steps[target];
            if !MODES
                .iter()
                .any(|mode| step.taken_in(*mode) && other.taken_in(*mode))
            {
                let message = format!(
                    "`{}` and `{}` are never taken in one run",
                    step.id, other.id
                );
                let finding = self
                    .at(Code::NeverTogether, named.range(), message)
                    .help(format!(
                        "`{}` is taken in {}, `{}` in {}",
                        step.id,
                        modes(step),
                        other.id,
                        modes(other)
                    ))
                    .see(other.id.range(), "this step");
                self.findings.push(finding);
            }
            return Some(target);
        }
        let help = suggest::help(named, "earlier steps", &earlier);
        let finding = match self
            .steps
            .iter()
            .position(|other| other.id.as_str() == named.as_str())
        {
            Some(same) if same == at => self
                .at(
                    Code::LaterStep,
                    named.range(),
                    format!("`{what}` names the step itself"),
                )
                .help(help),
            Some(later) => self
                .at(
                    Code::LaterStep,
                    named.range(),
                    format!("`{what}` names `{named}`, which comes later"),
                )
                .help(help)
                .see(self.steps[later].id.range(), "this step"),
            None => self
                .at(
                    Code::UnknownStep,
                    named.range(),
                    format!("unknown step `{named}`"),
                )
                .help(help),
        };
        self.findings.push(finding);
        None
    }

    fn no_way_back_across_cutover(
        &mut self,
        at: usize,
        step: &Step<K>,
        target: usize,
        named: &Located<String>,
    ) {
        let crossed = (target..at).find(|between| {
            let cutover = &self.steps[*between];
            cutover.cutover
                && MODES
                    .iter()
                    .any(|mode| step.taken_in(*mode) && cutover.taken_in(*mode))
        });
        if let Some(crossed) = crossed {
            let message = format!(
                "`{}` would go back to `{named}`, across the cutover",
                step.id
            );
            let finding = self
                .at(Code::BackAcrossCutover, named.range(), message)
                .help("the new side takes writes by then; what breaks after the cutover is recorded as owed")
                .see(self.steps[crossed].id.range(), "the cutover");
            self.findings.push(finding);
        }
    }

    fn cutovers(&mut self) {
        for (at, step) in self
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.cutover)
        {
            let first = self.steps[..at].iter().find(|earlier| {
                earlier.cutover
                    && MODES
                        .iter()
                        .any(|mode| step.taken_in(*mode) && earlier.taken_in(*mode))
            });
            if let Some(first) = first {
                let mode = MODES
                    .iter()
                    .find(|mode| step.taken_in(**mode) && first.taken_in(**mode));
                let mode = mode.map_or_else(String::new, Mode::to_string);
                let finding = self
                    .at(Code::SeveralCutovers, step.id.range(), format!("`{}` is a second cutover in mode `{mode}`", step.id))
                    .help("undo ends at the cutover, so a run has at most one: give the two steps different `modes`")
                    .see(first.id.range(), "the first one");
                self.findings.push(finding);
            }
        }
    }

    fn name(&mut self, what: &str, name: &Located<String>) {
        if !is_name(name) {
            let message = format!("`{name}` cannot be the name of a {what}");
            let help = "use up to 40 lower-case letters, digits and `-`, starting with a letter";
            self.add(Code::BadName, name.range(), message, help);
        }
    }
}

fn modes<K>(step: &Step<K>) -> String {
    MODES
        .iter()
        .filter(|mode| step.taken_in(**mode))
        .map(|mode| format!("`{mode}`"))
        .collect::<Vec<_>>()
        .join(" and ")
}

/// Finds a word in a part of the file: a step kind says which roles it names, and not where they stand.
fn word_in(source: &Source, range: Option<Range<usize>>, word: &str) -> Option<Range<usize>> {
    let range = range?;
    let range = source.extent(range.start);
    let text = source.text().get(range.clone())?;
    let part_of_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let found = text.match_indices(word).find(|(at, _)| {
        // A value and not a key: whatever follows, it is no colon.
        let after = &text[at + word.len()..];
        !text[..*at].ends_with(part_of_word)
            && !after.starts_with(|c: char| part_of_word(c) || c == ':')
    });
    found
        .map(|(at, _)| range.start + at..range.start + at + word.len())
        .or(Some(range))
}
