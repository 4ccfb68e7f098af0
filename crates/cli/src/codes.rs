//! The codes of this program's own errors, by family: 1xxx files, 3xxx Harbor, 4xxx DNS, 5xxx engine and state.
//!
//! Errors inside a file have their codes in the definition crate; this table starts above them.

macro_rules! codes {
    ($($name:ident = $code:literal, $meaning:literal;)+) => {
        /// What went wrong. A code keeps its meaning for ever.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $meaning] $name,)+
        }

        impl Code {
            /// Every code with its meaning, in order.
            #[cfg(test)]
            pub const TABLE: &'static [(Code, &'static str, &'static str)] = &[$((Code::$name, $code, $meaning),)+];

            /// Returns the code as it is printed.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)+ }
            }
        }
    };
}

codes! {
    NoConfiguration = "HDR1501", "There is no configuration file.";
    UnreadableFile = "HDR1502", "A file cannot be read or written.";
    UnknownTopology = "HDR1503", "The topology is not in the configuration, or has to be named.";
    UnknownRunbook = "HDR1504", "There is no runbook of that name.";
    UnknownSite = "HDR1505", "The site is not in the configuration.";
    UnresolvedSecret = "HDR1506", "A reference to a secret leads to nothing.";
    NoPlan = "HDR1507", "The runbook cannot become a plan.";
    WrongArgument = "HDR1508", "An argument does not fit.";
    NoPolicies = "HDR3501", "The policies of the pair cannot be found at the Harbors.";
    NoClients = "HDR3502", "The clients of a run cannot be made.";
    NoComparison = "HDR3503", "The sites cannot be compared.";
    HealthyActive = "HDR3504", "An unplanned run while the active is healthy.";
    StateCorrupt = "HDR5001", "The state file is damaged.";
    StateNewer = "HDR5002", "The state file was written by a newer version.";
    StateReadOnly = "HDR5003", "The state file cannot be written.";
    StateFull = "HDR5004", "No space is left for the state file.";
    StateMissing = "HDR5005", "There is no state file.";
    StateSetting = "HDR5006", "A setting that the promises rest on did not take.";
    Unfinished = "HDR5007", "Another run on the topology has not ended.";
    NoRun = "HDR5008", "There is no such run.";
    AmbiguousRun = "HDR5009", "Several runs fit.";
    Fenced = "HDR5010", "Another driver has taken the run over.";
    StateError = "HDR5011", "The database of the state file failed.";
    Held = "HDR5012", "A live driver holds the run.";
    LeaseExpired = "HDR5013", "The lease of this driver ran out.";
    JournalWrong = "HDR5014", "The events of the journal do not add up.";
    StillOwed = "HDR5101", "Something is owed from an earlier run.";
    NothingToMove = "HDR5102", "The clients are already where the run would move them.";
    CommandRefused = "HDR5103", "The run cannot take this command now.";
    ModeUnknown = "HDR5104", "The mode was left out and nobody can be asked.";
    RunRefused = "HDR5106", "A run was refused before it changed anything.";
    StepFailed = "HDR5107", "A step of a run failed.";
    PersonWanted = "HDR5108", "A run waits for a person.";
    UndoLeft = "HDR5109", "An undo is incomplete.";
    SandboxFailed = "HDR5201", "The sandbox did not start.";
    DemoFailed = "HDR5202", "The demonstration did not end as it should.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise() {
        assert!(Code::TABLE.windows(2).all(|pair| pair[0].1 < pair[1].1));
        assert!(
            Code::TABLE
                .iter()
                .all(|(_, code, meaning)| code.len() == 7 && meaning.ends_with('.'))
        );
    }
}
