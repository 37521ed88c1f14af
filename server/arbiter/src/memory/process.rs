//! What a process holds, in bytes.

use std::sync::LazyLock;

/// One process, measured page by page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rollup {
    /// Resident pages.
    pub rss: u64,
    /// Resident pages, those that others have too counted by their share.
    pub pss: u64,
    /// Pages that nobody else has: what the container gets back when the process ends.
    pub uss: u64,
}

/// Walks the page tables of the process, which takes long for a large one: never on the arbiter's thread. `None` if it has
/// gone, or belongs to another user and we may not look.
pub fn rollup(pid: i32) -> Option<Rollup> {
    parse_rollup(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn parse_rollup(text: &str) -> Option<Rollup> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    };
    Some(Rollup {
        rss: field("Rss")?,
        pss: field("Pss")?,
        uss: field("Private_Clean")? + field("Private_Dirty")? + field("Private_Hugetlb").unwrap_or(0),
    })
}

/// One process, as the kernel's counters have it: quick, and open to everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub resident: u64,
    /// Resident pages of no file: nearly those of its own, and what it shares with the process it was forked from.
    pub anonymous: u64,
}

pub fn counted(pid: i32) -> Option<Counted> {
    parse_statm(&std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?)
}

fn parse_statm(text: &str) -> Option<Counted> {
    static PAGE: LazyLock<u64> = LazyLock::new(|| {
        let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
        size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
    });
    let mut pages = text.split(' ').skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(Counted { resident: resident * *PAGE, anonymous: resident.saturating_sub(shared) * *PAGE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read() {
        let text = "5570a-7fff6 ---p 00000000 00:00 0    [rollup]\n\
                    Rss:               20480 kB\nPss:               10240 kB\nPss_Dirty:          1 kB\n\
                    Shared_Clean:       8192 kB\nPrivate_Clean:      1024 kB\nPrivate_Dirty:      3072 kB\n\
                    Private_Hugetlb:       0 kB\n";
        assert_eq!(parse_rollup(text), Some(Rollup { rss: 20 << 20, pss: 10 << 20, uss: 4 << 20 }));
        assert_eq!(parse_rollup(""), None);
        assert_eq!(parse_statm("x"), None);
        let counted = parse_statm("9000 300 100 1 0 700 0\n").unwrap();
        assert_eq!(counted.resident * 2, counted.anonymous * 3);
    }

    #[test]
    fn this_process_can_be_measured() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let rollup = rollup(pid).unwrap();
        assert!(rollup.uss > 0 && rollup.uss <= rollup.pss && rollup.pss <= rollup.rss, "{rollup:?}");
        assert!(counted(pid).unwrap().resident > 0);
        assert_eq!((super::rollup(-1), counted(-1)), (None, None));
    }
}
