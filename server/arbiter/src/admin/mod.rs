//! The admin API: HTTP on a port of its own, answered by the arbiter.
//!
//! | route | answer | open |
//! |---|---|---|
//! | `GET /livez` | the run loop turns | yes |
//! | `GET /startupz` | a worker has been ready once | yes |
//! | `GET /readyz` | a worker is ready and the server is not draining | yes |
//! | `GET /metrics` | OpenMetrics text | yes |
//! | `GET /` | a page that shows the pool; holds no data itself | with a token file |
//! | `GET /workers`, `GET /workers/{slot}/stack` | the pool; the stacks of one worker | no |
//! | `GET /watch` | the pool once a second, as a stream | no |
//! | `GET /scale`, `PUT /scale`, `POST /scale/ttin`, `POST /scale/ttou` | targets and lease | no |
//! | `POST /reload`, `POST /drain` | begins a reload; begins to end the server | no |
//! | `GET /config`, `GET /openapi.json` | merged settings; description of these routes | no |
//!
//! What is not open needs the bearer token or the unix socket ([`access`]). The table is [`routes`]; router, `Allow`
//! headers and OpenAPI document come from it.
//!
//! Handlers hold no state of the pool. They send a [`Command`] to the run loop and wait for its answer with a
//! deadline, so a loop that stands still turns into a 503 and never into a probe that hangs.
//! Errors are RFC 9457 problem details.

pub mod access;
pub mod bind;
mod closing;
pub mod command;
pub mod server;

mod ask;
mod body;
mod config;
mod drain;
mod health;
mod metrics;
mod openapi;
mod page;
mod reload;
mod routes;
mod scale;
mod watch;
mod workers;

pub use access::{Access, TokenGate};
pub use bind::{AdminListener, BindAddress, BindError, Spare};
pub use closing::Closing;
pub use command::{Command, Detail, DrainView, Refusal, ReloadView, StackError, Step};
pub use routes::router;
pub use server::serve;
pub use watch::{Watched, Watchers};

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::app_metrics::AppMetrics;

/// What every handler gets.
#[derive(Debug, Clone)]
pub struct AdminState {
    /// To the run loop. A channel of 64 is plenty: the loop answers from memory.
    pub commands: mpsc::Sender<Command>,
    /// Who may do what on this listener.
    pub access: Access,
    /// What the app counts.
    pub app_metrics: Option<Arc<AppMetrics>>,
    pub watchers: Arc<Watchers>,
    pub closing: Closing,
}

impl AdminState {
    /// Of an app that counts nothing.
    pub fn new(commands: mpsc::Sender<Command>, access: Access) -> Self {
        let (watchers, closing) = (Arc::default(), Closing::default());
        Self { commands, access, app_metrics: None, watchers, closing }
    }
}

#[cfg(test)]
mod tests;
