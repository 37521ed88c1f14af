//! Reading the kernel's files, over and over. On a blocking thread: page tables of large processes take long.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::process::{self, Counted, Rollup};
use crate::cgroup::{self, Lineage, Memory, MemoryGroup, OomEvents, Pressure};

/// Page tables are walked again after this long at the latest.
const STALE: Duration = Duration::from_secs(10);
/// Or when the counters have moved by more than this; and, for large processes, by a sixteenth.
const MOVED: u64 = 4 << 20;

/// What one look has found.
#[derive(Debug, Clone)]
pub struct Look {
    pub memory: Option<Memory>,
    pub oom: OomEvents,
    pub memory_pressure: Option<Pressure>,
    pub cpu_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
    pub kills_together: bool,
    /// By pid.
    pub processes: HashMap<i32, Rollup>,
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub struct Watch {
    group: Option<MemoryGroup>,
    cpu: Option<Lineage>,
    known: HashMap<i32, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    rollup: Rollup,
    counted: Counted,
    at: Instant,
}

impl Watch {
    pub fn new(group: Option<MemoryGroup>) -> Self {
        Self { group, cpu: cgroup::of_this_process("cpu", "cpu.stat"), known: HashMap::new() }
    }

    /// Reads the group, and measures these processes.
    pub fn look(&mut self, pids: &[i32]) -> Look {
        self.known.retain(|pid, _| pids.contains(pid));
        let processes = pids.iter().filter_map(|pid| Some((*pid, self.measure(*pid)?))).collect();
        let group = self.group.as_ref();
        Look {
            memory: group.and_then(MemoryGroup::usage),
            oom: group.map(MemoryGroup::oom_events).unwrap_or_default(),
            memory_pressure: group.and_then(MemoryGroup::pressure),
            cpu_pressure: self.cpu.as_ref().and_then(cgroup::cpu_pressure),
            io_pressure: self.cpu.as_ref().and_then(cgroup::io_pressure),
            kills_together: group.is_some_and(MemoryGroup::kills_together),
            processes,
        }
    }

    /// Walks the page tables only now and then; between, the counters say by how much it has changed.
    fn measure(&mut self, pid: i32) -> Option<Rollup> {
        let counted = process::counted(pid)?;
        if counted.resident == 0 {
            // Dead, and not reaped yet: what it held is what it was killed for.
            return self.known.get(&pid).map(|known| known.rollup);
        }
        if let Some(known) = self.known.get(&pid) {
            let moved = counted.resident.abs_diff(known.counted.resident);
            if known.at.elapsed() < STALE && moved <= MOVED.max(known.counted.resident / 16) {
                return Some(known.carried_to(counted));
            }
        }
        // Of another user's process only the counters can be read.
        let guess = Rollup { rss: counted.resident, pss: counted.anonymous, uss: counted.anonymous };
        let rollup = process::rollup(pid).unwrap_or(guess);
        self.known.insert(pid, Known { rollup, counted, at: Instant::now() });
        Some(rollup)
    }
}

impl Known {
    /// What has come or gone since is taken for the process's own.
    fn carried_to(&self, counted: Counted) -> Rollup {
        let carry = |then: u64| (then + counted.anonymous).saturating_sub(self.counted.anonymous);
        Rollup {
            rss: (self.rollup.rss + counted.resident).saturating_sub(self.counted.resident),
            pss: carry(self.rollup.pss),
            uss: carry(self.rollup.uss),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_walks_the_counters_carry_the_figures_on() {
        let known = Known {
            rollup: Rollup { rss: 100, pss: 60, uss: 40 },
            counted: Counted { resident: 100, anonymous: 50 },
            at: Instant::now(),
        };
        let grown = known.carried_to(Counted { resident: 130, anonymous: 75 });
        assert_eq!(grown, Rollup { rss: 130, pss: 85, uss: 65 });
        let shrunk = known.carried_to(Counted { resident: 20, anonymous: 0 });
        assert_eq!(shrunk, Rollup { rss: 20, pss: 10, uss: 0 });
    }

    #[test]
    fn processes_that_have_gone_are_forgotten() {
        let me = i32::try_from(std::process::id()).unwrap();
        let mut watch = Watch::new(None);
        let look = watch.look(&[me, -1]);
        assert_eq!(look.processes.keys().collect::<Vec<_>>(), [&me]);
        assert!(look.memory.is_none());
        assert!(watch.look(&[]).processes.is_empty());
        assert!(watch.known.is_empty());
    }
}
