//! The parts of a response that allocate: each thread keeps those of ended responses for the next ones.

use std::cell::RefCell;

use podicorn_http::response::ResponseHead;

/// Responses whose memory a thread keeps: as many as are likely to be on their way at a time in one loop.
const SPARE: usize = 64;
/// A buffer that has grown beyond this is not kept.
const KEPT_BUFFER: usize = 16 * 1024;

/// See the module's text.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) head: ResponseHead,
    pub(crate) buffer: Vec<u8>,
}

thread_local! {
    static KEPT: RefCell<Vec<Parts>> = const { RefCell::new(Vec::new()) };
}

impl Parts {
    /// Empty ones, for a new response.
    pub(crate) fn take() -> Self {
        KEPT.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Keeps their memory: what they are of is over.
    pub(crate) fn keep(mut self) {
        self.head.clear();
        self.buffer.clear();
        KEPT.with_borrow_mut(|kept| {
            if kept.len() < SPARE && self.buffer.capacity() <= KEPT_BUFFER {
                kept.push(self);
            }
        });
    }
}
