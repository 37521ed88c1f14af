//! The thread that writes the access log, and the bounded buffer before it.
//!
//! Lines gather in one buffer; the thread takes all of it at once, a few milliseconds after the first, so that a busy
//! worker pays neither a system call nor a thread wake-up per line. A reader that blocks costs lines, which are counted,
//! never requests. The descriptor stays as it is: `O_NONBLOCK` on an inherited pipe would change it for every process
//! that shares it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::write;

use crate::error::EngineError;

/// How many bytes may wait for a slow reader.
const BUFFER_LIMIT: usize = 1 << 20;
/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(5);
/// How long the end of the worker may wait for a slow reader.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
/// Longer writes to a pipe may be torn apart by those of other workers (POSIX: `PIPE_BUF`).
const PIPE_ATOMIC: usize = 4096;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    File(String),
}

struct Queue {
    lines: Vec<u8>,
    reopen: bool,
    ending: bool,
    /// All that was queued is written, and the thread is gone.
    ended: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something to write, or the end.
    work: Condvar,
    done: Condvar,
    dropped: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code under this lock can panic half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The front of the writer thread.
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    /// Opens the target and starts the thread. Call it in the worker, after the fork.
    pub(crate) fn start(target: Target) -> Result<Self, EngineError> {
        let mut output = Output::open(target)?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { lines: Vec::new(), reopen: false, ending: false, ended: false }),
            work: Condvar::new(),
            done: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let for_thread = Arc::clone(&shared);
        // Signals are for the main thread, where Python waits for them.
        let mask = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK);
        let started = thread::Builder::new()
            .name("podicorn-access-log".to_owned())
            .spawn(move || run(&for_thread, &mut output));
        if let Ok(mask) = mask {
            let _ = mask.thread_set_mask();
        }
        started.map_err(|error| EngineError::System {
            what: "starting the access log's thread",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        })?;
        Ok(Self { shared })
    }

    /// Queues one line, or counts it as dropped.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.shared.lock();
        if queue.lines.len() + line.len() > BUFFER_LIMIT {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = queue.lines.is_empty();
        queue.lines.extend_from_slice(line);
        drop(queue);
        if first {
            self.shared.work.notify_one();
        }
    }

    /// Lines given up so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Opens the file again, before the next line is written.
    pub(crate) fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.work.notify_one();
    }

    /// Writes what is queued and ends the thread; gives up after a second.
    pub(crate) fn finish(&self) {
        let mut queue = self.shared.lock();
        queue.ending = true;
        self.shared.work.notify_one();
        let _ = self.shared.done.wait_timeout_while(queue, FLUSH_LIMIT, |queue| !queue.ended);
    }
}

/// The thread.
fn run(shared: &Shared, output: &mut Output) {
    let mut taken = Vec::new();
    loop {
        let mut queue = shared.lock();
        while queue.lines.is_empty() && !queue.reopen && !queue.ending {
            queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if !queue.ending && !queue.reopen {
            let gather =
                shared.work.wait_timeout_while(queue, GATHER, |queue| !queue.ending && !queue.reopen);
            queue = gather.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut queue.lines, &mut taken);
        let reopen = std::mem::take(&mut queue.reopen);
        let ending = queue.ending;
        drop(queue);
        if reopen {
            output.reopen();
        }
        let lost = output.write_lines(&taken);
        shared.dropped.fetch_add(lost, Ordering::Relaxed);
        taken.clear();
        if ending {
            let mut queue = shared.lock();
            if queue.lines.is_empty() {
                queue.ended = true;
                shared.done.notify_all();
                return;
            }
        }
    }
}

struct Output {
    target: Target,
    file: OwnedFd,
    is_pipe: bool,
}

fn open(target: &Target) -> io::Result<OwnedFd> {
    match target {
        // A duplicate: the app may close or replace fd 1, and this thread must not write into what comes after.
        Target::Stdout => io::stdout().as_fd().try_clone_to_owned(),
        Target::File(path) => {
            let mut options = OpenOptions::new();
            Ok(options.append(true).create(true).mode(0o666).custom_flags(libc::O_CLOEXEC).open(path)?.into())
        }
    }
}

impl Output {
    fn open(target: Target) -> Result<Self, EngineError> {
        let file = open(&target).map_err(|error| EngineError::AccessLog {
            path: match &target {
                Target::Stdout => "stdout".to_owned(),
                Target::File(path) => path.clone(),
            },
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        })?;
        let is_pipe = is_pipe(&file);
        Ok(Self { target, file, is_pipe })
    }

    /// Keeps the old file if the new one cannot be opened.
    fn reopen(&mut self) {
        if let Target::File(_) = self.target
            && let Ok(file) = open(&self.target)
        {
            self.is_pipe = is_pipe(&file);
            self.file = file;
        }
    }

    /// Returns how many lines could not be written.
    fn write_lines(&self, mut lines: &[u8]) -> u64 {
        let mut lost = 0;
        while !lines.is_empty() {
            let (batch, rest) = lines.split_at(if self.is_pipe { atomic_batch(lines) } else { lines.len() });
            lines = rest;
            if !self.write_all(batch) {
                lost += memchr::memchr_iter(b'\n', batch).count() as u64;
            }
        }
        lost
    }

    fn write_all(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match write(&self.file, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::EINTR) => {}
                // Somebody else made the shared pipe non-blocking: wait for the reader here, on this thread.
                Err(Errno::EAGAIN) => thread::sleep(GATHER),
                Err(_) => return false,
            }
        }
        true
    }
}

fn is_pipe(file: &OwnedFd) -> bool {
    fstat(file).is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFIFO.bits())
}

/// How many leading bytes are whole lines that a pipe takes in one piece; a longer line goes alone.
fn atomic_batch(lines: &[u8]) -> usize {
    let window = &lines[..lines.len().min(PIPE_ATOMIC)];
    memchr::memrchr(b'\n', window)
        .or_else(|| memchr::memchr(b'\n', lines))
        .map_or(lines.len(), |newline| newline + 1)
}
