//! The Date field: IMF-fixdate (RFC 9110 §5.6.7), formatted once a second.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

/// Length of an IMF-fixdate in bytes.
pub const DATE_LEN: usize = 29;

/// The last second the HTTP date format can tell (end of the year 9999).
const LAST_SECOND: u64 = 253_402_300_799;

/// Keeps the text of the last second it was asked for. One per thread.
#[derive(Debug, Clone)]
pub struct DateCache {
    second: Option<u64>,
    text: String,
}

impl Default for DateCache {
    fn default() -> Self {
        Self::new()
    }
}

impl DateCache {
    pub fn new() -> Self {
        Self { second: None, text: String::with_capacity(DATE_LEN) }
    }

    /// The date of a unix time in seconds, as `Sun, 06 Nov 1994 08:49:37 GMT`. Times after the year 9999 give
    /// its end.
    pub fn at(&mut self, unix_seconds: u64) -> &[u8] {
        if self.second != Some(unix_seconds) {
            self.second = Some(unix_seconds);
            self.text.clear();
            let time = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST_SECOND));
            // Writing to a String cannot fail.
            let _ = write!(self.text, "{}", httpdate::HttpDate::from(time));
        }
        self.text.as_bytes()
    }
}
