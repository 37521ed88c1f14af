//! What the app counts with Python's `prometheus_client`, for the server's own `/metrics`.
//!
//! In the library's multiprocess mode each process keeps its values in files of a directory, `counter_ID.db`,
//! `gauge_MODE_ID.db` and so on. The directory is ours: in memory, made at the start, removed at the end. `ID` is `slotN`
//! for a worker, whose successor goes on in the same files, and a pid for other processes of the app. Nothing of the
//! app's is asked for it: a scrape reads files, so it is answered while all workers are busy.
//!
//! Where the user has set the library's own variable, the directory is theirs: it is read, and nothing in it is touched.
//! Its files carry pids, and whoever made it tidies it.
//!
//! The files are written by user code, so whatever is in them is checked and bounded ([`values`]); [`merge`] adds up as
//! the library itself would. Both read files: not for the run loop.

mod directory;
mod merge;
mod values;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use self::directory::Directory;
use self::merge::Merge;
use self::values::{FileName, Kind, Owner, Value};

/// The most files that are looked at: a slot has up to a dozen.
const MOST_FILES: usize = 16 * 1024;
/// The most values of all files together that one scrape takes in.
const MOST_VALUES: usize = 1 << 20;

/// By which the library is told of a directory.
const VARIABLES: [&str; 2] = ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"];

/// The directory, from the server's start to its end.
#[derive(Debug)]
pub struct AppMetrics {
    place: Place,
    /// One reader at a time: it also tidies up.
    reading: Mutex<()>,
}

#[derive(Debug)]
enum Place {
    Ours(Directory),
    Users(PathBuf),
}

/// The directory that the app is going to use by the user's word, relative to where it runs.
pub fn users_directory(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    VARIABLES.into_iter().find_map(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

impl AppMetrics {
    /// Reads what others write there.
    pub fn of_user(path: PathBuf) -> Self {
        Self { place: Place::Users(path), reading: Mutex::new(()) }
    }

    /// Makes the directory, for processes that run as `owner`. `None`: nothing here is in memory that could be written to.
    pub fn create(owner: (u32, u32)) -> io::Result<Option<Self>> {
        let directory = Directory::create(owner)?;
        Ok(directory.map(|directory| Self { place: Place::Ours(directory), reading: Mutex::new(()) }))
    }

    /// The directory that the program before this one has made, with the descriptor that holds its lock.
    pub fn resume(path: PathBuf, lock: OwnedFd) -> io::Result<Self> {
        let directory = Directory::resume(path, lock)?;
        Ok(Self { place: Place::Ours(directory), reading: Mutex::new(()) })
    }

    /// What [`Self::resume`] takes; `None` where the directory is the user's.
    pub fn place(&self) -> Option<(&Path, BorrowedFd<'_>)> {
        match &self.place {
            Place::Ours(directory) => Some((directory.path(), directory.lock())),
            Place::Users(_) => None,
        }
    }

    /// For workers; `None`: they know theirs.
    pub fn share(&self) -> Option<&Path> {
        match &self.place {
            Place::Ours(directory) => Some(directory.path()),
            Place::Users(_) => None,
        }
    }

    fn path(&self) -> &Path {
        match &self.place {
            Place::Ours(directory) => directory.path(),
            Place::Users(path) => path,
        }
    }

    fn is_ours(&self) -> bool {
        matches!(self.place, Place::Ours(_))
    }

    /// The worker of a slot has ended: what it said of the moment is no longer so. What it has counted stays.
    pub fn vacate(&self, slot: u32) {
        if !self.is_ours() {
            return;
        }
        for mode in values::MOMENTARY_GAUGES {
            // Most do not exist.
            let _ = std::fs::remove_file(self.path().join(format!("gauge_{mode}_slot{slot}.db")));
        }
        // An app that collects by itself would fail over a missing file here, so this one is only emptied.
        let _ = values::empty(&self.path().join(format!("gauge_all_slot{slot}.db")));
    }

    /// All of it as `OpenMetrics` text, without the end mark; empty where the app counts nothing.
    pub fn render(&self) -> String {
        let _alone = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_ours() {
            self.bury(&self.file_names());
        }
        let mut merge = Merge::default();
        let mut room = MOST_VALUES;
        for name in self.file_names() {
            let path = self.path().join(name.to_string());
            for value in values::read(&path, room).unwrap_or_default() {
                room = room.saturating_sub(1);
                merge.add(&name, value);
            }
        }
        merge.render()
    }

    fn file_names(&self) -> Vec<FileName> {
        let Ok(entries) = std::fs::read_dir(self.path()) else { return Vec::new() };
        let names =
            entries.take(MOST_FILES).filter_map(|entry| FileName::parse(entry.ok()?.file_name().to_str()?));
        let mut names: Vec<FileName> = names.collect();
        names.sort();
        names
    }

    /// Children of the app and fork servers that have ended: what they have counted moves into one file for all of them.
    fn bury(&self, names: &[FileName]) {
        for name in names {
            let Owner::Process(pid) = name.owner else { continue };
            if kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH) {
                continue;
            }
            let path = self.path().join(name.to_string());
            if name.kind != Kind::Gauge {
                let grave = self.path().join(FileName { owner: Owner::Dead, ..name.clone() }.to_string());
                let mut sums: Vec<Value> = values::read(&grave, MOST_VALUES).unwrap_or_default();
                values::add(&mut sums, values::read(&path, MOST_VALUES).unwrap_or_default());
                if values::write(&grave, &sums).is_err() {
                    // Memory is full: the file stays and is counted as it is.
                    continue;
                }
            }
            let _ = std::fs::remove_file(&path);
        }
    }

    /// The server ends.
    pub fn remove(&self) {
        if let Place::Ours(directory) = &self.place {
            directory.remove();
        }
    }
}

impl Drop for AppMetrics {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests;
