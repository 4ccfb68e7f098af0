//! How the process ends: one table, the same for every command.

/// The exit codes. They are an interface: scripts branch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; nothing to change; targets met.
    Done,
    /// An error that should not happen: a bug, the disk, the state file.
    Unexpected,
    /// Wrong usage, or an invalid configuration or runbook.
    Usage,
    /// Refused: a precondition is not met; nothing was changed.
    Refused,
    /// The run stopped at a failed step; its state is saved and it can be resumed.
    Stopped,
    /// A person is waited for: an approval, a manual step, or a prompt where nobody can be asked.
    Waiting,
    /// Another run or another driver is in the way.
    Locked,
    /// Finished, but a target (RTO or RPO) was missed.
    TargetMissed,
    /// Ended by a person; with an undo, undone completely.
    Aborted,
    /// The undo is incomplete; the report lists what is left.
    UndoIncomplete,
    /// Differences exist, and `--detailed-exitcode` asked to be told.
    Differs,
    /// SIGINT; the state is saved.
    Interrupted,
    /// SIGTERM; the state is saved.
    Terminated,
}

impl Exit {
    /// Every code with its meaning, in order.
    pub const TABLE: &'static [(Exit, u8, &'static str)] = &[
        (Exit::Done, 0, "done; nothing to change; targets met"),
        (
            Exit::Unexpected,
            1,
            "unexpected error (bug, disk, state file)",
        ),
        (
            Exit::Usage,
            2,
            "wrong usage, or invalid configuration or runbook",
        ),
        (
            Exit::Refused,
            3,
            "refused: a precondition is not met, nothing changed",
        ),
        (
            Exit::Stopped,
            4,
            "run stopped at a failed step; state saved, resumable",
        ),
        (Exit::Waiting, 5, "waits for a person"),
        (Exit::Locked, 6, "another run or driver is in the way"),
        (
            Exit::TargetMissed,
            7,
            "finished, but a target (RTO or RPO) was missed",
        ),
        (Exit::Aborted, 8, "aborted; with --undo, undone completely"),
        (
            Exit::UndoIncomplete,
            9,
            "undo incomplete: the report lists what is left",
        ),
        (Exit::Differs, 10, "differences exist (--detailed-exitcode)"),
        (Exit::Interrupted, 130, "interrupted; state saved"),
        (Exit::Terminated, 143, "terminated; state saved"),
    ];

    /// Returns the number.
    pub fn code(self) -> u8 {
        Exit::TABLE
            .iter()
            .find(|(exit, _, _)| *exit == self)
            .map_or(1, |(_, code, _)| *code)
    }

    /// Writes the table for the help text.
    pub fn help() -> String {
        let mut text = String::from("Exit codes:\n");
        for (_, code, meaning) in Exit::TABLE {
            text.push_str(&format!("  {code:>3}  {meaning}\n"));
        }
        text
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_once_and_in_order() {
        assert!(Exit::TABLE.windows(2).all(|pair| pair[0].1 < pair[1].1));
        for (exit, code, _) in Exit::TABLE {
            assert_eq!(exit.code(), *code);
        }
    }
}
