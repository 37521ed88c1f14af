//! Deadlines of connections, in constant time.
//!
//! Every kind of deadline has one fixed duration, so the deadlines of one kind expire in the order in which they were
//! set: a doubly linked list per kind, threaded through the connections' indexes, is a sorted queue. Setting, moving and
//! clearing a deadline are a few stores; finding the next one looks at the head of each list. Nothing here reads a
//! clock.

use crate::clock::Nanos;

/// What a connection may be waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// The rest of the request head.
    Head = 0,
    /// More of the request body.
    Body = 1,
    /// The client taking more of the response.
    Send = 2,
    /// The client's end of a connection that we have ended.
    Linger = 3,
    /// The first byte, from a worker that wants to stop.
    Silence = 4,
    /// The first byte of the next request on a connection that is kept.
    KeepAlive = 5,
    /// The client, in either direction, while its request runs.
    Live = 6,
    /// The next Ping to a WebSocket.
    Ping = 7,
    /// A WebSocket's answer to a Ping.
    Pong = 8,
    /// A WebSocket's answer to a Close.
    Closing = 9,
    /// The client's end of an idle connection that we have ended, from a worker that wants to stop.
    Parting = 10,
}

pub(crate) const KINDS: usize = 11;
const ALL: [Deadline; KINDS] = [
    Deadline::Head,
    Deadline::Body,
    Deadline::Send,
    Deadline::Linger,
    Deadline::Silence,
    Deadline::KeepAlive,
    Deadline::Live,
    Deadline::Ping,
    Deadline::Pong,
    Deadline::Closing,
    Deadline::Parting,
];
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    kind: Option<Deadline>,
    at: Nanos,
    before: u32,
    after: u32,
}

const UNSET: Node = Node { kind: None, at: 0, before: NONE, after: NONE };

#[derive(Debug, Clone, Copy)]
struct List {
    /// `None`: deadlines of this kind are never set.
    duration: Option<Nanos>,
    first: u32,
    last: u32,
}

/// At most one deadline per connection index.
#[derive(Debug)]
pub(crate) struct Timers {
    lists: [List; KINDS],
    nodes: Vec<Node>,
}

impl Timers {
    /// Durations in nanoseconds, in the order of [`Deadline`]; `None` switches a kind off.
    pub(crate) fn new(durations: [Option<Nanos>; KINDS]) -> Self {
        Self {
            lists: durations.map(|duration| List { duration, first: NONE, last: NONE }),
            nodes: Vec::new(),
        }
    }

    /// Sets the deadline of `index`, in place of any that it had.
    pub(crate) fn set(&mut self, index: u32, kind: Deadline, now: Nanos) {
        self.clear(index);
        let Some(duration) = self.lists[kind as usize].duration else { return };
        if self.nodes.len() <= index as usize {
            self.nodes.resize(index as usize + 1, UNSET);
        }
        let last = self.lists[kind as usize].last;
        self.nodes[index as usize] =
            Node { kind: Some(kind), at: now.saturating_add(duration), before: last, after: NONE };
        self.lists[kind as usize].last = index;
        match last {
            NONE => self.lists[kind as usize].first = index,
            last => self.nodes[last as usize].after = index,
        }
    }

    /// Takes the deadline of `index` away, if it has one.
    pub(crate) fn clear(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize) else { return };
        let Node { kind: Some(kind), before, after, .. } = std::mem::replace(node, UNSET) else { return };
        match before {
            NONE => self.lists[kind as usize].first = after,
            before => self.nodes[before as usize].after = after,
        }
        match after {
            NONE => self.lists[kind as usize].last = before,
            after => self.nodes[after as usize].before = before,
        }
    }

    /// What `index` has a deadline for.
    pub(crate) fn kind(&self, index: u32) -> Option<Deadline> {
        self.nodes.get(index as usize).and_then(|node| node.kind)
    }

    /// The connection with the earliest deadline of this kind.
    pub(crate) fn first(&self, kind: Deadline) -> Option<u32> {
        Some(self.lists[kind as usize].first).filter(|index| *index != NONE)
    }

    /// How long the deadline of `index` has run, and how long it is as a whole.
    pub(crate) fn progress(&self, index: u32, now: Nanos) -> Option<(Nanos, Nanos)> {
        let node = self.nodes.get(index as usize)?;
        let whole = self.lists[node.kind? as usize].duration?;
        Some((whole.saturating_sub(node.at.saturating_sub(now)), whole))
    }

    /// The earliest deadline of all.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.lists.iter().filter_map(|list| self.nodes.get(list.first as usize)).map(|node| node.at).min()
    }

    /// Takes out one deadline that has passed: whose, and which.
    pub(crate) fn expire(&mut self, now: Nanos) -> Option<(u32, Deadline)> {
        let due = ALL.into_iter().find_map(|kind| {
            let first = self.lists[kind as usize].first;
            self.nodes.get(first as usize).filter(|node| node.at <= now).map(|_| (first, kind))
        });
        if let Some((index, _)) = due {
            self.clear(index);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers() -> Timers {
        Timers::new([Some(10), Some(30), None, Some(5), None, None, None, None, None, None, None])
    }

    #[test]
    fn deadlines_expire_in_order_and_once() {
        let mut timers = timers();
        timers.set(0, Deadline::Head, 0);
        timers.set(1, Deadline::Body, 0);
        timers.set(2, Deadline::Head, 3);
        assert_eq!(timers.next(), Some(10));
        assert_eq!((timers.first(Deadline::Head), timers.first(Deadline::Linger)), (Some(0), None));
        assert_eq!((timers.kind(1), timers.kind(5)), (Some(Deadline::Body), None));
        assert_eq!((timers.progress(2, 3), timers.progress(2, 9)), (Some((0, 10)), Some((6, 10))));
        assert_eq!((timers.progress(1, 99), timers.progress(7, 9)), (Some((30, 30)), None));
        assert_eq!(timers.expire(9), None);
        assert_eq!(timers.expire(13), Some((0, Deadline::Head)));
        assert_eq!(timers.expire(13), Some((2, Deadline::Head)));
        assert_eq!(timers.expire(13), None);
        assert_eq!(timers.next(), Some(30));
    }

    #[test]
    fn a_new_deadline_replaces_the_old_one() {
        let mut timers = timers();
        timers.set(7, Deadline::Head, 0);
        timers.set(7, Deadline::Body, 0);
        assert_eq!(timers.expire(29), None);
        assert_eq!(timers.expire(30), Some((7, Deadline::Body)));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn clearing_keeps_the_others_linked() {
        for gone in 0..3 {
            let mut timers = timers();
            for index in 0..3 {
                timers.set(index, Deadline::Linger, u64::from(index));
            }
            timers.clear(gone);
            timers.clear(gone);
            let left: Vec<u32> = std::iter::from_fn(|| timers.expire(100)).map(|(index, _)| index).collect();
            assert_eq!(left, (0..3).filter(|index| *index != gone).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_kind_without_duration_never_expires() {
        let mut timers = timers();
        timers.set(0, Deadline::Send, 0);
        timers.clear(9);
        assert_eq!(timers.next(), None);
        assert_eq!(timers.expire(u64::MAX), None);
    }
}
