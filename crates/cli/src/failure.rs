//! What a command says when it fails: what happened, why, how the world was left, what to type next.

use std::error::Error as StdError;
use std::fmt::Write as _;

use runbook_definition::Diagnostics;
use runbook_engine::journal::JournalError;
use runbook_engine::lease::AcquireError;
use runbook_engine::runlog::{Lost, ResumeError};

use crate::codes::Code;
use crate::exit::Exit;
use crate::output::style;

/// The result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a command failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// Apart, so that a result is not larger for what is rarely there.
    told: Box<Told>,
}

/// What is said of it.
#[derive(Clone, Debug, Default)]
struct Told {
    code: Option<Code>,
    text: String,
    causes: Vec<String>,
    notes: Vec<String>,
    hints: Vec<String>,
    /// Errors in files, already drawn with their places.
    drawn: Option<String>,
}

impl Failure {
    /// A failure that ends with `exit`.
    pub fn new(exit: Exit, code: Code, text: impl Into<String>) -> Failure {
        let told = Told {
            code: Some(code),
            text: text.into(),
            ..Told::default()
        };
        Failure {
            exit,
            told: Box::new(told),
        }
    }

    /// Wrong usage.
    pub fn usage(code: Code, text: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, code, text)
    }

    /// A precondition that is not met. Nothing was changed.
    pub fn refused(code: Code, text: impl Into<String>) -> Failure {
        Failure::new(Exit::Refused, code, text).note("nothing was changed")
    }

    /// An error that should not happen.
    pub fn unexpected(code: Code, text: impl Into<String>) -> Failure {
        Failure::new(Exit::Unexpected, code, text)
    }

    /// Errors in a file.
    pub fn in_file(diagnostics: &Diagnostics, color: bool, width: usize) -> Failure {
        let told = Told {
            drawn: Some(diagnostics.render(color, width)),
            ..Told::default()
        };
        Failure {
            exit: Exit::Usage,
            told: Box::new(told),
        }
    }

    /// Adds an error and its causes, outermost first.
    pub fn because(mut self, error: &dyn StdError) -> Failure {
        let mut next = Some(error);
        while let Some(error) = next {
            let line = error.to_string();
            if !self.told.causes.contains(&line) && self.told.text != line {
                self.told.causes.push(line);
            }
            next = error.source();
        }
        self
    }

    /// Adds a cause in words.
    pub fn cause(mut self, text: impl Into<String>) -> Failure {
        self.told.causes.push(text.into());
        self
    }

    /// Adds how the world was left.
    pub fn note(mut self, text: impl Into<String>) -> Failure {
        self.told.notes.push(text.into());
        self
    }

    /// Adds what to type next.
    pub fn hint(mut self, text: impl Into<String>) -> Failure {
        self.told.hints.push(text.into());
        self
    }

    /// Writes it for a person, styled.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Some(drawn) = &self.told.drawn {
            let _ = writeln!(text, "{}", drawn.trim_end());
        }
        if !self.told.text.is_empty() {
            let code = self
                .told
                .code
                .map_or_else(String::new, |code| format!("[{}]", code.as_str()));
            let _ = writeln!(text, "{}{code}: {}", style::fail("error"), self.told.text);
        }
        let rest = [
            ("  caused by", &self.told.causes),
            ("note", &self.told.notes),
            ("hint", &self.told.hints),
        ];
        for (word, lines) in rest {
            for line in lines {
                // A question may have several lines: the ones after the first stand under it.
                let line = line.trim_end().replace('\n', "\n      ");
                let _ = writeln!(text, "{word}: {line}");
            }
        }
        text
    }

    /// Returns the code, if it has one.
    #[cfg(test)]
    pub fn code(&self) -> Option<Code> {
        self.told.code
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Failure {
        let unchanged = "what runs have changed so far stays as it is; the journal holds everything up to the last event";
        let code = match &error {
            JournalError::Corrupt { .. } => Code::StateCorrupt,
            JournalError::Newer { .. } => Code::StateNewer,
            JournalError::ReadOnly { .. } => Code::StateReadOnly,
            JournalError::Full { .. } => Code::StateFull,
            JournalError::Missing { .. } => Code::StateMissing,
            JournalError::Pragma { .. } => Code::StateSetting,
            JournalError::Unfinished { .. } => Code::Unfinished,
            JournalError::NoRun(_) => Code::NoRun,
            JournalError::Ambiguous(_) => Code::AmbiguousRun,
            JournalError::Fenced => Code::Fenced,
            JournalError::Database { .. } => Code::StateError,
        };
        let exit = match &error {
            JournalError::Unfinished { .. } | JournalError::Fenced => Exit::Locked,
            JournalError::NoRun(_) | JournalError::Ambiguous(_) | JournalError::Missing { .. } => {
                Exit::Usage
            }
            _ => Exit::Unexpected,
        };
        let failure = Failure::new(exit, code, error.to_string()).because(&error);
        match &error {
            JournalError::Corrupt { path, .. } => failure.note(unchanged).hint(format!(
                "keep the file for inspection and go on with a copy of an earlier one: `runbook --state COPY runs`; `{}` was not touched",
                path.display()
            )),
            JournalError::Newer { .. } => failure.note(unchanged).hint("use the newer runbook, or another file with `--state FILE`"),
            JournalError::ReadOnly { .. } => {
                failure.note(unchanged).hint("make it writable, then `runbook resume`, or name another file with `--state FILE`")
            }
            JournalError::Full { .. } => failure.note(unchanged).hint("free some space, then `runbook resume`"),
            JournalError::Missing { .. } => failure.hint("`runbook run failover` makes it; `--state FILE` names another one"),
            JournalError::Pragma { .. } => failure
                .note("nothing was changed")
                .hint("put the state file on a local disk: `--state FILE`; network file systems refuse this"),
            JournalError::Unfinished { run, .. } => failure
                .note("nothing was changed")
                .hint(format!("go on with it: `runbook resume {run}`; look: `runbook show {run}`; end it: `runbook abort {run}`")),
            JournalError::NoRun(_) | JournalError::Ambiguous(_) => failure.hint("list them with `runbook runs`"),
            JournalError::Fenced => {
                failure.note("this process wrote nothing more and sends nothing more").hint("look: `runbook runs`")
            }
            JournalError::Database { .. } => failure.note(unchanged).hint("once the cause is gone: `runbook resume`"),
        }
    }
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Failure {
        match lost {
            Lost::Journal(error) => error.into(),
            Lost::Expired => Failure::new(Exit::Locked, Code::LeaseExpired, lost.to_string())
                .cause("this process was stopped or suspended for longer than its lease")
                .note("it wrote nothing more and sends nothing more than the request that was under way")
                .hint("go on with `runbook resume`"),
            Lost::Fold(error) => Failure::unexpected(Code::JournalWrong, "the journal of the run does not add up")
                .because(&error)
                .note("nothing more was sent")
                .hint("keep the state file for inspection; the events: `runbook journal RUN`"),
        }
    }
}

impl From<AcquireError> for Failure {
    fn from(error: AcquireError) -> Failure {
        match error {
            AcquireError::Journal(error) => error.into(),
            AcquireError::Held { ref run, .. } => {
                let hint = format!(
                    "watch it: `runbook show {run} --watch`; end it: `runbook abort {run}`"
                );
                Failure::new(Exit::Locked, Code::Held, error.to_string())
                    .note("nothing was changed")
                    .hint(hint)
            }
        }
    }
}

impl From<ResumeError> for Failure {
    fn from(error: ResumeError) -> Failure {
        match error {
            ResumeError::Acquire(error) => error.into(),
            ResumeError::Journal(error) => error.into(),
            ResumeError::Lost(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(failure: &Failure) -> String {
        anstream::adapter::strip_str(&failure.render()).to_string()
    }

    #[test]
    fn an_error_says_why_what_is_left_and_what_to_type() {
        let failure: Failure = AcquireError::Held {
            run: "7f3k".into(),
            owner: "ana@jump".into(),
            pid: 41,
            until: jiff::Timestamp::UNIX_EPOCH,
        }
        .into();
        assert_eq!(failure.exit, Exit::Locked);
        insta::assert_snapshot!(plain(&failure), @r"
        error[HDR5012]: run `7f3k` is being driven by ana@jump (process 41)
        note: nothing was changed
        hint: watch it: `runbook show 7f3k --watch`; end it: `runbook abort 7f3k`
        ");
    }

    #[test]
    fn causes_stand_once() {
        let inner = std::io::Error::other("disk on fire");
        let failure = Failure::unexpected(Code::UnreadableFile, "cannot read `x`")
            .because(&inner)
            .because(&inner);
        assert_eq!(
            plain(&failure),
            "error[HDR1502]: cannot read `x`\n  caused by: disk on fire\n"
        );
    }

    #[test]
    fn a_run_in_the_way_locks_and_a_full_disk_does_not() {
        let locked: Failure = JournalError::Unfinished {
            run: "a".into(),
            topology: "dr".into(),
        }
        .into();
        assert_eq!(
            (locked.exit, locked.code()),
            (Exit::Locked, Some(Code::Unfinished))
        );
        let full: Failure = JournalError::Full { path: "/x".into() }.into();
        assert_eq!(
            (full.exit, full.code()),
            (Exit::Unexpected, Some(Code::StateFull))
        );
        assert!(plain(&full).contains("runbook resume"));
    }
}
