//! Which files there are, and whether they have changed.
//!
//! They are looked at by `stat`, through all symbolic links: the kubelet replaces the files of a Secret by pointing `..data`
//! to another directory, which no watch on the file itself would see.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// Enough of a file's state to notice that it is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// The files that were read, as they were then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    /// Looks at the files; one that is not there has no stamp.
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a str>) -> Self {
        let stamp = |path| {
            let found = fs::metadata(path).ok()?;
            Some(Stamp {
                device: found.dev(),
                inode: found.ino(),
                size: found.size(),
                changed: (found.ctime(), found.ctime_nsec()),
            })
        };
        Self(paths.map(stamp).collect())
    }
}
