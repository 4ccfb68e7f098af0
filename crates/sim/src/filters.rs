//! Which repositories, artifacts and tags a policy copies.
//!
//! Patterns are the globs of doublestar 1.3.4: whole text, case-sensitive, `/` separates segments, `**` is
//! special only as a whole segment, `!` is an ordinary character.

use serde_json::Value;

/// A pattern that cannot be read, which fails a run before any task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub(crate) struct BadPattern;

/// What the filters know of an artifact.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) digest: String,
    pub(crate) tags: Vec<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) is_accessory: bool,
    /// The tags of the subject of an accessory.
    pub(crate) parent_tags: Vec<String>,
}

/// Whether a text matches a pattern. The empty pattern matches everything.
pub(crate) fn matches(pattern: &str, text: &str) -> Result<bool, BadPattern> {
    if pattern.is_empty() {
        return Ok(true);
    }
    let chars: Vec<char> = pattern.chars().collect();
    let path: Vec<Vec<char>> = text
        .split('/')
        .map(|segment| segment.chars().collect())
        .collect();
    for alternative in expand(&chars)? {
        let segments = split_segments(&alternative);
        if match_segments(&segments, &path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a repository passes the name filters.
pub(crate) fn keeps_repository(filters: &Value, repository: &str) -> Result<bool, BadPattern> {
    for filter in each(filters, "name") {
        if !matches(filter["value"].as_str().unwrap_or_default(), repository)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The artifacts that pass the tag and label filters, each with the tags to copy; none means by digest.
pub(crate) fn keep_artifacts(
    filters: &Value,
    candidates: &[Candidate],
) -> Result<Vec<Candidate>, BadPattern> {
    let mut kept: Vec<Candidate> = candidates.to_vec();
    for filter in each(filters, "label") {
        let wanted: Vec<&str> = filter["value"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let excludes = filter["decoration"] == "excludes";
        kept.retain(|artifact| {
            let carries_all = wanted
                .iter()
                .all(|label| artifact.labels.iter().any(|own| own == label));
            carries_all != excludes
        });
    }
    for filter in each(filters, "tag") {
        let pattern = filter["value"].as_str().unwrap_or_default();
        if pattern.is_empty() {
            continue;
        }
        let excludes = filter["decoration"] == "excludes";
        let passes = |tag: &str| matches(pattern, tag).map(|matched| matched != excludes);
        let mut passed = Vec::new();
        for mut artifact in kept {
            // An accessory is tested with its subject's tags and keeps its own.
            let tested = if artifact.is_accessory {
                &artifact.parent_tags
            } else {
                &artifact.tags
            };
            if tested.is_empty() {
                if passes("")? {
                    passed.push(artifact);
                }
                continue;
            }
            let mut tags = Vec::new();
            for tag in tested {
                if passes(tag)? {
                    tags.push(tag.clone());
                }
            }
            if tags.is_empty() {
                continue;
            }
            if !artifact.is_accessory {
                artifact.tags = tags;
            }
            passed.push(artifact);
        }
        kept = passed;
    }
    Ok(kept)
}

/// The projects that the first name filter names literally or by braces; `None` when it has wildcards.
pub(crate) fn named_projects(filters: &Value) -> Option<Vec<String>> {
    let pattern = each(filters, "name").next()?["value"].as_str()?.to_owned();
    let first = split_segments(&pattern.chars().collect::<Vec<char>>())
        .into_iter()
        .next()?;
    if first.iter().any(|c| matches!(c, '*' | '?' | '[' | '\\')) || first.is_empty() {
        return None;
    }
    let names = expand(&first).ok()?;
    Some(
        names
            .into_iter()
            .map(|name| name.into_iter().collect())
            .collect(),
    )
}

fn each<'a>(filters: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    filters
        .as_array()
        .into_iter()
        .flatten()
        .filter(move |filter| filter["type"] == kind)
}

/// Writes out the braces of a pattern, outermost first.
fn expand(pattern: &[char]) -> Result<Vec<Vec<char>>, BadPattern> {
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            '\\' => at += 1,
            '[' => at = class_end(pattern, at)?,
            '{' => return expand_at(pattern, at),
            _ => {}
        }
        at += 1;
    }
    Ok(vec![pattern.to_vec()])
}

fn expand_at(pattern: &[char], open: usize) -> Result<Vec<Vec<char>>, BadPattern> {
    let mut depth = 0;
    let mut parts = Vec::new();
    let mut start = open + 1;
    let mut at = open;
    loop {
        match pattern.get(at).ok_or(BadPattern)? {
            '\\' => at += 1,
            '{' => depth += 1,
            ',' if depth == 1 => {
                parts.push(&pattern[start..at]);
                start = at + 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    parts.push(&pattern[start..at]);
                    break;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut expanded = Vec::new();
    for part in parts {
        let whole: Vec<char> = pattern[..open]
            .iter()
            .chain(part)
            .chain(&pattern[at + 1..])
            .copied()
            .collect();
        expanded.extend(expand(&whole)?);
    }
    Ok(expanded)
}

/// Splits at slashes outside braces and classes; a class never matches a slash.
fn split_segments(pattern: &[char]) -> Vec<Vec<char>> {
    let mut segments = vec![Vec::new()];
    let mut depth = 0;
    let (mut escaped, mut in_class) = (false, false);
    for &c in pattern {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' if in_class => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            '/' if depth == 0 => {
                segments.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(segment) = segments.last_mut() {
            segment.push(c);
        }
    }
    segments
}

fn match_segments(pattern: &[Vec<char>], path: &[Vec<char>]) -> Result<bool, BadPattern> {
    let Some((first, rest)) = pattern.split_first() else {
        return Ok(path.is_empty());
    };
    if first[..] == ['*', '*'] {
        // A trailing `**` needs its slash, so at least one segment, which may be empty.
        if rest.is_empty() {
            return Ok(!path.is_empty());
        }
        for skip in 0..=path.len() {
            if match_segments(rest, &path[skip..])? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    match path.split_first() {
        None => {
            // Read all the same, so that a broken pattern is an error whatever the text.
            match_segment(first, &[])?;
            Ok(false)
        }
        Some((segment, others)) => {
            Ok(match_segment(first, segment)? && match_segments(rest, others)?)
        }
    }
}

fn match_segment(pattern: &[char], text: &[char]) -> Result<bool, BadPattern> {
    let Some(&c) = pattern.first() else {
        return Ok(text.is_empty());
    };
    match c {
        '*' => {
            for skip in 0..=text.len() {
                if match_segment(&pattern[1..], &text[skip..])? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        '?' => Ok(!text.is_empty() && match_segment(&pattern[1..], &text[1..])?),
        '[' => {
            let end = class_end(pattern, 0)?;
            let Some(&found) = text.first() else {
                return Ok(false);
            };
            Ok(
                in_class(&pattern[1..end], found)
                    && match_segment(&pattern[end + 1..], &text[1..])?,
            )
        }
        '\\' => {
            let literal = pattern.get(1).ok_or(BadPattern)?;
            Ok(text.first() == Some(literal) && match_segment(&pattern[2..], &text[1..])?)
        }
        _ => Ok(text.first() == Some(&c) && match_segment(&pattern[1..], &text[1..])?),
    }
}

/// Where a class that starts here ends.
fn class_end(pattern: &[char], open: usize) -> Result<usize, BadPattern> {
    let mut at = open + 1;
    if pattern.get(at) == Some(&'^') {
        at += 1;
    }
    if pattern.get(at) == Some(&']') {
        return Err(BadPattern);
    }
    while let Some(&c) = pattern.get(at) {
        match c {
            ']' => return Ok(at),
            '\\' => at += 1,
            _ => {}
        }
        at += 1;
    }
    Err(BadPattern)
}

fn in_class(class: &[char], found: char) -> bool {
    let (negated, class) = match class.split_first() {
        Some(('^', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut at = 0;
    let mut inside = false;
    while at < class.len() {
        if class[at] == '\\' && at + 1 < class.len() {
            at += 1;
        }
        let low = class[at];
        if class.get(at + 1) == Some(&'-') && at + 2 < class.len() {
            inside |= low <= found && found <= class[at + 2];
            at += 3;
        } else {
            inside |= low == found;
            at += 1;
        }
    }
    inside != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(kind: &str) -> Vec<Value> {
        let all: Value = serde_json::from_str(include_str!("../testdata/filter-vectors.json"))
            .expect("the vectors are JSON");
        all[kind].as_array().expect("an array").clone()
    }

    fn strings(value: &Value) -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn patterns_follow_the_vectors() {
        for vector in vectors("match") {
            let found = matches(
                vector["pattern"].as_str().unwrap_or(""),
                vector["input"].as_str().unwrap_or(""),
            );
            let wanted = if vector["error"] == true {
                Err(BadPattern)
            } else {
                Ok(vector["match"] == true)
            };
            assert_eq!(found, wanted, "{vector}");
        }
    }

    #[test]
    fn repository_filters_follow_the_vectors() {
        for vector in vectors("repository_filters") {
            let kept: Result<Vec<String>, BadPattern> = strings(&vector["repositories"])
                .into_iter()
                .filter_map(|name| match keeps_repository(&vector["filters"], &name) {
                    Ok(false) => None,
                    Ok(true) => Some(Ok(name)),
                    Err(error) => Some(Err(error)),
                })
                .collect();
            let wanted = if vector["error"] == true {
                Err(BadPattern)
            } else {
                Ok(strings(&vector["kept"]))
            };
            assert_eq!(kept, wanted, "{vector}");
        }
    }

    #[test]
    fn artifact_filters_follow_the_vectors() {
        for vector in vectors("artifact_filters") {
            let candidates: Vec<Candidate> = vector["artifacts"]
                .as_array()
                .expect("an array")
                .iter()
                .map(|artifact| Candidate {
                    digest: artifact["digest"].as_str().unwrap_or_default().to_owned(),
                    tags: strings(&artifact["tags"]),
                    labels: strings(&artifact["labels"]),
                    is_accessory: artifact["is_accessory"] == true,
                    parent_tags: strings(&artifact["parent_tags"]),
                })
                .collect();
            let kept: Vec<(String, Vec<String>)> = keep_artifacts(&vector["filters"], &candidates)
                .expect("good patterns")
                .into_iter()
                .map(|artifact| (artifact.digest, artifact.tags))
                .collect();
            let wanted: Vec<(String, Vec<String>)> = vector["kept"]
                .as_array()
                .expect("an array")
                .iter()
                .map(|artifact| {
                    (
                        artifact["digest"].as_str().unwrap_or_default().to_owned(),
                        strings(&artifact["tags"]),
                    )
                })
                .collect();
            assert_eq!(kept, wanted, "{vector}");
        }
    }

    #[test]
    fn the_first_name_filter_names_projects() {
        let named = |pattern: &str| {
            named_projects(&serde_json::json!([{ "type": "name", "value": pattern }]))
        };
        assert_eq!(named("production/**"), Some(vec!["production".to_owned()]));
        assert_eq!(
            named("{a,b}/x*"),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(named("*/app"), None);
        assert_eq!(named_projects(&Value::Null), None);
    }
}
