//! `runbook demo`: the main job on a sandbox, with this very binary as child processes, one of which is killed.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use runbook_dns::Name;
use runbook_dns::verify::{Vantage, resolve_addresses};
use runbook_engine::event::Event;
use runbook_engine::journal::Journal;
use runbook_harbor::{Endpoint, oci};
use runbook_sim::{CopySpeed, Sandbox, SandboxOptions};
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::chance;
use crate::codes::Code;
use crate::commands::sandbox::write_files;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::{Output, style, words};

/// How many times faster than real Harbors the sandbox is: a wait for a TTL of a minute takes half a second.
const TIME_SCALE: f64 = 120.0;
/// How long copying a repository takes there, so that there is something to interrupt.
const COPY_TIME: Duration = Duration::from_secs(60);
/// The longest that one child may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How often the journal is looked at while waiting for the moment to kill.
const LOOK: Duration = Duration::from_millis(10);
/// One request of the demonstration itself.
const REQUEST: Duration = Duration::from_secs(5);
/// What is looked for at both sides: one tag that is there from the start but not copied yet, one that a client
/// pushes after the failover.
const REPOSITORY: &str = "production/app";
const FRESH: &str = "fresh";
const AFTER: &str = "after-failover";

/// Where the demonstration works. Dropping it removes the folder.
struct Stage {
    sandbox: Sandbox,
    folder: PathBuf,
    config: PathBuf,
    out: Output,
}

/// A child process and what it says.
struct Running {
    child: Child,
    relay: JoinHandle<()>,
    said: JoinHandle<String>,
}

/// Shows the main job.
pub async fn demo(out: Output) -> Result<Exit> {
    let begun = Instant::now();
    let stage = Stage::new(out).await?;
    stage.scene("Two Harbors that replicate, and a DNS zone, on loopback. Clients use harbor.sandbox.test, which is `primary`.");
    let run = stage.failover_killed_in_the_middle().await?;
    stage.resume(&run).await?;
    stage.verify_failover().await?;
    stage.failback().await?;
    stage.show_report(&run).await?;
    out.data(&format!(
        "\ndone in {}: failover, a kill, resume, verification, failback; nothing was lost",
        words(begun.elapsed())
    ));
    out.say("try it yourself: `runbook sandbox up`");
    Ok(Exit::Done)
}

impl Stage {
    async fn new(out: Output) -> Result<Stage> {
        let options = SandboxOptions {
            time_scale: TIME_SCALE,
            fresh_tag: true,
            ..SandboxOptions::default()
        };
        let sandbox = Sandbox::start(options)
            .await
            .map_err(|error| wrong("the sandbox did not start").because(&error))?;
        sandbox.dr().set_copy_speed(copy_speed());
        let folder = std::env::temp_dir().join(format!("runbook-demo-{:x}", chance::number()));
        let mut stage = Stage {
            sandbox,
            folder,
            config: PathBuf::new(),
            out,
        };
        stage.config = write_files(&stage.sandbox, &stage.folder)?;
        Ok(stage)
    }

    async fn failover_killed_in_the_middle(&self) -> Result<String> {
        self.scene("A planned failover to `dr`. While it copies the last changes, its process is killed (SIGKILL).");
        let mut running =
            self.start(&["run", "failover", "--mode", "planned", "--confirm", "dr"])?;
        let run = self.until_it_copies_for_the_last_time(&mut running).await?;
        running
            .child
            .start_kill()
            .map_err(|error| wrong("the driver cannot be killed").because(&error))?;
        let status = running.end().await?.0;
        expect(status.code().is_none(), || {
            format!("the driver was to be killed and ended with {status}")
        })?;
        self.scene("Killed. The active is fenced, nobody drives the run, and nothing is lost: the journal knows how far it came.");
        Ok(run)
    }

    /// Waits until the journal says that the final sync, or at the earliest the fence before it, is under way.
    async fn until_it_copies_for_the_last_time(&self, running: &mut Running) -> Result<String> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = running
                .child
                .try_wait()
                .map_err(|error| wrong("the driver is lost").because(&error))?
            {
                return Err(wrong(format!(
                    "the driver ended with {status} before it could be killed"
                )));
            }
            tokio::time::sleep(LOOK).await;
            // The file is made by the driver: until it is whole there is nothing to see.
            let Ok(journal) = Journal::open_read(&self.state()).await else {
                continue;
            };
            let Ok(runs) = journal.runs().await else {
                continue;
            };
            let Some(run) = runs.first() else { continue };
            let events = journal.events(&run.id).await?;
            let started = |wanted: &str| {
                events.iter().any(|recorded| matches!(&recorded.event, Event::AttemptStarted { step, .. } if step == wanted))
            };
            if started("final-sync") {
                return Ok(run.id.clone());
            }
        }
        Err(wrong(format!(
            "the run did not come to its final sync within {}",
            words(LIMIT)
        )))
    }

    async fn resume(&self, run: &str) -> Result<()> {
        self.scene("`runbook resume` takes over at once: what was interrupted is looked at first, then the run goes on.");
        let (status, _) = self.start(&["resume", run])?.end().await?;
        expect(status.success(), || {
            format!("`runbook resume` ended with {status}")
        })
    }

    async fn verify_failover(&self) -> Result<()> {
        let primary = self.sandbox.primary();
        let digest = primary
            .digest(REPOSITORY, FRESH)
            .ok_or_else(|| wrong("the sandbox lost its fresh tag"))?;
        let pulled = self.pull(FRESH).await?;
        expect(pulled == digest, || {
            format!("a client pulls {pulled}, not {digest}")
        })?;
        expect(primary.is_read_only(), || {
            "the former active takes pushes".to_owned()
        })?;
        let pushed = self
            .sandbox
            .dr()
            .push_tag(REPOSITORY, AFTER, "demo")
            .map_err(|error| wrong("the new active takes no push").because(&error))?;
        self.scene(&format!(
            "Verified: harbor.sandbox.test is `dr`; {REPOSITORY}:{FRESH}, which was on `primary` alone, is pulled byte for byte;\n\
             the former active refuses writes. A client now pushes {REPOSITORY}:{AFTER} ({}) to the new side.",
            short(&pushed)
        ));
        Ok(())
    }

    async fn failback(&self) -> Result<()> {
        self.scene(
            "Failback to `primary`: the other way round, and then every policy as it was before.",
        );
        let (status, _) = self
            .start(&["run", "failback", "--confirm", "primary"])?
            .end()
            .await?;
        expect(status.success(), || {
            format!("`runbook run failback` ended with {status}")
        })?;
        let (primary, dr) = (self.sandbox.primary(), self.sandbox.dr());
        let pulled = self.pull(AFTER).await?;
        let digest = dr.digest(REPOSITORY, AFTER).unwrap_or_default();
        expect(pulled == digest, || {
            format!("a client pulls {pulled}, not {digest}")
        })?;
        expect(primary.digest(REPOSITORY, AFTER) == Some(digest), || {
            "what was pushed meanwhile did not come back".to_owned()
        })?;
        expect(!primary.is_read_only() && !dr.is_read_only(), || {
            "a site was left read-only".to_owned()
        })?;
        expect(
            dr.is_policy_enabled("dr-forward") == Some(true)
                && primary.is_policy_enabled("dr-reverse") == Some(false),
            || "the policies are not as they were".to_owned(),
        )?;
        self.scene(&format!("Verified: harbor.sandbox.test is `primary` again and has {REPOSITORY}:{AFTER}; the policies are as they were."));
        Ok(())
    }

    async fn show_report(&self, run: &str) -> Result<()> {
        self.scene("The report of the failover (`runbook report`):");
        let (status, text) = self.start(&["report", run])?.end().await?;
        expect(status.success() && text.contains("RTO"), || {
            format!("`runbook report` ended with {status}")
        })?;
        self.out.data(&text);
        Ok(())
    }

    /// Pulls a tag as a client does: the service name, its address from DNS, a token, the manifest. Returns its digest.
    async fn pull(&self, tag: &str) -> Result<String> {
        let name = self.sandbox.endpoint_name();
        let via = Vantage::Resolver(self.sandbox.dns().primary());
        let parsed = Name::parse(&name)
            .map_err(|error| wrong("the service name is none").because(&error))?;
        let addresses = resolve_addresses(&via, &parsed, REQUEST)
            .await
            .map_err(|error| wrong("the service name has no address").because(&error))?;
        let port = self.sandbox.primary().address().port();
        let at = addresses
            .first()
            .ok_or_else(|| wrong("the service name has no address"))?;
        let site = [self.sandbox.primary(), self.sandbox.dr()]
            .into_iter()
            .find(|site| site.address().ip() == *at);
        let site = site.ok_or_else(|| wrong(format!("{at} is no site of the sandbox")))?;
        let endpoint = Endpoint {
            site: name.clone(),
            url: format!("http://{name}:{port}")
                .parse()
                .map_err(|_| wrong("the service name makes no URL"))?,
            user: "admin".into(),
            password: SecretString::from(site.admin_password()),
            timeout: REQUEST,
            connect_to: Some(site.address()),
            ca_pem: None,
        };
        let client = oci::Reader::new(endpoint, oci::Login::Token)
            .map_err(|error| wrong("no client").because(&error))?;
        let manifest = client.manifest(REPOSITORY, tag).await;
        Ok(manifest
            .map_err(|error| {
                wrong(format!("a client cannot pull {REPOSITORY}:{tag}")).because(&error)
            })?
            .digest)
    }

    fn start(&self, arguments: &[&str]) -> Result<Running> {
        self.out
            .say(&style::bold(&format!("$ runbook {}", arguments.join(" "))));
        let program = std::env::current_exe()
            .map_err(|error| wrong("this program cannot be found").because(&error))?;
        let mut child = Command::new(program)
            .args(arguments)
            .args(["--no-input", "--color", "never"])
            .env("RUNBOOK_CONFIG", &self.config)
            .env("RUNBOOK_STATE", self.state())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| wrong("a child cannot be started").because(&error))?;
        let (out, mut data, messages) = (self.out, child.stdout.take(), child.stderr.take());
        let relay = tokio::spawn(async move {
            let Some(messages) = messages else { return };
            let mut lines = BufReader::new(messages).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                out.say(&format!("{} {line}", style::dim("|")));
            }
        });
        let said = tokio::spawn(async move {
            let mut text = String::new();
            if let Some(data) = &mut data {
                // What was said before a kill is enough.
                let _ = data.read_to_string(&mut text).await;
            }
            text
        });
        Ok(Running { child, relay, said })
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state.db")
    }

    fn scene(&self, text: &str) {
        self.out.data(&format!("\n{text}"));
    }
}

impl Running {
    async fn end(mut self) -> Result<(ExitStatus, String)> {
        let status = tokio::time::timeout(LIMIT, self.child.wait())
            .await
            .map_err(|_| wrong(format!("a child did not end within {}", words(LIMIT))))?
            .map_err(|error| wrong("a child is lost").because(&error))?;
        let _ = self.relay.await;
        Ok((status, self.said.await.unwrap_or_default()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    // Left behind it does no harm: it is in the system's folder for such things.
    let _ = std::fs::remove_dir_all(folder);
}

fn copy_speed() -> CopySpeed {
    CopySpeed {
        per_task: COPY_TIME,
        ..CopySpeed::default()
    }
}

fn short(digest: &str) -> String {
    digest.chars().take(19).collect()
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(wrong(otherwise()))
    }
}

fn wrong(text: impl Into<String>) -> Failure {
    Failure::unexpected(Code::DemoFailed, text)
}
