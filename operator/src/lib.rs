//! x
pub mod cli;
pub mod serve;
pub mod telemetry;
