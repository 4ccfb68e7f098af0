//! Figures of one machine, all in one run: `make bench`.
//!
//! Nothing is asserted: a figure is about the machine as much as about the program. What is compared with something
//! is compared with what was measured in this very run.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use runbook_engine::clock::Clock;
use runbook_engine::event::Event;
use runbook_engine::executor::{Answer, Driver, Ended, Person};
use runbook_engine::journal::Journal;
use runbook_engine::lease::Holder;
use runbook_engine::plan::{IfUnreachable, InDoubt, Mode, OnFailure, Plan, PlannedStep, Retry};
use runbook_engine::run::Question;
use runbook_engine::runlog::{Blind, RunLog};
use runbook_engine::step::{Done, Probe, ReadContext, Step, StepError, World, WriteContext};
use runbook_engine::stop::stop;
use runbook_sim::{CopySpeed, Edge, Sandbox, SandboxOptions, Verdict};
use serde_json::{Value, json};

type Failed = Box<dyn std::error::Error>;

/// So fast that what a real Harbor makes one wait for takes next to nothing.
const NO_WAITS: f64 = 100_000.0;
/// How often a whole failover is measured.
const FAILOVERS: usize = 9;
/// How long each repository takes in the run in which the end of the last task is watched.
const COPY: Duration = Duration::from_secs(4);
/// Runs in the journal that `show` is asked for.
const RUNS: usize = 100;
/// How often a short command is measured.
const STARTS: usize = 31;
/// Steps of the long run of the engine alone, and runs of ten steps.
const LONG: usize = 1_000;
const SHORT_RUNS: usize = 50;
/// The longest that anything here may take.
const LIMIT: Duration = Duration::from_secs(180);

/// One line of the table.
struct Figure {
    what: &'static str,
    found: String,
    target: &'static str,
}

fn main() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let figures = runtime.block_on(measure())?;
    println!("{}\n", machine());
    let width = figures
        .iter()
        .map(|figure| figure.what.len())
        .max()
        .unwrap_or(0);
    let found = figures
        .iter()
        .map(|figure| figure.found.len())
        .max()
        .unwrap_or(0);
    println!("| {:width$} | {:found$} | target |", "figure", "found");
    println!("|-{}-|-{}-|---|", "-".repeat(width), "-".repeat(found));
    for figure in figures {
        println!(
            "| {:width$} | {:found$} | {} |",
            figure.what, figure.found, figure.target
        );
    }
    Ok(())
}

async fn measure() -> Result<Vec<Figure>, Failed> {
    let folder = tempfile::tempdir()?;
    let mut figures = Vec::new();
    let plan = own_time(folder.path(), &mut figures).await?;
    last_task(folder.path(), &mut figures).await?;
    starts(folder.path(), &plan, &mut figures).await?;
    engine_alone(folder.path(), &mut figures).await?;
    Ok(figures)
}

/// A sandbox with its configuration in a folder.
struct Stage {
    sandbox: Sandbox,
    folder: PathBuf,
}

impl Stage {
    async fn new(
        folder: PathBuf,
        options: SandboxOptions,
        edit: impl Fn(String) -> String,
    ) -> Result<Stage, Failed> {
        let sandbox = Sandbox::start(options).await?;
        let secrets = folder.join("secrets");
        fs::create_dir_all(&secrets)?;
        fs::write(
            folder.join("runbook.yaml"),
            edit(sandbox.runbook_yaml(&secrets)?),
        )?;
        Ok(Stage { sandbox, folder })
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state.db")
    }

    fn start(&self, arguments: &[&str]) -> Result<Child, Failed> {
        Ok(command(&self.state())
            .args(arguments)
            .arg("--config")
            .arg(self.folder.join("runbook.yaml"))
            .spawn()?)
    }
}

fn command(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runbook"));
    command
        .arg("--state")
        .arg(state)
        .args(["--no-input", "--color", "never"])
        .env_remove("RUNBOOK_CONFIG")
        .env_remove("RUNBOOK_STATE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The tool's own time and memory in a planned failover: from the start of the process to its end, less the time in which the
/// sandbox had a request of it in hand. What the sandbox would make it wait for (TTL, copies, settling) is next to nothing here.
/// Requests of DNS are not taken off.
async fn own_time(folder: &Path, figures: &mut Vec<Figure>) -> Result<Plan, Failed> {
    let mut plan = None;
    let (mut own, mut wall, mut requests, mut most_kib) = (Vec::new(), Vec::new(), 0, 0);
    for i in 0..FAILOVERS {
        let options = SandboxOptions {
            time_scale: NO_WAITS,
            fresh_tag: true,
            ..SandboxOptions::default()
        };
        let stage = Stage::new(folder.join(format!("own-{i}")), options, |text| text).await?;
        let busy = Arc::new(Busy::default());
        let seen = busy.clone();
        stage.sandbox.on_request(Arc::new(move |request| {
            seen.note(request.number, request.edge);
            Verdict::Continue
        }));
        let begun = Instant::now();
        let mut child =
            stage.start(&["run", "failover", "--mode", "planned", "--confirm", "dr"])?;
        let pid = child.id();
        let status = loop {
            most_kib = most_kib.max(resident_kib(pid));
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if begun.elapsed() > LIMIT {
                child.kill()?;
                return Err("the failover took too long".into());
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        };
        let whole = begun.elapsed();
        if !status.success() {
            return Err(format!("the failover ended with {status}").into());
        }
        stage.sandbox.clear_hook();
        let (count, inside) = busy.total();
        requests = count;
        wall.push(whole);
        own.push(whole.saturating_sub(inside));
        if plan.is_none() {
            let journal = Journal::open_read(&stage.state()).await?;
            let run = journal.runs().await?.into_iter().next().ok_or("no run")?;
            plan = Some(journal.plan(&run.id).await?);
        }
    }
    figures.push(Figure {
        what: "own time in a planned failover, p50",
        found: format!(
            "{}, best {} (with the sandbox {}, {requests} requests)",
            ms(p50(&mut own)),
            ms(own.iter().min().copied().unwrap_or_default()),
            ms(p50(&mut wall))
        ),
        target: "< 150 ms",
    });
    figures.push(Figure {
        what: "most memory resident in the driver",
        found: format!("{:.1} MB", most_kib as f64 / 1024.0),
        target: "< 40 MB",
    });
    plan.ok_or_else(|| "no failover".into())
}

/// The time in which at least one request is in the sandbox's hands.
#[derive(Default)]
struct Busy(Mutex<BTreeMap<u64, (Instant, Option<Instant>)>>);

impl Busy {
    fn note(&self, number: u64, edge: Edge) {
        let now = Instant::now();
        let mut seen = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match edge {
            Edge::Before => drop(seen.insert(number, (now, None))),
            Edge::After => {
                if let Some((_, end)) = seen.get_mut(&number) {
                    *end = Some(now);
                }
            }
        }
    }

    fn total(&self) -> (usize, Duration) {
        let seen = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut spans: Vec<(Instant, Instant)> = seen
            .values()
            .filter_map(|(from, to)| Some((*from, (*to)?)))
            .collect();
        spans.sort();
        let mut sum = Duration::ZERO;
        let mut covered: Option<Instant> = None;
        for (from, to) in spans {
            let from = covered.map_or(from, |until| until.max(from));
            sum += to.saturating_duration_since(from);
            covered = Some(covered.map_or(to, |until| until.max(to)));
        }
        (seen.len(), sum)
    }
}

/// How long after the end of its last task the final sync is known to be over, in real time.
async fn last_task(folder: &Path, figures: &mut Vec<Figure>) -> Result<(), Failed> {
    let options = SandboxOptions {
        time_scale: 1.0,
        fresh_tag: true,
        ..SandboxOptions::default()
    };
    // The TTL is low from the start: what is measured comes after the wait for it.
    let low = |text: String| {
        text.replace(
            "      verify:",
            "      ttl: { lowered: 60s }\n      verify:",
        )
    };
    let stage = Stage::new(folder.join("last-task"), options, low).await?;
    stage.sandbox.dr().set_copy_speed(CopySpeed {
        per_task: COPY,
        ..CopySpeed::default()
    });
    let mut child = stage.start(&["run", "failover", "--mode", "planned", "--confirm", "dr"])?;
    let begun = Instant::now();
    let (execution, seen_at) = loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if begun.elapsed() > LIMIT || child.try_wait()?.is_some() {
            return Err("the run did not come to the end of its final sync".into());
        }
        // The file is made by the driver: until it is whole there is nothing to see.
        let Ok(journal) = Journal::open_read(&stage.state()).await else {
            continue;
        };
        let Some(run) = journal.runs().await?.into_iter().next() else {
            continue;
        };
        let events = journal.events(&run.id).await?;
        let over = events.iter().find_map(|one| match &one.event {
            Event::Succeeded { step, output, .. } if step == "final-sync" => {
                Some((output["execution"].as_i64()?, one.at))
            }
            _ => None,
        });
        if let Some(over) = over {
            break over;
        }
    };
    // The rest waits for a minute of TTL, which shows nothing more.
    child.kill()?;
    child.wait()?;
    let ended = stage
        .sandbox
        .dr()
        .last_task_ended(execution)
        .ok_or("the final sync has no tasks")?;
    let late = seen_at.duration_since(ended.parse::<jiff::Timestamp>()?);
    figures.push(Figure {
        what: "final sync seen done after its last task",
        found: format!("{} ms", late.as_millis()),
        target: "< 1000 ms",
    });
    Ok(())
}

/// What a person waits for who asks for something small.
async fn starts(folder: &Path, plan: &Plan, figures: &mut Vec<Figure>) -> Result<(), Failed> {
    let file = folder.join("hundred.db");
    let journal = Arc::new(Journal::open(&file).await?);
    for i in 0..RUNS {
        drive(&journal, &format!("r{i:04}"), plan.clone()).await?;
    }
    drop(journal);
    let floor = nothing()?;
    let mut time = |what, arguments: &[&str]| -> Result<(), Failed> {
        let mut took = Vec::new();
        for _ in 0..STARTS {
            let begun = Instant::now();
            let status = command(&file).args(arguments).status()?;
            took.push(begun.elapsed());
            if !status.success() {
                return Err(format!("`{}` ended with {status}", arguments.join(" ")).into());
            }
        }
        figures.push(Figure {
            what,
            found: format!(
                "{} (a process that does nothing: {})",
                ms(p50(&mut took)),
                ms(floor)
            ),
            target: "< 30 ms",
        });
        Ok(())
    };
    time("`runbook --version`, p50", &["--version"])?;
    time(
        "`runbook show` on a journal of 100 failovers, p50",
        &["show"],
    )?;
    time("`runbook runs` on the same, p50", &["runs"])
}

/// How long a process takes that does nothing.
fn nothing() -> Result<Duration, Failed> {
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        Command::new("true").status()?;
        took.push(begun.elapsed());
    }
    Ok(p50(&mut took))
}

/// The engine with steps that do nothing, against a bare `fdatasync` on the same disk.
async fn engine_alone(folder: &Path, figures: &mut Vec<Figure>) -> Result<(), Failed> {
    let floor = fdatasync(&folder.join("floor"), LONG)?;
    let journal = Arc::new(Journal::open(&folder.join("engine.db")).await?);
    let begun = Instant::now();
    drive(&journal, "long", quick_plan(LONG)).await?;
    let each = begun.elapsed() / LONG as u32;
    figures.push(Figure {
        what: "engine: transitions a second (outcome and next intent in one commit)",
        found: format!(
            "{:.0}, {:.2} x a bare fdatasync ({})",
            1.0 / each.as_secs_f64(),
            ratio(each, floor),
            ms(floor)
        ),
        target: "-",
    });
    let mut took = Vec::new();
    for i in 0..SHORT_RUNS {
        let begun = Instant::now();
        drive(&journal, &format!("s{i:04}"), quick_plan(10)).await?;
        took.push(begun.elapsed());
    }
    let short = p50(&mut took);
    figures.push(Figure {
        what: "engine: a run of ten steps, p50",
        found: format!(
            "{}, {:.1} x a bare fdatasync",
            ms(short),
            ratio(short, floor)
        ),
        target: "-",
    });
    Ok(())
}

/// Returns the middle of the time that one write of a page with `fdatasync` takes, over a file that does not grow.
fn fdatasync(path: &Path, times: usize) -> Result<Duration, Failed> {
    let page = [7_u8; 4096];
    let mut file = File::create(path)?;
    file.write_all(&page.repeat(256))?;
    file.sync_all()?;
    let mut took = Vec::new();
    for i in 0..times {
        file.seek(SeekFrom::Start((i % 256 * page.len()) as u64))?;
        let begun = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    Ok(p50(&mut took))
}

/// Drives a run of a plan whose steps do nothing.
async fn drive(journal: &Arc<Journal>, id: &str, plan: Plan) -> Result<(), Failed> {
    let steps: Vec<Box<dyn Step<Nothing>>> = plan
        .steps
        .iter()
        .map(|_| Box::new(Quick) as Box<dyn Step<Nothing>>)
        .collect();
    let holder = Holder::this_process("bench");
    let log = RunLog::begin(
        journal.clone(),
        id,
        plan,
        &holder,
        Clock::wall(1.0),
        Arc::new(Blind),
    )
    .await?;
    let (_caller, called) = stop();
    let driver = Driver {
        log,
        steps: &steps,
        world: &Nothing,
        person: &Nobody,
        stop: called,
        chance: &|| 4,
    };
    match driver.drive().await? {
        Ended::Finished(_) => Ok(()),
        other => Err(format!("the run ended otherwise: {other:?}").into()),
    }
}

fn quick_plan(steps: usize) -> Plan {
    let step = |i: usize| PlannedStep {
        id: format!("step-{i}"),
        kind: "quick".into(),
        action: json!({}),
        modes: Vec::new(),
        timeout: Duration::from_secs(60),
        retry: Retry {
            attempts: 1,
            backoff: Duration::ZERO,
        },
        on_failure: OnFailure::Stop,
        if_unreachable: IfUnreachable::Fail,
        guards: Vec::new(),
        back_to: None,
        cutover: false,
        in_doubt: InDoubt::Probe,
    };
    Plan {
        runbook: "quick".into(),
        topology: "bench".into(),
        mode: Mode::Planned,
        from: "a".into(),
        to: "a".into(),
        bindings: Value::Null,
        steps: (0..steps).map(step).collect(),
        request_timeout: Duration::from_secs(1),
        time_scale: 1.0,
        rto_target: None,
        rpo_target: None,
    }
}

/// A world without anything in it.
struct Nothing;

impl World for Nothing {
    type Reader = ();
    type Writer = ();

    fn reader(&self) -> &() {
        &()
    }

    fn writer(&self) -> &() {
        &()
    }
}

/// A step that is done at once and stays done.
struct Quick;

#[async_trait]
impl Step<Nothing> for Quick {
    fn summary(&self) -> String {
        "nothing".into()
    }

    async fn probe(&self, _cx: &ReadContext<'_, Nothing>) -> Result<Probe, StepError> {
        Ok(Probe::Done(Value::Null))
    }

    async fn run(&self, _cx: &WriteContext<'_, Nothing>) -> Result<Done, StepError> {
        Ok(Done::plain())
    }
}

struct Nobody;

#[async_trait]
impl Person for Nobody {
    async fn answer(&self, _step: &str, _question: &Question) -> Answer {
        Answer::Leave
    }
}

/// The most memory that a process has had resident so far; 0 once it is gone.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        line.split_once(':')
            .map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    format!(
        "{}, {cores} cores, {memory} of memory; {}",
        field(&read("/proc/cpuinfo"), "model name"),
        std::env::consts::ARCH
    )
}

fn p50(took: &mut [Duration]) -> Duration {
    took.sort();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn ms(span: Duration) -> String {
    format!("{:.2} ms", span.as_secs_f64() * 1000.0)
}
