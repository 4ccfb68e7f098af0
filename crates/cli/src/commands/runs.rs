//! `runbook runs`: all runs, newest first.

use runbook_engine::decide::words;
use runbook_engine::journal::RunRow;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Result;
use crate::output::{self, Format, Output, between, local, style, table};
use crate::settings::Settings;

/// Lists the runs.
pub async fn runs(settings: &Settings, out: Output) -> Result<Exit> {
    let form = out.form(Format::Table, &[Format::Table, Format::Json, Format::Jsonl])?;
    let runs = match settings.look().await? {
        Some(journal) => journal.runs().await?,
        None => Vec::new(),
    };
    match form {
        Format::Json => {
            out.json(&json!({ "schema": 1, "runs": runs.iter().map(row).collect::<Vec<_>>() }))
        }
        Format::Jsonl => runs.iter().for_each(|run| out.json_line(&row(run))),
        Format::Table | Format::Yaml if runs.is_empty() => {
            out.say("there is no run yet; rehearse one: `runbook run failover --dry-run`")
        }
        Format::Table | Format::Yaml => out.data(&page(&runs)),
    }
    Ok(Exit::Done)
}

fn row(run: &RunRow) -> Value {
    json!({
        "run": run.id,
        "topology": run.topology,
        "runbook": run.runbook,
        "mode": run.mode,
        "started_at": run.created_at,
        "finished_at": run.finished_at,
        "outcome": run.outcome,
        "moved_to": run.moved_to,
        "owed": run.owed,
    })
}

fn page(runs: &[RunRow]) -> String {
    let mut rows = vec![
        [
            "RUN", "RUNBOOK", "MODE", "TOPOLOGY", "STARTED", "TOOK", "OUTCOME",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for run in runs {
        let outcome = match run.outcome {
            None => style::warn("unfinished"),
            Some(outcome) => words(outcome).to_owned(),
        };
        let moved = run
            .moved_to
            .as_ref()
            .map_or_else(String::new, |site| format!(", {site} serves"));
        let owed = if run.owed.is_empty() {
            String::new()
        } else {
            format!(", {} owed", run.owed.len())
        };
        rows.push(vec![
            run.id.clone(),
            run.runbook.clone(),
            run.mode.to_string(),
            run.topology.clone(),
            local(run.created_at),
            run.finished_at.map_or_else(
                || "-".into(),
                |end| output::words(between(run.created_at, end)),
            ),
            format!("{outcome}{moved}{owed}"),
        ]);
    }
    table(&rows)
}
