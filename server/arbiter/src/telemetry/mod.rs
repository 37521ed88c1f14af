//! What the arbiter tells about itself: logs and metrics.

pub mod exposition;
pub mod log;
pub mod metrics;
