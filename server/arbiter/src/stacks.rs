//! Stack dumps: faulthandler in a Python process writes them into a pipe, the loop gets them as one text.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::kernel;

/// A dump is over when nothing more has come for this long.
const QUIET: Duration = Duration::from_millis(100);
/// The most of one dump that is kept, in bytes.
const MOST: usize = 256 * 1024;

/// Ends when dropped.
#[derive(Debug)]
pub struct StackReader {
    task: JoinHandle<()>,
}

impl StackReader {
    /// Reads dumps from `pipe` (non-blocking) and passes each to `deliver`, until all writers have gone.
    pub fn start(pipe: OwnedFd, deliver: impl Fn(String) + Send + 'static) -> std::io::Result<Self> {
        let pipe = kernel::watch(pipe)?;
        Ok(Self { task: tokio::spawn(pump(pipe, deliver)) })
    }
}

impl Drop for StackReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pump(pipe: AsyncFd<OwnedFd>, deliver: impl Fn(String)) {
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
