//! TERM and INT, heard once and known to all.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Debug, thiserror::Error)]
#[error("cannot listen for signals: {0}")]
pub struct SignalError(#[from] std::io::Error);

/// Whether the process was told to end.
#[derive(Debug, Clone)]
pub(super) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    pub(super) fn on_signals() -> Result<Self, SignalError> {
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("told to end");
            let _ = sender.send(true);
            // A second signal has no other effect, and whoever waits must not find the sender gone.
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// Returns when the process was told to end; at once if it was before.
    pub(super) fn told(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut receiver = self.0.clone();
        async move {
            if receiver.wait_for(|told| *told).await.is_err() {
                // Without a sender nobody will ever be told.
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn was_told(&self) -> bool {
        *self.0.borrow()
    }
}
