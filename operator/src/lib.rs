//! x
pub mod api;
pub mod autoscale;
pub mod cli;
pub mod controller;
pub mod lease;
pub mod pods;
pub mod reconcile;
pub mod serve;
pub mod telemetry;
