//! What the container may use, from cgroup v2 or v1.
//!
//! The root directory is a parameter, so that tests bring their own tree.

use std::path::{Path, PathBuf};

/// The memory of the container, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub limit: u64,
    /// In use and not reclaimable: usage without inactive file cache, as the kubelet counts it.
    pub working_set: u64,
}

impl Memory {
    pub fn headroom(self) -> u64 {
        self.limit.saturating_sub(self.working_set)
    }
}

/// v1 says "no limit" with a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;

/// Finds this process's memory limit; `None` where there is none or it cannot be read.
pub fn memory() -> Option<Memory> {
    let membership = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    memory_under(Path::new("/sys/fs/cgroup"), &membership)
}

/// The same for a given tree and the text of `/proc/self/cgroup`.
pub fn memory_under(root: &Path, membership: &str) -> Option<Memory> {
    v1_groups(root, membership)
        .into_iter()
        .find_map(|group| read_v1(&group))
        .or_else(|| v2_groups(root, membership).into_iter().find_map(|group| read_v2(&group)))
}

/// In a container the hierarchy is often mounted at its own group, so the path of the host does not exist: try the
/// path, then the root of the mount.
fn candidates(mount: &Path, path: &str) -> Vec<PathBuf> {
    vec![mount.join(path.trim_start_matches('/')), mount.to_path_buf()]
}

fn v1_groups(root: &Path, membership: &str) -> Vec<PathBuf> {
    membership
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            let path = parts.next()?;
            controllers
                .split(',')
                .any(|name| name == "memory")
                .then(|| candidates(&root.join("memory"), path))
        })
        .flatten()
        .collect()
}

fn v2_groups(root: &Path, membership: &str) -> Vec<PathBuf> {
    membership
        .lines()
        .filter_map(|line| line.strip_prefix("0::"))
        .flat_map(|path| candidates(root, path))
        .collect()
}

fn read_v1(group: &Path) -> Option<Memory> {
    let limit = number(&group.join("memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT)?;
    let usage = number(&group.join("memory.usage_in_bytes"))?;
    let inactive = field(&group.join("memory.stat"), "total_inactive_file").unwrap_or(0);
    Some(Memory { limit, working_set: usage.saturating_sub(inactive) })
}

fn read_v2(group: &Path) -> Option<Memory> {
    let limit = number(&group.join("memory.max"))?;
    let usage = number(&group.join("memory.current"))?;
    let inactive = field(&group.join("memory.stat"), "inactive_file").unwrap_or(0);
    Some(Memory { limit, working_set: usage.saturating_sub(inactive) })
}

/// `max` is not a number, so no limit reads as `None`.
fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn field(file: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The resident memory of a process, in bytes: what a second one like it would need.
pub fn process_memory(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("podicorn-cgroup-{name}-{}", std::process::id()));
            for (file, text) in files {
                let path = root.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn v2_at_its_path_and_at_the_root_of_the_mount() {
        for (name, group) in [("v2path", "pod/app/"), ("v2root", "")] {
            let files = [
                ("memory.max", "1000\n"),
                ("memory.current", "700\n"),
                ("memory.stat", "anon 5\ninactive_file 100\n"),
            ];
            let named: Vec<(String, &str)> =
                files.iter().map(|(file, text)| (format!("{group}{file}"), *text)).collect();
            let named: Vec<(&str, &str)> = named.iter().map(|(file, text)| (file.as_str(), *text)).collect();
            let tree = Tree::new(name, &named);
            let memory = memory_under(&tree.0, "0::/pod/app\n").unwrap();
            assert_eq!((memory.limit, memory.working_set, memory.headroom()), (1000, 600, 400));
        }
    }

    #[test]
    fn v1_and_hybrid() {
        let tree = Tree::new(
            "v1",
            &[
                ("memory/pod/memory.limit_in_bytes", "2000\n"),
                ("memory/pod/memory.usage_in_bytes", "900\n"),
                ("memory/pod/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n"),
            ],
        );
        let memory = memory_under(&tree.0, "4:cpu,cpuacct:/x\n3:memory:/pod\n0::/unified\n").unwrap();
        assert_eq!(memory, Memory { limit: 2000, working_set: 600 });
    }

    #[test]
    fn no_limit_is_none() {
        let v2 = Tree::new("v2max", &[("memory.max", "max\n"), ("memory.current", "7\n")]);
        assert_eq!(memory_under(&v2.0, "0::/\n"), None);
        let v1 = Tree::new(
            "v1max",
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/memory.usage_in_bytes", "7\n"),
            ],
        );
        assert_eq!(memory_under(&v1.0, "3:memory:/\n"), None);
        assert_eq!(memory_under(Path::new("/nonexistent"), "garbage"), None);
    }
}
