//! Where words go: data to standard output, messages to standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::codes::Code;
use crate::failure::{Failure, Result};

/// The form of data on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document with `"schema": 1`.
    Json,
    /// YAML, where something is meant to be saved and edited.
    Yaml,
    /// One JSON document per line.
    Jsonl,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where and how this process speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// As asked for by `-o`.
    pub format: Option<Format>,
    /// No messages but errors.
    pub quiet: bool,
    /// True if a person can be asked: standard input and error are terminals and `--no-input` is not given.
    pub asks: bool,
}

impl Output {
    /// Sets up colour for the process and says how it speaks.
    pub fn new(format: Option<Format>, color: Color, quiet: bool, no_input: bool) -> Output {
        match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Output {
            format,
            quiet,
            asks: terminal && !no_input,
        }
    }

    /// Returns the form asked for, or `default`; refuses a form that the command does not have.
    pub fn form(&self, default: Format, known: &[Format]) -> Result<Format> {
        let form = self.format.unwrap_or(default);
        if known.contains(&form) {
            return Ok(form);
        }
        let words: Vec<String> = known
            .iter()
            .map(|form| format!("{form:?}").to_lowercase())
            .collect();
        let asked = format!("{form:?}").to_lowercase();
        Err(Failure::usage(
            Code::WrongArgument,
            format!("this command has no output as `{asked}`"),
        )
        .hint(format!("use `-o {}`", words.join("` or `-o "))))
    }

    /// Writes data. A reader that has gone away is no error.
    pub fn data(&self, text: &str) {
        let mut to = anstream::stdout().lock();
        let _ = to.write_all(text.as_bytes());
        if !text.ends_with('\n') {
            let _ = to.write_all(b"\n");
        }
        let _ = to.flush();
    }

    /// Writes a value as one JSON document.
    pub fn json<T: Serialize>(&self, value: &T) {
        let text = serde_json::to_string_pretty(value)
            .unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        self.data(&text);
    }

    /// Writes a value as one line of JSON.
    pub fn json_line<T: Serialize>(&self, value: &T) {
        let text = serde_json::to_string(value)
            .unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        self.data(&text);
    }

    /// Writes a message, unless told to be quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }

    /// True if a live view can be drawn on standard error.
    pub fn is_live(&self) -> bool {
        !self.quiet
            && std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// True if standard error takes colour.
    pub fn color(&self) -> bool {
        !matches!(
            anstream::AutoStream::choice(&std::io::stderr()),
            anstream::ColorChoice::Never
        )
    }
}

/// Writes a message that even `-q` does not silence.
pub fn complain(text: &str) {
    let mut to = anstream::stderr().lock();
    let _ = to.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = to.write_all(b"\n");
    }
    let _ = to.flush();
}

/// Writes a question; the answer stands on the same line.
pub fn prompt(text: &str) {
    let mut to = anstream::stderr().lock();
    let _ = to.write_all(text.as_bytes());
    let _ = to.flush();
}

/// Meaning is carried by words; colour only helps the eye.
pub mod style {
    use anstyle::{AnsiColor, Style};

    const OK: Style = AnsiColor::Green.on_default();
    const WARN: Style = AnsiColor::Yellow.on_default();
    const FAIL: Style = AnsiColor::Red.on_default().bold();
    const DIM: Style = Style::new().dimmed();
    const BOLD: Style = Style::new().bold();

    fn paint(style: Style, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        format!("{style}{text}{style:#}")
    }

    /// As it should be.
    pub fn ok(text: &str) -> String {
        paint(OK, text)
    }

    /// A person should know.
    pub fn warn(text: &str) -> String {
        paint(WARN, text)
    }

    /// Wrong.
    pub fn fail(text: &str) -> String {
        paint(FAIL, text)
    }

    /// Less important.
    pub fn dim(text: &str) -> String {
        paint(DIM, text)
    }

    /// More important.
    pub fn bold(text: &str) -> String {
        paint(BOLD, text)
    }
}

/// Lays rows out in columns, two blanks between them. The first row is the head. Cells may be styled.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |text: &str| {
        anstream::adapter::strip_str(text)
            .to_string()
            .chars()
            .count()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            rows.iter()
                .filter_map(|row| row.get(i))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (i, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if i + 1 < row.len() {
                line.push_str(&" ".repeat(widths[i] - width(cell) + 2));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Writes a span such as `0:01`, `4:12` or `1:04:12`.
pub fn clock(span: Duration) -> String {
    let seconds = span.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 {
        format!("{h}:{m:02}:{s:02}")
    } else {
        format!("{m}:{s:02}")
    }
}

/// Writes a span such as `250ms`, `3.2s` or `4m12s`.
pub fn words(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{}ms", span.as_millis()),
        1..=9 => format!("{:.1}s", span.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Returns the span between two times, nothing if they are the wrong way round.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// Writes a time for people: local, with the zone.
pub fn local(at: Timestamp) -> String {
    at.to_zoned_datetime(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_seen() {
        let rows = [
            vec!["SITE".to_owned(), "HEALTH".to_owned()],
            vec![style::ok("dr"), "healthy".to_owned()],
        ];
        let plain = anstream::adapter::strip_str(&table(&rows)).to_string();
        assert_eq!(plain, "  SITE  HEALTH\n  dr    healthy\n");
    }

    #[test]
    fn spans_read_well() {
        let cases = [
            (250, "250ms", "0:00"),
            (3_200, "3.2s", "0:03"),
            (42_000, "42s", "0:42"),
            (252_000, "4m12s", "4:12"),
            (3_852_000, "1h04m", "1:04:12"),
        ];
        for (ms, short, long) in cases {
            let span = Duration::from_millis(ms);
            assert_eq!((words(span).as_str(), clock(span).as_str()), (short, long));
        }
    }
}
