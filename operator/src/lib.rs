//! x
pub mod api;
pub mod cli;
pub mod lease;
pub mod serve;
pub mod telemetry;
