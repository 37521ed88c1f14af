//! x
pub mod api;
pub mod autoscale;
pub mod cli;
pub mod lease;
pub mod pods;
pub mod serve;
pub mod sidecar;
pub mod telemetry;
