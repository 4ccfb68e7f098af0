//! `runbook compare`: what two sites hold, digest by digest.

use jiff::Timestamp;
use runbook_replication::{Comparison, Item};
use runbook_steps::compare_sites;
use serde_json::json;

use crate::codes::Code;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::{Format, Output, local, style, table};
use crate::planning::load;
use crate::settings::Settings;

/// Compare what two sites hold, digest by digest
///
/// The scope is what the policy from SOURCE to TARGET copies. The inventories that were seen are kept.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The site whose content counts
    source: String,
    /// The site that should hold the same
    target: String,
    /// The topology, if there are several
    #[arg(short, long)]
    topology: Option<String>,
    /// End with code 10 if anything differs
    #[arg(long)]
    detailed_exitcode: bool,
}

/// Compares two sites.
pub async fn compare(args: Args, settings: &Settings, out: Output) -> Result<Exit> {
    let form = out.form(Format::Table, &[Format::Table, Format::Json])?;
    let loaded = load(settings, out)?;
    let past = settings.look().await?;
    let pair = loaded.pair(args.topology.as_deref(), past.as_ref()).await?;
    for site in [&args.source, &args.target] {
        if *site != pair.active && *site != pair.standby {
            return Err(Failure::usage(
                Code::UnknownSite,
                format!("there is no site `{site}` in topology `{}`", pair.name),
            )
            .hint(format!("it has `{}` and `{}`", pair.active, pair.standby)));
        }
    }
    if args.source == args.target {
        return Err(Failure::usage(
            Code::WrongArgument,
            "a site equals itself: name two sites",
        ));
    }
    let looking = loaded.look(&pair, settings, true).await?;
    let found = compare_sites(
        &looking.reader,
        &args.source,
        &args.target,
        Timestamp::now(),
    )
    .await
    .map_err(|error| {
        Failure::unexpected(
            Code::NoComparison,
            format!("`{}` and `{}` cannot be compared", args.source, args.target),
        )
        .because(&error)
        .note("nothing was changed")
    })?;
    if form == Format::Json {
        out.json(&json!({
            "schema": 1,
            "verdict": if found.is_equal() { "equal" } else { "differs" },
            "source": args.source,
            "target": args.target,
            "compared": found.compared,
            "missing": found.missing,
            "different": found.different,
            "extra": found.extra,
        }));
    } else {
        out.data(&page(&args.source, &args.target, &found));
    }
    Ok(if args.detailed_exitcode && !found.is_equal() {
        Exit::Differs
    } else {
        Exit::Done
    })
}

fn page(source: &str, target: &str, found: &Comparison) -> String {
    let mut rows = Vec::new();
    let mut class = |word: String, items: &[Item]| {
        for item in items {
            let pushed = item
                .pushed_at
                .map_or_else(String::new, |at| format!("pushed {}", local(at)));
            rows.push(vec![
                word.clone(),
                format!("{}:{}", item.repository, item.reference),
                pushed,
            ]);
        }
    };
    class(style::fail("missing"), &found.missing);
    class(style::warn("different"), &found.different);
    class(style::warn("extra"), &found.extra);
    let verdict = if found.is_equal() {
        style::ok("EQUAL")
    } else {
        style::warn("DIFFERS")
    };
    format!(
        "{}{verdict}  {source} -> {target}: {}\n",
        table(&rows),
        found.words()
    )
}
