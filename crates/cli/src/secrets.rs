//! References to secrets become secrets: once, before anything is changed.
//!
//! A reference is one string: `env:NAME`, `file:PATH`, `cred:NAME` (a file in `$CREDENTIALS_DIRECTORY`) or
//! `exec:PROGRAM ARG ...`, for arguments with blanks `exec:["PROGRAM", "ARG"]`. No message holds a value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use runbook_definition::SecretRef;
use secrecy::SecretString;

use crate::codes::Code;
use crate::failure::{Failure, Result};

/// The longest that a program which prints a secret may take.
const EXEC_LIMIT: Duration = Duration::from_secs(30);

/// Secrets by their references. Clones share them.
#[derive(Clone, Default)]
pub struct Resolved(Arc<BTreeMap<String, SecretString>>);

impl Resolved {
    /// Returns the secret behind a reference.
    pub fn get(&self, reference: &str) -> Option<SecretString> {
        self.0.get(reference).cloned()
    }
}

/// Resolves all references, each given with what it is for. All that lead to nothing are named together.
pub async fn resolve(references: &[(String, String)]) -> Result<Resolved> {
    let mut resolved = BTreeMap::new();
    let mut faults = Vec::new();
    for (purpose, reference) in references {
        if resolved.contains_key(reference) {
            continue;
        }
        match one(reference).await {
            Ok(secret) => drop(resolved.insert(reference.clone(), secret)),
            Err(why) => faults.push(format!("{purpose}: `{}`: {why}", shown(reference))),
        }
    }
    if faults.is_empty() {
        return Ok(Resolved(Arc::new(resolved)));
    }
    let failure = Failure::usage(Code::UnresolvedSecret, "a secret cannot be found");
    Err(faults
        .into_iter()
        .fold(failure, Failure::cause)
        .note("nothing was changed"))
}

/// Writes a reference so that a plan can keep it and a later process can resolve it from any folder.
pub fn text(reference: &SecretRef, folder: &Path) -> String {
    match reference {
        SecretRef::Env(name) => format!("env:{name}"),
        SecretRef::Cred(name) => format!("cred:{name}"),
        SecretRef::File(path) => format!("file:{}", absolute(path, folder).display()),
        SecretRef::Exec(argv)
            if argv
                .iter()
                .any(|arg| arg.is_empty() || arg.contains(char::is_whitespace)) =>
        {
            format!("exec:{}", serde_json::Value::from(argv.clone()))
        }
        SecretRef::Exec(argv) => format!("exec:{}", argv.join(" ")),
    }
}

/// Rewrites a reference that is a text already, as providers of DNS keep it.
pub fn anchor(reference: &mut String, folder: &Path) {
    if let Some(path) = reference.strip_prefix("file:") {
        *reference = format!("file:{}", absolute(path, folder).display());
    }
}

fn absolute(path: &str, folder: &Path) -> PathBuf {
    let path = folder.join(path);
    std::path::absolute(&path).unwrap_or(path)
}

/// What may be shown of a reference: of a program only its name, since somebody will put a password among its
/// arguments in spite of all advice.
fn shown(reference: &str) -> String {
    match reference.split_once(':') {
        Some(("exec", rest)) => {
            let program = arguments(rest)
                .ok()
                .and_then(|argv| argv.into_iter().next())
                .unwrap_or_default();
            format!("exec:{program}")
        }
        Some((scheme @ ("env" | "file" | "cred"), rest)) => format!("{scheme}:{rest}"),
        // Not a reference: most likely the secret itself.
        _ => "?".to_owned(),
    }
}

async fn one(reference: &str) -> std::result::Result<SecretString, String> {
    let (scheme, rest) = reference.split_once(':').ok_or("it is no reference")?;
    let value = match scheme {
        "env" => match std::env::var(rest) {
            Ok(value) => value,
            Err(std::env::VarError::NotPresent) => return Err("the variable is not set".into()),
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err("the variable is not UTF-8".into());
            }
        },
        "file" => read(Path::new(rest))?,
        "cred" => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
                .ok_or("`CREDENTIALS_DIRECTORY` is not set: this process was not started by systemd with credentials")?;
            read(&PathBuf::from(folder).join(rest))?
        }
        "exec" => execute(&arguments(rest)?).await?,
        _ => return Err("it is no reference".into()),
    };
    // One line break at the end belongs to the editor, not to the secret.
    let value = value.strip_suffix('\n').unwrap_or(&value);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err("it is empty".into());
    }
    Ok(SecretString::from(value))
}

fn arguments(text: &str) -> std::result::Result<Vec<String>, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text)
            .map_err(|_| "its arguments are no list of texts".to_owned());
    }
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn read(path: &Path) -> std::result::Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => "the file is not UTF-8".to_owned(),
        _ => error.to_string(),
    })
}

async fn execute(argv: &[String]) -> std::result::Result<String, String> {
    let [program, arguments @ ..] = argv else {
        return Err("it names no program".into());
    };
    let run = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it complains about may hold the secret.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(EXEC_LIMIT, run)
        .await
        .map_err(|_| format!("it did not end within {} s", EXEC_LIMIT.as_secs()))?
        .map_err(|error| error.to_string())?;
    if !done.status.success() {
        return Err(format!("it ended with {}", done.status));
    }
    String::from_utf8(done.stdout).map_err(|_| "what it prints is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn references(list: &[(&str, String)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(purpose, reference)| ((*purpose).to_owned(), reference.clone()))
            .collect()
    }

    fn made_up() -> String {
        format!("s{:x}", crate::chance::number())
    }

    #[tokio::test]
    async fn files_and_programs_give_secrets_without_the_last_line_break() {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = made_up();
        std::fs::write(folder.path().join("p"), format!("{secret}\n")).expect("a file");
        let mut file = "file:p".to_owned();
        anchor(&mut file, folder.path());
        let exec = text(
            &SecretRef::Exec(vec!["printf".into(), "%s\n".into(), secret.clone()]),
            folder.path(),
        );
        let found = resolve(&references(&[("a", file.clone()), ("b", exec.clone())]))
            .await
            .expect("both");
        for reference in [&file, &exec] {
            assert_eq!(
                found.get(reference).expect("resolved").expose_secret(),
                secret
            );
        }
    }

    #[tokio::test]
    async fn all_that_lead_nowhere_are_named_and_no_value_is() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("empty"), "\n").expect("a file");
        let secret = made_up();
        let list = references(&[
            (
                "password of site `dr`",
                "env:RUNBOOK_TEST_IS_NOT_SET".into(),
            ),
            (
                "the DNS provider",
                format!("file:{}", folder.path().join("empty").display()),
            ),
            ("channel `ops`", format!("exec:false {secret}")),
            ("the client probe", secret.clone()),
        ]);
        let failure = resolve(&list)
            .await
            .err()
            .expect("none of them leads anywhere");
        let text = failure
            .render()
            .replace(&folder.path().display().to_string(), "DIR");
        assert!(!text.contains(&secret));
        insta::assert_snapshot!(anstream::adapter::strip_str(&text), @r"
        error[HDR1506]: a secret cannot be found
          caused by: password of site `dr`: `env:RUNBOOK_TEST_IS_NOT_SET`: the variable is not set
          caused by: the DNS provider: `file:DIR/empty`: it is empty
          caused by: channel `ops`: `exec:false`: it ended with exit status: 1
          caused by: the client probe: `?`: it is no reference
        note: nothing was changed
        ");
    }
}
