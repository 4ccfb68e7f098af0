//! `runbook` without a command: who serves, how both sites are, what is unfinished or owed, and the next command.

use std::time::Duration;

use runbook_dns::Name;
use runbook_dns::verify::{Vantage, observe};
use runbook_steps::bindings::Bindings;
use runbook_steps::{Judged, Verdict, verdict};
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Result;
use crate::output::{Format, Output, complain, style, table};
use crate::planning::{Loaded, Pair, load};
use crate::settings::Settings;

/// The longest that a DNS server may take here.
const DNS_LIMIT: Duration = Duration::from_secs(3);

/// One topology as it stands.
#[derive(Debug, Serialize)]
struct Situation {
    topology: String,
    endpoint: String,
    /// The site that serves, as the journal knows.
    active: String,
    standby: String,
    /// The site that the configuration wants to serve.
    declared_active: String,
    /// What DNS says.
    dns: Option<String>,
    /// The site that this means.
    dns_site: Option<String>,
    sites: Vec<Judged>,
    unfinished: Option<String>,
    owed: Vec<String>,
    next: Vec<String>,
}

/// Shows the situation.
pub async fn situation(settings: &Settings, out: Output) -> Result<Exit> {
    let form = out.form(Format::Table, &[Format::Table, Format::Json])?;
    if let Err(failure) = settings.config() {
        out.data("runbook carries Harbor container registries through failover and failback.\n");
        complain(&failure.render());
        return Ok(Exit::Usage);
    }
    let loaded = load(settings, out)?;
    let past = settings.look().await?;
    let mut all = Vec::new();
    for name in loaded.config.topologies.keys() {
        let pair = loaded.pair(Some(name.as_str()), past.as_ref()).await?;
        all.push(look(&loaded, &pair, settings).await?);
    }
    if form == Format::Json {
        out.json(&serde_json::json!({ "schema": 1, "topologies": all }));
        return Ok(Exit::Done);
    }
    let pages: Vec<String> = all.iter().map(page).collect();
    out.data(&pages.join("\n"));
    Ok(Exit::Done)
}

async fn look(loaded: &Loaded, pair: &Pair<'_>, settings: &Settings) -> Result<Situation> {
    let looking = loaded.look(pair, settings, true).await?;
    let (dns, active, standby) = tokio::join!(
        value(&looking.bindings),
        verdict(&looking.reader, &pair.active),
        verdict(&looking.reader, &pair.standby),
    );
    let dns_site = dns
        .as_deref()
        .and_then(|value| pair.topology.endpoint.site_of_target(value))
        .map(|site| site.as_str().to_owned());
    let mut situation = Situation {
        topology: pair.name.to_owned(),
        endpoint: looking.bindings.endpoint.name.clone(),
        active: pair.active.clone(),
        standby: pair.standby.clone(),
        declared_active: pair.declared().to_owned(),
        dns,
        dns_site,
        sites: vec![active, standby],
        unfinished: pair.history.unfinished.as_ref().map(|run| run.id.clone()),
        owed: pair
            .history
            .owed
            .iter()
            .map(|owed| format!("{} {}", owed.what, owed.site))
            .collect(),
        next: Vec::new(),
    };
    situation.next = next(&situation);
    Ok(situation)
}

/// Asks the first server that is known for the zone, else the resolver.
async fn value(bindings: &Bindings) -> Option<String> {
    let name = Name::parse(&bindings.endpoint.name).ok()?;
    let servers = bindings
        .endpoint
        .dns
        .authoritative()
        .ok()
        .flatten()
        .unwrap_or_default();
    let vantage = match (servers.first(), bindings.endpoint.resolver) {
        (Some(server), _) => Vantage::Authoritative(*server),
        (None, Some(resolver)) => Vantage::Resolver(resolver),
        (None, None) => Vantage::System,
    };
    let seen = observe(
        &vantage,
        &name,
        bindings.endpoint.dns.record_type(),
        DNS_LIMIT,
    )
    .await
    .ok()?;
    let set = seen.answers.iter().find(|set| set.name == name)?;
    set.values.first().cloned()
}

/// Returns the commands that make sense now, the most sensible first.
fn next(situation: &Situation) -> Vec<String> {
    if let Some(run) = &situation.unfinished {
        return vec![
            format!("runbook show {run}"),
            format!("runbook resume {run}"),
            format!("runbook abort {run}"),
        ];
    }
    let of = |site: &str| {
        situation
            .sites
            .iter()
            .find(|judged| judged.site == site)
            .map(|judged| &judged.verdict)
    };
    let answers = |site: &str| matches!(of(site), Some(Verdict::Healthy | Verdict::ReadOnly));
    let (active, standby) = (situation.active.as_str(), situation.standby.as_str());
    let normal = active == situation.declared_active;
    if !situation.owed.is_empty() && answers(standby) {
        return vec!["runbook run settle".into()];
    }
    if !answers(active) {
        return vec![
            "runbook run failover --mode unplanned --dry-run".into(),
            "runbook run failover --mode unplanned".into(),
        ];
    }
    if !normal && situation.owed.is_empty() && answers(standby) {
        return vec![
            "runbook run failback --dry-run".into(),
            "runbook run failback".into(),
        ];
    }
    if normal {
        return vec![
            "runbook run failover --mode planned --dry-run".into(),
            "runbook run failover --mode planned".into(),
        ];
    }
    vec!["runbook runs".into()]
}

fn page(situation: &Situation) -> String {
    let says = match (&situation.dns, &situation.dns_site) {
        (Some(value), Some(site)) => format!("{} ({value})", style::bold(site)),
        (Some(value), None) => style::warn(&format!("{value}, which is no site of the pair")),
        (None, _) => style::warn("no answer from DNS"),
    };
    let mut text = format!(
        "{} -> {says}   topology {}\n",
        situation.endpoint, situation.topology
    );
    if situation
        .dns_site
        .as_deref()
        .is_some_and(|site| site != situation.active)
    {
        text.push_str(&format!(
            "{}: the journal says that `{}` serves\n",
            style::warn("WARN"),
            situation.active
        ));
    }
    text.push('\n');
    let mut rows = vec![["SITE", "ROLE", "HEALTH"].map(str::to_owned).to_vec()];
    let mut evidence = String::new();
    for judged in &situation.sites {
        let role = if judged.site == situation.active {
            "active"
        } else {
            "standby"
        };
        let health = judged.verdict.to_string();
        let health = match judged.verdict {
            Verdict::Healthy => style::ok(&health),
            Verdict::ReadOnly => style::warn(&health),
            _ => {
                for line in &judged.evidence {
                    evidence.push_str(&format!("  {}: {line}\n", judged.site));
                }
                style::fail(&health)
            }
        };
        rows.push(vec![judged.site.clone(), role.to_owned(), health]);
    }
    text.push_str(&table(&rows));
    if !evidence.is_empty() {
        text.push_str(&format!("\n{evidence}"));
    }
    text.push_str(&format!(
        "\n  Unfinished runs: {}\n",
        situation.unfinished.as_deref().unwrap_or("none")
    ));
    if !situation.owed.is_empty() {
        text.push_str(&format!("  Owed: {}\n", situation.owed.join(", ")));
    }
    text.push_str(&format!("  Next: {}\n", situation.next.join("    |    ")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(
        active: &str,
        verdicts: [Verdict; 2],
        owed: &[&str],
        unfinished: Option<&str>,
    ) -> Situation {
        let standby = if active == "primary" { "dr" } else { "primary" };
        let mut situation = Situation {
            topology: "dr".into(),
            endpoint: "harbor.example.test".into(),
            active: active.into(),
            standby: standby.into(),
            declared_active: "primary".into(),
            dns: Some(format!("{active}.example.test")),
            dns_site: Some(active.into()),
            sites: [active, standby]
                .into_iter()
                .zip(verdicts)
                .map(|(site, verdict)| Judged {
                    site: site.into(),
                    verdict,
                    evidence: vec!["health from here: refused".into()],
                })
                .collect(),
            unfinished: unfinished.map(str::to_owned),
            owed: owed.iter().map(|owed| (*owed).to_owned()).collect(),
            next: Vec::new(),
        };
        situation.next = next(&situation);
        situation
    }

    #[test]
    fn the_next_command_follows_from_the_situation() {
        use Verdict::{Dead, Healthy, ReadOnly};
        let first = |situation: Situation| situation.next[0].clone();
        assert_eq!(
            first(situation("primary", [Healthy, Healthy], &[], None)),
            "runbook run failover --mode planned --dry-run"
        );
        assert_eq!(
            first(situation("primary", [Dead, Healthy], &[], None)),
            "runbook run failover --mode unplanned --dry-run"
        );
        assert_eq!(
            first(situation("dr", [Healthy, ReadOnly], &[], None)),
            "runbook run failback --dry-run"
        );
        assert_eq!(
            first(situation(
                "dr",
                [Healthy, Healthy],
                &["fence primary"],
                None
            )),
            "runbook run settle"
        );
        assert_eq!(
            first(situation("dr", [Healthy, Dead], &["fence primary"], None)),
            "runbook runs"
        );
        assert_eq!(
            first(situation("primary", [Healthy, Healthy], &[], Some("7f3kq"))),
            "runbook show 7f3kq"
        );
    }

    #[test]
    fn one_screen_says_where_everything_stands() {
        let page = page(&situation(
            "dr",
            [Verdict::Healthy, Verdict::Dead],
            &["fence primary"],
            None,
        ));
        insta::assert_snapshot!(anstream::adapter::strip_str(&page), @r"
        harbor.example.test -> dr (dr.example.test)   topology dr

          SITE     ROLE     HEALTH
          dr       active   healthy
          primary  standby  dead

          primary: health from here: refused

          Unfinished runs: none
          Owed: fence primary
          Next: runbook runs
        ");
    }
}
