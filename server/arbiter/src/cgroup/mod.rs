//! What the container may use and has used, from cgroup v1 or v2: one file for each controller.
//!
//! The root directory and the text of `/proc/self/cgroup` are parameters, so that tests bring their own tree.

mod cpu;
mod fields;
mod memory;
mod pressure;
#[cfg(test)]
mod tests;

use std::path::{Component, Path, PathBuf};

pub use cpu::{Cpu, CpuGroup, cores};
pub use memory::{Memory, MemoryGroup, OomEvents};
pub use pressure::{Pressure, Stall};

/// Where the kernel shows the hierarchies.
pub const ROOT: &str = "/sys/fs/cgroup";
/// Where it says which groups this process is in.
pub const MEMBERSHIP: &str = "/proc/self/cgroup";

/// Which interface a controller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

impl Version {
    pub fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// The groups that one controller has this process in: its own first, then those around it, which bind it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    pub version: Version,
    pub groups: Vec<PathBuf>,
}

impl Lineage {
    /// `membership` is the text of `/proc/self/cgroup`, `file` a file that such a group of v2 has.
    ///
    /// In a container the hierarchy is often mounted at the container's own group, so that the path, which is the host's,
    /// is not there: then the root of the mount is the group.
    pub fn of(root: &Path, membership: &str, controller: &str, file: &str) -> Option<Self> {
        let lines = || {
            membership.lines().filter_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                Some((parts.next()?, parts.next()?))
            })
        };
        // A hybrid has both: a controller is in one of them.
        for (controllers, path) in
            lines().filter(|(names, _)| names.split(',').any(|name| name == controller))
        {
            for mount in [root.join(controllers), root.join(controller)] {
                let groups = existing(&mount, path);
                if !groups.is_empty() {
                    return Some(Self { version: Version::V1, groups });
                }
            }
        }
        let (_, path) = lines().find(|(names, _)| names.is_empty())?;
        let groups = existing(root, path);
        groups.iter().any(|group| group.join(file).exists()).then_some(Self { version: Version::V2, groups })
    }
}

/// The group at `path` below `mount` and those around it, as far as they are there.
fn existing(mount: &Path, path: &str) -> Vec<PathBuf> {
    // A process outside of its namespace's root has a path with `..` in it.
    let inside: PathBuf =
        Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let groups =
        inside.ancestors().map(|part| if part == Path::new("") { mount.into() } else { mount.join(part) });
    groups.filter(|group: &PathBuf| group.is_dir()).collect()
}

/// The groups that a controller has this process in.
pub fn of_this_process(controller: &str, file: &str) -> Option<Lineage> {
    Lineage::of(Path::new(ROOT), &std::fs::read_to_string(MEMBERSHIP).ok()?, controller, file)
}

/// Time lost to waiting for the CPU; v1 does not measure it.
pub fn cpu_pressure(cpu: &Lineage) -> Option<Pressure> {
    pressure_of(cpu, "cpu.pressure")
}

/// Time lost to waiting for disks, likewise: the controllers of v2 share their groups.
pub fn io_pressure(cpu: &Lineage) -> Option<Pressure> {
    pressure_of(cpu, "io.pressure")
}

fn pressure_of(lineage: &Lineage, file: &str) -> Option<Pressure> {
    let group = lineage.groups.first().filter(|_| lineage.version == Version::V2)?;
    pressure::read(&group.join(file))
}

/// The memory limit of this process; `None` where there is none or it cannot be read.
pub fn memory() -> Option<Memory> {
    MemoryGroup::of_this_process()?.usage().filter(|memory| memory.limit.is_some())
}
