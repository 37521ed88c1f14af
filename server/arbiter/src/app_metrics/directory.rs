//! A private directory in memory, which never outlives its server for long.
//!
//! It is locked for as long as the server lives. What a killed server has left is unlocked: the next one removes it.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{Gid, Uid, chown};

/// Where memory is usually found, the best place first.
const PLACES: [&str; 3] = ["/dev/shm", "/run", "/tmp"];
const PREFIX: &str = "podicorn-metrics-";

#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: Flock<File>,
}

impl Directory {
    /// `None`: there is no place in memory.
    pub(super) fn create(owner: (u32, u32)) -> io::Result<Option<Self>> {
        let mut last = None;
        for place in PLACES.map(Path::new) {
            if !statfs(place).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC) {
                continue;
            }
            sweep(place);
            match Self::create_in(place, owner) {
                Ok(directory) => return Ok(Some(directory)),
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(None), Err)
    }

    fn create_in(place: &Path, (user, group): (u32, u32)) -> io::Result<Self> {
        let pid = std::process::id();
        for attempt in 0..100 {
            let path = place.join(format!("{PREFIX}{pid}-{attempt}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            let lock = lock(&path)?;
            // Between the two steps another server may have taken it for a dead one's.
            if lock.as_ref().is_some_and(|held| is_still_at(held, &path)) && path.is_dir() {
                chown(&path, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
                std::fs::set_permissions(&path, Permissions::from_mode(0o700))?;
                if let Some(lock) = lock {
                    return Ok(Self { path, lock });
                }
            }
        }
        Err(io::Error::other("no name is free"))
    }

    /// The lock belongs to the open file, so that it has been held all the time.
    pub(super) fn resume(path: PathBuf, lock: OwnedFd) -> io::Result<Self> {
        let lock = Flock::lock(File::from(lock), FlockArg::LockExclusiveNonblock);
        lock.map(|lock| Self { path, lock }).map_err(|(_, errno)| errno.into())
    }

    pub(super) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

fn is_still_at(held: &Flock<File>, path: &Path) -> bool {
    let (Ok(held), Ok(there)) = (held.metadata(), std::fs::symlink_metadata(path)) else { return false };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

/// Removes what servers have left that were killed.
fn sweep(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if ours && let Ok(Some(_lock)) = lock(&entry.path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
