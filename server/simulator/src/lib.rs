//! `podicorn simulate`: replays traffic against scaling policies in virtual time and compares them.
//!
//! Contract:
//! - Discrete events, no clock, no threads: the same arguments and the same seed give the same bytes.
//! - The policies for workers and pods are those of [`podicorn_policy`], samples and ticks included: what is compared
//!   here is what the arbiter runs.
//! - The model: requests come to the pod with the least to do per worker and wait there in one queue, first come first
//!   served. A worker runs one request at a time and takes a while to boot, a pod longer. Workers do not slow each other
//!   down, and nobody gives up waiting. A queue has room for 2048 requests; more are rejected.
//! - The peers are models of what their documentation and sources say, one file each under `scalers`.

mod access_log;
mod arguments;
mod compare;
mod engine;
mod plot;
mod random;
mod scalers;
mod table;
mod trace;

pub use access_log::{LogError, read as read_access_log};
pub use arguments::run;
pub use compare::{Comparison, Outcome, Parameters, compare};
pub use plot::plot;
pub use table::{Format, table};
pub use trace::{Request, Shape, Trace};
