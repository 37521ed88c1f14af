//! What the arbiter tells about itself: logs, metrics and traces.

pub mod exposition;
pub mod log;
pub mod log_counts;
pub mod metrics;
pub mod statsd;
pub mod traces;
