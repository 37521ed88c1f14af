//! The mapping itself: the only module here that touches raw memory.
#![allow(unsafe_code)] // mmap, the shared words it returns, and futex on them

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use crate::error::ScoreboardError;
use crate::layout::{self, header};
use crate::slot::{SlotReader, SlotWriter};

/// A mapped scoreboard. Words are reached by checked index only.
#[derive(Debug)]
pub struct Map {
    words: NonNull<AtomicU64>,
}

// SAFETY: the map is shared memory made of atomics only; any thread may load and store them.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

fn system(call: &'static str) -> impl Fn(Errno) -> ScoreboardError {
    move |errno| ScoreboardError::System { call, errno }
}

impl Map {
    /// Makes the memfd, seals its size (an unsealed `ftruncate` by user code would give the arbiter SIGBUS) and maps it.
    /// The descriptor is close-on-exec.
    pub fn create() -> Result<(Self, OwnedFd), ScoreboardError> {
        let fd = memfd_noexec()?;
        let bytes = i64::try_from(layout::BYTES).unwrap_or(i64::MAX);
        ftruncate(&fd, bytes).map_err(system("ftruncate"))?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).map_err(system("fcntl(F_ADD_SEALS)"))?;
        let map = Self::mapping(fd.as_fd())?;
        map.write_header(None);
        Ok((map, fd))
    }

    /// Writes the header again: a worker's code may have overwritten it, and then no new worker could attach.
    pub fn write_header(&self, ends_at: Option<u64>) {
        self.set(header::MAGIC, layout::MAGIC);
        self.set(header::VERSION, layout::VERSION);
        self.set_draining(ends_at);
    }

    /// Maps the scoreboard of an arbiter whose place this one takes. What the header says is not asked: workers' code may have
    /// overwritten it, so that it is written again. That the layouts are the same the two arbiters settle between them.
    pub fn adopt(fd: BorrowedFd<'_>, ends_at: Option<u64>) -> Result<Self, ScoreboardError> {
        let map = Self::of_this_size(fd)?;
        map.write_header(ends_at);
        Ok(map)
    }

    /// Maps an existing scoreboard for a worker and closes the descriptor. The map is not inherited by children that
    /// the app forks.
    pub fn attach(fd: OwnedFd) -> Result<Self, ScoreboardError> {
        let map = Self::of_this_size(fd.as_fd())?;
        for (word, want) in [(header::MAGIC, layout::MAGIC), (header::VERSION, layout::VERSION)] {
            let found = map.get(word);
            if found != want {
                return Err(ScoreboardError::Mismatch { found, want });
            }
        }
        // SAFETY: the range is exactly the mapping made above.
        unsafe { madvise(map.words.cast(), layout::BYTES, MmapAdvise::MADV_DONTFORK) }
            .map_err(system("madvise(MADV_DONTFORK)"))?;
        drop(fd);
        Ok(map)
    }

    fn of_this_size(fd: BorrowedFd<'_>) -> Result<Self, ScoreboardError> {
        let size = u64::try_from(fstat(fd).map_err(system("fstat"))?.st_size).unwrap_or(0);
        if size != layout::BYTES as u64 {
            return Err(ScoreboardError::Mismatch { found: size, want: layout::BYTES as u64 });
        }
        Self::mapping(fd)
    }

    fn mapping(fd: BorrowedFd<'_>) -> Result<Self, ScoreboardError> {
        let length = std::num::NonZeroUsize::new(layout::BYTES)
            .ok_or(ScoreboardError::System { call: "mmap", errno: Errno::EINVAL })?;
        // SAFETY: a fresh shared mapping of a descriptor whose size is sealed at BYTES; nothing else aliases it as
        // anything but atomic words.
        let address = unsafe {
            mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, fd, 0)
        }
        .map_err(system("mmap"))?;
        Ok(Self { words: address.cast() })
    }

    /// One word. Offsets are this crate's own constants; the bound check costs less than being wrong.
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < layout::WORDS, "scoreboard word {index} is outside the map");
        // SAFETY: the mapping has WORDS words and lives as long as `self`; page alignment covers u64's.
        unsafe { self.words.add(index).as_ref() }
    }

    pub(crate) fn get(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }

    /// Tells the workers that the arbiter has begun its shutdown, and when it will kill those that are left, in nanoseconds
    /// of the monotonic clock; `None`: it has not.
    pub fn set_draining(&self, ends_at: Option<u64>) {
        // 0 stands for "not at all", also in the half that is waited on.
        self.set(header::DRAINING, ends_at.map_or(0, |at| at | 1));
        if ends_at.is_some() {
            self.futex(header::DRAINING, libc::FUTEX_WAKE, i32::MAX as u32);
        }
    }

    /// Sleeps until the arbiter has begun its shutdown; may come back earlier.
    pub fn wait_for_draining(&self) {
        if self.draining().is_none() {
            self.futex(header::DRAINING, libc::FUTEX_WAIT, 0);
        }
    }

    /// On the low half of a word; across processes, since the map is shared memory.
    fn futex(&self, index: usize, operation: libc::c_int, value: u32) {
        let half = usize::from(cfg!(target_endian = "big"));
        let word: *const u32 = std::ptr::from_ref(self.word(index)).cast();
        // SAFETY: the address is inside a live word of the map; without a timeout the kernel reads nothing else.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.add(half),
                operation,
                value,
                std::ptr::null::<libc::timespec>(),
            )
        };
    }

    /// Since the arbiter has begun its shutdown: when it will kill. User code may have written it: a worker that believes a
    /// wrong time ends too early or is killed.
    pub fn draining(&self) -> Option<u64> {
        Some(self.get(header::DRAINING)).filter(|at| *at != 0)
    }

    /// How many slots are worth a look; whatever the word says, they are in the map.
    pub(crate) fn slots(&self) -> usize {
        usize::try_from(self.get(header::SLOTS)).unwrap_or(usize::MAX).min(layout::MAX_SLOTS as usize)
    }

    /// So many slots are in use.
    pub(crate) fn note_slots(&self, slots: usize) {
        self.word(header::SLOTS).fetch_max(slots as u64, Ordering::Release);
    }

    /// Tells the workers how many they are.
    pub fn set_workers(&self, workers: usize) {
        self.set(header::WORKERS, workers as u64);
    }

    /// Whether the worker that reads this has no fellows. User code may have written it: nothing but the order in which
    /// workers accept may hang on it.
    pub fn is_alone(&self) -> bool {
        self.get(header::WORKERS) == 1
    }

    /// The arbiter's view of a slot.
    pub fn reader(&self, slot: u32) -> Result<SlotReader<'_>, ScoreboardError> {
        Ok(SlotReader::new(self, slot_base(slot)?))
    }

    /// A worker's view of its slot: claims it for this process.
    pub fn claim(self, slot: u32, epoch: u32, pid: u32) -> Result<SlotWriter, ScoreboardError> {
        SlotWriter::claim(self, slot, slot_base(slot)?, epoch, pid)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `mapping` with this length and no borrow of it outlives `self`.
        let _ = unsafe { munmap(self.words.cast(), layout::BYTES) };
    }
}

fn slot_base(slot: u32) -> Result<usize, ScoreboardError> {
    if slot >= layout::MAX_SLOTS {
        return Err(ScoreboardError::NoSuchSlot { slot });
    }
    Ok(layout::HEADER + layout::SLOT * slot as usize)
}

/// Linux ≥ 6.3 knows memfds that can never be executed; older kernels answer EINVAL.
fn memfd_noexec() -> Result<OwnedFd, ScoreboardError> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create("podicorn-scoreboard", flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL)) {
        Err(Errno::EINVAL) => memfd_create("podicorn-scoreboard", flags),
        other => other,
    }
    .map_err(system("memfd_create"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_sealed() {
        let (_map, fd) = Map::create().unwrap();
        assert_eq!(ftruncate(&fd, 0), Err(Errno::EPERM));
        assert_eq!(ftruncate(&fd, 1 << 30), Err(Errno::EPERM));
    }

    #[test]
    fn a_foreign_map_is_refused() {
        let (map, fd) = Map::create().unwrap();
        map.set(header::VERSION, layout::VERSION + 1);
        assert!(matches!(Map::attach(fd), Err(ScoreboardError::Mismatch { .. })));
        let small = memfd_noexec().unwrap();
        assert!(matches!(Map::attach(small), Err(ScoreboardError::Mismatch { found: 0, .. })));
    }

    #[test]
    fn the_next_arbiter_finds_what_workers_have_written() {
        let (first, fd) = Map::create().unwrap();
        first.set(header::VERSION, 0);
        first.reader(3).unwrap().offer(7);
        drop(first);
        let second = Map::adopt(fd.as_fd(), None).unwrap();
        assert_eq!(second.get(header::VERSION), layout::VERSION);
        assert_eq!(second.reader(3).unwrap().read().claim.epoch, 7);
        let small = memfd_noexec().unwrap();
        assert!(matches!(Map::adopt(small.as_fd(), None), Err(ScoreboardError::Mismatch { found: 0, .. })));
    }

    #[test]
    fn a_shutdown_has_its_end() {
        let (map, fd) = Map::create().unwrap();
        let worker = Map::attach(fd).unwrap();
        assert_eq!(worker.draining(), None);
        map.set_draining(Some(17));
        assert_eq!(worker.draining(), Some(17));
        map.set_draining(Some(1 << 32));
        assert_eq!(worker.draining(), Some(1 << 32 | 1));
        map.write_header(None);
        assert_eq!(worker.draining(), None);
        let waiting = std::thread::spawn(move || {
            while worker.draining().is_none() {
                worker.wait_for_draining();
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        map.set_draining(Some(17));
        waiting.join().unwrap();
    }

    #[test]
    fn slots_are_bounded() {
        let (map, _fd) = Map::create().unwrap();
        assert!(map.reader(layout::MAX_SLOTS - 1).is_ok());
        assert!(matches!(map.reader(layout::MAX_SLOTS), Err(ScoreboardError::NoSuchSlot { .. })));
    }
}
