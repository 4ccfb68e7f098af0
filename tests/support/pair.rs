//! A sandbox pair in this process and the real binary beside it.
//!
//! The sandbox lives in the test's own process, so it survives a driver that is killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use runbook_sim::{Sandbox, SandboxOptions};
use tokio::process::{Child, Command};

/// The longest that one command may take in a test. A command that hangs is a failure, not a wait.
const LIMIT: Duration = Duration::from_secs(120);

/// A sandbox, its `runbook.yaml` and a state file.
pub struct Pair {
    /// The world.
    pub sandbox: Sandbox,
    folder: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Messages.
    pub stderr: String,
}

impl Pair {
    /// Starts a sandbox and writes its configuration.
    pub async fn start(options: SandboxOptions) -> Pair {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sandbox = Sandbox::start(options).await.expect("a sandbox starts");
        let folder = tempfile::tempdir().expect("a folder");
        let secrets = folder.path().join("secrets");
        std::fs::create_dir(&secrets).expect("a folder for secrets");
        let yaml = sandbox.runbook_yaml(&secrets).expect("the configuration");
        std::fs::write(folder.path().join("runbook.yaml"), yaml)
            .expect("the configuration is written");
        Pair { sandbox, folder }
    }

    /// Where configuration and state are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.folder().join("runbook.yaml")
    }

    /// The state file.
    pub fn state(&self) -> PathBuf {
        self.folder().join("state.db")
    }

    /// Rewrites the configuration.
    pub fn edit_config(&self, change: impl Fn(String) -> String) {
        let text = std::fs::read_to_string(self.config()).expect("the configuration");
        std::fs::write(self.config(), change(text)).expect("the configuration is written");
    }

    /// A command of the real binary, with nothing of this process's environment that it reads.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runbook"));
        command
            .args(arguments)
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder())
            .env("USER", "operator")
            .env("RUNBOOK_STATE", self.state())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs the binary to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        finish(
            self.command(arguments).spawn().expect("the binary starts"),
            arguments,
        )
        .await
    }

    /// Runs the binary and expects an exit code.
    pub async fn expect(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments).await;
        assert_eq!(
            ran.code,
            Some(code),
            "runbook {}\n--- stdout\n{}\n--- stderr\n{}",
            arguments.join(" "),
            ran.stdout,
            ran.stderr
        );
        ran
    }

    /// Starts the binary and lets it go on.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the binary starts")
    }
}

/// Waits for a command and takes what it printed. One that hangs is killed and shown.
pub async fn finish(mut child: Child, arguments: &[&str]) -> Ran {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reading = tokio::spawn(async move { tokio::join!(text(stdout), text(stderr)) });
    let ended = tokio::time::timeout(LIMIT, child.wait()).await;
    if ended.is_err() {
        child.kill().await.expect("the binary can be killed");
    }
    let (stdout, stderr) = reading.await.expect("what it printed");
    let words = arguments.join(" ");
    let Ok(status) = ended else {
        panic!(
            "runbook {words} did not end within {LIMIT:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        );
    };
    let code = status.expect("the binary can be waited for").code();
    Ran {
        code,
        stdout,
        stderr,
    }
}

async fn text(from: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut bytes)
            .await
            .expect("what it prints can be read");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
