//! What `runbook.yaml` must say beyond having the right shape. Everything wrong is found in one go.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use crate::codes::Code;
use crate::config::{Config, DnsConfig, Site};
use crate::diagnostics::{Diagnostics, Finding, Source};
use crate::located::Located;
use crate::notify::Notify;
use crate::scalars::secret::{SecretRef, SecretRefError};
use crate::scalars::site::{SiteRef, is_name};
use crate::scalars::span::Span;
use crate::suggest;
use crate::topology::{Deletions, Direction, DrPair, Endpoint, Topology};

/// The largest `time-scale`: beyond it a wait of an hour is shorter than a request.
const MAX_TIME_SCALE: f64 = 100_000.0;

/// Keys of DNS providers whose values are references.
const PROVIDER_SECRETS: [&str; 6] = [
    "secret",
    "password",
    "token",
    "secret-access-key",
    "session-token",
    "access-key-id",
];

/// Checks a configuration that has the right shape.
pub(crate) fn check<D: DnsConfig>(
    config: &Config<D>,
    source: &Arc<Source>,
) -> Result<(), Diagnostics> {
    let sites = config.sites.keys().map(SiteRef::as_str).collect();
    let mut check = Check {
        source,
        sites,
        findings: Vec::new(),
    };
    check.version(config);
    check.time_scale(config);
    for site in config.sites.values() {
        check.site(site);
    }
    for (name, topology) in &config.topologies {
        check.name("topology", name);
        check.topology(topology);
    }
    for (name, channel) in &config.notify {
        check.name("channel", name);
        check.channel(name, channel);
    }
    Diagnostics::new(check.findings).map_or(Ok(()), Err)
}

struct Check<'a> {
    source: &'a Arc<Source>,
    sites: Vec<&'a str>,
    findings: Vec<Finding>,
}

impl Check<'_> {
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

    fn version<D>(&mut self, config: &Config<D>) {
        if *config.version != 1 {
            let message = format!("version {} of the file is unknown", config.version);
            self.add(
                Code::Version,
                config.version.range(),
                message,
                "this tool knows version 1",
            );
        }
        if config.sites.is_empty() {
            self.add(
                Code::Empty,
                None,
                "no site stands under `sites`",
                "declare the Harbors there, each under a name",
            );
        }
        if config.topologies.is_empty() {
            let help =
                "declare there how the sites belong together, such as `dr: { dr-pair: { ... } }`";
            self.add(
                Code::Empty,
                None,
                "no topology stands under `topologies`",
                help,
            );
        }
    }

    fn time_scale<D>(&mut self, config: &Config<D>) {
        let Some(scale) = &config.time_scale else {
            return;
        };
        if !(1.0..=MAX_TIME_SCALE).contains(&**scale) {
            let message = format!("time scale {scale} is outside 1 to {MAX_TIME_SCALE}");
            self.add(
                Code::OutOfRange,
                scale.range(),
                message,
                "1 is the time of the wall; leave it out outside a sandbox",
            );
            return;
        }
        if **scale == 1.0 {
            return;
        }
        for (name, site) in &config.sites {
            // What is connected to decides, and `connect-to` goes before the address.
            let outside = match &site.connect_to {
                Some(to) if !to.addr().ip().is_loopback() => Some((to.range(), to.to_string())),
                Some(_) if site.url.is_loopback() => None,
                _ if site.url.is_loopback() => None,
                _ => Some((site.url.range(), site.url.to_string())),
            };
            let Some((range, place)) = outside else {
                continue;
            };
            let message = format!(
                "`time-scale` is set, but site `{name}` is at `{place}`, which is no loopback address"
            );
            let help = "remove `time-scale`: it shortens waits that a real Harbor needs";
            let finding = self
                .at(Code::TimeScale, scale.range(), message)
                .help(help)
                .see(range, "not on this machine");
            self.findings.push(finding);
        }
    }

    fn site(&mut self, site: &Site) {
        self.positive("a limit", &site.timeout);
        if !site.url.path().is_empty() {
            let message = "the address of a Harbor has no path and no query";
            self.add(
                Code::InvalidValue,
                site.url.range(),
                message,
                "write scheme, host and port only",
            );
        }
    }

    fn topology<D: DnsConfig>(&mut self, topology: &Topology<D>) {
        self.pair(&topology.dr_pair);
        if let Some(objectives) = &topology.objectives {
            for span in [&objectives.rto, &objectives.rpo].into_iter().flatten() {
                self.positive("an objective", span);
            }
        }
        self.endpoint(&topology.endpoint, &topology.dr_pair);
        if let Some(to) = topology
            .robots
            .as_ref()
            .and_then(|robots| robots.secret_to.as_ref())
            && !matches!(**to, SecretRef::File(_))
        {
            self.add(
                Code::InvalidValue,
                to.range(),
                "a secret can only be put into a file",
                "write `file:PATH`",
            );
        }
        for (name, path) in &topology.runbooks {
            self.name("runbook", name);
            if path.trim().is_empty() {
                let message = format!("runbook `{name}` has no file");
                self.add(
                    Code::InvalidValue,
                    name.range(),
                    message,
                    "write the path of its YAML file",
                );
            }
        }
    }

    fn pair(&mut self, pair: &DrPair) {
        for site in [&pair.active, &pair.standby] {
            self.known_site(site);
        }
        if pair.active == pair.standby {
            let message = format!("`{}` is both active and standby", pair.active);
            let finding = self
                .at(Code::SameSite, pair.standby.range(), message)
                .help("name the other site")
                .see(pair.active.range(), "the same site");
            self.findings.push(finding);
        }
        if let Some(every) = &pair.every {
            self.positive("an interval", every);
        }
        if let (Some(every), Some(cron)) = (&pair.every, &pair.cron) {
            let finding = self
                .at(
                    Code::Conflict,
                    cron.range(),
                    "`every` and `cron` exclude each other",
                )
                .help("a policy has one schedule: keep one of the two")
                .see(every.range(), "the other schedule");
            self.findings.push(finding);
        }
        if let Some(cron) = &pair.cron
            && !is_cron(cron)
        {
            let help = "write five fields (minute, hour, day, month, weekday) or six with the second first, in UTC";
            self.add(
                Code::InvalidValue,
                cron.range(),
                format!("`{cron}` is no line of cron"),
                help,
            );
        }
        if *pair.direction == Direction::Pull {
            if let Some(on) = &pair.on {
                let finding = self
                    .at(
                        Code::Conflict,
                        on.range(),
                        "a pull cannot be started by a push",
                    )
                    .help("write `every` or `cron`, or `direction: push`")
                    .see(pair.direction.range(), "the standby pulls");
                self.findings.push(finding);
            }
            if let Some(deletions) = pair
                .deletions
                .as_ref()
                .filter(|deletions| ***deletions == Deletions::Mirror)
            {
                let finding = self
                    .at(Code::Conflict, deletions.range(), "deletions do not travel by pull")
                    .help("Harbor deletes by push events only: write `deletions: keep`, or `direction: push`")
                    .see(pair.direction.range(), "the standby pulls");
                self.findings.push(finding);
            }
        }
    }

    fn endpoint<D: DnsConfig>(&mut self, endpoint: &Endpoint<D>, pair: &DrPair) {
        if endpoint.name.address().is_some() {
            let message = format!(
                "`{}` is an address: only a name can be moved",
                endpoint.name
            );
            self.add(
                Code::InvalidValue,
                endpoint.name.range(),
                message,
                "write the name that clients use",
            );
        }
        if let Some(url) = &endpoint.url {
            if !url.path().is_empty() {
                let message = "the address of the service has no path and no query";
                self.add(
                    Code::InvalidValue,
                    url.range(),
                    message,
                    "write scheme, host and port only",
                );
            }
            if *url.host() != *endpoint.name {
                let message = format!(
                    "the address leads to `{}`, which is not the service name",
                    url.host()
                );
                let finding = self
                    .at(Code::Conflict, url.range(), message)
                    .help("clients are tried through the name that is moved: use it in the address")
                    .see(endpoint.name.range(), "the service name");
                self.findings.push(finding);
            }
        }
        if endpoint.verify.is_empty() {
            let help = "write `authoritative` at least, or leave `verify` out";
            self.add(
                Code::Empty,
                endpoint.verify.range(),
                "a move that is looked at from nowhere is never done",
                help,
            );
        }
        self.providers(endpoint);
        self.targets(endpoint, pair);
        for site in endpoint.connect_to.keys() {
            self.site_of_pair(site, pair);
        }
        self.ttl(endpoint);
    }

    fn providers<D: DnsConfig>(&mut self, endpoint: &Endpoint<D>) {
        match endpoint.dns.len() {
            1 => {}
            0 => {
                let help = "write the one that holds the record, such as `- rfc2136: { ... }`";
                self.add(
                    Code::Providers,
                    endpoint.dns.range(),
                    "no DNS provider is declared",
                    help,
                );
            }
            count => {
                let message = format!(
                    "{count} DNS providers are declared, and this version moves the record at exactly one"
                );
                let range = endpoint.dns.get(1).and_then(Located::range);
                self.add(
                    Code::Providers,
                    range,
                    message,
                    "keep the one that holds the record",
                );
            }
        }
        for provider in endpoint.dns.iter() {
            let literal = serde_json::to_value(&**provider).is_ok_and(|value| has_literal(&value));
            if literal {
                let range = provider.range();
                let extent = range.as_ref().map(|range| self.source.extent(range.start));
                let range = extent
                    .and_then(|extent| self.source.covered_in(&extent))
                    .or(range);
                self.findings.push(self.at(
                    Code::LiteralSecret,
                    range,
                    SecretRefError::Literal.to_string(),
                ));
            }
        }
    }

    fn targets<D>(&mut self, endpoint: &Endpoint<D>, pair: &DrPair) {
        for (site, target) in endpoint.targets.iter() {
            self.site_of_pair(site, pair);
            if **target == *endpoint.name {
                let message = format!("the target of `{site}` is the service name itself");
                self.add(
                    Code::Targets,
                    target.range(),
                    message,
                    "write the name or address of the site",
                );
            }
        }
        for site in [&pair.active, &pair.standby] {
            // An unknown site is told once, where it is named.
            if !endpoint.targets.contains_key(site.as_str()) && self.sites.contains(&site.as_str())
            {
                let message = format!("`targets` has no entry for site `{site}`");
                let help =
                    format!("add what the record shall say when `{site}` serves: `{site}: HOST`");
                self.add(Code::Targets, endpoint.targets.range(), message, &help);
            }
        }
        let mut targets: Vec<_> = endpoint.targets.iter().collect();
        targets.sort_by_key(|(_, target)| target.range().map(|range| range.start));
        for (i, (site, target)) in targets.iter().enumerate() {
            if let Some((other, first)) = targets[..i].iter().find(|(_, earlier)| earlier == target)
            {
                let message =
                    format!("sites `{other}` and `{site}` have the same target `{target}`");
                let finding = self
                    .at(Code::Targets, target.range(), message)
                    .help("the record could not tell who serves: give each site a name of its own")
                    .see(first.range(), "the same target");
                self.findings.push(finding);
            }
        }
    }

    fn ttl<D>(&mut self, endpoint: &Endpoint<D>) {
        let ttl = &endpoint.ttl;
        for span in std::iter::once(&ttl.lowered).chain(&ttl.normal) {
            self.positive("a TTL", span);
            if !span.duration().subsec_nanos().eq(&0) {
                let message = format!("a TTL of `{}` is not a whole number of seconds", **span);
                self.add(
                    Code::InvalidValue,
                    span.range(),
                    message,
                    "DNS counts in seconds",
                );
            }
        }
        if let Some(normal) = &ttl.normal
            && **normal < *ttl.lowered
        {
            let message = format!(
                "the lowered TTL `{}` is above the normal one `{normal}`",
                ttl.lowered
            );
            let range = ttl.lowered.range().or(normal.range());
            self.add(
                Code::Conflict,
                range,
                message,
                "lower it to at most the normal one",
            );
        }
    }

    fn channel(&mut self, name: &Located<String>, channel: &Notify) {
        let help = "write either `webhook` or `command`; two channels have two names";
        match (&channel.webhook, &channel.command) {
            (None, None) => {
                let message = format!("channel `{name}` is neither a `webhook` nor a `command`");
                self.add(Code::Channel, name.range(), message, help);
            }
            (Some(_), Some(_)) => {
                let message = format!("channel `{name}` is both a `webhook` and a `command`");
                self.add(Code::Channel, name.range(), message, help);
            }
            (Some(webhook), None) => self.positive("a limit", &webhook.timeout),
            (None, Some(command)) => {
                self.positive("a limit", &command.timeout);
                if command.argv.first().is_none_or(String::is_empty) {
                    let message = format!("channel `{name}` names no program");
                    self.add(
                        Code::Empty,
                        command.argv.range(),
                        message,
                        "write the program first, then its arguments",
                    );
                }
            }
        }
        for pattern in &channel.on {
            let body = pattern.strip_suffix('*').unwrap_or(pattern);
            if pattern.is_empty()
                || !body
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || matches!(b, b'.' | b'-'))
            {
                let message = format!("`{pattern}` is no name of an event");
                self.add(
                    Code::InvalidValue,
                    pattern.range(),
                    message,
                    "write a name such as `run.finished`, or `run.*`",
                );
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

    fn positive(&mut self, what: &str, span: &Located<Span>) {
        if span.is_zero() {
            let message = format!("{what} must be longer than nothing");
            self.add(
                Code::NotPositive,
                span.range(),
                message,
                "write a span such as `10s` or `15m`",
            );
        }
    }

    fn known_site(&mut self, site: &Located<SiteRef>) -> bool {
        let known = self.sites.contains(&site.as_str());
        if !known {
            let help = suggest::help(site.as_str(), "sites", &self.sites);
            self.add(
                Code::UnknownSite,
                site.range(),
                format!("unknown site `{site}`"),
                &help,
            );
        }
        known
    }

    fn site_of_pair(&mut self, site: &Located<SiteRef>, pair: &DrPair) {
        // A pair that is wrong itself is told as such, and not once more for each site that it does not hold.
        let whole = pair.active != pair.standby
            && [&pair.active, &pair.standby]
                .iter()
                .all(|site| self.sites.contains(&site.as_str()));
        if self.known_site(site) && whole && pair.other(site.as_str()).is_none() {
            let message = format!("site `{site}` is not of the pair");
            let help = format!("sites of the pair: `{}`, `{}`", pair.active, pair.standby);
            self.add(Code::UnknownSite, site.range(), message, &help);
        }
    }
}

/// Tells whether a text has the form of a line of cron. What its fields mean Harbor decides.
fn is_cron(text: &str) -> bool {
    let fields: Vec<_> = text.split_whitespace().collect();
    (5..=6).contains(&fields.len())
        && fields.iter().all(|field| {
            field
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"*/,-?".contains(&b))
        })
}

/// Tells whether a provider's settings hold something under the name of a secret that is no reference.
fn has_literal(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, item)| match item {
            Value::String(text) if PROVIDER_SECRETS.contains(&key.as_str()) => {
                text.parse::<SecretRef>().is_err()
            }
            item => has_literal(item),
        }),
        Value::Array(items) => items.iter().any(has_literal),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
