//! Where a copy lands: the rule by which a policy names repositories at the destination.

use thiserror::Error;

/// Why a repository has no place at the destination. The execution then fails before any task.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NamespaceError {
    /// More parts are to be replaced than there are before the last one.
    #[error(
        "`{repository}` has {available} parts that a namespace can replace, fewer than {count}"
    )]
    TooFewComponents {
        /// The source repository.
        repository: String,
        /// How many can be replaced.
        available: usize,
        /// How many are to be.
        count: i64,
    },
}

/// Returns the name that `source` gets at the destination.
///
/// An empty `dest_namespace` changes nothing, whatever the count. A `replace_count` below 0 keeps the last
/// part only, so that two repositories with the same last part collide; 0 nests; n replaces the first n.
pub fn destination_repository(
    source: &str,
    dest_namespace: &str,
    replace_count: i64,
) -> Result<String, NamespaceError> {
    if dest_namespace.is_empty() {
        return Ok(source.to_owned());
    }
    let parts: Vec<&str> = source.split('/').collect();
    let available = parts.len() - 1;
    let kept = match usize::try_from(replace_count) {
        Err(_) => available,
        Ok(count) if count <= available => count,
        Ok(_) => {
            return Err(NamespaceError::TooFewComponents {
                repository: source.to_owned(),
                available,
                count: replace_count,
            });
        }
    };
    Ok(format!("{dest_namespace}/{}", parts[kept..].join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_decides_how_deep_a_copy_lands() {
        // Seen on v2.9.5 for production/team/tool into X.
        for (count, destination) in [
            (-2, "X/tool"),
            (-1, "X/tool"),
            (0, "X/production/team/tool"),
            (1, "X/team/tool"),
            (2, "X/tool"),
        ] {
            let landed = destination_repository("production/team/tool", "X", count);
            assert_eq!(landed.as_deref(), Ok(destination), "{count}");
        }
        assert!(destination_repository("production/team/tool", "X", 3).is_err());
    }
}
