//! The codes of errors in files: the one table that messages, documents and an explanation on request are made from.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $title:literal, $explanation:literal;)+) => {
        /// What is wrong with a file. Codes keep their meaning for ever; one that is no longer used is not given away again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// Returns the code as it is printed, such as `HDR1002`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)+ }
            }

            /// Returns what is wrong in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)+ }
            }

            /// Returns why it is refused and what to do.
            pub const fn explanation(self) -> &'static str {
                match self { $(Code::$name => $explanation,)+ }
            }
        }
    };
}

codes! {
    /// The text is not YAML.
    NotYaml = "HDR1001", "the file is not YAML",
        "The text could not be read as one YAML 1.2 document. Usual causes: a tab used to indent, a bracket or quote that is not closed, a text with `: ` in it that needs quotes.";
    /// A key that does not exist here.
    UnknownKey = "HDR1002", "unknown key",
        "Keys that the tool does not know are refused, because a misspelled key would otherwise be a setting that silently does not count. The message lists the keys that may stand there.";
    /// A key that must be there is not.
    MissingKey = "HDR1003", "missing key",
        "The map lacks a key that has no default. The message names it; the caret shows the map.";
    /// The same key twice in one map.
    DuplicateKey = "HDR1004", "the same key twice",
        "YAML wants keys to be unique. Which of the two values was meant cannot be known, so neither is taken.";
    /// A value of another type or form.
    InvalidValue = "HDR1005", "a value that does not fit",
        "The value has another type or form than the key takes. Spans of time carry a unit (`10m`), addresses a scheme (`https://`), places to connect to a port.";
    /// A word that is none of those allowed.
    UnknownWord = "HDR1006", "unknown word",
        "The place takes one of a few words, or one of a closed list of kinds, and this is none of them. The message lists those that may stand there.";
    /// A version of the file's shape that this tool does not know.
    Version = "HDR1007", "unknown version of the file",
        "`version` says which shape the file has. This tool knows version 1. A file of a higher version needs a younger tool.";
    /// A secret in place of a reference to it.
    LiteralSecret = "HDR1008", "a secret in the file",
        "Secrets are never written into configuration: it is copied, mailed and committed. Refer to the secret by `env:NAME`, `file:PATH`, `cred:NAME` (systemd) or `exec: [PROGRAM, ARG]`. If the file has been shared, change the secret.";
    /// Too large or too deeply nested, for example by aliases of aliases.
    TooComplex = "HDR1009", "too large or too deeply nested",
        "The document is larger or nested deeper than any configuration needs, often by aliases that contain aliases.";
    /// A site that is not declared.
    UnknownSite = "HDR1101", "unknown site",
        "The name stands under no `sites:`. Sites are named once there, and referred to everywhere else.";
    /// Active and standby are one.
    SameSite = "HDR1102", "active and standby are the same site",
        "A pair has two sites. One that is its own standby cannot be failed over.";
    /// Targets that do not tell the sites of a pair apart.
    Targets = "HDR1103", "targets do not fit the pair",
        "`targets` says what the service record holds when a site serves. It has one entry for each site of the pair, and the values differ, or the record could not tell who serves.";
    /// Faster time where a real Harbor may be.
    TimeScale = "HDR1104", "time scale outside a sandbox",
        "`time-scale` shortens every wait. Against real Harbors that would cut waits they need, so it is refused unless every site is on a loopback address (127.0.0.0/8, ::1, localhost).";
    /// A span that must be longer than nothing.
    NotPositive = "HDR1105", "a span that must be longer than nothing",
        "Objectives, limits and intervals of no length can never be met.";
    /// None or several DNS providers.
    Providers = "HDR1106", "not exactly one DNS provider",
        "This version moves the record at exactly one provider. A name that is served by several must be moved in all of them or in none, which it cannot promise yet.";
    /// Settings that exclude each other.
    Conflict = "HDR1107", "settings that exclude each other",
        "Two settings cannot both be meant, or Harbor cannot do both at once: deletions travel with push events only, and an interval and a cron line are two schedules for one policy.";
    /// A channel that is none or several things.
    Channel = "HDR1108", "a channel that is not exactly one thing",
        "A channel under `notify:` is either a `webhook` or a `command`.";
    /// A name that cannot be one.
    BadName = "HDR1109", "a name that cannot be one",
        "Names of steps, topologies, runbooks and channels have up to 40 lower-case letters, digits and `-`, starting with a letter: they stand in tables, paths and commands.";
    /// Nothing where at least one is needed.
    Empty = "HDR1110", "nothing where at least one is needed",
        "A configuration without sites or topologies, or a runbook without steps, does nothing.";
    /// Two steps with one name.
    DuplicateStep = "HDR1201", "two steps with the same name",
        "Guards, `back-to` and `resume --done` refer to steps by name, so names are unique in a runbook.";
    /// A reference to a step that does not exist.
    UnknownStep = "HDR1202", "unknown step",
        "No step of the runbook has this name.";
    /// A reference to a step that comes later.
    LaterStep = "HDR1203", "a step that comes later",
        "A guard says that something done earlier still holds, and `back-to` leads back. Neither can name the step itself or a later one.";
    /// Two steps that are never taken in one run.
    NeverTogether = "HDR1204", "two steps that are never taken together",
        "The modes of the two steps have nothing in common, so the reference could never count.";
    /// More than one cutover in a mode.
    SeveralCutovers = "HDR1205", "several cutovers in one mode",
        "The cutover is the point of no return. A run has at most one, or it would not be clear when undo ends.";
    /// A role that does not exist.
    UnknownRole = "HDR1206", "unknown role",
        "Steps name `active`, `standby` or `endpoint`, so that one runbook serves both directions, or a site of the configuration.";
    /// A number outside its bounds.
    OutOfRange = "HDR1207", "a number outside its bounds",
        "The number is smaller or larger than makes sense. The message names the bounds.";
    /// A way back across the cutover.
    BackAcrossCutover = "HDR1208", "a way back across the cutover",
        "After the cutover the new side takes writes. Going back to a step before it would overwrite them, so no way leads back across it.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_and_belong_to_the_family_of_files() {
        assert!(
            Code::ALL
                .windows(2)
                .all(|pair| pair[0].as_str() < pair[1].as_str())
        );
        assert!(
            Code::ALL
                .iter()
                .all(|code| code.as_str().starts_with("HDR1") && code.as_str().len() == 7)
        );
    }
}
