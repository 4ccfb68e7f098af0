//! The text of a file with everything that may be a secret covered, for showing.
//!
//! A message about a file shows lines of it, and the line that is wrong is exactly the one where somebody wrote a
//! password in place of a reference. The covering works on the bare text and not on what YAML makes of it, because
//! it must also work on a file that is not YAML. It covers too much rather than too little, and never changes an
//! offset: each covered character becomes as many asterisks as it has bytes.

use std::ops::Range;

use crate::scalars::secret::SecretRef;

/// A text with its secrets covered.
pub(crate) struct Masked {
    /// The text, as long as the original in bytes.
    pub text: String,
    /// Where something was covered, in order.
    pub covered: Vec<Range<usize>>,
    /// What was covered, so that messages can be cleared of it as well.
    pub literals: Vec<String>,
}

/// Parts of names of keys whose values are secrets.
const SECRET_WORDS: [&str; 8] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "credential",
    "authorization",
    "routing-key",
    "api-key",
];

/// Whole names of such keys, which are also recognized misspelled.
const SECRET_KEYS: [&str; 9] = [
    "password",
    "secret",
    "token",
    "authorization",
    "secret-access-key",
    "session-token",
    "access-key-id",
    "secret-to",
    "routing-key",
];

/// Keys that take a map in which a secret stands. A bare text in its place may be the secret.
const SECRET_MAPS: [&str; 1] = ["auth"];

/// A literal shorter than this is not searched for in messages: it would be found in the middle of ordinary words.
const SHORTEST_LITERAL: usize = 4;

/// Covers everything in `text` that may be a secret.
pub(crate) fn mask(text: &str) -> Masked {
    let mut ranges = Vec::new();
    let mut line_start = 0;
    let mut depth = 0usize;
    for line in text.split_inclusive('\n') {
        for key in keys_in(line) {
            // A map in one line opens before its keys; how deep it is tells where a plain value may end.
            let opened = depth_after(depth, &line[..key.name.start]);
            let name = &line[key.name.clone()];
            let value = &text[line_start + key.value_at..];
            let only_bare = is_secret_map(name);
            if only_bare || is_secret_key(name) {
                let indent = indent_of(line);
                let end = value_ranges(value, indent, opened > 0, only_bare);
                ranges.extend(end.into_iter().map(|r| {
                    r.start + line_start + key.value_at..r.end + line_start + key.value_at
                }));
            }
        }
        depth = depth_after(depth, line);
        line_start += line.len();
    }
    ranges.extend(user_infos(text));
    cover(text, ranges)
}

/// A key found in a line: where its name stands, and where its value begins.
struct Key {
    name: Range<usize>,
    value_at: usize,
}

/// Finds all that may be keys in a line: a word, perhaps in quotes, and a colon that ends a key.
fn keys_in(line: &str) -> Vec<Key> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    for (colon, _) in line.match_indices(':') {
        let before = line[..colon].trim_end_matches([' ', '\t']);
        let quote = before
            .chars()
            .next_back()
            .filter(|c| matches!(c, '"' | '\''));
        let ends_key = matches!(
            bytes.get(colon + 1),
            None | Some(b' ' | b'\t' | b'\r' | b'\n')
        );
        let name = match quote {
            Some(quote) => {
                let inner = &before[..before.len() - 1];
                let start = inner.rfind(quote).map_or(0, |at| at + 1);
                start..inner.len()
            }
            None if ends_key => {
                let start = before
                    .char_indices()
                    .rev()
                    .take_while(|(_, c)| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
                    .last()
                    .map_or(before.len(), |(at, _)| at);
                start..before.len()
            }
            None => continue,
        };
        found.push(Key {
            name,
            value_at: colon + 1,
        });
    }
    found
}

fn is_secret_key(name: &str) -> bool {
    let name = name.to_lowercase().replace('_', "-");
    SECRET_WORDS.iter().any(|word| name.contains(word))
        || SECRET_KEYS
            .iter()
            .any(|key| strsim::damerau_levenshtein(&name, key) <= (key.len() / 4).max(1))
}

fn is_secret_map(name: &str) -> bool {
    SECRET_MAPS.contains(&name.to_lowercase().as_str())
}

/// Finds what to cover of a value that begins at the start of `text`. With `only_bare`, maps and lists are left.
fn value_ranges(text: &str, indent: usize, in_flow: bool, only_bare: bool) -> Vec<Range<usize>> {
    let mut at = text.len() - text.trim_start_matches([' ', '\t']).len();
    // Tags and anchors stand before the value.
    while text[at..].starts_with(['!', '&']) {
        let word = text[at..]
            .find([' ', '\t', '\r', '\n'])
            .unwrap_or(text.len() - at);
        at += word;
        at += text[at..].len() - text[at..].trim_start_matches([' ', '\t']).len();
    }
    let rest = &text[at..];
    let line_end = at + rest.find('\n').unwrap_or(rest.len());
    match rest.chars().next() {
        None => Vec::new(),
        Some('*') => Vec::new(),
        Some('\r' | '\n' | '#') if in_flow => {
            // Within brackets the value may stand on any later line, however it is indented.
            let Some(next) = after_blank_lines(text, line_end) else {
                return Vec::new();
            };
            let found = value_ranges(&text[next..], indent, in_flow, only_bare);
            found
                .into_iter()
                .map(|range| range.start + next..range.end + next)
                .collect()
        }
        Some('\r' | '\n' | '#') => {
            let block = indented(text, line_end, indent);
            let first = text[block.clone()]
                .lines()
                .map(str::trim)
                .find(|line| !line.is_empty() && !line.starts_with('#'));
            let first = first.unwrap_or("");
            let is_map = keys_in(first)
                .iter()
                .any(|key| key.name.start == 0 || first.starts_with(['"', '\'', '-']));
            if is_reference(first) || (only_bare && is_map) {
                Vec::new()
            } else {
                Vec::from([block])
            }
        }
        Some('|' | '>') => vec![indented(text, line_end, indent)],
        Some(quote @ ('"' | '\'')) => {
            let inner = at + 1..quoted_end(text, at + 1, quote);
            if is_reference(&text[inner.clone()]) {
                Vec::new()
            } else {
                vec![inner]
            }
        }
        Some('{' | '[') if only_bare => Vec::new(),
        Some('{' | '[') => {
            let inner = at + 1..flow_end(text, at);
            if is_reference(text[inner.clone()].trim()) {
                Vec::new()
            } else {
                vec![inner]
            }
        }
        Some(_) => {
            let line = &text[at..line_end];
            if is_reference(line.trim()) {
                return Vec::new();
            }
            let end = line.find(" #").unwrap_or(line.len());
            // In a map of one line the next key ends the value.
            let next_key = keys_in(&line[..end])
                .into_iter()
                .find_map(|key| line[..key.name.start].rfind(','));
            let end = next_key.unwrap_or(end);
            let closed = if in_flow {
                line[..end].trim_end().trim_end_matches(['}', ']', ' '])
            } else {
                line[..end].trim_end()
            };
            let bare = at..at + closed.len();
            // Deeper lines after a plain text continue it.
            if in_flow {
                Vec::from([bare])
            } else {
                Vec::from([bare, indented(text, line_end, indent)])
            }
        }
    }
}

/// Tells whether a text is a reference to a secret, and so may be shown. `exec:` may be the key of a list.
fn is_reference(text: &str) -> bool {
    let text = text.trim_start_matches(['"', '\'', '{', ' ']);
    SecretRef::is_meant(text)
}

/// Returns the lines after `from` that are indented deeper than `indent`.
fn indented(text: &str, from: usize, indent: usize) -> Range<usize> {
    let start = (from + 1).min(text.len());
    let start = if text.is_char_boundary(start) {
        start
    } else {
        text.len()
    };
    let mut end = start;
    for line in text[start..].split_inclusive('\n') {
        // A list may stand as deep as its key.
        let deeper = spaces(line) > indent
            || (spaces(line) == indent && line.trim_start().starts_with("- "));
        if !line.trim().is_empty() && !deeper {
            break;
        }
        end += line.len();
    }
    start..end
}

/// Returns where the first line after `from` that says something begins to say it.
fn after_blank_lines(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    for line in text[from..].split_inclusive('\n') {
        let said = line.trim_start();
        if !said.is_empty() && !said.starts_with('#') {
            return Some(at + line.len() - said.len());
        }
        at += line.len();
    }
    None
}

/// Returns how far the keys of a line are indented: `- ` counts as part of it.
fn indent_of(line: &str) -> usize {
    let mut at = spaces(line);
    while line[at..].starts_with("- ") {
        at += 2 + spaces(&line[at + 2..]);
    }
    at
}

pub(crate) fn spaces(line: &str) -> usize {
    line.bytes()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count()
}

/// Returns where a quoted text ends whose inside begins at `from`; the end of the text when it is not closed.
fn quoted_end(text: &str, from: usize, quote: char) -> usize {
    let mut chars = text[from..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                chars.next();
            }
            // Two single quotes in a row are one in the text.
            '\'' if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
            }
            c if c == quote => return from + at,
            _ => {}
        }
    }
    text.len()
}

/// Returns where a map or list of one line ends that begins at `from`; the end of the text when it is not closed.
pub(crate) fn flow_end(text: &str, from: usize) -> usize {
    let mut depth = 0usize;
    let mut at = from;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            '"' | '\'' => {
                at = quoted_end(text, at + 1, c);
                if at >= text.len() {
                    return text.len();
                }
            }
            _ => {}
        }
        at += c.len_utf8().min(text.len() - at);
    }
    text.len()
}

/// Returns how many brackets are open after `line`, by a plain count: brackets in quotes are rare, and being wrong
/// covers a little more or less of the line, never the value.
fn depth_after(depth: usize, line: &str) -> usize {
    line.bytes().fold(depth, |depth, byte| match byte {
        b'{' | b'[' => depth + 1,
        b'}' | b']' => depth.saturating_sub(1),
        _ => depth,
    })
}

/// Finds user and password in addresses.
fn user_infos(text: &str) -> Vec<Range<usize>> {
    text.match_indices("://")
        .filter_map(|(at, _)| {
            let start = at + 3;
            let rest = &text[start..];
            let end = rest
                .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '/' | '?'))
                .unwrap_or(rest.len());
            // A slash in the password is not allowed there, and people write it all the same.
            let line = &rest[..rest
                .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\''))
                .unwrap_or(rest.len())];
            let user = rest[..end].rfind('@').or_else(|| line.rfind('@'))?;
            Some(start..start + user)
        })
        .collect()
}

fn cover(text: &str, mut ranges: Vec<Range<usize>>) -> Masked {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut literals = Vec::new();
    for range in &ranges {
        let literal = &text[range.clone()];
        let lines = literal.lines().map(str::trim);
        let words = std::iter::once(literal.trim())
            .chain(lines)
            .chain(literal.split(|c: char| {
                c.is_whitespace() || matches!(c, '{' | '}' | '[' | ']' | ',' | '"' | '\'')
            }));
        literals.extend(
            words
                .filter(|word| word.len() >= SHORTEST_LITERAL)
                .map(str::to_owned),
        );
    }
    // The longest first, so that a part does not spoil the whole.
    literals.sort_by_key(|literal| (std::cmp::Reverse(literal.len()), literal.clone()));
    literals.dedup();
    let mut covered: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match covered.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => covered.push(range),
        }
    }
    let mut masked = String::with_capacity(text.len());
    let mut inside = covered.iter().peekable();
    for (at, c) in text.char_indices() {
        while inside.peek().is_some_and(|range| range.end <= at) {
            inside.next();
        }
        let hidden = inside.peek().is_some_and(|range| range.start <= at)
            && !matches!(c, ' ' | '\t' | '\r' | '\n');
        let filler = if hidden {
            '*'
        } else if matches!(c, '\n' | '\t') || !is_control(c) {
            masked.push(c);
            continue;
        } else if c == '\r' {
            ' '
        } else {
            '?'
        };
        masked.extend(std::iter::repeat_n(filler, c.len_utf8()));
    }
    Masked {
        text: masked,
        covered,
        literals,
    }
}

/// Tells whether a character could steer a terminal or turn the direction of writing.
pub(crate) fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_literals_wherever_they_stand() {
        for text in [
            "password: hunter-two\n",
            "password: hunter-two # of course\n",
            "password: \"hunter-two\"\n",
            "password: 'it''s hunter-two'\n",
            "\"password\":\"hunter-two\"\n",
            "auth: { user: admin, password: hunter-two, x: 1 }\n",
            "auth: { user: admin, pasword: hunter-two }\n",
            "auth: { password: \"hunter-two\", user: admin\n",
            "auth: hunter-two\n",
            "auth:\n  hunter-two\n",
            "- password: |\n    hunter-two\n    hunter-two\n  next: 1\n",
            "password:\n  hunter-two\nnext: 1\n",
            "password: [hunter-two, \"hunter-two\"]\n",
            "password: { hunter-two: 1 }\n",
            "password: !secret hunter-two\n",
            "password: &anchor hunter-two\n",
            "password: first\n  hunter-two\n",
            "password:\n- hunter-two\n",
            "- { name: k, secret:\n hunter-two }\n",
            "- { name: k, secret: # here\n\n # or here\n \"hunter-two\" }\n",
            "password: hunter,hunter-two\n",
            "# password: hunter-two\n",
            "API_TOKEN: hunter-two",
            "secret: hunter-two",
            "secret-access-key: hunter-two",
            "url: https://admin:hunter-two@harbor.example.com/\n",
            "url: \"https://admin:a/hunter-two@harbor.example.com/\"\n",
            "key: { name: k, secret: hunter-two }\n",
            "passwort: größe-hunter-two\n",
        ] {
            let masked = mask(text);
            assert!(
                !masked.text.contains("hunter-two"),
                "{text} -> {}",
                masked.text
            );
            assert_eq!(masked.text.len(), text.len(), "{text}");
            assert!(
                masked
                    .literals
                    .iter()
                    .any(|literal| literal.contains("hunter-two")),
                "{text}"
            );
        }
    }

    #[test]
    fn leaves_references_and_everything_else() {
        for text in [
            "auth: { user: admin, password: \"env:HARBOR_PASSWORD\" }\n",
            "auth:\n  user: admin\n  password: cred:harbor-dr\n",
            "password: { exec: [pass, show, dr] }\n",
            "password:\n  exec: [pass, show, dr]\n",
            "password: exec:pass show dr\n",
            "robots: { name: dr-replication, secret-to: \"file:secrets/dr-robot\" }\n",
            "steps:\n  - id: final-sync\n    back-to: fence\n",
            "url: https://harbor.example.com/a@b\n",
            "password: *shared\n",
            "guards: [{ step: fence, broken: ask }]\n",
        ] {
            // An `@` in a path reads like a misplaced password; covering it is the safe side.
            if !text.contains("a@b") {
                assert_eq!(mask(text).text, text);
            }
        }
    }

    #[test]
    fn takes_the_teeth_out_of_control_characters() {
        let masked = mask("a: \u{1b}[31mred\u{202e}\r\n");
        assert_eq!(masked.text, "a: ?[31mred??? \n");
    }
}
