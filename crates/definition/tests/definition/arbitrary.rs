//! Whatever the text, there is an answer and no panic.

use crate::samples::{CONFIG, RUNBOOK, config, runbook};

/// A small generator: the same numbers for the same seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % below.max(1)
    }
}

const PIECES: [&str; 26] = [
    ":",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "\n",
    "  ",
    "- ",
    "#",
    "&a ",
    "*a",
    "|",
    ">",
    "!x ",
    "password: ",
    "secret:\n",
    "é€𝄞",
    "\t",
    "\r\n",
    "\u{202e}",
    "\0",
    "://",
    "@",
];

/// Changes a few places of a text: pieces put in, characters taken out.
fn spoiled(text: &str, numbers: &mut Numbers) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=numbers.next(4) {
        let at = numbers.next(chars.len());
        if numbers.next(3) == 0 {
            let end = (at + 1 + numbers.next(20)).min(chars.len());
            chars.drain(at..end);
        } else {
            chars.splice(at..at, PIECES[numbers.next(PIECES.len())].chars());
        }
    }
    chars.into_iter().collect()
}

#[test]
fn spoiled_files_are_answered() {
    let mut numbers = Numbers(20_240_229);
    for _ in 0..250 {
        if let Err(wrong) = config(&spoiled(CONFIG, &mut numbers)) {
            assert!(!wrong.render(false, 80).is_empty());
        }
        if let Err(wrong) = runbook(&spoiled(RUNBOOK, &mut numbers)) {
            assert!(!wrong.render(true, 20).is_empty());
        }
    }
}

#[test]
fn noise_is_answered() {
    let mut numbers = Numbers(7);
    for _ in 0..800 {
        let text: String = (0..numbers.next(40))
            .map(|_| PIECES[numbers.next(PIECES.len())])
            .collect();
        if let Err(wrong) = config(&text) {
            assert!(!wrong.render(false, 80).is_empty());
        }
    }
}
