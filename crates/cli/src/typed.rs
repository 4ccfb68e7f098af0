//! What is typed at this terminal.
//!
//! One thread reads it for the whole process: a read cannot be taken back when another process answers a question
//! first, and a second reader would share the lines with it.

use std::sync::OnceLock;

use tokio::sync::{Mutex, mpsc};

use crate::output::prompt;

static LINES: OnceLock<Mutex<mpsc::UnboundedReceiver<String>>> = OnceLock::new();

/// Asks a question and returns the line that is typed from now on; nothing if there will be none.
pub async fn ask(question: &str) -> Option<String> {
    let lines = LINES.get_or_init(|| {
        let (to, from) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines() {
                if line.map_or(true, |line| to.send(line).is_err()) {
                    break;
                }
            }
        });
        Mutex::new(from)
    });
    let mut lines = lines.lock().await;
    // What was typed before the question is no answer to it.
    while lines.try_recv().is_ok() {}
    prompt(question);
    lines.recv().await.map(|line| line.trim().to_owned())
}
