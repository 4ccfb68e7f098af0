//! How two inventories differ.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::inventory::{Inventory, Scope};

/// How the target differs from the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// In scope at the source, absent at the target.
    pub missing: Vec<Item>,
    /// At both, with different digests.
    pub different: Vec<Item>,
    /// At the target only. Deletions do not travel by pull, so these would come back.
    pub extra: Vec<Item>,
    /// How many references were compared.
    pub compared: u64,
}

/// One reference that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Item {
    /// The repository at the source (at the target, if it is extra).
    pub repository: String,
    /// The tag, or the digest where there is none.
    pub reference: String,
    /// Its digest at the source.
    pub source: Option<String>,
    /// Its digest at the target.
    pub target: Option<String>,
    /// When it was pushed to where it is.
    pub pushed_at: Option<Timestamp>,
}

impl Comparison {
    /// True if nothing differs.
    pub fn is_equal(&self) -> bool {
        self.missing.is_empty() && self.different.is_empty() && self.extra.is_empty()
    }

    /// Says the counts.
    pub fn words(&self) -> String {
        format!(
            "{} compared, {} missing, {} different, {} extra",
            self.compared,
            self.missing.len(),
            self.different.len(),
            self.extra.len()
        )
    }
}

/// Compares what a source holds in scope with what a target holds. Inventories must be taken with that scope at the
/// source; at the target everything, unless the scope keeps names.
pub fn compare(source: &Inventory, target: &Inventory, scope: &Scope) -> Comparison {
    let mut found = Comparison {
        compared: source.entries.len() as u64,
        ..Comparison::default()
    };
    let mut landed = BTreeSet::new();
    let held: BTreeSet<(&str, &str)> = target
        .entries
        .iter()
        .map(|((repository, _), entry)| (repository.as_str(), entry.digest.as_str()))
        .collect();
    for ((repository, reference), entry) in &source.entries {
        let there = scope
            .destination(repository)
            .map(|landing| (landing, reference.clone()));
        let target_entry = there.as_ref().and_then(|key| target.entries.get(key));
        let item = |target: Option<&String>| Item {
            repository: repository.clone(),
            reference: reference.clone(),
            source: Some(entry.digest.clone()),
            target: target.cloned(),
            pushed_at: entry.pushed_at,
        };
        // A digest without a tag is there under whatever tag: a tag that was deleted at the source leaves it behind.
        let is_held = reference == &entry.digest
            && there
                .as_ref()
                .is_some_and(|(landing, _)| held.contains(&(landing, &entry.digest)));
        match target_entry {
            None if is_held => {}
            None => found.missing.push(item(None)),
            Some(other) if other.digest != entry.digest => {
                found.different.push(item(Some(&other.digest)))
            }
            Some(_) => {}
        }
        landed.extend(there);
    }
    for (key, entry) in &target.entries {
        let (repository, reference) = key;
        // A digest without a tag is what an overwritten tag leaves behind: nobody can ask for it by name.
        let tagged = reference != &entry.digest;
        if tagged && !landed.contains(key) && (!scope.keeps_names() || scope.has(repository)) {
            found.extra.push(Item {
                repository: repository.clone(),
                reference: reference.clone(),
                source: None,
                target: Some(entry.digest.clone()),
                pushed_at: entry.pushed_at,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::inventory::Entry;

    fn inventory(entries: &[(&str, &str, &str)]) -> Inventory {
        let entries = entries.iter().map(|(repository, reference, digest)| {
            let entry = Entry {
                digest: (*digest).to_owned(),
                pushed_at: None,
            };
            (((*repository).to_owned(), (*reference).to_owned()), entry)
        });
        Inventory {
            site: "a".into(),
            taken_at: Timestamp::UNIX_EPOCH,
            entries: entries.collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn each_reference_falls_into_one_class() {
        let source = inventory(&[("p/a", "v1", "1"), ("p/a", "v2", "2"), ("p/b", "v1", "3")]);
        let target = inventory(&[
            ("p/a", "v1", "1"),
            ("p/a", "v2", "9"),
            ("p/c", "old", "4"),
            ("p/c", "5", "5"),
        ]);
        let found = compare(&source, &target, &Scope::all());
        let names = |items: &[Item]| {
            items
                .iter()
                .map(|i| format!("{}:{}", i.repository, i.reference))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&found.missing), ["p/b:v1"]);
        assert_eq!(names(&found.different), ["p/a:v2"]);
        assert_eq!(
            names(&found.extra),
            ["p/c:old"],
            "an untagged leftover is not extra"
        );
        assert_eq!(found.compared, 3);
        assert!(!found.is_equal());
    }

    #[test]
    fn an_untagged_digest_is_there_under_whatever_tag() {
        let source = inventory(&[("p/a", "5", "5"), ("p/a", "6", "6")]);
        let target = inventory(&[("p/a", "v5", "5"), ("p/b", "v6", "6")]);
        let found = compare(&source, &target, &Scope::all());
        let missing: Vec<&str> = found
            .missing
            .iter()
            .map(|item| item.reference.as_str())
            .collect();
        assert_eq!(missing, ["6"], "another repository does not count");
    }

    /// What lands under another name is looked for there; what else is at the target is extra only where the policy
    /// would have put it, which no name tells.
    #[test]
    fn content_is_looked_for_where_it_lands() {
        let document = serde_json::json!({
            "name": "p", "src_registry": { "id": 1 }, "filters": [{ "type": "name", "value": "p/**" }],
            "dest_namespace": "copy", "dest_namespace_replace_count": 1,
        });
        let policy = serde_json::from_value(document).expect("a policy");
        let scope = Scope::of(&policy).expect("filters");
        let source = inventory(&[("p/a", "v1", "1"), ("p/b", "v1", "2"), ("p/c", "v1", "3")]);
        let target = inventory(&[
            ("copy/a", "v1", "1"),
            ("copy/b", "v1", "9"),
            ("p/c", "v1", "3"),
        ]);
        let found = compare(&source, &target, &scope);
        let names = |items: &[Item]| {
            items
                .iter()
                .map(|i| i.repository.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&found.missing),
            ["p/c"],
            "there under a name that is not its own"
        );
        assert_eq!(names(&found.different), ["p/b"]);
        assert_eq!(found.different[0].target.as_deref(), Some("9"));
        assert_eq!(names(&found.extra), ["p/c"]);
    }

    /// What lies outside the scope at the target was never of this policy.
    #[test]
    fn what_is_out_of_scope_at_the_target_is_not_extra() {
        let document = serde_json::json!({
            "name": "p", "src_registry": { "id": 1 }, "filters": [{ "type": "name", "value": "p/**" }],
        });
        let policy = serde_json::from_value(document).expect("a policy");
        let scope = Scope::of(&policy).expect("filters");
        let target = inventory(&[("q/a", "v1", "1"), ("p/a", "v1", "1")]);
        let found = compare(&inventory(&[]), &target, &scope);
        assert_eq!(found.extra.len(), 1);
        assert_eq!(found.extra[0].repository, "p/a");
    }

    #[test]
    fn a_site_equals_itself() {
        let here = inventory(&[("p/a", "v1", "1"), ("p/a", "2", "2")]);
        assert!(compare(&here, &here, &Scope::all()).is_equal());
    }
}
