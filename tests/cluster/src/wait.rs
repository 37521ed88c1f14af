//! Waiting for what a cluster does in its own time.

use std::time::{Duration, Instant};

use crate::error::BedError;

/// How long a test waits for what should take moments: far beyond what a busy machine needs, for it is no measurement.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Asks again until the probe has an answer. Its errors say what is there instead, for the message when time is up.
pub async fn eventually<T, E: std::fmt::Display>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, BedError> {
    let end = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(answer) => return Ok(answer),
            Err(last) if Instant::now() >= end => {
                return Err(BedError::Late { what: what.to_owned(), limit, last: last.to_string() });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
