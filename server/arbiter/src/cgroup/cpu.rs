//! The CPU controller: quota, use, throttling.

use std::path::Path;

use super::fields::{keyed, number};
use super::{Lineage, Version};
use crate::cgroup;

/// The group that this process's CPU time is charged to, and those around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuGroup {
    lineage: Lineage,
    /// On v1 time is counted by a controller of its own.
    accounting: Option<Lineage>,
}

/// What the tightest quota says, since its group began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    /// CPU time per time.
    pub quota_cores: f64,
    pub used_seconds: f64,
    /// Periods of the quota in which something ran.
    pub periods: u64,
    pub throttled_periods: u64,
}

impl CpuGroup {
    pub fn of_this_process() -> Option<Self> {
        let accounting = cgroup::of_this_process("cpuacct", "cpuacct.usage");
        Some(Self::of(cgroup::of_this_process("cpu", "cpu.stat")?, accounting))
    }

    fn of(lineage: Lineage, accounting: Option<Lineage>) -> Self {
        Self { lineage, accounting: accounting.filter(|accounting| accounting.version == Version::V1) }
    }

    /// For a given tree and text of `/proc/self/cgroup`.
    #[cfg(test)]
    pub(super) fn under(root: &Path, membership: &str) -> Option<Self> {
        let accounting = Lineage::of(root, membership, "cpuacct", "cpuacct.usage");
        Some(Self::of(Lineage::of(root, membership, "cpu", "cpu.stat")?, accounting))
    }

    /// `None` without a quota.
    pub fn usage(&self) -> Option<Cpu> {
        let quotas = self.lineage.groups.iter().enumerate();
        let quotas = quotas.filter_map(|(depth, group)| Some((depth, self.quota(group)?)));
        let (depth, quota_cores) = quotas.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let stat = std::fs::read_to_string(self.lineage.groups[depth].join("cpu.stat")).ok()?;
        let used_seconds = match self.lineage.version {
            Version::V2 => keyed(&stat, "usage_usec").map(|micros| seconds(micros, 1e6)),
            Version::V1 => {
                // Both are mounted together nearly everywhere, so the groups are the same.
                let group = self.accounting.as_ref().and_then(|accounting| accounting.groups.get(depth));
                group.and_then(|group| number(&group.join("cpuacct.usage"))).map(|nanos| seconds(nanos, 1e9))
            }
        };
        Some(Cpu {
            quota_cores,
            used_seconds: used_seconds?,
            periods: keyed(&stat, "nr_periods")?,
            throttled_periods: keyed(&stat, "nr_throttled")?,
        })
    }

    fn quota(&self, group: &Path) -> Option<f64> {
        let (quota, period) = match self.lineage.version {
            Version::V1 => {
                (number(&group.join("cpu.cfs_quota_us"))?, number(&group.join("cpu.cfs_period_us"))?)
            }
            Version::V2 => {
                let text = std::fs::read_to_string(group.join("cpu.max")).ok()?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            }
        };
        (quota > 0 && period > 0).then(|| seconds(quota, 1.0) / seconds(period, 1.0))
    }
}

#[allow(clippy::cast_precision_loss)] // centuries in microseconds fit
fn seconds(count: u64, per_second: f64) -> f64 {
    count as f64 / per_second
}

/// The cores that this process may use: its quota, and the CPUs that it is bound to.
pub fn cores() -> f64 {
    let quota = CpuGroup::of_this_process().and_then(|group| group.usage()).map(|cpu| cpu.quota_cores);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    quota.unwrap_or(f64::INFINITY).min(f64::from(allowed(&status).unwrap_or(1)))
}

/// The number of CPUs in the line `Cpus_allowed_list: 0-3,8`.
pub(super) fn allowed(status: &str) -> Option<u32> {
    let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let count = |range: &str| {
        let (first, end) = range.split_once('-').unwrap_or((range, range));
        let (first, end): (u32, u32) = (first.trim().parse().ok()?, end.trim().parse().ok()?);
        end.checked_sub(first)?.checked_add(1)
    };
    cpus.trim().split(',').map(count).sum()
}
