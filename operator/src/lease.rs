//! Who leads: one Lease of `coordination.k8s.io/v1` for all replicas.
//!
//! Contract:
//! - At most one replica acts. A leader renews every [`RENEW_EVERY`]; if it could not for [`GIVE_UP_AFTER`] it must stop at
//!   once, which is before anybody else may take over ([`DURATION`] after the last renewal that was *seen*).
//! - Clocks of different machines are never compared: a waiting replica counts, on its own monotonic clock, from when it
//!   last saw the Lease change (as client-go's leaderelection does).
//! - Every change of holder raises `leaseTransitions`; scaling orders carry it in their epoch, so that a pod refuses those
//!   of a former leader.
//! - Writes are replacements of the version that was read: two candidates cannot both win.
//!
//! [`verdict`] is the pure core; [`Candidate`] and [`Leadership`] are the shell.

mod fence;
mod verdict;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

pub use fence::{Closed, Fence};
pub use verdict::{Record, Verdict, Watch};

/// After so long without a renewal the Lease is free.
pub const DURATION: Duration = Duration::from_secs(15);
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// A leader that could not renew for so long stops.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// Between two looks of those that wait.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// No call to the apiserver takes longer.
const CALL_DEADLINE: Duration = Duration::from_secs(4);

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("the Lease could not be renewed for {} s: {last}", GIVE_UP_AFTER.as_secs())]
    NotRenewed { last: String },
    #[error("{holder} holds the Lease now")]
    Taken { holder: String },
}

/// Why a single attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum Attempt {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error("no answer within {} s", CALL_DEADLINE.as_secs())]
    Silent,
}

/// One replica that would lead.
#[derive(Clone)]
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    watch: Watch,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, identity, watch, api: _ } = self;
        formatter
            .debug_struct("Candidate")
            .field("name", name)
            .field("identity", identity)
            .field("watch", watch)
            .finish_non_exhaustive()
    }
}

impl Candidate {
    /// `identity` must differ between replicas; a pod's name does.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            watch: Watch::default(),
        }
    }

    /// Waits until this replica leads. Failures of the apiserver are logged and tried again; `seen` is called after each
    /// answer of the apiserver.
    pub async fn acquire(mut self, mut seen: impl FnMut()) -> Leadership {
        let mut told: Option<String> = None;
        loop {
            let asked = Instant::now();
            match self.attempt(false).await {
                Ok(Verdict::Acquire { transitions }) => {
                    tracing::info!(transitions, identity = self.identity, "leading");
                    let fence = Fence::closed();
                    fence.open_for(GIVE_UP_AFTER, asked.into_std());
                    return Leadership { transitions, renewed: asked, candidate: self, fence };
                }
                Ok(Verdict::Wait { holder }) => {
                    if told.as_ref() != Some(&holder) {
                        tracing::info!(holder, "another replica leads; waiting");
                        told = Some(holder);
                    }
                    seen();
                }
                Err(Attempt::Kube(kube::Error::Api(status))) if status.code == 409 => {
                    tracing::debug!("another candidate was quicker");
                }
                Err(error) => tracing::warn!("the Lease {} could not be asked for: {error}", self.name),
            }
            sleep(RETRY_EVERY).await;
        }
    }

    /// One look and, where it is to be had, one write.
    async fn attempt(&mut self, leads: bool) -> Result<Verdict, Attempt> {
        let lease = within(self.api.get_opt(&self.name)).await?;
        let record = lease.as_ref().map(Record::of);
        let verdict = self.watch.judge(record.as_ref(), &self.identity, leads, Instant::now().into_std());
        if let Verdict::Acquire { transitions } = verdict {
            self.write(lease, &self.identity, transitions).await?;
        }
        Ok(verdict)
    }

    async fn write(&self, lease: Option<Lease>, holder: &str, transitions: i32) -> Result<(), Attempt> {
        let now = MicroTime(Timestamp::now());
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_deref() != Some(holder) {
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(holder.to_owned());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.lease_transitions = Some(transitions);
        spec.renew_time = Some(now);
        let parameters = PostParams::default();
        if lease.metadata.resource_version.is_some() {
            within(self.api.replace(&self.name, &parameters, &lease)).await?;
        } else {
            within(self.api.create(&parameters, &lease)).await?;
        }
        Ok(())
    }
}

async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Attempt> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Attempt::Silent),
    }
}

/// The right to act. It is lost when [`Leadership::hold`] returns.
#[derive(Debug)]
pub struct Leadership {
    candidate: Candidate,
    transitions: i32,
    /// When the renewal was asked for that was answered last.
    renewed: Instant,
    fence: Fence,
}

impl Leadership {
    /// How often the Lease has changed hands; never falls.
    pub fn transitions(&self) -> u64 {
        u64::try_from(self.transitions).unwrap_or(0)
    }

    /// What every write of this leader has to pass.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Renews until that fails for good; the process must then end without another write.
    pub async fn hold(&mut self) -> LeaseError {
        loop {
            sleep(RENEW_EVERY.min(GIVE_UP_AFTER.saturating_sub(self.renewed.elapsed()))).await;
            let asked = Instant::now();
            let last = match self.candidate.attempt(true).await {
                // Our own name in it: the write that `attempt` has made renewed it.
                Ok(Verdict::Acquire { transitions }) if transitions == self.transitions => {
                    self.renewed = asked;
                    self.fence.open_for(GIVE_UP_AFTER, asked.into_std());
                    continue;
                }
                Ok(Verdict::Acquire { .. }) => {
                    return LeaseError::Taken { holder: "another replica, meanwhile,".to_owned() };
                }
                Ok(Verdict::Wait { holder }) => return LeaseError::Taken { holder },
                Err(error) => error.to_string(),
            };
            tracing::warn!("the Lease could not be renewed: {last}");
            if self.renewed.elapsed() >= GIVE_UP_AFTER {
                return LeaseError::NotRenewed { last };
            }
            sleep(RETRY_EVERY.min(GIVE_UP_AFTER.saturating_sub(self.renewed.elapsed()))).await;
        }
    }

    /// Leaves the Lease to whoever comes next; another replica need not wait for its end.
    pub async fn release(self) {
        let Self { candidate, transitions, .. } = self;
        let freed = async {
            let lease = within(candidate.api.get_opt(&candidate.name)).await?;
            let ours = lease
                .as_ref()
                .and_then(|lease| lease.spec.as_ref()?.holder_identity.as_ref())
                .is_some_and(|holder| *holder == candidate.identity);
            if ours {
                candidate.write(lease, "", transitions).await?;
            }
            Ok::<_, Attempt>(())
        };
        if let Err(error) = freed.await {
            tracing::warn!("the Lease was not given back, the next leader waits for its end: {error}");
        }
    }
}
