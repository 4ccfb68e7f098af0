//! A report as a page for people.

use std::fmt::Write as _;
use std::time::Duration;

use crate::output::{local, style, table, words};
use crate::report::Report;

/// Writes a report.
pub fn page(report: &Report) -> String {
    let mut text = String::new();
    let arrow = if report.from == report.to {
        format!("at {}", report.from)
    } else {
        format!("{} -> {}", report.from, report.to)
    };
    let outcome = match report.outcome.as_str() {
        "done" => style::ok("done"),
        other => style::warn(other),
    };
    let _ = writeln!(
        text,
        "{} {}  {arrow}  topology {}",
        report.mode, report.runbook, report.topology
    );
    let _ = writeln!(
        text,
        "run {}  {outcome}, started by {}",
        report.run, report.started_by
    );
    if let Some(at) = report.started_at {
        let end = report.finished_at.map_or_else(String::new, |end| {
            format!(
                " to {} ({})",
                local(end),
                words(crate::output::between(at, end))
            )
        });
        let _ = writeln!(text, "{}{end}", local(at));
    }
    text.push('\n');
    text.push_str(&targets(report));
    text.push('\n');
    text.push_str(&steps(report));
    section(
        &mut text,
        "Changed",
        report.changes.iter().map(|change| {
            format!(
                "{}: {} {}: {} -> {}",
                change.step, change.object, change.field, change.before, change.after
            )
        }),
    );
    section(
        &mut text,
        "Owed, to be done when the site returns (runbook run settle)",
        report
            .owed
            .iter()
            .map(|owed| format!("{} {}", owed.what, owed.site)),
    );
    section(
        &mut text,
        "Forfeited: done later they would overwrite the new side",
        report.forfeited.iter().cloned(),
    );
    section(
        &mut text,
        "Compared",
        report.comparisons.iter().map(|found| {
            let count = |value: &serde_json::Value| value.as_array().map_or(0, Vec::len);
            format!(
                "{}: {} compared, {} missing, {} different, {} extra",
                found.step,
                found.compared,
                count(&found.missing),
                count(&found.different),
                count(&found.extra)
            )
        }),
    );
    section(&mut text, "Lost", report.loss.iter().flat_map(loss));
    section(
        &mut text,
        "Differs between the sides since",
        report.divergence.iter().map(value),
    );
    section(
        &mut text,
        "Decided by people",
        report.decisions.iter().map(|decision| {
            let step = if decision.step.is_empty() {
                String::new()
            } else {
                format!("{}: ", decision.step)
            };
            let reason = decision
                .reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(" ({reason})"));
            format!("{step}{} by {}{reason}", decision.answer, decision.by)
        }),
    );
    section(
        &mut text,
        "Gone back",
        report
            .returns
            .iter()
            .map(|back| format!("{} -> {}: {}", back.step, back.to, back.reason)),
    );
    if report.takeovers > 0 {
        let times = if report.takeovers == 1 {
            "once".to_owned()
        } else {
            format!("{} times", report.takeovers)
        };
        let _ = writeln!(text, "\nTaken over from a driver that was gone: {times}");
    }
    text
}

fn targets(report: &Report) -> String {
    let span = |seconds: f64| words(Duration::from_secs_f64(seconds.max(0.0)));
    let mut rows = Vec::new();
    let mut target = |name: &str, measured: Option<f64>, target: Option<f64>| {
        let Some(measured) = measured else { return };
        let (target, verdict) = match target {
            Some(target) if measured > target => (span(target), style::fail("MISSED")),
            Some(target) => (span(target), style::ok("OK")),
            None => ("-".to_owned(), String::new()),
        };
        rows.push(vec![
            name.to_owned(),
            span(measured),
            format!("target {target}"),
            verdict,
        ]);
    };
    target(
        "RTO",
        report.rto_measured_seconds,
        report.rto_target_seconds,
    );
    target(
        "RPO",
        report.rpo_measured_seconds,
        report.rpo_target_seconds,
    );
    let plain = |name: &str, seconds: f64| {
        vec![name.to_owned(), span(seconds), String::new(), String::new()]
    };
    if let Some(frozen) = report.frozen_seconds {
        rows.push(plain("frozen for pushes", frozen));
    }
    if report.approval_wait_seconds >= 1.0 {
        rows.push(plain("waited for people", report.approval_wait_seconds));
    }
    let phases = &report.phases;
    for (name, seconds) in [
        ("detect", phases.detect_seconds),
        ("decide", phases.decide_seconds),
        ("act", phases.act_seconds),
        ("propagate", phases.propagate_seconds),
        ("verify", phases.verify_seconds),
    ] {
        rows.push(plain(name, seconds));
    }
    table(&rows)
}

fn steps(report: &Report) -> String {
    let mut rows = vec![
        ["", "STEP", "STATE", "TIME", "ATTEMPTS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (i, step) in report.steps.iter().enumerate() {
        let state = match step.state.as_str() {
            "done" if step.by_hand => style::warn("done by hand"),
            "done" => style::ok("done"),
            "todo" => style::dim("todo"),
            other => style::warn(other),
        };
        let error = step.error.clone().unwrap_or_default();
        let time = words(Duration::from_secs_f64(step.seconds.max(0.0)));
        rows.push(vec![
            format!("{:>2}", i + 1),
            step.step.clone(),
            state,
            time,
            step.attempts.to_string(),
            error,
        ]);
    }
    table(&rows)
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "\n{}", style::bold(title));
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

/// A loss statement: what it rests on, then each item that is known to be lost.
fn loss(stated: &serde_json::Value) -> Vec<String> {
    let count = stated["count"].as_u64().unwrap_or(0);
    let basis = match (
        stated["inventory_taken_at"].as_str(),
        stated["bound"].as_str(),
    ) {
        (Some(taken), _) => {
            format!("{count} of the last inventory ({taken}), and what was pushed after it")
        }
        (None, Some(bound)) => format!(
            "what was pushed after {bound}, the start of the last sync; no inventory was ever taken"
        ),
        (None, None) => {
            "not known: no inventory was ever taken, and no sync is known to have succeeded"
                .to_owned()
        }
    };
    let items = stated["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| {
            let text = |field: &str| item[field].as_str().unwrap_or_default().to_owned();
            format!(
                "{}:{} (pushed {})",
                text("repository"),
                text("reference"),
                text("pushed_at")
            )
        });
    std::iter::once(basis).chain(items).collect()
}

/// A value as a person reads it: a text as it is, anything else as JSON.
fn value(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn the_page_of_a_planned_failover() {
        let report = Report::of(
            "7f3kq",
            &samples::plan(),
            &samples::recorded(samples::planned_failover()),
        )
        .expect("the events add up");
        let page = anstream::adapter::strip_str(&page(&report)).to_string();
        // The third line holds local times.
        let page: Vec<&str> = page
            .lines()
            .enumerate()
            .filter(|(i, _)| *i != 2)
            .map(|(_, line)| line)
            .collect();
        insta::assert_snapshot!(page.join("\n"));
    }
}
