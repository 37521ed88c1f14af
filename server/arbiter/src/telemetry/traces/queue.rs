//! The spans that wait to be sent: bounded, so that a collector that is down costs spans and never memory or time. What
//! does not fit is dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::request::RequestSpan;
use super::wire::Message;

/// `ScopeSpans.spans`.
const SPANS: u8 = 2;

/// Spans that travel together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Each as a field `spans` of `ScopeSpans`.
    pub(super) bytes: Vec<u8>,
    pub(super) spans: usize,
}

/// Shared by those who make spans and the thread that sends them.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A batch is complete, or the queue closes.
    pub(super) work: Notify,
    /// The exporter has ended.
    ended: Condvar,
    most: usize,
    batch: usize,
    figures: Figures,
}

#[derive(Debug, Default)]
struct State {
    /// Batches that are complete, the oldest first, and the one that grows.
    complete: VecDeque<Batch>,
    growing: Batch,
    /// Of all batches here.
    spans: usize,
    /// Those that the exporter is about to deliver: they wait, too, while the collector is away.
    in_hand: usize,
    /// Where a span is written before its length is known.
    scratch: Message,
    /// Nothing more comes; the rest is to be sent until then.
    close_by: Option<Instant>,
    ended: bool,
}

impl State {
    fn add(&mut self, batch: usize, write: impl FnOnce(&mut Message)) {
        self.scratch.clear();
        write(&mut self.scratch);
        self.growing.add(&self.scratch);
        self.spans += 1;
        if self.growing.spans >= batch {
            // The next one will be about as long.
            let bytes = Vec::with_capacity(self.growing.bytes.len());
            self.complete.push_back(std::mem::replace(&mut self.growing, Batch { bytes, spans: 0 }));
        }
    }
}

impl Batch {
    fn add(&mut self, span: &Message) {
        span.put(SPANS, &mut self.bytes);
        self.spans += 1;
    }
}

#[derive(Debug, Default)]
struct Figures {
    sent: AtomicU64,
    full: AtomicU64,
    undelivered: AtomicU64,
    overrun: AtomicU64,
    failed_attempts: AtomicU64,
}

/// What has become of the spans so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// Taken by the collector.
    pub sent: u64,
    /// Dropped because the queue was full.
    pub full: u64,
    /// Dropped because the collector refused them or was away for too long.
    pub undelivered: u64,
    /// Lost before they were read: a worker's ring was overwritten.
    pub overrun: u64,
    /// Requests to the collector that failed.
    pub failed_attempts: u64,
    /// In the queue or on their way.
    pub waiting: u64,
}

impl Queue {
    pub(super) fn new(most: usize, batch: usize) -> Self {
        Self {
            state: Mutex::default(),
            work: Notify::new(),
            ended: Condvar::new(),
            most,
            batch,
            figures: Figures::default(),
        }
    }

    /// What waited in the queue of the program before this one has gone with it.
    pub(super) fn resume(&self, before: Exported) {
        let add = |figure: &AtomicU64, count| figure.fetch_add(count, Ordering::Relaxed);
        add(&self.figures.sent, before.sent);
        add(&self.figures.full, before.full);
        add(&self.figures.undelivered, before.undelivered.saturating_add(before.waiting));
        add(&self.figures.overrun, before.overrun);
        add(&self.figures.failed_attempts, before.failed_attempts);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the arbiter's own.
    pub(super) fn push(&self, span: &Span) {
        self.extend(std::iter::once(span), |span, message| message.append(span));
    }

    pub(super) fn extend_requests(&self, requests: impl Iterator<Item = RequestSpan>) {
        self.extend(requests, |request, message| request.write(message));
    }

    /// Spans become bytes at once: what waits is compact, and nobody else has to allocate or free for it.
    fn extend<T>(&self, spans: impl Iterator<Item = T>, write: impl Fn(T, &mut Message)) {
        let mut state = self.lock();
        let before = state.spans;
        let mut refused = 0;
        for span in spans {
            if state.spans + state.in_hand < self.most && state.close_by.is_none() {
                state.add(self.batch, |message| write(span, message));
            } else {
                refused += 1;
            }
        }
        let after = state.spans;
        drop(state);
        if refused > 0 {
            self.figures.full.fetch_add(refused, Ordering::Relaxed);
        }
        // The first span starts the clock, a whole batch need not wait for it.
        if (before == 0 && after > 0) || (before < self.batch && after >= self.batch) {
            self.work.notify_one();
        }
    }

    /// Whether a batch is complete.
    pub(super) fn has_batch(&self) -> bool {
        !self.lock().complete.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().spans == 0
    }

    /// The next batch, complete or not, which is to be settled before another one is taken.
    pub(super) fn take(&self) -> Batch {
        let mut state = self.lock();
        let batch = state.complete.pop_front().unwrap_or_else(|| std::mem::take(&mut state.growing));
        state.spans -= batch.spans;
        state.in_hand = batch.spans;
        batch
    }

    /// What has become of the batch that was taken.
    pub(super) fn settle(&self, sent: usize, undelivered: usize) {
        self.lock().in_hand = 0;
        self.figures.sent.fetch_add(sent as u64, Ordering::Relaxed);
        self.count_undelivered(undelivered);
    }

    /// Since the queue is closed: by when the rest has to be sent.
    pub(super) fn close_by(&self) -> Option<Instant> {
        self.lock().close_by
    }

    /// Has the exporter send what is here and end, within `limit`. Blocks that long at most; true if it has ended.
    pub(super) fn close(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        state.close_by.get_or_insert(end);
        self.work.notify_one();
        while !state.ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// For the exporter, as its last act.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        self.count_undelivered(state.spans);
        (state.spans, state.growing) = (0, Batch::default());
        state.complete.clear();
        drop(state);
        self.ended.notify_all();
    }

    fn count_undelivered(&self, spans: usize) {
        self.figures.undelivered.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn count_overrun(&self, spans: u64) {
        self.figures.overrun.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn count_failed_attempt(&self) {
        self.figures.failed_attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn exported(&self) -> Exported {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let figures = &self.figures;
        let waiting = {
            let state = self.lock();
            state.spans + state.in_hand
        };
        Exported {
            sent: count(&figures.sent),
            full: count(&figures.full),
            undelivered: count(&figures.undelivered),
            overrun: count(&figures.overrun),
            failed_attempts: count(&figures.failed_attempts),
            waiting: waiting as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::traces::request::tests::a_request;

    impl Queue {
        fn add(&self, count: usize) {
            self.extend_requests(std::iter::repeat_with(a_request).take(count));
        }

        fn take_spans(&self) -> usize {
            self.take().spans
        }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let queue = Queue::new(3, 2);
        queue.add(5);
        assert_eq!((queue.exported().waiting, queue.exported().full), (3, 2));
        assert!(queue.has_batch());
        assert_eq!(queue.take_spans(), 2);
        assert_eq!(queue.exported().waiting, 3, "what is on its way waits, too");
        queue.settle(1, 1);
        assert_eq!(
            (queue.exported().waiting, queue.exported().sent, queue.exported().undelivered),
            (1, 1, 1)
        );
        assert_eq!((queue.take_spans(), queue.take_spans()), (1, 0));
        queue.add(1);
        assert!(!queue.has_batch() && !queue.is_empty());
    }

    #[test]
    fn a_closed_queue_takes_no_more_and_nobody_waits_for_ever() {
        let queue = Queue::new(3, 2);
        queue.add(1);
        assert!(!queue.close(Duration::from_millis(1)), "nobody has sent it");
        queue.add(1);
        assert_eq!(queue.exported().full, 1);
        queue.end();
        assert_eq!((queue.exported().undelivered, queue.exported().waiting), (1, 0));
        assert!(queue.close(Duration::ZERO));
    }

    #[tokio::test]
    async fn the_exporter_is_woken_by_the_first_span_and_by_a_whole_batch() {
        let queue = Queue::new(9, 3);
        queue.add(1);
        queue.work.notified().await;
        queue.add(1);
        queue.add(1);
        queue.work.notified().await;
    }
}
