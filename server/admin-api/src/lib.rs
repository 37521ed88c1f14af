//! What the admin API of a pod says and takes: the bodies of `/scale`, for both ends of the wire.
//!
//! Contract: the arbiter writes [`ScaleView`] and [`StepView`] and judges [`ScaleRequest`]; whoever steers pods does the
//! reverse. What is read may come from a newer pod, so fields that are not known here are passed over.

use podicorn_policy::Decision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest lease, in seconds: one day.
pub const MAX_TTL_SECONDS: u32 = 86_400;

/// The body of `PUT /scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ScaleRequest {
    /// Workers wanted, within the bounds.
    #[schemars(range(min = 1))]
    pub workers: u32,
    /// Lower bound while the lease is in force; that of the configuration where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min: Option<u32>,
    /// Upper bound, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max: Option<u32>,
    /// leaseTransitions · 2³² + counter. A change needs a higher one.
    pub epoch: u64,
    #[schemars(range(min = 1, max = MAX_TTL_SECONDS))]
    pub ttl_seconds: u32,
}

/// Whose word made the target what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    Configuration,
    Step,
    /// The load.
    Policy,
    Lease,
    /// A lease ended and a range went on from its count.
    Expiry,
}

impl Reason {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Step => "step",
            Self::Policy => "policy",
            Self::Lease => "lease",
            Self::Expiry => "expiry",
        }
    }
}

/// The answer of `GET|PUT /scale`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleView {
    /// Workers wanted now.
    pub target: u32,
    /// Workers wanted without a lease.
    pub base: u32,
    pub min: u32,
    pub max: u32,
    pub reason: Reason,
    /// Says how the lease's target was changed to fit the bounds.
    pub clamped: Option<String>,
    pub lease: Option<LeaseView>,
    /// The highest epoch accepted so far, its lease in force or not.
    pub last_epoch: Option<u64>,
    /// What the policy said last, and why; absent until it has seen anything. It is followed by a range that has no lease.
    pub decision: Option<Decision>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseView {
    #[serde(flatten)]
    pub request: ScaleRequest,
    pub remaining_seconds: f64,
}

/// The answer of `POST /scale/ttin|ttou`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    #[serde(flatten)]
    pub scale: ScaleView,
    /// The base target moved; false at a bound.
    pub changed: bool,
    /// What happened, in one sentence.
    pub message: String,
}

#[cfg(test)]
mod tests;
