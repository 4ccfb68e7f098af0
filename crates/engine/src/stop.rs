//! A request to the driver to stop at the next safe point.

use tokio::sync::watch;

/// Seen by the driver and its steps.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Option<String>>);

/// Makes the request.
#[derive(Clone, Debug)]
pub struct StopSender(watch::Sender<Option<String>>);

/// Returns both ends.
pub fn stop() -> (StopSender, Stop) {
    let (to, from) = watch::channel(None);
    (StopSender(to), Stop(from))
}

impl StopSender {
    /// Asks the driver to stop at the next safe point, in the name of `by`.
    pub fn request(&self, by: &str) {
        self.0.send_replace(Some(by.to_owned()));
    }

    /// Takes the request back.
    pub fn clear(&self) {
        self.0.send_replace(None);
    }

    /// Returns another end that sees the requests.
    pub fn subscribe(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Stop {
    /// Returns who asked, if somebody did.
    pub fn by(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until somebody asks. For ever, if nobody can any more.
    pub async fn requested(&mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
