//! Chance: ids of runs and nonces of questions.

use std::hash::{BuildHasher as _, Hasher as _};

/// No vowels, so that no id is a word; no characters that look alike.
const LETTERS: &[u8; 28] = b"23456789bcdfghjkmnpqrstvwxyz";

/// Returns a number that nobody expects. The standard library seeds it from the system.
pub fn number() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// Returns an id for a run: short, because people type it at night.
pub fn run_id() -> String {
    let mut left = number();
    let mut id = String::new();
    for _ in 0..5 {
        id.push(char::from(LETTERS[(left % LETTERS.len() as u64) as usize]));
        left /= LETTERS.len() as u64;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids: std::collections::BTreeSet<String> = (0..100).map(|_| run_id()).collect();
        assert!(ids.len() > 98);
        assert!(ids.iter().all(|id| id.len() == 5));
    }
}
