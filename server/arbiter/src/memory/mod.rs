//! Memory: what the container and each worker hold, and who is recycled before the kernel acts.
//!
//! [`Watch`] reads the kernel's files, on a blocking thread. [`Keeper`] decides, and [`OomLedger`] tells which deaths were
//! the kernel's doing: both without system calls and clocks.

mod keeper;
mod oom;
pub mod process;
mod watch;

pub use keeper::{Holding, Judgement, Keeper, Learned, Limits, Scene, Stage, Verdict, Why};
pub use oom::{OomLedger, Suspicion};
pub use watch::{Look, Watch};

/// For the log: whole MiB.
pub(crate) fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
