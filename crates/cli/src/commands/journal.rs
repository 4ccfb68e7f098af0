//! `runbook journal`: the events of a run as they stand on disk, their chain proved.

use runbook_engine::journal::Recorded;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Result;
use crate::output::{Format, Output, local, table};
use crate::settings::{Settings, newest};

/// How much of an event a line of the table shows.
const SHOWN: usize = 100;

/// Show the events of a run, oldest first, their hash chain proved
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run; the newest if left out
    run: Option<String>,
}

/// Shows the events.
pub async fn journal(args: Args, settings: &Settings, out: Output) -> Result<Exit> {
    let form = out.form(Format::Table, &[Format::Table, Format::Json, Format::Jsonl])?;
    let journal = settings.look_at_runs().await?;
    let run = newest(&journal, args.run.as_deref()).await?;
    let events = journal.events(&run.id).await?;
    match form {
        Format::Json => {
            let plan = journal.plan(&run.id).await?;
            let events: Vec<Value> = events.iter().map(entry).collect();
            out.json(&json!({ "schema": 1, "run": run.id, "plan": plan, "events": events }));
        }
        Format::Jsonl => events.iter().for_each(|event| out.json_line(&entry(event))),
        Format::Table | Format::Yaml => out.data(&page(&events)),
    }
    Ok(Exit::Done)
}

fn entry(recorded: &Recorded) -> Value {
    json!({
        "seq": recorded.seq,
        "at": recorded.at,
        "epoch": recorded.epoch,
        "hash": recorded.hash,
        "event": recorded.event,
    })
}

fn page(events: &[Recorded]) -> String {
    let mut rows = vec![
        ["SEQ", "TIME", "DRIVER", "EVENT", "STEP", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for recorded in events {
        let mut rest = serde_json::to_value(&recorded.event).unwrap_or_default();
        if let Some(map) = rest.as_object_mut() {
            map.remove("event");
            map.remove("step");
            map.retain(|_, value| {
                !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
            });
        }
        let rest = if rest.as_object().is_some_and(serde_json::Map::is_empty) {
            String::new()
        } else {
            rest.to_string()
        };
        let rest = match rest.char_indices().nth(SHOWN) {
            Some((cut, _)) => format!("{}…", &rest[..cut]),
            None => rest,
        };
        rows.push(vec![
            recorded.seq.to_string(),
            local(recorded.at),
            recorded.epoch.to_string(),
            recorded.event.name().to_owned(),
            recorded.event.step().unwrap_or_default().to_owned(),
            rest,
        ]);
    }
    table(&rows)
}
