//! "Did you mean".

/// Returns the candidate that a misspelled word most likely stands for.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        // The first of equals, so that the answer does not depend on anything but the order of the candidates.
        .fold(None, |best: Option<(f64, &str)>, new| match best {
            Some(old) if old.0 >= new.0 => Some(old),
            _ => Some(new),
        })
        .map(|(_, candidate)| candidate)
}

/// Writes the names that are allowed, and the most likely one first.
pub(crate) fn help(word: &str, what: &str, candidates: &[&str]) -> String {
    let list = match candidates {
        [] => return format!("there are no {what}"),
        names => names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    match closest(word, candidates.iter().copied()) {
        Some(name) => format!("did you mean `{name}`? {what}: {list}"),
        None => format!("{what}: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        assert_eq!(
            closest("dns.upset", ["dns.ttl", "dns.upsert"]),
            Some("dns.upsert")
        );
        assert_eq!(closest("Primary", ["dr", "primary"]), Some("primary"));
        assert_eq!(closest("frankfurt", ["dr", "primary"]), None);
    }
}
