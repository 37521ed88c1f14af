//! What the arbiter tells about itself: logs and metrics.

pub mod exposition;
pub mod log;
pub mod log_counts;
pub mod metrics;
pub mod statsd;
