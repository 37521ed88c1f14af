//! How many workers a pod has.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A range within which a pod's workers follow the load, or `auto`.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("(has(self.auto) && self.auto) != has(self.max)")
        .message("give workers.max, or workers.auto: true, and not both"),
    validation = Rule::new("has(self.auto) && self.auto ? !has(self.min) && !has(self.initial) : true")
        .message("workers.auto: true follows from the container's limits; min and initial have no place beside it"),
    validation = Rule::new("has(self.min) && has(self.max) ? self.min <= self.max : true")
        .message("workers.min is greater than workers.max"),
    validation = Rule::new("has(self.initial) && has(self.max) ? (has(self.min) ? self.min : 1) <= self.initial && self.initial <= self.max : true")
        .message("workers.initial lies outside of workers.min and workers.max"),
)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    /// The fewest; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub min: Option<u32>,
    /// The most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub max: Option<u32>,
    /// What a pod begins with; `min` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub initial: Option<u32>,
    /// From 1 to twice the cores and one more, by the container's own limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto: Option<bool>,
}

impl Default for Workers {
    fn default() -> Self {
        Self { min: Some(1), max: Some(4), initial: None, auto: None }
    }
}

impl Workers {
    pub fn is_auto(&self) -> bool {
        self.auto == Some(true)
    }

    /// The fewest workers of a pod.
    pub fn fewest(&self) -> u32 {
        self.min.unwrap_or(1)
    }

    /// The most workers of a pod; none: the pod knows (`auto`).
    pub fn most(&self) -> Option<u32> {
        if self.is_auto() { None } else { Some(self.max.unwrap_or(4).max(self.fewest())) }
    }

    /// What a pod begins with.
    pub fn first(&self) -> u32 {
        self.initial.unwrap_or_else(|| self.fewest())
    }
}
