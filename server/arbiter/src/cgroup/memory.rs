//! The memory controller: limit, use, kills.

use std::path::{Path, PathBuf};

use super::fields::{keyed, number};
use super::pressure::{self, Pressure};
use super::{Lineage, Version};
use crate::cgroup;

/// The memory of the container, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub limit: Option<u64>,
    /// Everything that is charged to the group, file cache included.
    pub current: u64,
    /// Without inactive file cache, as the kubelet counts it.
    pub working_set: u64,
    /// Without any file cache: what the kernel cannot get back by dropping pages. It kills when this reaches the limit.
    pub unreclaimable: u64,
}

impl Memory {
    /// What is left below the limit; without one, without end.
    pub fn headroom(self) -> u64 {
        self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.working_set))
    }
}

/// How often the kernel ran out of memory here. What it does not tell is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OomEvents {
    /// The limit was hit and reclaim did not help (v2).
    pub oom: Option<u64>,
    /// Processes killed for it.
    pub kills: Option<u64>,
    /// Times that the whole group was killed (v2, since Linux 5.17).
    pub group_kills: Option<u64>,
}

/// v1 says "no limit" with a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;

/// The group that this process's memory is charged to, and those around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryGroup {
    lineage: Lineage,
}

impl MemoryGroup {
    pub fn of_this_process() -> Option<Self> {
        Self::of(cgroup::of_this_process("memory", "memory.current")?)
    }

    fn of(lineage: Lineage) -> Option<Self> {
        let group = Self { lineage };
        group.usage().is_some().then_some(group)
    }

    /// For a given tree and text of `/proc/self/cgroup`.
    #[cfg(test)]
    pub(super) fn under(root: &Path, membership: &str) -> Option<Self> {
        Self::of(Lineage::of(root, membership, "memory", "memory.current")?)
    }

    pub fn version(&self) -> Version {
        self.lineage.version
    }

    /// Of the group that has the least room left, which is the one that the kernel will act on.
    pub fn usage(&self) -> Option<Memory> {
        let all = || self.lineage.groups.iter().filter_map(|group| self.read(group));
        all()
            .filter(|memory| memory.limit.is_some())
            .min_by_key(|memory| memory.headroom())
            .or_else(|| all().next())
    }

    pub fn oom_events(&self) -> OomEvents {
        // A kill is counted in the group of the process, on v2 also in those around it.
        let file = match self.version() {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let Some(text) = self.first(|group| std::fs::read_to_string(group.join(file)).ok()) else {
            return OomEvents::default();
        };
        OomEvents {
            oom: keyed(&text, "oom"),
            kills: keyed(&text, "oom_kill"),
            group_kills: keyed(&text, "oom_group_kill"),
        }
    }

    /// Whether the kernel kills the whole container when its memory is used up (v2, `memory.oom.group`).
    pub fn kills_together(&self) -> bool {
        self.version() == Version::V2
            && self.lineage.groups.iter().any(|group| number(&group.join("memory.oom.group")) == Some(1))
    }

    /// Time lost to waiting for memory; v1 does not measure it.
    pub fn pressure(&self) -> Option<Pressure> {
        if self.version() == Version::V1 {
            return None;
        }
        self.first(|group| pressure::read(&group.join("memory.pressure")))
    }

    fn first<T>(&self, read: impl Fn(&PathBuf) -> Option<T>) -> Option<T> {
        self.lineage.groups.iter().find_map(read)
    }

    fn read(&self, group: &Path) -> Option<Memory> {
        // On v1 only the totals count the groups below.
        let (limit, usage, prefix) = match self.version() {
            Version::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
            Version::V2 => ("memory.max", "memory.current", ""),
        };
        let current = number(&group.join(usage))?;
        let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cache = |kind: &str| keyed(&stat, &format!("{prefix}{kind}_file")).unwrap_or(0);
        let working_set = current.saturating_sub(cache("inactive"));
        Some(Memory {
            limit: number(&group.join(limit)).filter(|limit| *limit < NO_LIMIT),
            current,
            working_set,
            unreclaimable: working_set.saturating_sub(cache("active")),
        })
    }
}
