//! What the arbiter tells about itself: logs, metrics and traces.

pub mod log;
pub mod metrics;
pub mod traces;
