//! One worker's slot: the claim on it, the worker's writing side and the arbiter's reading side.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use crate::error::ScoreboardError;
use crate::histogram::{BUCKETS, bucket};
use crate::layout::{self, State, field};
use crate::map::Map;
use crate::ring::{self, RequestEnd, RequestStart, RingEntry, RingNews, Ticket};

/// The claim word of a slot, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub epoch: u32,
    /// 0 until the worker has claimed the slot.
    pub pid: u32,
}

impl Claim {
    const fn word(self) -> u64 {
        (self.epoch as u64) << 32 | self.pid as u64
    }

    const fn from_word(word: u64) -> Self {
        Self { epoch: (word >> 32) as u32, pid: word as u32 }
    }
}

/// Everything in a slot that only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Counters {
    pub accepted: u64,
    /// Requests that the app was given, those that run included.
    pub begun: u64,
    pub busy_nanos: u64,
    /// Access-log lines given up because the log's reader was too slow.
    pub log_dropped: u64,
    /// Requests whose ring entry was overwritten before they ended.
    pub ring_lost: u64,
    /// Requests that ran into `request_timeout`.
    pub timed_out: u64,
    /// By status class: other, 1xx … 5xx.
    pub requests: [u64; field::CLASSES],
    pub latency: [u64; BUCKETS],
    pub latency_nanos: u64,
    pub queue: [u64; BUCKETS],
    pub queue_nanos: u64,
    /// Responses that the engine gave in the app's place.
    pub rejected: u64,
    /// Runs of Python's garbage collector, by generation.
    pub gc_runs: [u64; field::GC_GENERATIONS],
    pub gc_nanos: u64,
    pub gc_freed: u64,
    /// How late heartbeats were.
    pub lag: [u64; BUCKETS],
    pub lag_nanos: u64,
    /// Records of the error log: critical, error, warning, and those with an exception.
    pub logged: [u64; field::LOGGED_KINDS],
    /// Clients that were to speak TLS and did not.
    pub tls_failures: u64,
}

/// A copy of what a slot says now. Nothing in it is to be trusted beyond its type.
#[derive(Debug, Clone, Copy)]
pub struct SlotReading {
    pub claim: Claim,
    /// `None` where the word is not one that a worker writes.
    pub state: Option<State>,
    /// Changes with every heartbeat.
    pub beat: u64,
    /// The worker has served `max_requests` and would like to be replaced.
    pub recycle: bool,
    pub in_flight: u32,
    /// Complete requests that wait for the app.
    pub parked: u32,
    pub connections: u32,
    /// How late the last heartbeat was that somebody could measure.
    pub lag_nanos: u64,
    pub counters: Counters,
}

/// What a worker says of how much it has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that are with the app or wait for it.
    pub requests: u32,
    pub connections: u32,
    /// Connections that it has ever taken.
    pub accepted: u64,
    /// When the newest request began, in nanoseconds since the Unix epoch; 0 where that is not known.
    pub last_start: u64,
}

/// The arbiter's side.
#[derive(Debug, Clone, Copy)]
pub struct SlotReader<'m> {
    map: &'m Map,
    base: usize,
}

impl<'m> SlotReader<'m> {
    pub(crate) fn new(map: &'m Map, base: usize) -> Self {
        Self { map, base }
    }

    /// Empties the slot and offers it to the worker of `epoch`.
    pub fn offer(&self, epoch: u32) {
        // The ring stays: it is overwritten entry by entry, and old sequence numbers cannot match a new head.
        for word in field::STATE..field::RING {
            self.map.set(self.base + word, 0);
        }
        self.map.set(self.base + field::CLAIM, Claim { epoch, pid: 0 }.word());
        self.map.note_slots((self.base - layout::HEADER) / layout::SLOT + 1);
    }

    pub fn claim(&self) -> Claim {
        Claim::from_word(self.map.get(self.base + field::CLAIM))
    }

    /// The worker is dead: nobody is to take what it last said for the state of a living one.
    pub fn vacate(&self) {
        self.map.set(self.base + field::CLAIM, 0);
    }

    /// Takes an unclaimed offer back; the pid of the worker that was faster otherwise.
    pub fn withdraw(&self, epoch: u32) -> Result<(), u32> {
        let offered = Claim { epoch, pid: 0 }.word();
        self.map
            .word(self.base + field::CLAIM)
            .compare_exchange(offered, 0, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(|found| Claim::from_word(found).pid)
    }

    pub fn read(&self) -> SlotReading {
        let get = |word: usize| self.map.get(self.base + word);
        let small = |word: usize| u32::try_from(get(word)).unwrap_or(0);
        SlotReading {
            claim: self.claim(),
            state: State::from_word(get(field::STATE)),
            beat: get(field::BEAT),
            recycle: get(field::RECYCLE) == 1,
            in_flight: small(field::IN_FLIGHT),
            parked: small(field::PARKED),
            connections: small(field::CONNECTIONS),
            lag_nanos: get(field::LAST_LAG),
            counters: Counters {
                accepted: get(field::ACCEPTED),
                begun: get(field::RING_HEAD),
                busy_nanos: get(field::BUSY_NANOS),
                log_dropped: get(field::LOG_DROPPED),
                ring_lost: get(field::RING_LOST),
                timed_out: get(field::TIMED_OUT),
                requests: std::array::from_fn(|class| get(field::REQUESTS + class)),
                latency: std::array::from_fn(|b| get(field::LATENCY + b)),
                latency_nanos: get(field::LATENCY + BUCKETS),
                queue: std::array::from_fn(|b| get(field::QUEUE + b)),
                queue_nanos: get(field::QUEUE + BUCKETS),
                rejected: get(field::REJECTED),
                gc_runs: std::array::from_fn(|generation| get(field::GC_RUNS + generation)),
                gc_nanos: get(field::GC_NANOS),
                gc_freed: get(field::GC_FREED),
                lag: std::array::from_fn(|b| get(field::LAG + b)),
                lag_nanos: get(field::LAG + BUCKETS),
                logged: std::array::from_fn(|kind| get(field::LOGGED + kind)),
                tls_failures: get(field::TLS_FAILURES),
            },
        }
    }

    /// How long the newest `most` requests that run have run, summed up.
    pub fn running_nanos(&self, most: u32, now_unix_nanos: u64) -> u64 {
        ring::running_nanos(self.map, self.base, most as usize, now_unix_nanos)
    }

    /// How many entries the ring has ever had. User code may have written anything there.
    pub fn ring_head(&self) -> u64 {
        ring::head(self.map, self.base)
    }

    /// One entry of the ring, by its sequence number; `None` if it is gone, is being written, or makes no sense.
    pub fn ring_entry(&self, sequence: u64) -> Option<RingNews> {
        ring::read_entry(self.map, self.base, sequence)
    }

    /// The newest requests first, at most `most`.
    pub fn requests(&self, most: usize) -> Vec<RingEntry> {
        ring::read(self.map, self.base, most)
    }
}

/// The worker's side. All calls come from one thread at a time (in a Python worker: under the GIL).
#[derive(Debug)]
pub struct SlotWriter {
    map: Map,
    base: usize,
    state: State,
    beats: u64,
    recycle: bool,
    /// Requests that have begun and not ended.
    in_flight: Cell<u32>,
    /// Something sampled has been written since the ring's reader was last called.
    sampled: Cell<bool>,
}

impl SlotWriter {
    pub(crate) fn claim(
        map: Map,
        slot: u32,
        base: usize,
        epoch: u32,
        pid: u32,
    ) -> Result<Self, ScoreboardError> {
        map.word(base + field::CLAIM)
            .compare_exchange(
                Claim { epoch, pid: 0 }.word(),
                Claim { epoch, pid }.word(),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .map_err(|_| ScoreboardError::Lost { slot, epoch })?;
        let mut writer = Self {
            map,
            base,
            state: State::Booting,
            beats: 0,
            recycle: false,
            in_flight: Cell::new(0),
            sampled: Cell::new(false),
        };
        writer.set_state(State::Booting);
        Ok(writer)
    }

    fn set(&self, word: usize, value: u64) {
        self.map.set(self.base + word, value);
    }

    /// One writer, so a plain load and store make an increment.
    fn add(&self, word: usize, amount: u64) {
        let word = self.map.word(self.base + word);
        word.store(word.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn set_state(&mut self, state: State) {
        self.state = state;
        self.set(field::STATE, state as u64);
    }

    /// Asks for a replacement.
    pub fn set_recycle(&mut self) {
        self.recycle = true;
        self.set(field::RECYCLE, 1);
    }

    /// Says "alive", and says the rest again so that a scribbled slot heals. Call it only right after the GIL was held.
    pub fn beat(&mut self) {
        self.beats = self.beats.wrapping_add(1);
        self.set(field::STATE, self.state as u64);
        self.set(field::RECYCLE, u64::from(self.recycle));
        self.set(field::BEAT, self.beats);
    }

    /// See [`Map::draining`].
    pub fn draining(&self) -> Option<u64> {
        self.map.draining()
    }

    /// The slots of the other workers that serve, and what those have to do. As little to be trusted as anything in the map.
    pub fn others(&self) -> impl Iterator<Item = (usize, Load)> + '_ {
        let small = |word: usize| u32::try_from(self.map.get(word)).unwrap_or(0);
        (0..self.map.slots())
            .map(|slot| (slot, layout::HEADER + layout::SLOT * slot))
            .filter(|(_, base)| *base != self.base && self.map.get(base + field::CLAIM) as u32 != 0)
            .filter(|(_, base)| self.map.get(base + field::STATE) == State::Ready as u64)
            .map(move |(slot, base)| {
                let load = Load {
                    requests: small(base + field::IN_FLIGHT).saturating_add(small(base + field::PARKED)),
                    connections: small(base + field::CONNECTIONS),
                    accepted: self.map.get(base + field::ACCEPTED),
                    last_start: ring::last_start(&self.map, base),
                };
                (slot, load)
            })
    }

    /// Whether there is no other worker.
    pub fn is_alone(&self) -> bool {
        self.map.is_alone()
    }

    fn set_in_flight(&self, requests: u32) {
        self.in_flight.set(requests);
        self.set(field::IN_FLIGHT, u64::from(requests));
    }

    pub fn set_parked(&self, requests: u32) {
        self.set(field::PARKED, u64::from(requests));
    }

    pub fn set_connections(&self, connections: u32) {
        self.set(field::CONNECTIONS, u64::from(connections));
    }

    pub fn add_accepted(&self) {
        self.add(field::ACCEPTED, 1);
    }

    /// The log writer's drop count so far (a total, not a difference).
    pub fn set_log_dropped(&self, lines: u64) {
        self.set(field::LOG_DROPPED, lines);
    }

    /// A request begins, and is in flight until [`Self::end_work`]: its ring entry, and its time in the queue where that is
    /// known. The flag says that the arbiter has to be told: half of the ring is full, and something in it is sampled.
    pub fn begin_request(&self, start: &RequestStart<'_>) -> (Ticket, bool) {
        self.set_in_flight(self.in_flight.get().saturating_add(1));
        if let Some(queued) = start.queued_nanos {
            self.add(field::QUEUE + bucket(queued), 1);
            self.add(field::QUEUE + BUCKETS, queued);
        }
        let ticket = ring::begin(&self.map, self.base, start);
        (ticket, self.calls_reader(ticket.fills_half(), start.is_sampled))
    }

    fn calls_reader(&self, fills_half: bool, is_sampled: bool) -> bool {
        if is_sampled {
            self.sampled.set(true);
        }
        fills_half && self.sampled.take()
    }

    /// The worker has no work with a request any more: it is not in flight. To be called once for each that has begun.
    pub fn end_work(&self) {
        self.set_in_flight(self.in_flight.get().saturating_sub(1));
    }

    /// A request has ended, which was with the app for its duration. Its response is counted apart, by
    /// [`Self::count_response`], and its work ends by [`Self::end_work`]. The result is the flag of
    /// [`Self::begin_request`].
    pub fn end_request(&self, ticket: Ticket, end: RequestEnd) -> bool {
        self.add(field::BUSY_NANOS, end.duration_nanos);
        self.add(field::LATENCY + bucket(end.duration_nanos), 1);
        self.add(field::LATENCY + BUCKETS, end.duration_nanos);
        let ended = ring::end(&self.map, self.base, ticket, end);
        if ended.is_lost {
            self.add(field::RING_LOST, 1);
        }
        ended.apart.is_some_and(|index| self.calls_reader(ring::fills_half(index), true))
    }

    /// A request ran into `request_timeout`.
    pub fn add_timed_out(&self) {
        self.add(field::TIMED_OUT, 1);
    }

    /// A response that the engine gave in the app's place; counted as a response too.
    pub fn count_rejection(&self, status: u16) {
        self.add(field::REJECTED, 1);
        self.count_response(status);
    }

    /// A client that was to speak TLS did not.
    pub fn count_tls_failure(&self) {
        self.add(field::TLS_FAILURES, 1);
    }

    /// Python's garbage collector has run.
    pub fn add_collection(&self, generation: usize, nanos: u64, freed: u64) {
        self.add(field::GC_RUNS + generation.min(field::GC_GENERATIONS - 1), 1);
        self.add(field::GC_NANOS, nanos);
        self.add(field::GC_FREED, freed);
    }

    /// A record went to the error log: 0 critical, 1 error, 2 warning, 3 one with an exception.
    pub fn add_logged(&self, kind: usize) {
        if kind < field::LOGGED_KINDS {
            self.add(field::LOGGED + kind, 1);
        }
    }

    /// A heartbeat was so late, because a loop or the GIL was not to be had.
    pub fn add_lag(&self, nanos: u64) {
        self.add(field::LAG + bucket(nanos), 1);
        self.add(field::LAG + BUCKETS, nanos);
        self.set(field::LAST_LAG, nanos);
    }

    /// A response: of the app, or one that the engine gave in its place (a 400, a 408 …).
    pub fn count_response(&self, status: u16) {
        let class = usize::from(status / 100);
        let class = if class < field::CLASSES { class } else { 0 };
        self.add(field::REQUESTS + class, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    fn pair() -> (Map, OwnedFd) {
        Map::create().unwrap()
    }

    #[test]
    fn a_claim_is_for_one_epoch_and_one_worker() {
        let (map, fd) = pair();
        map.reader(3).unwrap().offer(7);
        let other = fd.try_clone().unwrap();
        assert!(matches!(Map::attach(other).unwrap().claim(3, 6, 42), Err(ScoreboardError::Lost { .. })));
        let writer = Map::attach(fd.try_clone().unwrap()).unwrap().claim(3, 7, 42).unwrap();
        assert_eq!(map.reader(3).unwrap().claim(), Claim { epoch: 7, pid: 42 });
        assert!(Map::attach(fd).unwrap().claim(3, 7, 43).is_err());
        assert_eq!(map.reader(3).unwrap().withdraw(7), Err(42));
        drop(writer);
    }

    #[test]
    fn a_withdrawn_offer_cannot_be_claimed() {
        let (map, fd) = pair();
        let slot = map.reader(0).unwrap();
        slot.offer(1);
        assert_eq!(slot.withdraw(1), Ok(()));
        assert!(Map::attach(fd).unwrap().claim(0, 1, 42).is_err());
    }

    #[test]
    fn what_a_worker_writes_is_read() {
        let (map, fd) = pair();
        map.reader(0).unwrap().offer(1);
        let mut writer = Map::attach(fd).unwrap().claim(0, 1, 42).unwrap();
        writer.set_state(State::Ready);
        writer.begin_request(&A_REQUEST);
        let (ticket, _) = writer.begin_request(&RequestStart {
            method: b"POST",
            path: b"/x",
            start_unix_nanos: 1,
            queued_nanos: Some(2_000_000),
            is_https: false,
            trace_id: 0,
            span_id: 0,
            parent_id: 0,
            is_sampled: false,
        });
        writer
            .end_request(ticket, RequestEnd { status: 404, duration_nanos: 20_000_000, is_timed_out: false });
        assert_eq!(map.reader(0).unwrap().read().in_flight, 2);
        writer.end_work();
        writer.count_response(404);
        writer.add_timed_out();
        writer.count_response(700);
        writer.count_rejection(400);
        writer.count_tls_failure();
        writer.add_collection(2, 1_000_000, 7);
        writer.add_collection(9, 1, 0);
        writer.add_lag(20_000_000);
        writer.add_logged(3);
        writer.add_logged(4);
        writer.beat();
        let reading = map.reader(0).unwrap().read();
        assert_eq!(reading.state, Some(State::Ready));
        assert_eq!((reading.beat, reading.in_flight, reading.recycle), (1, 1, false));
        assert_eq!(reading.counters.requests, [1, 0, 0, 0, 2, 0]);
        assert_eq!((reading.counters.rejected, reading.counters.gc_runs), (1, [0, 0, 2]));
        assert_eq!(reading.counters.tls_failures, 1);
        assert_eq!(reading.counters.logged, [0, 0, 0, 1]);
        assert_eq!((reading.counters.gc_nanos, reading.counters.gc_freed), (1_000_001, 7));
        assert_eq!(
            (reading.lag_nanos, reading.counters.lag_nanos, reading.counters.lag[5]),
            (20_000_000, 20_000_000, 1)
        );
        assert_eq!((reading.counters.latency_nanos, reading.counters.busy_nanos), (20_000_000, 20_000_000));
        assert_eq!(reading.counters.timed_out, 1);
        assert_eq!(reading.counters.latency[5], 1);
        assert_eq!(reading.counters.queue[2], 1);
    }

    const A_REQUEST: RequestStart<'_> = RequestStart {
        method: b"GET",
        path: b"/x",
        start_unix_nanos: 1,
        queued_nanos: None,
        is_https: false,
        trace_id: 0,
        span_id: 0,
        parent_id: 0,
        is_sampled: false,
    };

    #[test]
    fn a_wait_that_nobody_knows_is_not_counted() {
        let (map, fd) = pair();
        map.reader(0).unwrap().offer(1);
        let writer = Map::attach(fd).unwrap().claim(0, 1, 42).unwrap();
        let (ticket, called) = writer.begin_request(&A_REQUEST);
        assert!(!called);
        writer.end_request(ticket, RequestEnd { status: 200, duration_nanos: 5, is_timed_out: false });
        let counters = map.reader(0).unwrap().read().counters;
        assert_eq!((counters.queue.iter().sum::<u64>(), counters.latency.iter().sum::<u64>()), (0, 1));
        assert_eq!(map.reader(0).unwrap().requests(1)[0].path, "/x");
    }

    #[test]
    fn workers_see_what_the_others_have_to_do() {
        let (map, fd) = pair();
        let worker = |slot: u32, state| {
            map.reader(slot).unwrap().offer(1);
            let mut writer = Map::attach(fd.try_clone().unwrap()).unwrap().claim(slot, 1, 40 + slot).unwrap();
            writer.set_state(state);
            writer
        };
        let first = worker(0, State::Ready);
        let second = worker(2, State::Ready);
        let leaving = worker(3, State::Draining);
        map.reader(4).unwrap().offer(1);
        leaving.begin_request(&A_REQUEST);
        second.begin_request(&A_REQUEST);
        second.set_parked(1);
        second.set_connections(5);
        second.add_accepted();
        second.begin_request(&RequestStart { start_unix_nanos: 7, ..A_REQUEST });
        assert_eq!(
            first.others().collect::<Vec<_>>(),
            [(2, Load { requests: 3, connections: 5, accepted: 1, last_start: 7 })]
        );
        assert_eq!(second.others().collect::<Vec<_>>(), [(0, Load::default())]);
        second.map.set(layout::header::SLOTS, u64::MAX);
        assert_eq!(first.others().count(), 1);
        map.reader(2).unwrap().vacate();
        assert_eq!(first.others().count(), 0);
    }

    #[test]
    fn a_beat_heals_a_scribbled_slot() {
        let (map, fd) = pair();
        map.reader(0).unwrap().offer(1);
        let mut writer = Map::attach(fd).unwrap().claim(0, 1, 42).unwrap();
        writer.set_state(State::Ready);
        writer.set(field::STATE, 999);
        writer.set(field::RECYCLE, 1);
        assert_eq!(map.reader(0).unwrap().read().state, None);
        writer.beat();
        let reading = map.reader(0).unwrap().read();
        assert_eq!((reading.state, reading.recycle), (Some(State::Ready), false));
    }
}
