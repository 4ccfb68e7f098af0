//! What is wrong with a file, for people: message, place, caret, what may stand there.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, NamedSource,
    SourceCode, SourceSpan, SpanContents,
};

use crate::codes::Code;
use crate::mask::{self, is_control};

/// Everything that is wrong with one file, in the order of the places. Never empty.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    findings: Vec<Finding>,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug)]
pub struct Finding {
    code: Code,
    message: String,
    help: Option<String>,
    label: Option<LabeledSpan>,
    /// A second place, such as that of the first of two things with one name.
    related: Option<LabeledSpan>,
    source: Arc<Source>,
}

/// A file as it may be shown: its name, and its text with everything covered that may be a secret.
pub(crate) struct Source {
    shown: NamedSource<String>,
    covered: Vec<Range<usize>>,
    literals: Vec<String>,
}

impl Source {
    pub(crate) fn new(file_name: &str, text: &str) -> Arc<Self> {
        let masked = mask::mask(text);
        let name: String = file_name
            .chars()
            .map(|c| if is_control(c) { '?' } else { c })
            .collect();
        Arc::new(Self {
            shown: NamedSource::new(name, masked.text),
            covered: masked.covered,
            literals: masked.literals,
        })
    }

    /// Returns the text with secrets covered; offsets are those of the file.
    pub(crate) fn text(&self) -> &str {
        self.shown.inner()
    }

    /// Returns the first place within `range` where something was covered.
    pub(crate) fn covered_in(&self, range: &Range<usize>) -> Option<Range<usize>> {
        self.covered
            .iter()
            .find(|covered| range.start <= covered.start && covered.end <= range.end)
            .cloned()
    }

    /// Returns the extent of the map or list that begins at a place: of those the reader only tells the beginning.
    pub(crate) fn extent(&self, start: usize) -> Range<usize> {
        let text = self.text();
        let Some(rest) = text.get(start..) else {
            return start..start;
        };
        if rest.starts_with(['{', '[']) {
            return start..(mask::flow_end(text, start) + 1).min(text.len());
        }
        let column = start - text[..start].rfind('\n').map_or(0, |at| at + 1);
        let mut end = start;
        for (i, line) in rest.split_inclusive('\n').enumerate() {
            if i > 0 && !line.trim().is_empty() && mask::spaces(line) < column {
                break;
            }
            end += line.len();
        }
        start..end
    }

    /// Clears a message of what was covered and of characters that would steer a terminal.
    fn clear(&self, message: &str) -> String {
        let mut clear = message.to_owned();
        for literal in &self.literals {
            clear = clear.replace(literal.as_str(), "***");
        }
        clear
            .chars()
            .map(|c| if is_control(c) { '?' } else { c })
            .collect()
    }

    /// Makes a range presentable: within the text, on whole characters, on one line and at least one character long.
    fn fit(&self, range: Range<usize>) -> Range<usize> {
        let text = self.text();
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(range.start);
        // Of a map or list the reader only tells the first character: show all of it, or else its first word.
        let range = match &text[start..] {
            _ if range.len() > 1 => range,
            rest if rest.starts_with(['{', '[']) => self.extent(start),
            rest => {
                start
                    ..start
                        + rest
                            .find(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.'))
                            .unwrap_or(rest.len())
            }
        };
        let line = &text[start..];
        let line_end = start + line.find('\n').unwrap_or(line.len());
        let end = floor(range.end).clamp(start, line_end);
        let end = start + text[start..end].trim_end().len();
        let first = text[start..line_end]
            .chars()
            .next()
            .map_or(0, char::len_utf8);
        start..end.max(start + first)
    }
}

/// Shows the lines of a place, and none around them: the neighbours say nothing of what is wrong, and each line that
/// is not shown cannot show what it should not.
impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = self.text();
        // Without lines around it the bare place is wanted, to tell its line and column.
        let whole = if lines_before + lines_after == 0 {
            *span
        } else {
            let start = text
                .get(..span.offset())
                .and_then(|before| before.rfind('\n'))
                .map_or(0, |at| at + 1);
            let end = span.offset().saturating_add(span.len());
            let end = text
                .get(end..)
                .and_then(|after| after.find('\n'))
                .map_or(text.len(), |at| end + at);
            SourceSpan::from(start..end)
        };
        self.shown.read_span(&whole, 0, 0)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.shown.name())
            .finish_non_exhaustive()
    }
}

impl Finding {
    pub(crate) fn new(
        source: &Arc<Source>,
        code: Code,
        range: Option<Range<usize>>,
        message: impl AsRef<str>,
    ) -> Self {
        Self {
            code,
            message: source.clear(message.as_ref()),
            help: None,
            label: range.map(|range| LabeledSpan::at(source.fit(range), code.title())),
            related: None,
            source: Arc::clone(source),
        }
    }

    pub(crate) fn help(mut self, help: impl AsRef<str>) -> Self {
        self.help = Some(self.source.clear(help.as_ref()));
        self
    }

    /// Writes `label` under the place, instead of the title of the code.
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        let text = self.source.clear(&label.into());
        self.label = self
            .label
            .map(|old| LabeledSpan::at(old.offset()..old.offset() + old.len(), text));
        self
    }

    /// Points at a second place.
    pub(crate) fn see(mut self, range: Option<Range<usize>>, label: impl Into<String>) -> Self {
        let text = self.source.clear(&label.into());
        self.related = range.map(|range| LabeledSpan::at(self.source.fit(range), text));
        self
    }

    /// Returns the code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the message: a lower-case fragment without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what to do, or what may stand there.
    pub fn hint(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Returns the name of the file.
    pub fn file(&self) -> &str {
        self.source.shown.name()
    }

    /// Returns line and column of the place, both counted from 1, the column in characters.
    pub fn position(&self) -> Option<(usize, usize)> {
        let before = &self.source.text()[..self.label.as_ref()?.offset()];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some((
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        ))
    }

    fn offset(&self) -> usize {
        self.label.as_ref().map_or(0, LabeledSpan::offset)
    }
}

/// `file:line:column: message`, the form that editors follow.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file())?;
        if let Some((line, column)) = self.position() {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {} [{}]", self.message, self.code)
    }
}

impl std::error::Error for Finding {}

impl Diagnostic for Finding {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = self.label.clone()?;
        Some(Box::new(std::iter::once(label).chain(self.related.clone())))
    }
}

/// The finding as `render` shows it: the message without the place, which stands above the line already, and texts
/// broken between words. The drawing library would break at hyphens, and so the names of keys.
struct Shown<'a> {
    finding: &'a Finding,
    message: String,
    help: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(finding: &'a Finding, width: usize) -> Self {
        let help = finding
            .help
            .as_ref()
            .map(|help| wrap(help, width.saturating_sub(8)));
        Self {
            finding,
            message: wrap(&finding.message, width.saturating_sub(4)),
            help,
        }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.finding.fmt(f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Diagnostic::code(self.finding)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.finding.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.finding.labels()
    }
}

impl Diagnostics {
    /// Collects findings. None when there are none.
    pub(crate) fn new(mut findings: Vec<Finding>) -> Option<Self> {
        findings.sort_by_key(|finding| (finding.offset(), finding.code));
        (!findings.is_empty()).then_some(Self { findings })
    }

    /// Returns what is wrong, in the order of the places.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the codes, in the order of the places.
    pub fn codes(&self) -> Vec<Code> {
        self.findings.iter().map(Finding::code).collect()
    }

    /// Draws everything with the lines of the file and carets under them, `width` columns wide. The text is the same
    /// on a terminal and in a log, but for colour.
    pub fn render(&self, color: bool, width: usize) -> String {
        let theme = if color {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(width)
            .with_context_lines(1)
            .with_wrap_lines(false);
        let mut text = String::new();
        for finding in &self.findings {
            if !text.is_empty() {
                text.push('\n');
            }
            let before = text.len();
            if handler
                .render_report(&mut text, &Shown::new(finding, width))
                .is_err()
            {
                // The drawing failed half-way; the bare line says the same.
                text.truncate(before);
                text.push_str(&finding.to_string());
                text.push('\n');
            }
        }
        text
    }
}

impl From<Finding> for Diagnostics {
    fn from(finding: Finding) -> Self {
        Self {
            findings: vec![finding],
        }
    }
}

/// One line for each finding.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.findings.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostic for Diagnostics {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.findings
                .iter()
                .map(|finding| finding as &dyn Diagnostic),
        ))
    }
}

/// Breaks a text into lines of at most `width` characters, at blanks outside of backticks. A longer word stays whole.
fn wrap(text: &str, width: usize) -> String {
    let mut quoted = false;
    let words = text.split(|c: char| {
        quoted ^= c == '`';
        c == ' ' && !quoted
    });
    let mut wrapped = String::with_capacity(text.len());
    let mut column = 0;
    for word in words {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            wrapped.push('\n');
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}
