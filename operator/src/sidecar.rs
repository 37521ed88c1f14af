//! One server's workers, scaled from within its pod: for places without the operator, or where it may not reach pods.
//!
//! Contract:
//! - Runs beside the server in a pod with a shared process namespace (`shareProcessNamespace: true`), as the same user. Reads
//!   the load from the admin API, decides with the operator's own policy, and sends TTIN and TTOU itself: one at a time,
//!   each confirmed by the admin API before the next.
//! - The server needs a fixed `--workers N`: one with a range follows its load by itself, and then the sidecar leaves it
//!   alone and says so.
//! - Nothing ends it but its own end: a server that is silent, gone or not there yet is waited for.

mod process;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use podicorn_admin_api::{Reason, ScaleView};
use podicorn_policy::{Direction, Fleet, FleetBounds, FleetConfig, PodLoad, Standing};
use tokio::time::{Instant, MissedTickBehavior, sleep};

pub use process::SignalError;

use crate::autoscale::Metrics;
use crate::pods::{Endpoint, PodClient, PodError, Step, Token, Tokens};

/// Between two looks whether a signal has been heard.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A signal that was not heard by then is lost for this tick.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// What the one pod is called in the policy.
const SELF: &str = "the server";

/// What the sidecar is told.
#[derive(Debug, Clone)]
pub struct SidecarSettings {
    pub admin: SocketAddr,
    pub token_file: Option<PathBuf>,
    pub min: u32,
    pub max: u32,
    pub tick: Duration,
    /// The server's process; found by its name where absent.
    pub pid: Option<u32>,
    pub traceparent: fn() -> Option<String>,
}

/// Runs until `shutdown`; the workers stay as they are then.
pub async fn run(settings: SidecarSettings, metrics: Metrics, shutdown: impl Future<Output = ()>) {
    let pid = settings.pid;
    let signal = move |step: Step| process::signal(Path::new("/proc"), pid, step);
    let mut sidecar = Sidecar::new(settings, metrics, signal);
    let mut ticks = tokio::time::interval(sidecar.settings.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            ticks.tick().await;
            sidecar.tick().await;
        }
    };
    tokio::pin!(work, shutdown);
    futures::future::select(shutdown, work).await;
}

/// What the last tick came to; told when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Scaling,
    /// The admin API does not answer.
    Silent(&'static str),
    /// The server scales by itself, or somebody holds a lease.
    LeftAlone(&'static str),
    NotHeard(String),
}

struct Sidecar<S> {
    settings: SidecarSettings,
    client: PodClient,
    policy: Fleet,
    metrics: Metrics,
    signal: S,
    began: Instant,
    condition: Option<Condition>,
}

impl<S: FnMut(Step) -> Result<(), SignalError>> Sidecar<S> {
    fn new(settings: SidecarSettings, metrics: Metrics, signal: S) -> Self {
        Self {
            settings,
            client: PodClient::default(),
            policy: Fleet::new(FleetConfig::default()),
            metrics,
            signal,
            began: Instant::now(),
            condition: None,
        }
    }

    async fn tick(&mut self) {
        let condition = self.look().await;
        if self.condition.as_ref() != Some(&condition) {
            match &condition {
                Condition::Scaling => tracing::info!("the server's workers follow its load"),
                Condition::Silent(why) => tracing::warn!("the server's admin API does not answer: {why}"),
                Condition::LeftAlone(why) => tracing::warn!("the server is left alone: {why}"),
                Condition::NotHeard(why) => tracing::warn!("the server did not hear a signal: {why}"),
            }
            self.condition = Some(condition);
        }
    }

    async fn look(&mut self) -> Condition {
        let view = match self.view().await {
            Ok(view) => view,
            Err(error) => return Condition::Silent(error.kind()),
        };
        if view.reason == Reason::Policy || view.reason == Reason::Expiry {
            return Condition::LeftAlone("it has --workers MIN..MAX and follows its load by itself");
        }
        if view.lease.is_some() {
            return Condition::LeftAlone("a lease is in force, so somebody else scales it");
        }
        let at = self.began.elapsed() + Duration::from_secs(1);
        let bounds =
            FleetBounds { min: self.settings.min, max: self.settings.max, concurrency: 1, pods: None };
        let load = PodLoad {
            pod: SELF,
            current: view.base,
            min: view.min,
            max: view.max,
            decision: view.decision.as_ref(),
        };
        let decided = self.policy.tick(at, &bounds, &[load]);
        let Some(verdict) = decided.pods.into_iter().next() else { return Condition::Scaling };
        let decision = verdict.decision;
        self.metrics.decision(decision.direction, decision.reason);
        if verdict.standing != Standing::Steered || decision.direction == Direction::Hold {
            return Condition::Scaling;
        }
        let (from, to) = (decision.current, decision.target);
        tracing::info!(from, to, reason = decision.reason.name(), "{}", decision.message);
        self.step_to(from, to).await
    }

    /// One at a time: read, send, confirm, repeat.
    async fn step_to(&mut self, from: u32, to: u32) -> Condition {
        let step = if to > from { Step::Ttin } else { Step::Ttou };
        let mut at = from;
        while at != to {
            if let Err(error) = (self.signal)(step) {
                self.metrics.order(step.name(), "failed");
                return Condition::NotHeard(error.to_string());
            }
            let next = if to > at { at + 1 } else { at - 1 };
            if !self.heard(next).await {
                self.metrics.order(step.name(), "unconfirmed");
                return Condition::NotHeard("it was sent, and the number stayed".to_owned());
            }
            self.metrics.order(step.name(), "ok");
            at = next;
        }
        Condition::Scaling
    }

    async fn heard(&self, expected: u32) -> bool {
        let deadline = Instant::now() + HEARD_WITHIN;
        loop {
            if self.view().await.is_ok_and(|view| view.base == expected) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn view(&self) -> Result<ScaleView, PodError> {
        let trace = (self.settings.traceparent)();
        let endpoint = Endpoint { address: self.settings.admin, tokens: self.token() };
        self.client.scale(&endpoint, trace.as_deref()).await
    }

    /// Read each time, since Secrets rotate; a file that is not there is told of by the server's refusal.
    fn token(&self) -> Option<Arc<Tokens>> {
        let text = std::fs::read_to_string(self.settings.token_file.as_ref()?).ok()?;
        Some(Arc::new(Tokens::new(Token::new(&text).ok()?, None)))
    }
}

#[cfg(test)]
mod tests;
