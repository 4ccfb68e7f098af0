//! Which files a process works with. Together with `secrets.rs` the only place that reads the environment.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runbook_engine::journal::{Journal, JournalError, RunRow};
use runbook_engine::lease::Holder;

use crate::args::Global;
use crate::codes::Code;
use crate::failure::{Failure, Result};

/// The name of the configuration in a project's folder.
pub const CONFIG: &str = "runbook.yaml";

/// Which files, and who.
#[derive(Clone, Debug)]
pub struct Settings {
    config: Option<PathBuf>,
    state: Option<PathBuf>,
    /// For people: `user@host`.
    pub who: String,
}

impl Settings {
    /// Reads flags and environment.
    pub fn new(global: &Global) -> Settings {
        let user = ["SUDO_USER", "USER", "LOGNAME"]
            .iter()
            .find_map(|name| env::var(name).ok())
            .unwrap_or_else(|| "somebody".into());
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Settings {
            config: global.config.clone(),
            state: global.state.clone(),
            who: format!("{user}@{host}"),
        }
    }

    /// Returns the configuration: the one named, or `runbook.yaml` here or above up to the root of the repository,
    /// or the user's, or the system's.
    pub fn config(&self) -> Result<PathBuf> {
        if let Some(path) = &self.config {
            return Ok(path.clone());
        }
        let here = env::current_dir().unwrap_or_default();
        let user =
            folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("runbook").join(CONFIG));
        upward(&here)
            .or_else(|| user.filter(|path| path.is_file()))
            .or_else(|| Some(PathBuf::from("/etc/runbook").join(CONFIG)).filter(|path| path.is_file()))
            .ok_or_else(|| {
                Failure::usage(Code::NoConfiguration, format!("there is no `{CONFIG}` in this folder or above"))
                    .hint("name it with `--config FILE`, or try without Harbors: `runbook demo`, `runbook sandbox up`")
            })
    }

    /// Returns where the runs are kept.
    pub fn state(&self) -> Result<PathBuf> {
        if let Some(path) = &self.state {
            return Ok(path.clone());
        }
        // systemd names the folders, separated by colons; the first is the service's own.
        let service = env::var("STATE_DIRECTORY")
            .ok()
            .and_then(|folders| folders.split(':').next().map(PathBuf::from));
        service
            .map(|folder| folder.join("state.db"))
            .or_else(|| {
                folder("XDG_STATE_HOME", ".local/state")
                    .map(|folder| folder.join("runbook").join("state.db"))
            })
            .ok_or_else(|| {
                Failure::usage(
                    Code::StateMissing,
                    "there is no folder for the state file: `HOME` is not set",
                )
                .hint("name the file with `--state FILE`")
            })
    }

    /// Returns where inventories are kept: a file of their own, so that watching never delays a run.
    pub fn inventory(&self) -> Result<PathBuf> {
        Ok(self.state()?.with_file_name("inventory.db"))
    }

    /// Opens the runs for looking; nothing if there were none yet.
    pub async fn look(&self) -> Result<Option<Journal>> {
        let path = self.state()?;
        if !path.exists() {
            return Ok(None);
        }
        match Journal::open_read(&path).await {
            // A file in which nothing was ever kept.
            Err(JournalError::Missing { .. }) => Ok(None),
            opened => Ok(Some(opened?)),
        }
    }

    /// Opens the runs for looking; there must be some.
    pub async fn look_at_runs(&self) -> Result<Journal> {
        Ok(Journal::open_read(&self.state()?).await?)
    }

    /// Opens the runs for sending a command.
    pub async fn inbox(&self) -> Result<Journal> {
        Ok(Journal::open_inbox(&self.state()?).await?)
    }

    /// Opens the runs for driving one.
    pub async fn drive(&self) -> Result<Arc<Journal>> {
        Ok(Arc::new(Journal::open(&self.state()?).await?))
    }

    /// Returns this process as a driver.
    pub fn holder(&self) -> Holder {
        Holder::this_process(&self.who)
    }
}

/// Finds the run that is meant: the one named, or the only unfinished one.
pub async fn unfinished(journal: &Journal, named: Option<&str>) -> Result<Option<RunRow>> {
    if let Some(id) = named {
        return Ok(Some(journal.find(id).await?));
    }
    let mut open: Vec<RunRow> = journal
        .runs()
        .await?
        .into_iter()
        .filter(|run| run.finished_at.is_none())
        .collect();
    if open.len() > 1 {
        let ids: Vec<String> = open
            .iter()
            .map(|run| format!("`{}` ({})", run.id, run.topology))
            .collect();
        return Err(Failure::usage(
            Code::AmbiguousRun,
            format!("several runs have not ended: {}", ids.join(", ")),
        )
        .hint("name one of them"));
    }
    Ok(open.pop())
}

/// Finds the run that is meant: the one named, or the newest.
pub async fn newest(journal: &Journal, named: Option<&str>) -> Result<RunRow> {
    match named {
        Some(id) => Ok(journal.find(id).await?),
        None => journal.runs().await?.into_iter().next().ok_or_else(no_runs),
    }
}

/// Every run is over.
pub fn nothing_unfinished() -> Failure {
    Failure::refused(Code::NoRun, "every run is over").hint("list them with `runbook runs`")
}

/// There was no run yet.
fn no_runs() -> Failure {
    Failure::usage(Code::NoRun, "there is no run yet")
        .hint("rehearse one: `runbook run failover --dry-run`")
}

/// Reads a text file.
pub fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(
            Code::UnreadableFile,
            format!("cannot read `{}`", path.display()),
        )
        .because(&error)
    })
}

fn upward(from: &Path) -> Option<PathBuf> {
    for folder in from.ancestors() {
        let path = folder.join(CONFIG);
        if path.is_file() {
            return Some(path);
        }
        if folder.join(".git").exists() {
            break;
        }
    }
    None
}

fn folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let named = env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    named.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(below_home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_at_the_root_of_the_repository() {
        let root = tempfile::tempdir().expect("a folder");
        let inner = root.path().join("repository/a/b");
        std::fs::create_dir_all(&inner).expect("folders");
        std::fs::write(root.path().join(CONFIG), "").expect("a file");
        assert_eq!(upward(&inner), Some(root.path().join(CONFIG)));
        std::fs::create_dir(root.path().join("repository/.git")).expect("a folder");
        assert_eq!(upward(&inner), None);
        std::fs::write(root.path().join("repository").join(CONFIG), "").expect("a file");
        assert_eq!(
            upward(&inner),
            Some(root.path().join("repository").join(CONFIG))
        );
    }
}
