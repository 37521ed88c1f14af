//! The Date field's value (RFC 9110 §6.6.1), which each thread keeps for as long as the second lasts.

use std::cell::RefCell;

use podicorn_http::date::{DATE_LEN, DateCache};

use crate::clock::unix_seconds;

thread_local! {
    static DATE: RefCell<DateCache> = RefCell::new(DateCache::new());
}

/// The value for now.
pub(crate) fn date_field() -> [u8; DATE_LEN] {
    DATE.with_borrow_mut(|date| date.at(unix_seconds()).try_into().unwrap_or([b' '; DATE_LEN]))
}
