//! The end of the API in this program, when another one goes on with its socket: who is being answered still is, nobody
//! new is taken, and who comes meanwhile waits in the socket.

use std::sync::Arc;

use tokio::sync::watch;

/// Clones are of the same end.
#[derive(Debug, Clone, Default)]
pub struct Closing(Arc<watch::Sender<bool>>);

impl Closing {
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    pub async fn begun(&self) {
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}
