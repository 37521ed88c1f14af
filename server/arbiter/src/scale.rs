//! Which number of workers is wanted, and by whose word.
//!
//! A pure machine: the caller passes the time in. Four voices are heard.
//!
//! * The **configuration** (`--workers N` or `MIN..MAX`) gives the base target and, for a range, the bounds.
//! * The **policy** moves the base target of a range by load, unless a lease is in force.
//! * **Steps** (TTIN, TTOU, `POST /scale/ttin|ttou`) move the base target by one each.
//! * A **lease** (`PUT /scale`) sets an absolute target for `ttlSeconds`. While it is in force its target counts and
//!   steps move only the base target. The holder repeats the same body to renew it; a change needs a higher epoch.
//!
//! When a lease expires a fixed `N` returns to the base target and a range goes on from the count of that moment.
//! Epochs are remembered past the expiry, so that a holder which lost its office cannot come back with old orders.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::moment::Clock;

pub use podicorn_admin_api::{LeaseView, MAX_TTL_SECONDS, Reason, ScaleRequest, ScaleView, StepView};

/// The setting `--workers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workers {
    Fixed(u32),
    /// Both ends included.
    Range {
        min: u32,
        max: u32,
    },
}

/// Why a `PUT /scale` was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    #[error("epoch {given} is older than epoch {current}, which was accepted before")]
    OlderEpoch { given: u64, current: u64 },
    #[error("epoch {epoch} was accepted before with another body: changes need a higher epoch")]
    EpochReused { epoch: u64 },
    /// `field` is the JSON name.
    #[error("{field}: {message}")]
    Invalid { field: &'static str, message: String },
    #[error("the server is shutting down")]
    Draining,
}

#[derive(Debug, Clone, Copy)]
struct Accepted {
    request: ScaleRequest,
    /// None once expired.
    deadline: Option<Instant>,
}

/// The machine as plain data, from which the next program goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    configured: Workers,
    base: u32,
    reason: Reason,
    accepted: Option<ScaleRequest>,
    /// When its lease ends, as a stamp of a [`Clock`].
    deadline: Option<u64>,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Scale {
    configured: Workers,
    capacity: u32,
    base: u32,
    reason: Reason,
    accepted: Option<Accepted>,
}

impl Scale {
    /// `capacity` is the number of worker slots, at least 1; configured numbers are held within `1..=capacity`.
    pub fn new(configured: Workers, capacity: u32) -> Self {
        let mut scale = Self {
            configured,
            capacity: capacity.max(1),
            base: 1,
            reason: Reason::Configuration,
            accepted: None,
        };
        scale.base = scale.configured_base();
        scale
    }

    pub fn save(&self, clock: &Clock) -> Saved {
        Saved {
            configured: self.configured,
            base: self.base,
            reason: self.reason,
            accepted: self.accepted.map(|accepted| accepted.request),
            deadline: self.deadline().map(|deadline| clock.stamp(deadline)),
        }
    }

    /// Leases and epochs hold on, whichever program keeps them.
    pub fn resume(saved: &Saved, capacity: u32, clock: &Clock) -> Self {
        let deadline = saved.deadline.map(|stamp| clock.instant(stamp));
        Self {
            configured: saved.configured,
            capacity: capacity.max(1),
            base: saved.base,
            reason: saved.reason,
            accepted: saved.accepted.map(|request| Accepted { request, deadline }),
        }
    }

    /// Workers wanted now. Call [`Scale::expire`] first.
    pub fn target(&self) -> u32 {
        self.lease().map_or(self.base, |request| self.clamp_lease(request).0)
    }

    /// Workers wanted without a lease.
    pub fn base(&self) -> u32 {
        self.base
    }

    /// When to call [`Scale::expire`].
    pub fn deadline(&self) -> Option<Instant> {
        self.accepted.and_then(|accepted| accepted.deadline)
    }

    /// Ends a lease whose time is over; true if it ended one.
    pub fn expire(&mut self, now: Instant) -> bool {
        let target = self.target();
        let Some(accepted) = self.accepted.as_mut() else { return false };
        if accepted.deadline.is_none_or(|deadline| now < deadline) {
            return false;
        }
        accepted.deadline = None;
        if let Workers::Range { .. } = self.configured {
            let (min, max) = self.configured_bounds();
            self.base = target.clamp(min, max);
            self.reason = Reason::Expiry;
        }
        true
    }

    /// Takes or renews a lease.
    pub fn apply(&mut self, request: ScaleRequest, now: Instant) -> Result<ScaleView, ScaleError> {
        self.expire(now);
        self.validate(request)?;
        if let Some(accepted) = self.accepted {
            let (given, current) = (request.epoch, accepted.request.epoch);
            if given < current {
                return Err(ScaleError::OlderEpoch { given, current });
            }
            if given == current && request != accepted.request {
                return Err(ScaleError::EpochReused { epoch: given });
            }
        }
        let deadline = now + Duration::from_secs(u64::from(request.ttl_seconds));
        self.accepted = Some(Accepted { request, deadline: Some(deadline) });
        Ok(self.view(now))
    }

    /// Whether the number is the policy's to decide, when no lease is in force.
    pub fn follows_load(&self) -> bool {
        matches!(self.configured, Workers::Range { .. })
    }

    /// The policy wants so many workers; true if the base target is another one now. A lease wins, and a fixed number is
    /// not for the policy.
    pub fn follow(&mut self, wanted: u32, now: Instant) -> bool {
        self.expire(now);
        if !self.follows_load() || self.lease().is_some() {
            return false;
        }
        let (min, max) = self.configured_bounds();
        let wanted = wanted.clamp(min, max);
        let changed = wanted != self.base;
        if changed {
            self.base = wanted;
            self.reason = Reason::Policy;
        }
        changed
    }

    /// Moves the base target by `delta` steps, as far as the bounds of the configuration allow.
    pub fn step(&mut self, delta: i64, now: Instant) -> StepView {
        self.expire(now);
        let (min, max) = self.configured_bounds();
        let before = self.base;
        let moved = (i64::from(before).saturating_add(delta)).clamp(i64::from(min), i64::from(max));
        self.base = u32::try_from(moved).unwrap_or(before);
        let changed = self.base != before;
        if changed {
            self.reason = Reason::Step;
        }
        StepView { message: self.step_message(delta, changed, now), scale: self.view(now), changed }
    }

    /// A reload has read `--workers` again. What was set at run time survives unless the setting itself changed.
    pub fn reconfigure(&mut self, configured: Workers, now: Instant) {
        self.expire(now);
        if configured != self.configured {
            self.configured = configured;
            self.base = self.configured_base();
            self.reason = Reason::Configuration;
        }
    }

    /// The state as the API shows it. Call [`Scale::expire`] first.
    pub fn view(&self, now: Instant) -> ScaleView {
        let accepted = self.accepted;
        let lease = accepted.and_then(|accepted| {
            accepted.deadline.map(|deadline| LeaseView {
                request: accepted.request,
                remaining_seconds: deadline.saturating_duration_since(now).as_secs_f64(),
            })
        });
        let (min, max) =
            self.lease().map_or_else(|| self.configured_bounds(), |request| self.lease_bounds(request));
        ScaleView {
            target: self.target(),
            base: self.base,
            min,
            max,
            reason: if lease.is_some() { Reason::Lease } else { self.reason },
            clamped: self.lease().and_then(|request| self.clamp_lease(request).1),
            lease,
            last_epoch: accepted.map(|accepted| accepted.request.epoch),
            decision: None,
        }
    }

    fn validate(&self, request: ScaleRequest) -> Result<(), ScaleError> {
        let capacity = self.capacity;
        let within = |field, value: u32| {
            if (1..=capacity).contains(&value) {
                return Ok(());
            }
            Err(ScaleError::Invalid {
                field,
                message: format!("must be from 1 to {capacity}, the number of slots; got {value}"),
            })
        };
        within("workers", request.workers)?;
        request.min.map_or(Ok(()), |min| within("min", min))?;
        request.max.map_or(Ok(()), |max| within("max", max))?;
        if let (Some(min), Some(max)) = (request.min, request.max)
            && min > max
        {
            return Err(ScaleError::Invalid {
                field: "min",
                message: format!("must not be above max; got {min} and {max}"),
            });
        }
        if !(1..=MAX_TTL_SECONDS).contains(&request.ttl_seconds) {
            let got = request.ttl_seconds;
            return Err(ScaleError::Invalid {
                field: "ttlSeconds",
                message: format!("must be from 1 to {MAX_TTL_SECONDS}; got {got}"),
            });
        }
        Ok(())
    }

    fn lease(&self) -> Option<ScaleRequest> {
        self.accepted.filter(|accepted| accepted.deadline.is_some()).map(|accepted| accepted.request)
    }

    fn configured_bounds(&self) -> (u32, u32) {
        match self.configured {
            Workers::Fixed(_) => (1, self.capacity),
            Workers::Range { min, max } => {
                let min = min.clamp(1, self.capacity);
                (min, max.clamp(min, self.capacity))
            }
        }
    }

    fn configured_base(&self) -> u32 {
        match self.configured {
            Workers::Fixed(count) => count.clamp(1, self.capacity),
            Workers::Range { .. } => self.configured_bounds().0,
        }
    }

    /// One end alone may cross the configuration's other end: the lease's own word wins.
    fn lease_bounds(&self, request: ScaleRequest) -> (u32, u32) {
        let (min, max) = self.configured_bounds();
        match (request.min, request.max) {
            (Some(min), Some(max)) => (min, max),
            (Some(own), None) => (own, max.max(own)),
            (None, Some(own)) => (min.min(own), own),
            (None, None) => (min, max),
        }
    }

    fn clamp_lease(&self, request: ScaleRequest) -> (u32, Option<String>) {
        let (min, max) = self.lease_bounds(request);
        let target = request.workers.clamp(min, max);
        let asked = request.workers;
        let note = (target != asked).then(|| {
            let (bound, end) = if asked < min { ("raised", "min") } else { ("lowered", "max") };
            let source = if end == "min" { request.min } else { request.max };
            let whose = if source.is_some() { "of this lease" } else { "of --workers" };
            format!("{asked} was {bound} to {target}, the {end} {whose}")
        });
        (target, note)
    }

    fn step_message(&self, delta: i64, changed: bool, now: Instant) -> String {
        let base = self.base;
        if !changed {
            let end = if delta > 0 { "upper" } else { "lower" };
            return format!("The base target stays {base}: that is the {end} bound.");
        }
        let Some(deadline) = self.deadline() else { return format!("The target is now {base}.") };
        let target = self.target();
        let seconds = deadline.saturating_duration_since(now).as_secs();
        let then = match self.configured {
            Workers::Fixed(_) => format!("the base target {base} takes over when it ends"),
            Workers::Range { .. } => "the count of that moment goes on when it ends".to_owned(),
        };
        format!(
            "A lease is in force for another {seconds} s: the target stays {target}, the base target is now {base}; {then}."
        )
    }
}

#[cfg(test)]
mod tests;
