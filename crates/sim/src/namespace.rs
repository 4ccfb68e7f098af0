//! Where a repository goes at the destination, and what names are valid.

/// The destination of a repository, or the reason why there is none.
///
/// A negative count flattens to the last component (the legacy rule); otherwise the first `replace_count`
/// components are replaced. An empty namespace leaves the name as it is, whatever the count.
pub(crate) fn destination(
    repository: &str,
    namespace: &str,
    replace_count: i64,
) -> Result<String, String> {
    if namespace.is_empty() {
        return Ok(repository.to_owned());
    }
    let components: Vec<&str> = repository.split('/').collect();
    let (last, before) = components
        .split_last()
        .map_or(("", &[][..]), |(last, before)| (*last, before));
    if replace_count < 0 {
        return Ok(format!("{namespace}/{last}"));
    }
    let count = usize::try_from(replace_count).unwrap_or(usize::MAX);
    if count > before.len() {
        return Err(format!(
            "the resource {repository:?} contains only {} path components, which is less than the replace count {replace_count}",
            components.len()
        ));
    }
    let mut parts = vec![namespace];
    parts.extend(&before[count..]);
    parts.push(last);
    Ok(parts.join("/"))
}

/// Whether a text is a lower-case repository path such as `a/b`.
pub(crate) fn is_path(text: &str) -> bool {
    text.split('/').all(is_component)
}

/// Whether a text is one component: lower-case letters and digits, joined by `.`, `_`, `__` or hyphens.
pub(crate) fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separator = String::new();
    let mut any = false;
    for c in text.chars() {
        if is_word(c) {
            let joined = separator.chars().all(|c| c == '-')
                || matches!(separator.as_str(), "." | "_" | "__");
            if !separator.is_empty() && (!any || !joined) {
                return false;
            }
            separator.clear();
            any = true;
        } else {
            separator.push(c);
        }
    }
    any && separator.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_follow_the_vectors() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../testdata/filter-vectors.json"))
                .expect("the vectors are JSON");
        for vector in vectors["namespace"].as_array().expect("an array") {
            let text = |key: &str| vector[key].as_str().unwrap_or_default();
            let count = vector["dest_namespace_replace_count"]
                .as_i64()
                .expect("a number");
            let found = destination(text("repository"), text("dest_namespace"), count);
            match vector["destination"].as_str() {
                Some(wanted) => assert_eq!(found.as_deref(), Ok(wanted), "{vector}"),
                None => assert!(found.is_err(), "{vector}"),
            }
        }
    }
}
