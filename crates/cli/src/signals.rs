//! Ctrl-C and SIGTERM: once to stop at the next safe point, twice to stop now. Both leave a run that can be resumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use runbook_engine::stop::StopSender;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;
use crate::output::complain;

/// What arrived, while something listens.
#[derive(Clone, Debug, Default)]
pub struct Signals(Arc<AtomicU8>);

impl Signals {
    /// Listens from now on. The first signal asks the driver to stop and says `first`; the second ends the process.
    pub fn listen(stop: StopSender, first: String) -> Signals {
        let signals = Signals::default();
        let seen = signals.0.clone();
        tokio::spawn(async move {
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            let exit = either(&mut interrupt, &mut terminate).await;
            seen.store(exit.code(), Ordering::SeqCst);
            complain(&first);
            stop.request(if exit == Exit::Interrupted {
                "Ctrl-C"
            } else {
                "SIGTERM"
            });
            let exit = either(&mut interrupt, &mut terminate).await;
            complain("stopped now; the journal holds everything up to here: `runbook resume`");
            std::process::exit(i32::from(exit.code()));
        });
        signals
    }

    /// Returns how the process ends if it was asked to stop.
    pub fn exit(&self) -> Exit {
        if self.0.load(Ordering::SeqCst) == Exit::Terminated.code() {
            Exit::Terminated
        } else {
            Exit::Interrupted
        }
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> Exit {
    tokio::select! {
        _ = interrupt.recv() => Exit::Interrupted,
        _ = terminate.recv() => Exit::Terminated,
    }
}
