//! Stack dumps: a Python process writes them into a pipe, the loop gets them as one text.
//!
//! Python itself writes them where it can, with the GIL held. faulthandler, which needs no interpreter, reads the frames of
//! threads that go on running. Nobody has promised it that it may, and now and then it ends the process. So a process that is
//! to live is asked first ([`StackReader::ask`]).

use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::signals::Process;
use crate::{kernel, signals};

/// A dump is over when nothing more has come for this long.
const QUIET: Duration = Duration::from_millis(100);
/// How long Python has to begin a dump. Where it has not, it waits in C, so that its frames keep still in all likelihood.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most of one dump that is kept, in bytes.
const MOST: usize = 256 * 1024;

/// The last line of a dump that Python has had a part in (`podicorn/stacks.py`).
const ANSWERED: &str = "(The interpreter answered.)";

/// A dump with a word on where it comes from. What faulthandler writes, it writes from a signal handler in C, without the
/// interpreter; if that has not answered either, what the kernel knows of the threads is added. Reads `/proc`.
pub fn explained(dump: Option<&str>, pid: i32) -> Option<String> {
    match dump {
        Some(dump) if dump.trim_end().ends_with(ANSWERED) => Some(dump.to_owned()),
        Some(dump) => Some(format!(
            "{dump}\n\n(The interpreter did not answer: a thread holds it, or waits where signals do not reach Python. The \
             stacks above were taken at C level, without it.)\n\n{}",
            threads(pid).unwrap_or_default()
        )),
        None => threads(pid).map(|threads| {
            format!(
                "(Not even the signal handler in C ran: the process is stopped, stuck in the kernel, or has no handler \
                 any more.)\n\n{threads}"
            )
        }),
    }
}

/// What the kernel knows of a process's threads.
fn threads(pid: i32) -> Option<String> {
    let mut text = "Threads as the kernel sees them:\n".to_owned();
    let mut found = false;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten().take(256) {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        // The name before it may hold anything, parentheses too.
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("?");
        let number = read("syscall").split_whitespace().next().unwrap_or("?").to_owned();
        let wait = read("wchan");
        let _ = write!(text, "  {} {}: ", task.file_name().to_string_lossy(), read("comm").trim());
        let _ = match (state, number.as_str()) {
            ("R", _) => writeln!(text, "running"),
            (state, "running" | "?") => writeln!(text, "state {state}"),
            (state, number) => {
                writeln!(text, "state {state}, in system call {number}, waits in {}", wait.trim())
            }
        };
        found = true;
    }
    found.then_some(text)
}

/// Ends when dropped.
#[derive(Debug)]
pub struct StackReader {
    task: JoinHandle<()>,
    /// While it reads.
    pipe: Weak<AsyncFd<OwnedFd>>,
    /// Counts reads.
    came: Arc<AtomicU64>,
}

impl StackReader {
    /// Reads dumps from `pipe` (non-blocking) and passes each to `deliver`, until all writers have gone.
    pub fn start(pipe: OwnedFd, deliver: impl Fn(String) + Send + 'static) -> std::io::Result<Self> {
        let pipe = Arc::new(kernel::watch(pipe)?);
        let (held, came) = (Arc::downgrade(&pipe), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(pump(pipe, Arc::clone(&came), deliver));
        Ok(Self { task, pipe: held, came })
    }

    /// Asks the process at the other end, a child that has not been waited for, for a dump: Python, and if that is silent
    /// for [`PATIENCE`], faulthandler.
    pub fn ask(&self, pid: i32) -> nix::Result<()> {
        let process = Process::open(pid);
        let before = self.came.load(Ordering::Relaxed);
        signals::send(pid, signals::ask_signal())?;
        let (came, pipe) = (Arc::clone(&self.came), Weak::clone(&self.pipe));
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            if came.load(Ordering::Relaxed) != before {
                return;
            }
            let _ = match process {
                Ok(process) => process.send(signals::stack_signal()),
                // A kernel or sandbox without pidfds. The end of the process is the end of the pipe.
                Err(_) if pipe.strong_count() > 0 => signals::send(pid, signals::stack_signal()),
                Err(errno) => Err(errno),
            };
        });
        Ok(())
    }

    /// The pipe, while somebody may write to it.
    pub(crate) fn pipe(&self) -> Option<Arc<AsyncFd<OwnedFd>>> {
        self.pipe.upgrade()
    }
}

impl Drop for StackReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pump(pipe: Arc<AsyncFd<OwnedFd>>, came: Arc<AtomicU64>, deliver: impl Fn(String)) {
    let mut dump = Vec::new();
    loop {
        if is_whole(&dump) {
            deliver(take(&mut dump));
        }
        let more = if dump.is_empty() {
            read_some(&pipe, &mut dump).await
        } else {
            let Ok(more) = tokio::time::timeout(QUIET, read_some(&pipe, &mut dump)).await else {
                deliver(take(&mut dump));
                continue;
            };
            more
        };
        came.fetch_add(1, Ordering::Relaxed);
        if !more {
            if !dump.is_empty() {
                deliver(take(&mut dump));
            }
            return;
        }
    }
}

/// Whether Python has written its last line.
fn is_whole(dump: &[u8]) -> bool {
    dump.trim_ascii_end().ends_with(ANSWERED.as_bytes())
}

fn take(dump: &mut Vec<u8>) -> String {
    String::from_utf8_lossy(&std::mem::take(dump)).trim_end().to_owned()
}

/// False at the end of the pipe.
async fn read_some(pipe: &AsyncFd<OwnedFd>, dump: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 8192];
    loop {
        let Ok(mut ready) = pipe.readable().await else { return false };
        match ready.try_io(|pipe| Ok(nix::unistd::read(pipe.get_ref(), &mut chunk)?)) {
            Ok(Ok(0) | Err(_)) => return false,
            Ok(Ok(count)) => {
                let room = MOST.saturating_sub(dump.len());
                dump.extend_from_slice(&chunk[..count.min(room)]);
                return true;
            }
            Err(_would_block) => {}
        }
    }
}
