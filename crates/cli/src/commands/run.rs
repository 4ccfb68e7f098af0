//! `runbook run NAME`: the real thing, or its rehearsal without any write.

use runbook_engine::clock::Clock;
use runbook_engine::journal::{Journal, JournalError};
use runbook_engine::plan::{IfUnreachable, Mode, Plan};
use runbook_engine::rehearsal::{Rehearsed, rehearse};
use runbook_engine::step::Level;
use runbook_steps::{Judged, Verdict, verdict};
use serde_json::json;

use crate::chance;
use crate::codes::Code;
use crate::driving::{Ready, Which, build};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::kinds::OurRunbook;
use crate::output::{Format, Output, style, table};
use crate::person::Consent;
use crate::planning::{Looking, Pair, load};
use crate::progress::{change_line, finding_line};
use crate::settings::Settings;
use crate::typed::ask;

/// How often another id is taken if one is in use.
const IDS: u32 = 20;

/// Run a runbook: failover, failback, settle, or one of your own
///
/// Before anything is changed everything is checked, and a person says yes: by typing the name of the site that
/// shall serve, by `--confirm SITE`, or from another terminal with `runbook approve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runbook
    name: String,
    /// The topology, if there are several
    #[arg(short, long)]
    topology: Option<String>,
    /// Planned: both sides answer, nothing is lost. Unplanned: the active is gone or cannot be trusted
    #[arg(short, long, value_parser = mode)]
    mode: Option<Mode>,
    /// Show every step with what it found and what it would change; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Consent beforehand: the name of the site that shall serve
    #[arg(long, value_name = "SITE")]
    confirm: Option<String>,
    /// Consent to what can be taken back, and to the suggested mode if it is planned
    #[arg(short, long)]
    yes: bool,
    /// Where nobody can be asked here, wait for `runbook approve` from elsewhere
    #[arg(long)]
    wait: bool,
    /// Go on with an unplanned run although the active is healthy
    #[arg(long)]
    accept_healthy: bool,
}

fn mode(text: &str) -> std::result::Result<Mode, String> {
    match text {
        "planned" => Ok(Mode::Planned),
        "unplanned" => Ok(Mode::Unplanned),
        _ => Err("there are `planned` and `unplanned`".into()),
    }
}

/// Runs a runbook.
pub async fn run(args: Args, settings: &Settings, out: Output) -> Result<Exit> {
    let forms = [Format::Table, Format::Json, Format::Jsonl];
    let form = out.form(Format::Table, &forms)?;
    let loaded = load(settings, out)?;
    let past = settings.look().await?;
    let pair = loaded.pair(args.topology.as_deref(), past.as_ref()).await?;
    let runbook = loaded.runbook(&pair, &args.name, out)?;
    let roles = pair.roles(&runbook, args.mode)?;
    if let Some(named) = args.confirm.as_ref().filter(|named| **named != roles.to) {
        return Err(Failure::usage(
            Code::WrongArgument,
            format!(
                "`--confirm {named}` does not name the site that shall serve, which is `{}`",
                roles.to
            ),
        )
        .note("nothing was changed")
        .hint("is this the right configuration? the situation: `runbook`"));
    }
    if let Some(other) = pair.history.unfinished.as_ref().filter(|_| !args.dry_run) {
        return Err(JournalError::Unfinished {
            run: other.id.clone(),
            topology: other.topology.clone(),
        }
        .into());
    }
    let looking = loaded
        .look(&pair, settings, args.mode != Some(Mode::Planned))
        .await?;
    let mode = choose_mode(&args, &pair, &runbook, &looking, out).await?;
    let plan = loaded.plan(&pair, &runbook, &roles, mode, &looking.bindings)?;
    if args.dry_run {
        return rehearsal(&plan, &looking, form, out).await;
    }
    if roles.from != roles.to {
        out.say(&format!(
            "{} {}  {} -> {}  topology {}",
            plan.mode, plan.runbook, plan.from, plan.to, plan.topology
        ));
    }
    let ready = Ready::new(plan, settings, looking.secrets).await?;
    let journal = settings.drive().await?;
    let id = fresh_id(&journal).await?;
    let consent = Consent {
        confirm: args.confirm,
        yes: args.yes,
        wait: args.wait,
        healthy: args.accept_healthy,
    };
    ready
        .drive(journal, Which::New(&id), settings, out, consent)
        .await
}

async fn fresh_id(journal: &Journal) -> Result<String> {
    for _ in 0..IDS {
        let id = chance::run_id();
        match journal.find(&id).await {
            Err(JournalError::NoRun(_)) => return Ok(id),
            Ok(_) | Err(JournalError::Ambiguous(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::unexpected(
        Code::StateError,
        format!("no free id for a run after {IDS} attempts"),
    )
    .note("nothing was changed"))
}

/// Returns the mode: as typed, as the runbook has but one, or as the verdict on the active suggests and a person says.
async fn choose_mode(
    args: &Args,
    pair: &Pair<'_>,
    runbook: &OurRunbook,
    looking: &Looking,
    out: Output,
) -> Result<Mode> {
    let has_modes = runbook.steps.iter().any(|step| step.cutover)
        && runbook.steps.iter().any(|step| !step.modes.is_empty());
    match args.mode {
        None if !has_modes => Ok(Mode::Planned),
        Some(Mode::Planned) => Ok(Mode::Planned),
        Some(Mode::Unplanned) if !has_modes => Ok(Mode::Unplanned),
        Some(Mode::Unplanned) => {
            let judged = judge(pair, looking, out).await;
            consent_to_healthy(args, pair, &judged, out).await?;
            Ok(Mode::Unplanned)
        }
        None => {
            let judged = judge(pair, looking, out).await;
            let suggested = suggestion(&judged.verdict);
            if suggested == Mode::Planned && args.yes {
                return Ok(suggested);
            }
            if !out.asks {
                return Err(Failure::usage(
                    Code::ModeUnknown,
                    "`--mode` is left out and nobody can be asked",
                )
                .cause(format!(
                    "`{}` is {}, which suggests `{suggested}`",
                    pair.active, judged.verdict
                ))
                .note("nothing was changed")
                .hint(format!("`runbook run {} --mode {suggested}`", runbook.name)));
            }
            let question = format!("Mode, `planned` or `unplanned` [{suggested}]: ");
            let typed = ask(&question).await.unwrap_or_default();
            let mode = match typed.as_str() {
                "" => suggested,
                word => mode(word).map_err(|why| {
                    Failure::usage(Code::ModeUnknown, format!("`{word}` is no mode: {why}"))
                })?,
            };
            if mode == Mode::Unplanned {
                consent_to_healthy(args, pair, &judged, out).await?;
            }
            Ok(mode)
        }
    }
}

/// Planned needs an active that answers in all its parts.
fn suggestion(verdict: &Verdict) -> Mode {
    match verdict {
        Verdict::Healthy | Verdict::ReadOnly => Mode::Planned,
        Verdict::Degraded(_) | Verdict::HalfOpen | Verdict::Dead => Mode::Unplanned,
    }
}

async fn judge(pair: &Pair<'_>, looking: &Looking, out: Output) -> Judged {
    let judged = verdict(&looking.reader, &pair.active).await;
    out.say(&format!(
        "  {}  {}",
        judged.site,
        style::bold(&judged.verdict.to_string())
    ));
    for line in &judged.evidence {
        out.say(&format!("          {line}"));
    }
    judged
}

/// An unplanned run loses what was not copied. While the active is healthy that is a choice, not a need.
async fn consent_to_healthy(
    args: &Args,
    pair: &Pair<'_>,
    judged: &Judged,
    out: Output,
) -> Result<()> {
    if judged.verdict != Verdict::Healthy || args.accept_healthy || args.dry_run {
        return Ok(());
    }
    let active = &pair.active;
    let refused = || {
        Failure::refused(
            Code::HealthyActive,
            format!("`{active}` is healthy: an unplanned run would lose what is not copied yet"),
        )
        .hint(format!(
            "move it without loss: `runbook run {} --mode planned`",
            args.name
        ))
        .hint("if it must be: add `--accept-healthy`")
    };
    if !out.asks {
        return Err(refused());
    }
    let question = format!(
        "`{active}` is healthy. What is not copied yet is lost. Type its name to go on unplanned all the same: "
    );
    match ask(&question).await {
        Some(typed) if typed == *active => Ok(()),
        _ => Err(refused()),
    }
}

async fn rehearsal(plan: &Plan, looking: &Looking, form: Format, out: Output) -> Result<Exit> {
    let steps = build(plan)?;
    let clock = Clock::wall(plan.time_scale);
    let mut rehearsed = rehearse(plan, &steps, &looking.reader, &clock).await;
    judge_unmade_checks(plan, &mut rehearsed);
    let ready = is_ready(&rehearsed);
    let verdict = if ready { "ready" } else { "not-ready" };
    match form {
        Format::Json => out.json(&json!({
            "schema": 1,
            "verdict": verdict,
            "runbook": plan.runbook,
            "mode": plan.mode,
            "topology": plan.topology,
            "from": plan.from,
            "to": plan.to,
            "steps": rehearsed,
        })),
        Format::Jsonl => {
            for step in &rehearsed {
                out.json_line(step);
            }
        }
        Format::Table | Format::Yaml => out.data(&page(plan, &rehearsed, ready)),
    }
    if !ready {
        return Ok(Exit::Refused);
    }
    let next = if plan.from == plan.to {
        String::new()
    } else {
        format!(" --mode {}", plan.mode)
    };
    out.say(&format!(
        "nothing was written; the real thing: `runbook run {}{next}`",
        plan.runbook
    ));
    Ok(Exit::Done)
}

fn is_ready(rehearsed: &[Rehearsed]) -> bool {
    !rehearsed
        .iter()
        .flat_map(|step| &step.findings)
        .any(|finding| finding.level == Level::Fail)
}

/// A check that could not be made is a warning about the step itself. In a real run it is a fault, unless what the
/// step does may be owed; so it is here.
fn judge_unmade_checks(plan: &Plan, rehearsed: &mut [Rehearsed]) {
    for step in rehearsed {
        let planned = plan.position(&step.step).map(|i| &plan.steps[i]);
        if planned.is_some_and(|planned| planned.if_unreachable == IfUnreachable::Owe) {
            continue;
        }
        for finding in &mut step.findings {
            if finding.level == Level::Warn && finding.object == step.step {
                finding.level = Level::Fail;
            }
        }
    }
}

fn page(plan: &Plan, rehearsed: &[Rehearsed], ready: bool) -> String {
    let mut text = format!(
        "Rehearsal of the {} {}, {} -> {}, topology {}: nothing is written\n\n",
        plan.mode, plan.runbook, plan.from, plan.to, plan.topology
    );
    let mut crossed = false;
    for (i, step) in rehearsed.iter().enumerate() {
        crossed |= step.cutover;
        let note = match (step.cutover, crossed) {
            (true, _) => "the cutover: no undo from here on",
            (false, true) => "",
            (false, false) if !step.changes.is_empty() => "undo until the cutover",
            _ => "",
        };
        let row = vec![
            format!("{:>2}", i + 1),
            step.step.clone(),
            step.summary.clone(),
            style::dim(note),
        ];
        text.push_str(&table(&[row]));
        for finding in &step.findings {
            text.push_str(&finding_line(finding));
            text.push('\n');
        }
        for change in &step.changes {
            text.push_str(&change_line(change));
            text.push('\n');
        }
        if let Some(why) = &step.unknown {
            text.push_str(&format!("          cannot be said: {why}\n"));
        }
    }
    let verdict = if ready {
        style::ok("READY")
    } else {
        style::fail("NOT READY")
    };
    text.push_str(&format!("\n{verdict}\n"));
    text
}

#[cfg(test)]
mod tests {
    use runbook_engine::event::Change;
    use runbook_engine::step::Finding;

    use super::*;
    use crate::samples;

    fn rehearsed(
        step: &str,
        findings: Vec<Finding>,
        changes: Vec<Change>,
        cutover: bool,
    ) -> Rehearsed {
        Rehearsed {
            step: step.into(),
            kind: "k".into(),
            summary: format!("do {step}"),
            findings,
            changes,
            unknown: None,
            cutover,
        }
    }

    #[test]
    fn one_fault_makes_a_rehearsal_not_ready() {
        let steps = [
            rehearsed(
                "check",
                vec![
                    Finding::ok("dr", "healthy"),
                    Finding::fail("dr", "no right to change DNS"),
                ],
                Vec::new(),
                false,
            ),
            rehearsed(
                "dns-upsert",
                Vec::new(),
                vec![Change {
                    object: "h CNAME".into(),
                    field: "value".into(),
                    before: "a".into(),
                    after: "b".into(),
                }],
                true,
            ),
        ];
        assert!(!is_ready(&steps));
        assert!(is_ready(&steps[1..]));
        let page = page(&samples::plan(), &steps, false);
        insta::assert_snapshot!(anstream::adapter::strip_str(&page), @r"
        Rehearsal of the planned failover, primary -> dr, topology dr: nothing is written

           1  check  do check
                  OK    dr: healthy
                  FAIL  dr: no right to change DNS
           2  dns-upsert  do dns-upsert  the cutover: no undo from here on
                  h CNAME  value: a -> b

        NOT READY
        ");
    }

    #[test]
    fn a_check_that_could_not_be_made_is_a_fault_unless_it_may_be_owed() {
        let unmade = |step: &str| {
            vec![rehearsed(
                step,
                vec![Finding::warn(step, "could not be checked: 401")],
                Vec::new(),
                false,
            )]
        };
        let mut plan = samples::plan();
        let mut steps = unmade("probe");
        judge_unmade_checks(&plan, &mut steps);
        assert!(!is_ready(&steps));
        plan.steps[4].if_unreachable = IfUnreachable::Owe;
        let mut steps = unmade("probe");
        judge_unmade_checks(&plan, &mut steps);
        assert!(is_ready(&steps));
    }

    #[test]
    fn only_an_active_that_answers_in_all_its_parts_is_moved_as_planned() {
        let verdicts = [
            Verdict::Healthy,
            Verdict::ReadOnly,
            Verdict::Degraded(vec!["database".into()]),
            Verdict::HalfOpen,
            Verdict::Dead,
        ];
        let planned: Vec<bool> = verdicts
            .iter()
            .map(|verdict| suggestion(verdict) == Mode::Planned)
            .collect();
        assert_eq!(planned, [true, true, false, false, false]);
    }
}
