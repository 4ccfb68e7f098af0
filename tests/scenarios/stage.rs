//! What the scenarios share: pairs, drivers that are watched, and words for what is to be seen in the world.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runbook_sim::{
    CopySpeed, Direction, Edge, Fault, Harbor, RequestSeen, Sandbox, SandboxOptions, Verdict, dns,
};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::pair::{Pair, Ran, finish};

/// Fast enough that a run takes about a second, and slow enough that a request can be in time.
pub const SCALE: f64 = 500.0;
/// How long anything in a test may take before it counts as never.
const NEVER: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);

pub const PLANNED: &[&str] = &[
    "run",
    "failover",
    "--mode",
    "planned",
    "--confirm",
    "dr",
    "--no-input",
];
pub const UNPLANNED: &[&str] = &[
    "run",
    "failover",
    "--mode",
    "unplanned",
    "--confirm",
    "dr",
    "--no-input",
];
/// The active is healthy, and a person wants it all the same.
pub const UNPLANNED_HEALTHY: &[&str] = &[
    "run",
    "failover",
    "--mode",
    "unplanned",
    "--confirm",
    "dr",
    "--accept-healthy",
    "--no-input",
];
pub const FAILBACK: &[&str] = &["run", "failback", "--confirm", "primary", "--no-input"];
pub const SETTLE: &[&str] = &["run", "settle", "--no-input"];
pub const RESUME: &[&str] = &["resume", "--no-input"];
pub const UNDO: &[&str] = &["abort", "--undo", "--no-input"];

/// A tag that only the primary has at the start.
pub const FRESH: (&str, &str) = ("production/app", "fresh");

/// A pair in which the standby pulls, and one tag that is not copied yet.
pub async fn pull() -> Pair {
    scaled(Direction::Pull, SCALE).await
}

/// A pair in which the active pushes, and one tag that is not copied yet.
pub async fn push() -> Pair {
    scaled(Direction::Push, SCALE).await
}

pub async fn scaled(direction: Direction, time_scale: f64) -> Pair {
    let pair = Pair::start(SandboxOptions {
        direction,
        time_scale,
        fresh_tag: true,
        ..SandboxOptions::default()
    })
    .await;
    // At this scale it fires every second, and what a test wants to be missing would sometimes be there.
    if direction == Direction::Pull {
        pair.sandbox.dr().inject(lost_schedule());
    }
    pair
}

/// The schedule of the forward policy does not fire.
pub fn lost_schedule() -> Fault {
    Fault::LostSchedule {
        policy: "dr-forward".into(),
    }
}

/// A driver that goes on while its messages are read.
pub struct Watched {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Watched {
    pub fn start(pair: &Pair, arguments: &[&str]) -> Watched {
        Watched::of(pair.command(arguments))
    }

    pub fn of(mut command: Command) -> Watched {
        let mut child = command.spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("its messages are piped");
        Watched {
            child,
            lines: BufReader::new(stderr).lines(),
            said: String::new(),
        }
    }

    /// Reads until a line says this of a step: `now`, `done`, `ask`, `miss` ...
    pub async fn until(&mut self, word: &str, step: &str) {
        let found = tokio::time::timeout(NEVER, async {
            while let Some(line) = self.lines.next_line().await.expect("messages are text") {
                self.said.push_str(&line);
                self.said.push('\n');
                let words: Vec<&str> = line.split_whitespace().collect();
                if words.first().is_some_and(|first| first.starts_with("T+"))
                    && words.get(1) == Some(&word)
                    && words.get(3) == Some(&step)
                {
                    return true;
                }
            }
            false
        });
        assert_eq!(
            found.await,
            Ok(true),
            "no line says `{word}` of `{step}`:\n{}",
            self.said
        );
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it has not ended")
    }

    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Stops the process, lets something happen, and lets it go on.
    pub fn meanwhile<T>(&self, act: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        let done = act();
        self.signal(Signal::CONT);
        done
    }

    /// Kills it and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Waits for its end.
    pub async fn end(mut self) -> Ran {
        let said = tokio::time::timeout(NEVER, async {
            while let Some(line) = self.lines.next_line().await.expect("messages are text") {
                self.said.push_str(&line);
                self.said.push('\n');
            }
        });
        said.await
            .unwrap_or_else(|_| panic!("it did not end within {NEVER:?}:\n{}", self.said));
        let mut ran = finish(self.child, &["(watched)"]).await;
        ran.stderr = self.said;
        ran
    }

    /// Waits for its end and expects an exit code.
    pub async fn expect(self, code: i32) -> Ran {
        let ran = self.end().await;
        assert_eq!(
            ran.code,
            Some(code),
            "--- stdout\n{}\n--- stderr\n{}",
            ran.stdout,
            ran.stderr
        );
        ran
    }
}

pub fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the process is there");
}

/// Waits until something is so.
pub async fn eventually(what: &str, is: impl Fn() -> bool) {
    let waited = tokio::time::timeout(NEVER, async {
        while !is() {
            tokio::time::sleep(LOOK).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

impl Ran {
    /// All of these stand in its messages.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Ran {
        for word in words {
            assert!(
                self.stderr.contains(word),
                "`{word}` is not said:\n{}",
                self.stderr
            );
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.stdout, self.stderr))
    }
}

impl Pair {
    /// The report of the newest run.
    pub async fn report(&self) -> Value {
        self.expect(0, &["report", "-o", "json"]).await.json()
    }

    /// The events of the newest run.
    pub async fn events(&self) -> Vec<Value> {
        let journal = self.expect(0, &["journal", "-o", "json"]).await.json();
        let events = journal["events"].as_array().expect("a list").clone();
        events
            .into_iter()
            .map(|mut recorded| {
                let at = recorded["at"].take();
                let mut event = recorded["event"].take();
                event["at"] = at;
                event
            })
            .collect()
    }

    /// The runs, newest first.
    pub async fn runs(&self) -> Vec<Value> {
        if !self.state().exists() {
            return Vec::new();
        }
        let runs = self.expect(0, &["runs", "-o", "json"]).await.json();
        runs["runs"].as_array().expect("a list").clone()
    }

    /// The id of the newest run.
    pub async fn newest(&self) -> String {
        self.runs().await[0]["run"]
            .as_str()
            .expect("an id")
            .to_owned()
    }

    /// Takes an edited runbook in place of a built-in one.
    pub fn with_runbook(&self, name: &str, edit: impl Fn(String) -> String) {
        let built_in = match name {
            "failover" => include_str!("../../runbooks/failover.yaml"),
            "failback" => include_str!("../../runbooks/failback.yaml"),
            _ => include_str!("../../runbooks/settle.yaml"),
        };
        let edited = edit(built_in.to_owned());
        assert_ne!(edited, built_in, "the edit of `{name}` changes nothing");
        let file = format!("{name}.yaml");
        std::fs::write(self.folder().join(&file), edited).expect("the runbook is written");
        self.edit_config(|text| {
            text.replacen(
                "    objectives:",
                &format!("    runbooks: {{ {name}: {file} }}\n    objectives:"),
                1,
            )
        });
    }

    /// What the service name points to, as the primary server says.
    pub fn serves(&self) -> String {
        let target = self.record().values.join(" ");
        let site = target.trim_end_matches('.').split('.').next();
        site.unwrap_or_default().to_owned()
    }

    /// The record of the service name.
    pub fn record(&self) -> dns::RecordSet {
        let name = self.sandbox.endpoint_name();
        let sets = self.sandbox.dns().snapshot();
        sets.into_iter()
            .find(|set| {
                set.name.trim_end_matches('.') == name && set.kind == dns::RecordKind::Cname
            })
            .unwrap_or_else(|| panic!("`{name}` is gone"))
    }

    /// Somebody points the service name elsewhere.
    pub fn point_elsewhere(&self) {
        point(self.sandbox.dns(), &self.sandbox.endpoint_name());
    }

    /// Nobody has anything that was there and is not served any more.
    #[track_caller]
    pub fn serves_everything_of(&self, before: &BTreeMap<String, String>) {
        let site = self.sandbox.site(&self.serves()).expect("a site").clone();
        let now = tags(&site);
        for (tag, digest) in before {
            assert_eq!(now.get(tag), Some(digest), "`{tag}` at {}", site.name());
        }
    }

    /// The state after a planned failover in which nothing went wrong for good.
    #[track_caller]
    pub fn is_moved(&self, before: &BTreeMap<String, String>) {
        assert_eq!(self.serves(), "dr");
        assert!(self.sandbox.primary().is_read_only(), "no fence");
        assert!(!self.sandbox.dr().is_read_only());
        for (site, policy) in self.enabled() {
            assert!(
                policy.contains("final"),
                "`{policy}` is enabled at {site} after a failover"
            );
        }
        assert_eq!(self.record().ttl, 60, "the TTL is up again");
        self.serves_everything_of(before);
    }

    /// Enabled policies by site.
    pub fn enabled(&self) -> Vec<(String, String)> {
        let world = self.sandbox.snapshot();
        let policies = world.sites.iter().flat_map(|(site, snapshot)| {
            let on = snapshot
                .policies
                .iter()
                .filter(|(_, policy)| policy["enabled"] == true);
            on.map(|(name, _)| (site.clone(), name.clone()))
        });
        policies.collect()
    }

    /// Flags, policies, robots and the record, without content: what an undo has to put back.
    pub fn settings(&self) -> Value {
        let world = self.sandbox.snapshot();
        let sites: BTreeMap<_, _> = world
            .sites
            .iter()
            .map(|(name, site)| {
                let settings = serde_json::json!({
                    "read_only": site.read_only, "policies": site.policies, "robots": site.robots,
                });
                (name, settings)
            })
            .collect();
        let record = self.record();
        serde_json::json!({ "sites": sites, "record": [record.values, vec![record.ttl.to_string()]] })
    }

    /// Requests of the driver that changed something, counted.
    pub fn writes(&self) -> usize {
        let updates = self.sandbox.dns().log();
        let changed = updates
            .iter()
            .filter(|update| !update.effects.is_empty())
            .count();
        let requests = self.sandbox.log();
        changed
            + requests
                .iter()
                .filter(|entry| entry.status < 400 && !entry.effect.is_empty())
                .count()
    }
}

/// What stands at the record after somebody else changed it.
pub const ELSEWHERE: &str = "elsewhere.sandbox.test";

pub fn point(dns: &dns::DnsServer, name: &str) {
    dns.set_record(name, dns::RecordKind::Cname, &[ELSEWHERE], 60)
        .expect("the record can be set");
}

/// All tags of a site that people pushed, `repository:tag` to digest.
pub fn tags(site: &Harbor) -> BTreeMap<String, String> {
    let snapshot = site.snapshot();
    let all = snapshot
        .repositories
        .iter()
        .filter(|(name, _)| !name.ends_with("runbook-canary"));
    all.flat_map(|(name, repository)| {
        let tags = repository.tags.iter();
        tags.map(move |(tag, digest)| (format!("{name}:{tag}"), digest.clone()))
    })
    .collect()
}

/// Calls `act` once, at one edge of the first request of this method whose path contains this.
pub fn once_at(
    sandbox: &Sandbox,
    edge: Edge,
    (site, method, path): (&'static str, &'static str, &'static str),
    act: impl FnOnce() -> Verdict + Send + 'static,
) -> Arc<AtomicBool> {
    let act = Mutex::new(Some(act));
    let done = Arc::new(AtomicBool::new(false));
    let sprung = done.clone();
    sandbox.on_request(Arc::new(move |seen: &RequestSeen| {
        let hit = seen.edge == edge
            && seen.site == site
            && seen.method == method
            && seen.path.contains(path);
        if !hit {
            return Verdict::Continue;
        }
        let Some(act) = act.lock().expect("no panic in a hook").take() else {
            return Verdict::Continue;
        };
        let verdict = act();
        sprung.store(true, Ordering::SeqCst);
        verdict
    }));
    done
}

/// Calls `act` once, at one edge of the `nth` update of DNS that the driver sends.
pub fn at_update(
    sandbox: &Sandbox,
    edge: dns::Edge,
    nth: u64,
    act: impl FnOnce() -> dns::Verdict + Send + 'static,
) {
    let act = Mutex::new(Some(act));
    let first = sandbox.dns().log().len() as u64;
    sandbox
        .dns()
        .on_request(Arc::new(move |seen: &dns::DnsRequestSeen| {
            if !seen.update || seen.edge != edge || seen.number != first + nth {
                return dns::Verdict::Proceed;
            }
            let act = act.lock().expect("no panic in a hook").take();
            act.map_or(dns::Verdict::Proceed, |act| act())
        }));
}

/// Slow enough that a copy is under way for as long as a test wants.
pub fn slow() -> CopySpeed {
    CopySpeed {
        per_task: Duration::from_secs(600),
        bytes_per_second: 1_000_000,
    }
}

/// Takes a step out of a runbook, and every guard on it.
pub fn without_step(yaml: &str, id: &str) -> String {
    let mut kept = Vec::new();
    let mut inside = false;
    for line in yaml.lines() {
        if let Some(found) = line.trim_start().strip_prefix("- id: ") {
            inside = found.trim() == id;
        } else if line.trim_start().starts_with('#') {
            inside = false;
        }
        if !inside {
            kept.push(without_guard(line, id));
        }
    }
    kept.join("\n") + "\n"
}

fn without_guard(line: &str, id: &str) -> String {
    let indent = &line[..line.len() - line.trim_start().len()];
    let Some(list) = line
        .trim_start()
        .strip_prefix("guards: [")
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return line.to_owned();
    };
    let kept: Vec<&str> = list
        .split(", ")
        .filter(|guard| *guard != id && !guard.starts_with(&format!("{{ step: {id},")))
        .collect();
    // A guard with fields has a comma of its own; the built-in runbooks have those alone in their list.
    if list.starts_with('{') {
        return if list.starts_with(&format!("{{ step: {id}")) {
            String::new()
        } else {
            line.to_owned()
        };
    }
    if kept.is_empty() {
        return String::new();
    }
    format!("{indent}guards: [{}]", kept.join(", "))
}

/// Takes all guards of one step out of a runbook.
pub fn without_guards(yaml: &str, id: &str) -> String {
    let mut inside = false;
    let kept = yaml.lines().filter(|line| {
        if let Some(found) = line.trim_start().strip_prefix("- id: ") {
            inside = found.trim() == id;
        }
        !(inside && line.trim_start().starts_with("guards:"))
    });
    kept.collect::<Vec<_>>().join("\n") + "\n"
}

/// The position of the first event of this name about this step, counted from `from`.
pub fn position(events: &[Value], from: usize, name: &str, step: &str) -> Option<usize> {
    let found = events[from..]
        .iter()
        .position(|event| event["event"] == name && event["step"] == step);
    found.map(|at| at + from)
}

/// Events of this name about this step.
pub fn count(events: &[Value], name: &str, step: &str) -> usize {
    events
        .iter()
        .filter(|event| event["event"] == name && event["step"] == step)
        .count()
}

/// Whether anything of this name happened at all.
pub fn happened(events: &[Value], name: &str) -> bool {
    events.iter().any(|event| event["event"] == name)
}
