//! Walks the points of one procedure.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use runbook_sim::{
    Edge as SimEdge, Fault, RequestSeen, Sandbox, SandboxOptions, Verdict, WorldSnapshot, dns,
};

use crate::pair::{Pair, finish};
use crate::point::{Edge, End, Point};

/// How many points are walked at once.
const AT_ONCE: usize = 4;
/// Much faster than the wall: a run takes some tenths of a second.
const SCALE: f64 = 1000.0;
/// How long a request is under way after its sender died. Less than the request timeout of the plan at this scale.
const LATE: Duration = Duration::from_millis(3);

/// What is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Procedure {
    Planned,
    Unplanned,
    Failback,
}

/// How a run ended.
#[derive(Clone, PartialEq)]
struct World {
    snapshot: WorldSnapshot,
    effects: BTreeMap<(String, String), usize>,
}

impl Procedure {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Procedure::Planned => &[
                "run",
                "failover",
                "--mode",
                "planned",
                "--confirm",
                "dr",
                "--no-input",
            ],
            Procedure::Unplanned => &[
                "run",
                "failover",
                "--mode",
                "unplanned",
                "--confirm",
                "dr",
                "--accept-healthy",
                "--no-input",
            ],
            Procedure::Failback => &["run", "failback", "--confirm", "primary", "--no-input"],
        }
    }

    fn earlier_runs(self) -> usize {
        usize::from(self == Procedure::Failback)
    }

    fn confirm(self) -> &'static str {
        if self == Procedure::Failback {
            "primary"
        } else {
            "dr"
        }
    }

    /// Makes the world in which the procedure begins.
    async fn world(self) -> Pair {
        let options = SandboxOptions {
            time_scale: SCALE,
            seed: 1,
            ..SandboxOptions::default()
        };
        let pair = Pair::start(options).await;
        // At this scale a schedule fires twice a second, and a run that it starts would be adopted in some walks and
        // not in others.
        let sandbox = &pair.sandbox;
        for (site, policy) in [
            (sandbox.dr(), "dr-forward"),
            (sandbox.primary(), "dr-reverse"),
        ] {
            site.inject(Fault::LostSchedule {
                policy: policy.into(),
            });
        }
        match self {
            Procedure::Planned => {}
            // Degraded, not gone: what can be done at the active is done, and killed.
            Procedure::Unplanned => {
                sandbox.primary().inject(Fault::ComponentDown {
                    component: "portal".into(),
                });
                sandbox.primary().refresh_health();
            }
            Procedure::Failback => {
                pair.expect(0, Procedure::Planned.arguments()).await;
                pair.sandbox
                    .dr()
                    .push_tag("production/app", "since", "since")
                    .expect("a push");
            }
        }
        pair.sandbox.clear_log();
        pair
    }
}

/// Kills at every point of a procedure. Fails if a world differs or if there are fewer points than `least`.
pub async fn walk(procedure: Procedure, least: usize) {
    let (wanted, points) = survey(procedure).await;
    println!("{procedure:?}: {} points", points.len());
    let walked: Vec<Option<String>> = stream::iter(points.clone())
        .map(|point| {
            let wanted = wanted.clone();
            async move {
                try_point(procedure, &point, &wanted)
                    .await
                    .err()
                    .map(|why| format!("{point}: {why}"))
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    for (point, failed) in points.iter().zip(&walked) {
        println!(
            "  {} {point}",
            if failed.is_some() { "FAIL" } else { "ok  " }
        );
    }
    let failures: Vec<String> = walked.into_iter().flatten().collect();
    assert!(
        failures.is_empty(),
        "{} of {} points:\n{}",
        failures.len(),
        points.len(),
        failures.join("\n\n")
    );
    assert!(
        points.len() >= least,
        "{} points, but there were {least}",
        points.len()
    );
}

/// Runs the procedure once without a kill, and lists where it can be killed.
async fn survey(procedure: Procedure) -> (World, Vec<Point>) {
    let pair = procedure.world().await;
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let updates = Arc::new(AtomicU64::new(0));
    pair.sandbox.on_request({
        let requests = requests.clone();
        Arc::new(move |seen: &RequestSeen| {
            if counts(seen) && seen.edge == SimEdge::Before {
                requests.lock().expect("no panic").push(what(seen));
            }
            Verdict::Continue
        })
    });
    pair.sandbox.dns().on_request({
        let updates = updates.clone();
        Arc::new(move |seen: &dns::DnsRequestSeen| {
            if seen.update && seen.edge == dns::Edge::Before {
                updates.fetch_add(1, Ordering::SeqCst);
            }
            dns::Verdict::Proceed
        })
    });
    pair.expect(0, procedure.arguments()).await;
    let world = World {
        snapshot: snapshot(&pair.sandbox),
        effects: effects(&pair.sandbox),
    };

    let mut points = Vec::new();
    for number in 1..=commits(procedure).await {
        points.push(Point::Journal {
            number,
            edge: Edge::Before,
        });
        points.push(Point::Journal {
            number,
            edge: Edge::After,
        });
    }
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    for what in requests.lock().expect("no panic").iter() {
        let nth = times
            .entry(what.clone())
            .and_modify(|n| *n += 1)
            .or_insert(1);
        let poll = what.starts_with("GET");
        // How often an execution is polled is a matter of time; that it is polled once is not.
        if poll && *nth > 1 {
            continue;
        }
        let ends: &[End] = if poll {
            &[End::Lost]
        } else {
            &[End::Lost, End::Late, End::Unanswered]
        };
        points.extend(ends.iter().map(|end| Point::Request {
            what: what.clone(),
            nth: *nth,
            end: *end,
        }));
    }
    for number in 1..=updates.load(Ordering::SeqCst) {
        points.extend(
            [End::Lost, End::Late, End::Unanswered].map(|end| Point::Update { number, end }),
        );
    }
    (world, points)
}

/// Counts the commits of a run: the greatest number at which the failpoint still kills, found by halving.
async fn commits(procedure: Procedure) -> u64 {
    let (mut killed, mut survived) = (0, 512);
    while survived - killed > 1 {
        let middle = u64::midpoint(killed, survived);
        let pair = procedure.world().await;
        let child = pair
            .command(procedure.arguments())
            .env("RUNBOOK_KILL_AT", format!("append:{middle}:before"))
            .spawn()
            .expect("the binary starts");
        match finish(child, procedure.arguments()).await.code {
            Some(_) => survived = middle,
            None => killed = middle,
        }
    }
    killed
}

async fn try_point(procedure: Procedure, point: &Point, wanted: &World) -> Result<(), String> {
    let pair = procedure.world().await;
    let mut command = pair.command(procedure.arguments());
    if let Point::Journal { number, edge } = point {
        let edge = if *edge == Edge::Before {
            "before"
        } else {
            "after"
        };
        command.env("RUNBOOK_KILL_AT", format!("append:{number}:{edge}"));
    }
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let pid = child.id().ok_or("the process is gone already")?;
    arm(&pair.sandbox, point, pid);
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait())
        .await
        .map_err(|_| "the first driver neither died nor ended")?
        .map_err(|error| error.to_string())?;
    if ended.code().is_some() {
        return Err(format!("the driver was not killed: {ended}"));
    }
    pair.sandbox.clear_hook();
    pair.sandbox.dns().clear_hook();

    // Killed before its first commit there is no run to resume: it is begun again. Killed after its last there is
    // none either, and nothing is left to do.
    let resume: &[&str] = &["resume", "--confirm", procedure.confirm(), "--no-input"];
    let arguments = match unfinished(&pair).await {
        true => resume,
        false if begun(&pair).await == procedure.earlier_runs() => procedure.arguments(),
        false => &["runs"],
    };
    let ran = pair.run(arguments).await;
    if ran.code != Some(0) {
        return Err(format!(
            "runbook {} ended with {:?}\n{}",
            arguments.join(" "),
            ran.code,
            ran.stderr
        ));
    }
    let after = snapshot(&pair.sandbox);
    if after != wanted.snapshot {
        return Err(format!(
            "the world differs\n{}",
            difference(&wanted.snapshot, &after)
        ));
    }
    compare_effects(&wanted.effects, &effects(&pair.sandbox))
}

async fn runs(pair: &Pair) -> Vec<serde_json::Value> {
    let ran = pair.run(&["runs", "-o", "json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    listed["runs"].as_array().cloned().unwrap_or_default()
}

async fn begun(pair: &Pair) -> usize {
    runs(pair).await.len()
}

async fn unfinished(pair: &Pair) -> bool {
    runs(pair)
        .await
        .iter()
        .any(|run| run["finished_at"].is_null())
}

/// Sets the trap: at the point the driver is killed, in this process, before the request goes on.
fn arm(sandbox: &Sandbox, point: &Point, pid: u32) {
    let sprung = Arc::new(AtomicBool::new(false));
    match point.clone() {
        Point::Journal { .. } => {}
        Point::Request {
            what: wanted,
            nth,
            end,
        } => {
            let count = AtomicU64::new(0);
            sandbox.on_request(Arc::new(move |seen: &RequestSeen| {
                if !counts(seen) || what(seen) != wanted || sprung.load(Ordering::SeqCst) {
                    return Verdict::Continue;
                }
                let reached = match seen.edge {
                    SimEdge::Before => count.fetch_add(1, Ordering::SeqCst) + 1,
                    SimEdge::After => count.load(Ordering::SeqCst),
                };
                let edge = if end == End::Unanswered {
                    SimEdge::After
                } else {
                    SimEdge::Before
                };
                if reached != nth || seen.edge != edge {
                    return Verdict::Continue;
                }
                sprung.store(true, Ordering::SeqCst);
                kill(pid);
                match end {
                    End::Lost => Verdict::NotApplied,
                    End::Late => {
                        std::thread::sleep(LATE);
                        Verdict::Continue
                    }
                    End::Unanswered => Verdict::NoReply,
                }
            }));
        }
        Point::Update { number, end } => {
            let count = AtomicU64::new(0);
            sandbox
                .dns()
                .on_request(Arc::new(move |seen: &dns::DnsRequestSeen| {
                    let edge = if end == End::Unanswered {
                        dns::Edge::After
                    } else {
                        dns::Edge::Before
                    };
                    if !seen.update {
                        return dns::Verdict::Proceed;
                    }
                    let reached = match seen.edge {
                        dns::Edge::Before => count.fetch_add(1, Ordering::SeqCst) + 1,
                        dns::Edge::After => count.load(Ordering::SeqCst),
                    };
                    if reached != number || seen.edge != edge || sprung.swap(true, Ordering::SeqCst)
                    {
                        return dns::Verdict::Proceed;
                    }
                    kill(pid);
                    match end {
                        End::Lost | End::Unanswered => dns::Verdict::Drop,
                        End::Late => {
                            std::thread::sleep(LATE);
                            dns::Verdict::Proceed
                        }
                    }
                }));
        }
    }
}

/// Requests at which the driver is killed: all that write, and the polls of an execution.
fn counts(seen: &RequestSeen) -> bool {
    seen.mutating || seen.method == "GET" && seen.path.contains("/replication/executions/")
}

/// A request in words that are the same in every run.
fn what(seen: &RequestSeen) -> String {
    let stable = |part: &str| match part {
        part if part.starts_with("sha256:") => "DIGEST".to_owned(),
        part if part.len() >= 32 => "UPLOAD".to_owned(),
        part => part.to_owned(),
    };
    let path: Vec<String> = seen.path.split('/').map(stable).collect();
    format!("{} {} at {}", seen.method, path.join("/"), seen.site)
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process id");
    // It may have died by itself at this very moment; the assertion on its end tells.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// The world without what an uninterrupted run would also have at other times or under other names.
fn snapshot(sandbox: &Sandbox) -> WorldSnapshot {
    let mut world = sandbox.snapshot().without_history();
    // Each sandbox has loopback addresses of its own.
    for set in &mut world.dns {
        for value in &mut set.values {
            if let Ok(address) = value.parse::<std::net::Ipv4Addr>() {
                *value = format!("127.x.x.{}", address.octets()[3]);
            }
        }
    }
    for site in world.sites.values_mut() {
        for (name, repository) in &mut site.repositories {
            // The canary's content follows from the run's id.
            if name.ends_with("runbook-canary") {
                repository.blobs.clear();
            }
        }
    }
    world
}

/// Effects by method and object; ids in the words of an object differ between two runs.
fn effects(sandbox: &Sandbox) -> BTreeMap<(String, String), usize> {
    let mut effects = BTreeMap::new();
    for ((method, object), count) in sandbox.effects() {
        let words: Vec<&str> = object
            .split(' ')
            .map(|word| {
                if word.starts_with("sha256:") {
                    "DIGEST"
                } else {
                    word
                }
            })
            .collect();
        *effects.entry((method, words.join(" "))).or_insert(0) += count;
    }
    effects
}

/// Compares how often each effect happened. What a kind may repeat without harm may be there more often: a flag or a
/// robot set to what it is, a stop of what is stopped, blobs and manifests with the same digest.
fn compare_effects(
    wanted: &BTreeMap<(String, String), usize>,
    found: &BTreeMap<(String, String), usize>,
) -> Result<(), String> {
    let repeatable = |object: &str| {
        [
            "configuration",
            "robot",
            "execution ",
            "canary",
            "blob",
            "upload",
            "manifest",
            "artifact",
        ]
        .iter()
        .any(|word| object.contains(word))
    };
    let mut wrong = Vec::new();
    for key in wanted.keys().chain(found.keys()) {
        let (want, have) = (
            wanted.get(key).copied().unwrap_or(0),
            found.get(key).copied().unwrap_or(0),
        );
        let more = have > want && !(repeatable(&key.1) && have <= want + 2);
        // A flag that the dead driver set is not set again; what was wanted once has happened once.
        if more || have < want && !repeatable(&key.1) {
            wrong.push(format!(
                "{} {}: {have} times, uninterrupted {want} times",
                key.0, key.1
            ));
        }
    }
    wrong.dedup();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("effects differ\n{}", wrong.join("\n")))
    }
}

fn difference(wanted: &WorldSnapshot, found: &WorldSnapshot) -> String {
    let (wanted, found) = (format!("{wanted:#?}"), format!("{found:#?}"));
    let (one, other): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), found.lines().collect());
    let gone = one
        .iter()
        .filter(|line| !other.contains(line))
        .map(|line| format!("- {}", line.trim()));
    let new = other
        .iter()
        .filter(|line| !one.contains(line))
        .map(|line| format!("+ {}", line.trim()));
    gone.chain(new).collect::<Vec<_>>().join("\n")
}
