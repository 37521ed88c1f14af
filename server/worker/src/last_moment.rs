//! The end of a process that has nothing to do but to clear its memory.
//!
//! Python collects its whole heap at its end; that copies every page that was shared with the fork server, and takes most of a
//! second where much is imported. No thread of Python's runs any more by then, so that the end in time is up to one of ours.
#![allow(unsafe_code)] // _exit has no safe wrapper

use std::thread;
use std::time::Duration;

use crate::clock::{Nanos, monotonic};

/// What the thread needs and more.
const STACK: usize = 64 * 1024;

/// Ends the process at `moment` (monotonic), whatever is left of it then.
pub(crate) fn exit_at(moment: Nanos, code: i32) {
    let thread = thread::Builder::new().name("podicorn-exit".to_owned()).stack_size(STACK);
    // Without it the arbiter kills, a moment later.
    let _ = thread.spawn(move || {
        thread::sleep(Duration::from_nanos(moment.saturating_sub(monotonic())));
        // SAFETY: ends the process and runs nothing; exit handlers have run, and what was buffered is written.
        unsafe { libc::_exit(code) }
    });
}
