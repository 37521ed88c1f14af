//! What can go wrong with the scoreboard.

use nix::errno::Errno;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ScoreboardError {
    /// A system call on the memfd failed.
    #[error("scoreboard: {call} failed: {errno}")]
    System { call: &'static str, errno: Errno },
    /// The descriptor is not a scoreboard of this build.
    #[error(
        "scoreboard: the shared memory is not one of this version (found {found:#x}, want {want:#x}); the arbiter and the \
         engine come from different installations of podicorn: reinstall it, so that both match"
    )]
    Mismatch { found: u64, want: u64 },
    /// The slot number is outside the map.
    #[error("scoreboard: no slot {slot}; there are {count}", count = crate::layout::MAX_SLOTS)]
    NoSuchSlot { slot: u32 },
    /// The arbiter has given the slot to another worker, or to none.
    #[error("scoreboard: slot {slot} is no longer claimed for epoch {epoch}")]
    Lost { slot: u32, epoch: u32 },
}
