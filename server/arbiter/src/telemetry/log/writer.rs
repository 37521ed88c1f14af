//! A thread that writes lines, with a queue in front that never makes the sender wait.
//!
//! The queue is bounded in lines and bytes; what does not fit is dropped and counted. Standard error is inherited and
//! its flags are shared with whoever else has it, so it is never made non-blocking: the thread may block, and only it.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{LogError, Target};
use crate::signals;

const MAX_LINES: usize = 8192;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The sender's side. The thread ends with the process.
pub(super) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something to do for the thread.
    work: Condvar,
    /// The thread has done something.
    progress: Condvar,
    dropped: AtomicU64,
    unreported: AtomicU64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    lines: usize,
    /// Jobs queued and jobs done since the start.
    queued: u64,
    done: u64,
}

enum Job {
    Line(String),
    /// Open again, or open another.
    Reopen(Option<Target>),
}

impl Writer {
    pub(super) fn start(target: Target) -> Result<Self, LogError> {
        let output = Output::open(&target)?;
        let shared = Arc::new(Shared::default());
        let thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || {
                signals::leave_to_main_thread();
                run(&thread, target, output);
            })
            .map_err(LogError::Thread)?;
        Ok(Self { shared })
    }

    /// Queues a line; false if it was dropped.
    pub(super) fn push(&self, line: String) -> bool {
        let mut queue = self.shared.lock();
        if queue.lines >= MAX_LINES || queue.bytes + line.len() > MAX_BYTES {
            drop(queue);
            self.shared.count_dropped();
            self.shared.unreported.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        queue.bytes += line.len();
        queue.lines += 1;
        queue.add(Job::Line(line));
        drop(queue);
        self.shared.work.notify_one();
        true
    }

    pub(super) fn reopen(&self, target: Option<Target>) {
        let mut queue = self.shared.lock();
        // A burst of USR1 under a stuck writer is one reopening.
        if target.is_none() && matches!(queue.jobs.back(), Some(Job::Reopen(_))) {
            return;
        }
        queue.add(Job::Reopen(target));
        drop(queue);
        self.shared.work.notify_one();
    }

    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// So many were dropped by the program before this one.
    pub(super) fn resume(&self, dropped: u64) {
        self.shared.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// Drops for want of room that no line has told of yet.
    pub(super) fn take_unreported(&self) -> u64 {
        self.shared.unreported.swap(0, Ordering::Relaxed)
    }

    pub(super) fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut queue = self.shared.lock();
        let until = queue.queued;
        while queue.done < until {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return false;
            };
            queue = self.shared.progress.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the next job. It counts as done when the thread comes for another.
    fn next(&self) -> Job {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return job;
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, line_bytes: Option<usize>) {
        let mut queue = self.lock();
        if let Some(bytes) = line_bytes {
            queue.bytes -= bytes;
            queue.lines -= 1;
        }
        queue.done += 1;
        drop(queue);
        self.progress.notify_all();
    }
}

impl Queue {
    fn add(&mut self, job: Job) {
        self.jobs.push_back(job);
        self.queued += 1;
    }
}

pub(super) fn check(target: &Target) -> Result<(), LogError> {
    Output::open(target).map(drop)
}

enum Output {
    Stderr(io::Stderr),
    File(File),
}

impl Output {
    fn open(target: &Target) -> Result<Self, LogError> {
        match target {
            Target::Stderr => Ok(Self::Stderr(io::stderr())),
            Target::File(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map(Self::File)
                .map_err(|source| LogError::Open { path: path.clone(), source }),
        }
    }

    /// One write per line where the kernel takes it whole, so that lines of several processes do not mix.
    fn write(&self, line: &str) -> Result<(), Errno> {
        let fd: BorrowedFd<'_> = match self {
            Self::Stderr(stderr) => stderr.as_fd(),
            Self::File(file) => file.as_fd(),
        };
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match nix::unistd::write(fd, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::EINTR) => {}
                // Somebody else made our standard error non-blocking.
                Err(Errno::EAGAIN) => {
                    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
                    match poll(&mut fds, PollTimeout::NONE) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn run(shared: &Shared, mut target: Target, mut output: Output) {
    loop {
        match shared.next() {
            Job::Line(line) => {
                if output.write(&line).is_err() {
                    shared.count_dropped();
                }
                shared.finish(Some(line.len()));
            }
            Job::Reopen(wanted) => {
                let wanted = wanted.unwrap_or_else(|| target.clone());
                match Output::open(&wanted) {
                    Ok(opened) => (target, output) = (wanted, opened),
                    Err(error) => {
                        let _ = output.write(&format!("{error}; the old log stays in use\n"));
                    }
                }
                shared.finish(None);
            }
        }
    }
}
