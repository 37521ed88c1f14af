//! Stack dumps: faulthandler in a Python process writes them into a pipe, the loop gets them as one text.

use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::kernel;

/// A dump is over when nothing more has come for this long.
const QUIET: Duration = Duration::from_millis(100);
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
}

impl StackReader {
    /// Reads dumps from `pipe` (non-blocking) and passes each to `deliver`, until all writers have gone.
    pub fn start(pipe: OwnedFd, deliver: impl Fn(String) + Send + 'static) -> std::io::Result<Self> {
        let pipe = Arc::new(kernel::watch(pipe)?);
        let held = Arc::downgrade(&pipe);
        Ok(Self { task: tokio::spawn(pump(pipe, deliver)), pipe: held })
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

async fn pump(pipe: Arc<AsyncFd<OwnedFd>>, deliver: impl Fn(String)) {
    let mut dump = Vec::new();
    loop {
        let more = if dump.is_empty() {
            read_some(&pipe, &mut dump).await
        } else {
            let Ok(more) = tokio::time::timeout(QUIET, read_some(&pipe, &mut dump)).await else {
                deliver(take(&mut dump));
                continue;
            };
            more
        };
        if !more {
            if !dump.is_empty() {
                deliver(take(&mut dump));
            }
            return;
        }
    }
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
