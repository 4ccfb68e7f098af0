//! `runbook approve` and `runbook decline`: an answer from another terminal.

use std::time::Duration;

use runbook_engine::decide::effect;
use runbook_engine::event::{Command, Event};
use runbook_engine::journal::Journal;
use runbook_engine::lease;

use crate::codes::Code;
use crate::commands::resume::state_of;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::settings::{Settings, nothing_unfinished, unfinished};

/// How long the driver may take to look into its inbox.
const TAKEN: Duration = Duration::from_secs(20);
/// How often the journal is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Say yes to the question that a run asks
#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    /// The run; the unfinished one if there is but one
    run: Option<String>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

/// Say no to the question that a run asks
#[derive(Debug, clap::Args)]
pub struct DeclineArgs {
    /// The run; the unfinished one if there is but one
    run: Option<String>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

/// Says yes.
pub async fn approve(args: ApproveArgs, settings: &Settings, out: Output) -> Result<Exit> {
    let reason = args.reason;
    answer(
        args.run.as_deref(),
        |nonce| Command::Approve { nonce, reason },
        "approved",
        settings,
        out,
    )
    .await
}

/// Says no.
pub async fn decline(args: DeclineArgs, settings: &Settings, out: Output) -> Result<Exit> {
    let reason = args.reason;
    answer(
        args.run.as_deref(),
        |nonce| Command::Decline { nonce, reason },
        "declined",
        settings,
        out,
    )
    .await
}

async fn answer(
    run: Option<&str>,
    command: impl FnOnce(String) -> Command,
    word: &str,
    settings: &Settings,
    out: Output,
) -> Result<Exit> {
    let journal = settings.inbox().await?;
    let run = unfinished(&journal, run)
        .await?
        .ok_or_else(nothing_unfinished)?;
    let state = state_of(&journal, &run.id).await?;
    let nonce = state
        .question()
        .map(|(_, question)| question.nonce.clone())
        .unwrap_or_default();
    if let Some((step, question)) = state.question() {
        out.say(&format!("run {} asks at step `{}`:", run.id, step.id));
        question
            .text
            .lines()
            .for_each(|line| out.say(&format!("  {line}")));
    }
    let sent = command(nonce);
    submit(&journal, &run.id, &sent, settings).await?;
    match lease::holder(&journal, &run.id).await? {
        Some(_) => {
            taken(&journal, &run.id, &sent, &settings.who).await?;
            out.say(&format!("{word}; watch: `runbook show {} --watch`", run.id));
        }
        None => out.say(&format!(
            "{word}; no driver is running: go on with `runbook resume {}`",
            run.id
        )),
    }
    Ok(Exit::Done)
}

/// Puts a command into the inbox of a run, unless the run as it stands would refuse it.
pub async fn submit(
    journal: &Journal,
    run: &str,
    command: &Command,
    settings: &Settings,
) -> Result<()> {
    let plan = journal.plan(run).await?;
    let state = state_of(journal, run).await?;
    effect(&plan, &state, command).map_err(|why| refusal(run, &why))?;
    Ok(journal.send(run, &settings.who, command).await?)
}

/// Waits until the live driver of a run has taken a command that was just sent, and says if it refused it.
pub async fn taken(journal: &Journal, run: &str, command: &Command, who: &str) -> Result<()> {
    let sent = journal.inbox(run, 0).await?;
    let sent = sent
        .iter()
        .rev()
        .find(|waiting| waiting.command == *command && waiting.by == who)
        .map(|waiting| waiting.id);
    let deadline = tokio::time::Instant::now() + TAKEN;
    while tokio::time::Instant::now() < deadline {
        let events = journal.events(run).await?;
        let taken = events
            .iter()
            .rev()
            .find_map(|recorded| match &recorded.event {
                Event::CommandTaken { id, refused, .. } if Some(*id) == sent => {
                    Some(refused.clone())
                }
                _ => None,
            });
        match taken {
            Some(None) => return Ok(()),
            Some(Some(why)) => return Err(refusal(run, &why)),
            None => tokio::time::sleep(LOOK).await,
        }
    }
    Err(Failure::new(
        Exit::Waiting,
        Code::PersonWanted,
        format!("the driver of run `{run}` has not taken the command yet"),
    )
    .note("it waits in the inbox and is taken at the next safe point")
    .hint(format!("watch: `runbook show {run} --watch`")))
}

fn refusal(run: &str, why: &str) -> Failure {
    Failure::refused(
        Code::CommandRefused,
        format!("run `{run}` cannot take this now: {why}"),
    )
    .hint(format!("look: `runbook show {run}`"))
}
