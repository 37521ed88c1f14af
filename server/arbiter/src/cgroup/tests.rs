//! The readers on trees of files as the kernel writes them.

use std::path::{Path, PathBuf};

use super::cpu::{CpuGroup, allowed};
use super::{Cpu, Lineage, Memory, MemoryGroup, OomEvents, Version};

struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("podicorn-cgroup-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        for (file, text) in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(root)
    }

    fn set(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).unwrap();
    }

    fn memory(&self, membership: &str) -> Option<MemoryGroup> {
        MemoryGroup::under(&self.0, membership)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A group of v2 as it looks from inside a container of Linux 6.
fn v2(name: &str) -> Tree {
    Tree::new(
        name,
        &[
            ("cgroup.controllers", "cpu memory pids\n"),
            ("memory.max", "268435456\n"),
            ("memory.current", "200000000\n"),
            (
                "memory.stat",
                "anon 150000000\nfile 50000000\ninactive_anon 7\ninactive_file 40000000\nactive_file 10000000\n",
            ),
            ("memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n"),
            ("memory.events.local", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"),
            ("memory.oom.group", "1\n"),
            (
                "memory.pressure",
                "some avg10=12.50 avg60=3.00 avg300=0.10 total=2500000\n\
                 full avg10=1.25 avg60=0.00 avg300=0.00 total=500000\n",
            ),
        ],
    )
}

#[test]
fn v2_in_a_container() {
    let tree = v2("v2");
    let group = tree.memory("0::/\n").unwrap();
    assert_eq!(group.version(), Version::V2);
    let expected = Memory {
        limit: Some(268_435_456),
        current: 200_000_000,
        working_set: 160_000_000,
        unreclaimable: 150_000_000,
    };
    assert_eq!(group.usage(), Some(expected));
    assert_eq!(expected.headroom(), 108_435_456);
    assert_eq!(group.oom_events(), OomEvents { oom: Some(3), kills: Some(2), group_kills: Some(1) });
    assert!(group.kills_together());
    let pressure = group.pressure().unwrap();
    assert_eq!((pressure.some.percent_of_10s, pressure.some.total_seconds), (12.5, 2.5));
    assert_eq!((pressure.full.percent_of_10s, pressure.full.total_seconds), (1.25, 0.5));
}

#[test]
fn v2_without_what_older_kernels_lack() {
    let tree = v2("v2old");
    tree.set("memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n");
    tree.set("memory.oom.group", "0\n");
    std::fs::remove_file(tree.0.join("memory.pressure")).unwrap();
    let group = tree.memory("0::/\n").unwrap();
    assert_eq!(group.oom_events(), OomEvents { oom: Some(3), kills: Some(2), group_kills: None });
    assert!(!group.kills_together());
    assert_eq!(group.pressure(), None);
}

#[test]
fn the_path_of_the_host_leads_to_the_root_of_the_mount() {
    for membership in ["0::/kubepods.slice/pod1/app\n", "0::/../../elsewhere\n", "0::/\n"] {
        let tree = v2("v2path");
        let usage = tree.memory(membership).unwrap().usage().unwrap();
        assert_eq!(usage.limit, Some(268_435_456), "{membership}");
    }
}

#[test]
fn the_tightest_of_the_groups_around_counts() {
    let tree = Tree::new(
        "v2nested",
        &[
            ("pod/memory.max", "1000\n"),
            ("pod/memory.current", "900\n"),
            ("pod/memory.oom.group", "1\n"),
            ("pod/app/memory.max", "800\n"),
            ("pod/app/memory.current", "500\n"),
            ("pod/app/memory.oom.group", "0\n"),
            ("pod/app/memory.events", "oom 0\noom_kill 0\n"),
        ],
    );
    let group = tree.memory("0::/pod/app\n").unwrap();
    assert_eq!(
        group.usage().unwrap(),
        Memory { limit: Some(1000), current: 900, working_set: 900, unreclaimable: 900 }
    );
    assert!(group.kills_together());
    tree.set("pod/memory.max", "max\n");
    assert_eq!(group.usage().unwrap().limit, Some(800));
}

#[test]
fn a_limit_that_is_changed_while_we_run_is_seen() {
    let tree = v2("v2resize");
    let group = tree.memory("0::/\n").unwrap();
    tree.set("memory.max", "536870912\n");
    assert_eq!(group.usage().unwrap().limit, Some(536_870_912));
    tree.set("memory.max", "max\n");
    let usage = group.usage().unwrap();
    assert_eq!((usage.limit, usage.current, usage.headroom()), (None, 200_000_000, u64::MAX));
}

#[test]
fn v1_and_hybrid() {
    let tree = Tree::new(
        "v1",
        &[
            ("memory/pod/memory.limit_in_bytes", "2000\n"),
            ("memory/pod/memory.usage_in_bytes", "900\n"),
            ("memory/pod/memory.stat", "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 50\n"),
            ("memory/pod/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "70000\n"),
        ],
    );
    let group = tree.memory("4:cpu,cpuacct:/x\n3:memory:/pod\n0::/unified\n").unwrap();
    assert_eq!(group.version(), Version::V1);
    assert_eq!(
        group.usage().unwrap(),
        Memory { limit: Some(2000), current: 900, working_set: 600, unreclaimable: 550 }
    );
    assert_eq!(group.oom_events(), OomEvents { oom: None, kills: Some(5), group_kills: None });
    assert!(!group.kills_together());
    assert_eq!(group.pressure(), None);
    tree.set("memory/pod/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
    assert_eq!(group.oom_events().kills, None);
}

#[test]
fn controllers_that_are_mounted_together() {
    let tree = Tree::new("v1joined", &[("cpu,cpuacct/pod/cpu.stat", "nr_periods 1\n")]);
    let lineage = Lineage::of(&tree.0, "4:cpu,cpuacct:/pod\n", "cpu", "cpu.stat").unwrap();
    assert_eq!(lineage.version, Version::V1);
    assert_eq!(lineage.groups, [tree.0.join("cpu,cpuacct/pod"), tree.0.join("cpu,cpuacct")]);
}

#[test]
fn no_limit_and_no_group() {
    let v2 = Tree::new("v2max", &[("memory.max", "max\n"), ("memory.current", "7\n")]);
    assert_eq!(
        v2.memory("0::/\n").unwrap().usage(),
        Some(Memory { limit: None, current: 7, working_set: 7, unreclaimable: 7 })
    );
    // The machine's own root group has no such files.
    let bare = Tree::new("bare", &[("cgroup.controllers", "memory\n")]);
    assert_eq!(bare.memory("0::/\n"), None);
    assert_eq!(MemoryGroup::under(Path::new("/nonexistent"), "0::/\n"), None);
    assert_eq!(MemoryGroup::under(Path::new("/nonexistent"), "garbage"), None);
}

#[test]
fn the_tightest_cpu_quota_counts() {
    let v2 = Tree::new(
        "cpu2",
        &[
            ("cpu.stat", "usage_usec 9000000\n"),
            ("pod/cpu.max", "150000 100000\n"),
            (
                "pod/cpu.stat",
                "usage_usec 2500000\nuser_usec 1\nnr_periods 40\nnr_throttled 10\nthrottled_usec 5\n",
            ),
            ("pod/app/cpu.max", "max 100000\n"),
            ("pod/app/cpu.stat", "usage_usec 1\nnr_periods 0\nnr_throttled 0\n"),
        ],
    );
    let expected = Cpu { quota_cores: 1.5, used_seconds: 2.5, periods: 40, throttled_periods: 10 };
    let group = CpuGroup::under(&v2.0, "0::/pod/app\n").unwrap();
    assert_eq!(group.usage(), Some(expected));
    v2.set("pod/cpu.max", "max 100000\n");
    assert_eq!(group.usage(), None, "no quota");

    let v1 = Tree::new(
        "cpu1",
        &[
            ("cpu,cpuacct/pod/cpu.cfs_quota_us", "50000\n"),
            ("cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/pod/cpu.stat", "nr_periods 40\nnr_throttled 10\nthrottled_time 5000\n"),
            ("cpu,cpuacct/pod/cpuacct.usage", "2500000000\n"),
            ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
        ],
    );
    let group = CpuGroup::under(&v1.0, "4:cpu,cpuacct:/pod\n0::/\n").unwrap();
    assert_eq!(group.usage(), Some(Cpu { quota_cores: 0.5, ..expected }));
}

#[test]
fn cpus_that_may_be_used_are_counted() {
    for (text, count) in [
        ("Name:\tx\nCpus_allowed_list:\t0-3,8\n", Some(5)),
        ("Cpus_allowed_list:\t7\n", Some(1)),
        ("Cpus_allowed_list:\t3-1\n", None),
        ("Cpus_allowed_list:\t\n", None),
        ("", None),
    ] {
        assert_eq!(allowed(text), count, "{text:?}");
    }
    assert!(super::cores() >= 0.01);
}
