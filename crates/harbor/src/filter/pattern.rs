//! The globs of Harbor's filters.
//!
//! Harbor matches with version 1.3.4 of a glob library whose behaviour has corners: `{a,a/b}` does not match
//! `a`, `v*{,x}` does not match `v`. A comparison has to have the scope of the policy and not of a better
//! glob, so the corners are kept: a pattern is compiled into steps that decide in that library's order.
//!
//! * `*` any run within a segment, `?` one character, `[a-z]` and `[^a-z]` one of a class; none crosses `/`
//! * `**` any number of segments, only as a whole segment of the written pattern
//! * `{a,b}` alternatives, which may hold anything; `\` takes the next character literally
//! * everything else, `!` included, is itself; the whole text has to match; the empty pattern matches all

use std::collections::HashMap;

use thiserror::Error;

/// The longest pattern that is compiled, in bytes.
const MAX_LENGTH: usize = 4096;
/// The most pieces that a pattern may be compiled into; alternatives multiply them.
const MAX_PIECES: usize = 4096;

/// A compiled glob.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    /// What is to be done with a list of segments; the first is the whole pattern.
    lists: Vec<List>,
    /// What is to be done with one segment.
    segments: Vec<Segment>,
}

/// Why a pattern is malformed. Harbor stores it all the same, and each run that meets it fails.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadPattern {
    /// `[` without `]`.
    #[error("a `[` is never closed")]
    UnclosedClass,
    /// `[]`.
    #[error("a `[]` is empty")]
    EmptyClass,
    /// A `-` without a character on both sides, or a `\` at the end of a class.
    #[error("a range in `[...]` is not complete")]
    BadRange,
    /// `{` without `}`.
    #[error("a `{{` is never closed")]
    UnclosedAlternatives,
    /// A `\` at the end.
    #[error("nothing follows the last `\\`")]
    DanglingEscape,
    /// Longer than any sensible pattern, or with too many alternatives.
    #[error("the pattern is too large")]
    TooLarge,
    /// A `/` within `{...}` at a place where Harbor's library stumbles over it, for this text.
    #[error("`{{...}}` with a `/` in it fails on this text")]
    SlashInAlternatives,
}

#[derive(Clone, Debug)]
enum List {
    /// `**` as the last segment.
    Everything,
    /// `**/` and then this list, at any segment.
    Anywhere(usize),
    /// This segment first.
    First(usize),
}

#[derive(Clone, Debug)]
struct Segment {
    steps: Vec<Step>,
    /// What happens when the text ends before step `i`; one more entry than steps.
    ends: Vec<End>,
}

#[derive(Clone, Debug)]
enum Step {
    Char(char),
    Any,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `*` before something else of the same segment.
    Star,
    /// `*` at the end of the pattern.
    StarToEnd,
    /// `*` before a `/`: then this list.
    StarThen(usize),
    /// Each alternative with all that follows.
    Alternatives(Vec<usize>),
    /// A `/` while text of the segment is left.
    Slash,
}

#[derive(Clone, Copy, Debug)]
enum End {
    No,
    Done,
    Then(usize),
    Bad,
}

/// What one segment of the text led to.
enum Hit {
    No,
    /// No, and starting later in the text would not help.
    Exhausted,
    /// The pattern is at its end.
    Done,
    /// The next segments have to match this list.
    Then(usize),
    /// The next segments have to match one of these lists.
    ThenOne(Vec<usize>),
    Bad,
}

impl Pattern {
    /// Compiles a pattern. A malformed one is refused even where Harbor, which looks only as far as a text
    /// leads it, would not notice for some texts.
    pub fn parse(text: &str) -> Result<Pattern, BadPattern> {
        if text.len() > MAX_LENGTH {
            return Err(BadPattern::TooLarge);
        }
        let mut compiler = Compiler::default();
        compiler.list(text.to_owned());
        while let Some(work) = compiler.next.pop() {
            if compiler.lists.len() + compiler.segments.len() > MAX_PIECES {
                return Err(BadPattern::TooLarge);
            }
            match work {
                Work::List(id, text) => compiler.lists[id] = compiler.compile_list(&text),
                Work::Segment(id, text) => {
                    compiler.segments[id] = compiler.compile_segment(&text)?
                }
            }
        }
        Ok(Pattern {
            text: text.to_owned(),
            lists: compiler.lists,
            segments: compiler.segments,
        })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether all of `text` matches. A text on which Harbor's run would fail does not match; see
    /// [`Pattern::check`].
    pub fn matches(&self, text: &str) -> bool {
        self.check(text).unwrap_or(false)
    }

    /// Like [`Pattern::matches`], telling apart the texts on which a run in Harbor fails.
    pub fn check(&self, text: &str) -> Result<bool, BadPattern> {
        if self.text.is_empty() {
            return Ok(true);
        }
        self.match_list(0, text)
    }

    fn match_list(&self, list: usize, text: &str) -> Result<bool, BadPattern> {
        let segment = match self.lists[list] {
            List::Everything => return Ok(true),
            List::Anywhere(rest) => {
                let mut from = text;
                loop {
                    // An error counts as no here, in the library too.
                    if self.match_list(rest, from).unwrap_or(false) {
                        return Ok(true);
                    }
                    match from.split_once('/') {
                        Some((_, next)) => from = next,
                        None => return Ok(false),
                    }
                }
            }
            List::First(segment) => segment,
        };
        let (first, rest) = match text.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (text, None),
        };
        match (self.match_segment(segment, 0, first), rest) {
            (Hit::Bad, _) => Err(BadPattern::SlashInAlternatives),
            (Hit::Done, None) => Ok(true),
            (Hit::Then(list), Some(rest)) => self.match_list(list, rest),
            (Hit::ThenOne(lists), Some(rest)) => {
                for list in lists {
                    if self.match_list(list, rest)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Hit::No | Hit::Exhausted | Hit::Done | Hit::Then(_) | Hit::ThenOne(_), _) => Ok(false),
        }
    }

    fn match_segment(&self, id: usize, mut at: usize, text: &str) -> Hit {
        let segment = &self.segments[id];
        let mut rest = text.chars();
        loop {
            let left = rest.as_str();
            if left.is_empty() {
                return match segment.ends[at] {
                    End::No => Hit::No,
                    End::Done => Hit::Done,
                    End::Then(list) => Hit::Then(list),
                    End::Bad => Hit::Bad,
                };
            }
            let Some(step) = segment.steps.get(at) else {
                return Hit::No;
            };
            let next = rest.next();
            let fits = match step {
                Step::Char(c) => next == Some(*c),
                Step::Any => true,
                Step::Class { negated, ranges } => {
                    let within = |c| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    next.is_some_and(within) != *negated
                }
                Step::StarToEnd => return Hit::Done,
                Step::StarThen(list) => return Hit::Then(*list),
                Step::Slash => return Hit::No,
                Step::Star => return self.match_star(id, at + 1, left),
                Step::Alternatives(segments) => return self.match_alternatives(segments, left),
            };
            if !fits {
                return Hit::No;
            }
            at += 1;
        }
    }

    /// Tries what follows a `*` at each place, the end of the text not being one.
    fn match_star(&self, id: usize, at: usize, text: &str) -> Hit {
        for (start, _) in text.char_indices() {
            match self.match_segment(id, at, &text[start..]) {
                Hit::No => {}
                // A later `*` of this segment was tried at all places from here on.
                hit => return hit,
            }
        }
        Hit::Exhausted
    }

    fn match_alternatives(&self, segments: &[usize], text: &str) -> Hit {
        let mut any = false;
        let mut lists: Vec<usize> = Vec::new();
        let mut only: Option<usize> = None;
        let mut add = |list: usize| match only {
            None if lists.is_empty() => only = Some(list),
            Some(first) if first != list => {
                lists.extend([first, list]);
                only = None;
            }
            None if !lists.contains(&list) => lists.push(list),
            _ => {}
        };
        for segment in segments {
            match self.match_segment(*segment, 0, text) {
                Hit::No | Hit::Exhausted => continue,
                Hit::Bad => return Hit::Bad,
                // Beside an alternative that goes on, one that is at its end counts for nothing.
                Hit::Done => {}
                Hit::Then(list) => add(list),
                Hit::ThenOne(more) => more.into_iter().for_each(&mut add),
            }
            any = true;
        }
        match (any, only) {
            (false, _) => Hit::No,
            (true, Some(list)) => Hit::Then(list),
            (true, None) if lists.is_empty() => Hit::Done,
            (true, None) => Hit::ThenOne(lists),
        }
    }
}

/// Turns texts into pieces, each text once.
#[derive(Default)]
struct Compiler {
    lists: Vec<List>,
    segments: Vec<Segment>,
    list_ids: HashMap<String, usize>,
    segment_ids: HashMap<String, usize>,
    next: Vec<Work>,
}

enum Work {
    List(usize, String),
    Segment(usize, String),
}

impl Compiler {
    fn list(&mut self, text: String) -> usize {
        if let Some(id) = self.list_ids.get(&text) {
            return *id;
        }
        let id = self.lists.len();
        self.lists.push(List::Everything);
        self.list_ids.insert(text.clone(), id);
        self.next.push(Work::List(id, text));
        id
    }

    fn segment(&mut self, text: String) -> usize {
        if let Some(id) = self.segment_ids.get(&text) {
            return *id;
        }
        let id = self.segments.len();
        self.segments.push(Segment {
            steps: Vec::new(),
            ends: Vec::new(),
        });
        self.segment_ids.insert(text.clone(), id);
        self.next.push(Work::Segment(id, text));
        id
    }

    fn compile_list(&mut self, text: &str) -> List {
        let (first, rest) = split_at_slash(text);
        match (first, rest) {
            ("**", None) => List::Everything,
            ("**", Some(rest)) => List::Anywhere(self.list(rest.to_owned())),
            // The whole text: alternatives may hold the slash that was found.
            _ => List::First(self.segment(text.to_owned())),
        }
    }

    fn compile_segment(&mut self, text: &str) -> Result<Segment, BadPattern> {
        let mut segment = Segment {
            steps: Vec::new(),
            ends: Vec::new(),
        };
        let mut rest = text;
        loop {
            segment.ends.push(self.end(rest));
            let mut chars = rest.chars();
            let Some(c) = chars.next() else {
                return Ok(segment);
            };
            rest = chars.as_str();
            let (step, last) = match c {
                '/' => (Step::Slash, true),
                '\\' => {
                    let escaped = chars.next().ok_or(BadPattern::DanglingEscape)?;
                    rest = chars.as_str();
                    (Step::Char(escaped), false)
                }
                '*' if rest.is_empty() => (Step::StarToEnd, true),
                '*' => match rest.strip_prefix('/') {
                    Some(after) => (Step::StarThen(self.list(after.to_owned())), true),
                    None => (Step::Star, false),
                },
                '[' => {
                    let end = find_unescaped(rest, ']').ok_or(BadPattern::UnclosedClass)?;
                    let step = class(&rest[..end])?;
                    rest = &rest[end + 1..];
                    (step, false)
                }
                '{' => {
                    let (options, after) =
                        alternatives(rest).ok_or(BadPattern::UnclosedAlternatives)?;
                    let ids = options
                        .iter()
                        .map(|option| self.segment(format!("{option}{after}")))
                        .collect();
                    (Step::Alternatives(ids), true)
                }
                '?' => (Step::Any, false),
                c => (Step::Char(c), false),
            };
            segment.steps.push(step);
            if last {
                // Nothing after is reached in this segment, and an end before it is noted.
                segment.ends.push(End::No);
                return Ok(segment);
            }
        }
    }

    /// What it means that the text ends where `rest` of the pattern is left.
    fn end(&mut self, rest: &str) -> End {
        if rest.is_empty() {
            return End::Done;
        }
        let (first, after) = split_at_slash(rest);
        match (can_be_empty(first), after) {
            (None, _) => End::Bad,
            (Some(false), _) => End::No,
            (Some(true), None) => End::Done,
            (Some(true), Some(after)) => End::Then(self.list(after.to_owned())),
        }
    }
}

/// Splits at the first `/` that no `\` precedes, whether it stands within `{...}` or not.
fn split_at_slash(text: &str) -> (&str, Option<&str>) {
    match find_unescaped(text, '/') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Finds an ASCII character that no `\` precedes.
fn find_unescaped(text: &str, wanted: char) -> Option<usize> {
    text.match_indices(wanted)
        .map(|(at, _)| at)
        .find(|at| !text[..*at].ends_with('\\'))
}

/// Splits what follows a `{` into the alternatives and what comes after its `}`.
fn alternatives(text: &str) -> Option<(Vec<&str>, &str)> {
    let mut options = Vec::new();
    let (mut depth, mut start, mut escaped) = (1, 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    options.push(&text[start..at]);
                    return Some((options, &text[at + 1..]));
                }
            }
            ',' if depth == 1 => {
                options.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// Whether a piece of a pattern is taken for empty: literally nothing, `*`, `**`, or alternatives one of
/// which is, followed by what is. `None` when alternatives are cut off by a slash in them.
fn can_be_empty(text: &str) -> Option<bool> {
    if matches!(text, "" | "*" | "**") {
        return Some(true);
    }
    let Some(inner) = text.strip_prefix('{') else {
        return Some(false);
    };
    let (options, after) = alternatives(inner)?;
    if !can_be_empty(after)? {
        return Some(false);
    }
    for option in options {
        if can_be_empty(option)? {
            return Some(true);
        }
    }
    Some(false)
}

fn class(text: &str) -> Result<Step, BadPattern> {
    if text.is_empty() {
        return Err(BadPattern::EmptyClass);
    }
    let negated = text.starts_with('^');
    let mut rest = text.strip_prefix('^').unwrap_or(text).chars().peekable();
    let mut ranges = Vec::new();
    while let Some(low) = class_char(&mut rest)? {
        let mut high = low;
        if rest.next_if_eq(&'-').is_some() {
            high = class_char(&mut rest)?.ok_or(BadPattern::BadRange)?;
        }
        ranges.push((low, high));
    }
    Ok(Step::Class { negated, ranges })
}

fn class_char(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> Result<Option<char>, BadPattern> {
    match rest.next() {
        Some('-') => Err(BadPattern::BadRange),
        Some('\\') => rest.next().map(Some).ok_or(BadPattern::BadRange),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern).expect("a pattern").matches(text)
    }

    #[test]
    fn corners_of_the_library_are_kept() {
        // Worked out by hand from the library's rules, where no recorded answer exists.
        for (pattern, text, expected) in [
            ("{a,a/b}", "a", false),
            ("{a,a/b}", "a/b", true),
            ("v*{,x}", "v", false),
            ("v*{,x}", "v1x", true),
            ("v*{,x}", "v1", false),
            ("v**", "v", true),
            ("v***", "v", false),
            ("v***", "v1", true),
            ("x{,-alpine}", "x", true),
            ("x{,-alpine}", "x-alpine", true),
            ("x{,-alpine}", "x-slim", false),
            ("{**/a,b}", "a", false),
            ("**/a", "a", true),
            ("a*{/x,y}", "ab/x", false),
            ("[^]", "a", true),
            ("{a,b}*{c,d}", "axxd", true),
            ("{a*,b}/{c,d*}/e", "a1/d2/e", true),
            (
                "*a*a*a*a*a*a*a*a*b",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                false,
            ),
            ("\\{a\\}", "{a}", true),
            ("a}b", "a}b", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_slash_in_alternatives_can_fail_on_one_text_and_not_on_another() {
        let pattern = Pattern::parse("a{/b,c}").expect("a pattern");
        assert_eq!(pattern.check("ac"), Ok(true));
        assert_eq!(pattern.check("a/b"), Err(BadPattern::SlashInAlternatives));
        assert!(!pattern.matches("a/b"));
    }

    #[test]
    fn malformed_patterns_say_what_is_wrong() {
        for (pattern, error) in [
            ("v[", BadPattern::UnclosedClass),
            ("v[]", BadPattern::EmptyClass),
            ("v[a-]", BadPattern::BadRange),
            ("v[-a]", BadPattern::BadRange),
            ("{a,b", BadPattern::UnclosedAlternatives),
            ("{a,[}", BadPattern::UnclosedClass),
            ("a\\", BadPattern::DanglingEscape),
        ] {
            assert_eq!(Pattern::parse(pattern).err(), Some(error), "{pattern}");
        }
        assert_eq!(
            Pattern::parse(&"a".repeat(5000)).err(),
            Some(BadPattern::TooLarge)
        );
    }
}
