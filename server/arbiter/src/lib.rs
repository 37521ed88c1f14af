//! The arbiter of Podicorn: the process that is PID 1 of the pod.
//!
//! Contract:
//! - One thread on one tokio `current_thread` runtime; nothing on it may block. It never touches a client's socket and
//!   never runs user code.
//! - [`pool`], [`scale`] and the crate `podicorn-policy` decide (pure), the rest carries out. The arbiter talks to the fork server over the control socket and to
//!   the workers through the scoreboard and signals only (`server/PROTOCOL.md`).
//! - [`arbiter`] is the run loop; [`launch`], [`forkserver`], [`listeners`], [`drain`], [`upgrade`], [`signals`], [`reaper`] and [`stacks`] are its
//!   hands.
//! - [`handover`] is what one program tells the next, where PID 1 is upgraded in place.
//! - What it says to the outside goes through [`admin`] (HTTP) and [`telemetry`] (logs, metrics).

mod accept_queue;
pub mod admin;
pub mod app_metrics;
pub mod arbiter;
pub mod cgroup;
pub mod drain;
pub mod forkserver;
pub mod handover;
mod kernel;
pub mod launch;
pub mod listeners;
mod load;
pub mod memory;
pub mod migrate;
pub mod moment;
pub mod origin;
pub mod pidfile;
pub mod pool;
pub mod problem;
pub mod reaper;
pub mod scale;
pub mod signals;
pub mod stacks;
pub mod status;
pub mod systemd;
pub mod telemetry;
pub mod title;
pub mod token;
pub mod upgrade;
