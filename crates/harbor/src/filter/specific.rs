//! Whether a name filter lists its names.

/// Returns the names that a pattern stands for, when it has no wildcard: literal parts and `{a,b}` lists.
/// Harbor then reads just these, otherwise a whole catalog or list of projects.
pub fn specific_paths(pattern: &str) -> Option<Vec<String>> {
    let mut paths = vec![String::new()];
    for (index, part) in pattern.split('/').enumerate() {
        let names = names_of(part)?;
        let separator = if index == 0 { "" } else { "/" };
        paths = paths
            .iter()
            .flat_map(|path| {
                names
                    .iter()
                    .map(move |name| format!("{path}{separator}{name}"))
            })
            .collect();
    }
    Some(paths)
}

fn names_of(part: &str) -> Option<Vec<String>> {
    if part.is_empty() || part.contains(['*', '?', '[', ']', '^', '!', '\\']) {
        return None;
    }
    let Some((before, rest)) = part.split_once('{') else {
        // A comma or a closing brace outside a list is a mistake, not a name.
        return (!part.contains([',', '}'])).then(|| vec![part.to_owned()]);
    };
    let (list, after) = rest.split_once('}')?;
    if [before, after]
        .iter()
        .any(|text| text.contains(['{', '}', ',']))
        || list.contains('{')
    {
        return None;
    }
    Some(
        list.split(',')
            .map(|name| format!("{before}{name}{after}"))
            .collect(),
    )
}
