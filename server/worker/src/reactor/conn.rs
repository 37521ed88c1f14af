//! One connection: how far its request has come, and what is left of its response.
//!
//! Reading is edge-triggered: [`Connection::advance`] reads until the request is complete or the socket is empty. A read
//! that fills less than it could has emptied the socket, so no further call is made to learn that, until epoll says that
//! there is more.

use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use podicorn_http::{
    BodyDecoder, BodyKind, FieldKind, Head, ParserConfig, Reject, RejectReason, Scheme, parse_head_into,
};

use super::http2::{Http2, Http2Rules, PREFACE, Upgraded};
use super::live::Live;
use super::outbound::Outbound;
use super::preamble::{Expected, Introduced};
use super::socket::{Peer, Socket};
use super::watchdog::Watch;
use super::websocket::WebSocket;
use crate::clock::Nanos;

/// RFC 9110 §15.2.1.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Bytes for a body that a connection keeps between requests.
const KEPT_BODY: usize = 16 * 1024;
/// Bytes for a head that an idle connection keeps: most heads fit, and ten thousand of them are ten megabytes.
const KEPT_HEAD: usize = 1024;
/// A client that has sent so many bytes of a body gets memory for all of it at once.
const EARNEST: usize = 64 * 1024;
/// How much one read asks for. Connections share one buffer of this size, so it stays in the processor's cache.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Reading the request head.
    Head,
    /// Reading as much of the body as is to be complete before Python is called.
    Body,
    /// The request waits for the app, or is with it together with the connection.
    Request,
    /// The request is with the app, and the connection is here: see [`super::live`].
    Live,
    /// It is a WebSocket: see [`super::websocket`].
    WebSocket,
    /// Sending what is left of the response.
    Sending,
    /// It speaks HTTP/2: see [`super::http2`].
    Http2,
    /// The response is out and FIN is sent; what the client still sends is thrown away, so that it gets no RST.
    Lingering,
}

/// What [`Connection::advance`] came to.
#[derive(Debug)]
pub(crate) enum Advance {
    /// There was no room for more; more is there.
    Full,
    /// The socket is empty; more is needed.
    Wait,
    /// The request can go to the app.
    Ready,
    /// The client speaks HTTP/2, perhaps from a request of HTTP/1.1 on.
    Http2(Option<Box<Upgraded>>),
    /// The request is refused: answer, then close.
    Refused(Reject),
    /// The client has finished sending inside the body: answer, then close.
    Incomplete(Reject),
    /// The client has gone, or has finished sending before the end of the head.
    Gone,
}

/// What HTTP/2 begins with, where a client may speak it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preface {
    /// It is HTTP/1.
    None,
    Part,
    Whole,
    /// It is HTTP/1 from a proxy that is to speak HTTP/2.
    Missing,
}

/// How requests are read.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) parser: ParserConfig,
    /// Bytes of a body that are complete before Python is called.
    pub(crate) body_buffer: usize,
    pub(crate) http2: Http2Rules,
}

impl Rules {
    /// The same for requests that have come by HTTP/2, which say so in their request line.
    pub(super) fn for_streams(&self) -> Self {
        let mut rules = self.clone();
        rules.parser.leniency.permit_unconventional_http_version = true;
        // Host and Transfer-Encoding, which are written in between.
        rules.parser.limits.fields = rules.parser.limits.fields.saturating_add(2);
        rules
    }
}

/// A client.
#[allow(clippy::struct_excessive_bools)] // independent facts, not states
pub(crate) struct Connection {
    pub(crate) socket: Arc<Socket>,
    pub(crate) peer: Peer,
    /// Which of the listeners it came from.
    pub(crate) listener: usize,
    /// Of the PROXY protocol.
    pub(super) expected: Expected,
    pub(crate) introduced: Option<Box<Introduced>>,
    /// A proxy whose word about scheme and path is believed.
    pub(crate) trusted: bool,
    pub(crate) phase: Phase,
    /// What was received: the head from the first byte on, then what the decoder has not taken yet.
    pub(crate) raw: Vec<u8>,
    pub(crate) head: Head,
    pub(crate) decoder: BodyDecoder,
    /// The body as far as it is decoded.
    pub(crate) body: Vec<u8>,
    /// Whether the body has ended, in `body`; the rest is to be read by the app otherwise.
    pub(crate) body_complete: bool,
    /// The client waits for `100 Continue`.
    pub(crate) continue_due: bool,
    /// The response is such that another request may follow it.
    pub(crate) persists: bool,
    /// The app has taken it for itself: nothing is sent or read any more.
    pub(crate) given_away: bool,
    /// It has carried a request already.
    pub(super) kept: bool,
    /// How many times it was waited for though the worker wants to stop.
    pub(super) silences: u8,
    /// The watchdog's note of the present request.
    pub(super) watch: Option<Watch>,
    pub(super) live: Live,
    /// Set in [`Phase::WebSocket`].
    pub(super) websocket: Option<Box<WebSocket>>,
    /// Set in [`Phase::Http2`].
    pub(super) http2: Option<Box<Http2>>,
    /// Of a stream: what a trusted proxy has said of the scheme.
    pub(super) claimed: Option<Scheme>,
    pub(crate) outbound: Outbound,
    /// When the first byte of the request came; 0: none yet.
    pub(crate) arrived: Nanos,
    /// Bytes of the present body that have come, before decoding.
    pub(super) moved: u64,
    /// What had moved, in whichever direction, when the present stall period began.
    pub(super) mark: u64,
    /// Bytes that count against the worker's budget.
    pub(super) counted: usize,
    /// Not read until the worker's budget has room.
    pub(super) paused: bool,
    /// When lingering ends even if the client goes on sending.
    pub(super) linger_until: Nanos,
    /// Whether epoll watches it.
    pub(super) registered: bool,
    /// The socket is empty as far as is known; epoll says when it is not.
    pub(crate) drained: bool,
    /// The peer has announced its end (or an error), so a short read is not the last word.
    pub(super) hung_up: bool,
}

impl Connection {
    pub(crate) fn new(socket: Socket, peer: Peer, listener: usize, trusted: bool) -> Self {
        Self {
            socket: Arc::new(socket),
            peer,
            listener,
            expected: Expected::default(),
            introduced: None,
            trusted,
            phase: Phase::Head,
            raw: Vec::new(),
            head: Head::default(),
            decoder: BodyDecoder::default(),
            body: Vec::new(),
            body_complete: false,
            continue_due: false,
            persists: false,
            given_away: false,
            kept: false,
            silences: 0,
            watch: None,
            live: Live::default(),
            websocket: None,
            http2: None,
            claimed: None,
            outbound: Outbound::default(),
            arrived: 0,
            moved: 0,
            mark: 0,
            counted: 0,
            paused: false,
            linger_until: 0,
            registered: false,
            drained: false,
            hung_up: false,
        }
    }

    /// Nothing more is sent, and the connection is to end.
    pub(crate) fn abandon(&mut self) {
        self.outbound.clear();
        self.body_complete = false;
        self.persists = false;
    }

    /// What epoll says of it.
    pub(super) fn note(&mut self, flags: EpollFlags) {
        let ends = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        self.hung_up |= flags.intersects(ends);
        self.drained &= !flags.intersects(ends | EpollFlags::EPOLLIN);
    }

    /// A count that grows, modulo 2⁶⁴, with each byte of the response that the client's kernel has taken.
    pub(super) fn delivered(&self) -> u64 {
        self.outbound.sent().wrapping_sub(self.socket.undelivered())
    }

    /// The scheme of the present request: a trusted proxy's word before what the connection itself speaks.
    pub(crate) fn scheme(&self) -> Scheme {
        let own = if self.socket.is_secure() { Scheme::Https } else { Scheme::Http };
        self.head.forwarded_scheme().or(self.claimed).unwrap_or(own)
    }

    /// Forgets the body; memory worth mentioning is given back.
    pub(crate) fn release_body(&mut self) {
        self.body.clear();
        self.body.shrink_to(KEPT_BODY);
    }

    /// The response is out: makes ready for the next request, of which `raw` may already hold some or all.
    pub(super) fn begin_next(&mut self, now: Nanos) {
        self.raw.drain(..self.head.len());
        if self.raw.is_empty() && self.raw.capacity() > KEPT_HEAD {
            self.raw = Vec::new();
        }
        self.head.clear();
        self.release_body();
        self.outbound.clear();
        self.phase = Phase::Head;
        self.body_complete = false;
        self.continue_due = false;
        self.persists = false;
        self.kept = true;
        self.moved = 0;
        self.arrived = if self.raw.is_empty() { 0 } else { now };
    }

    /// Whether nothing is to come by the client's own word: no body, and no further request after `Connection: close`
    /// (RFC 9112 §9.6). Some clients send an empty line after a body (RFC 9112 §2.2), which is why there must be none.
    pub(super) fn has_had_its_last_request(&self) -> bool {
        let bare = self.body_complete && self.head.body() == BodyKind::None;
        bare && !self.head.keep_alive() && self.raw.len() == self.head.len()
    }

    /// Whether the client has not sent a byte of its request.
    pub(crate) fn is_silent(&self) -> bool {
        self.phase == Phase::Head && self.raw.is_empty()
    }

    /// Whether the request is a HEAD, as far as it has come: also where its request line is refused.
    pub(super) fn asks_for_head_only(&self) -> bool {
        if self.head.has_request_line() {
            return self.head.method(&self.raw) == b"HEAD";
        }
        self.raw.strip_prefix(b"\r\n").unwrap_or(&self.raw).starts_with(b"HEAD ")
    }

    /// Reads what has arrived, through `scratch`, until the request is complete as far as `rules` want it. `room`: for how
    /// much of a long body there is memory, not 0.
    pub(crate) fn advance(
        &mut self,
        rules: &Rules,
        scratch: &mut [u8],
        mut room: usize,
        now: Nanos,
    ) -> Advance {
        let mut fresh = 0..0;
        loop {
            let step = match self.phase {
                Phase::Head => {
                    self.keep(&scratch[std::mem::take(&mut fresh)]);
                    // What a proxy says of its client comes first.
                    match self.read_preamble().map(|over| over.then(|| self.preface(&rules.http2))) {
                        Ok(Some(Preface::Whole)) => return Advance::Http2(None),
                        Ok(None | Some(Preface::Part)) => Ok(false),
                        // To serve it all the same would hide the mistake (as Gunicorn).
                        Ok(Some(Preface::Missing)) => Err(RejectReason::PrefaceMissing.into()),
                        Ok(Some(Preface::None)) => self.read_head(rules),
                        Err(reject) => Err(reject),
                    }
                }
                Phase::Body => self.read_body(&scratch[std::mem::take(&mut fresh)], rules),
                Phase::Request
                | Phase::Live
                | Phase::WebSocket
                | Phase::Http2
                | Phase::Sending
                | Phase::Lingering => return Advance::Wait,
            };
            match step {
                Ok(true) if self.phase == Phase::Request => {
                    return match self.asks_for_http2(&rules.http2) {
                        Some(upgraded) => Advance::Http2(Some(Box::new(upgraded))),
                        None => Advance::Ready,
                    };
                }
                Ok(true) => continue,
                Ok(false) => {}
                Err(reject) => return Advance::Refused(reject),
            }
            if self.drained && !self.hung_up {
                return Advance::Wait;
            }
            let straight = self.straight(rules).map(|most| most.min(room));
            let received = match straight {
                Some(0) => return Advance::Full,
                Some(most) => self.socket.receive(&mut self.body, most),
                None => self.socket.read(scratch),
            };
            match received {
                Ok(0) => {
                    return match self.decoder.end_of_input() {
                        Err(reject) if self.phase == Phase::Body => Advance::Incomplete(reject),
                        _ => Advance::Gone,
                    };
                }
                Ok(received) => {
                    if straight.is_some() {
                        self.decoder.received(received);
                        room -= received;
                    } else {
                        fresh = 0..received;
                    }
                    self.drained = self.socket.is_drained_by(received, straight.unwrap_or(scratch.len()));
                    if self.phase == Phase::Body {
                        self.moved += received as u64;
                    }
                    if self.arrived == 0 {
                        self.arrived = now;
                    }
                }
                Err(Errno::EAGAIN) => {
                    self.drained = true;
                    return Advance::Wait;
                }
                Err(Errno::EINTR) => {}
                Err(_) => return Advance::Gone,
            }
        }
    }

    /// Whether the client has begun with the preface of HTTP/2, and may.
    fn preface(&self, rules: &Http2Rules) -> Preface {
        if !rules.is_spoken() {
            return Preface::None;
        }
        if self.kept || self.raw.is_empty() || self.socket.is_stream() {
            return Preface::None;
        }
        if self.socket.is_secure() {
            // Whatever comes is to be HTTP/2: `h2` says what is wrong with another beginning.
            let agreed = rules.secure && self.socket.has_agreed_on_http2();
            return if agreed { Preface::Whole } else { Preface::None };
        }
        let may = rules.clear && self.trusted;
        if may && self.raw.starts_with(PREFACE) {
            Preface::Whole
        } else if may && PREFACE.starts_with(&self.raw) {
            Preface::Part
        } else if may && !rules.upgrade {
            Preface::Missing
        } else {
            Preface::None
        }
    }

    /// Appends to what was received.
    fn keep(&mut self, bytes: &[u8]) {
        if self.raw.capacity() == 0 && !bytes.is_empty() {
            self.raw.reserve(bytes.len().max(KEPT_HEAD / 2));
        }
        self.raw.extend_from_slice(bytes);
    }

    /// True: the head is complete and the phase has changed.
    fn read_head(&mut self, rules: &Rules) -> Result<bool, Reject> {
        if self.raw.is_empty() || !parse_head_into(&mut self.head, &self.raw, &rules.parser, self.trusted)? {
            return Ok(false);
        }
        self.decoder.start(self.head.body(), &rules.parser);
        if self.socket.is_stream() {
            // The engine's own, between `http2` and here.
            self.head.hide(FieldKind::TransferEncoding);
        }
        let length = match self.head.body() {
            BodyKind::None => Some(0),
            BodyKind::Length(length) => Some(length),
            BodyKind::Chunked => None,
        };
        self.body_complete = length == Some(0);
        // A client that has begun its body does not wait any more (RFC 9110 §10.1.1).
        self.continue_due =
            self.head.expect_continue() && !self.body_complete && self.raw.len() == self.head.len();
        let too_long_to_buffer = length.is_some_and(|length| length > rules.body_buffer as u64);
        self.phase = if self.body_complete || (self.continue_due && too_long_to_buffer) {
            // The app decides whether it wants a long body at all.
            Phase::Request
        } else {
            Phase::Body
        };
        if self.phase == Phase::Body {
            self.send_continue();
        }
        Ok(true)
    }

    /// Asks the client for the body. The few bytes fit an empty send buffer; a client that cannot take them is not
    /// going to send a body either and meets the stall deadline.
    pub(super) fn send_continue(&mut self) {
        if std::mem::take(&mut self.continue_due) {
            self.socket.send_in_passing(CONTINUE);
        }
    }

    /// How much may be received straight into the body, as it is long, its length is known, and nothing else can follow.
    fn straight(&self, rules: &Rules) -> Option<usize> {
        if self.phase != Phase::Body || self.body.len() < EARNEST || self.raw.len() > self.head.len() {
            return None;
        }
        let to_come = usize::try_from(self.decoder.remaining()?).unwrap_or(usize::MAX);
        let most = to_come.min(rules.body_buffer.saturating_sub(self.body.len()));
        (most > 0 && !self.socket.is_secure()).then_some(most)
    }

    /// True: enough of the body is there, and the phase has changed. `fresh` has just been received.
    fn read_body(&mut self, fresh: &[u8], rules: &Rules) -> Result<bool, Reject> {
        let start = self.head.len();
        let room = rules.body_buffer.saturating_sub(self.body.len());
        // What follows a complete request stays behind its head: it may be the next one.
        let progress = if self.raw.len() == start {
            if self.body.len() >= EARNEST
                && let Some(length) = self.decoder.remaining()
            {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.body.reserve_exact(length.min(room));
            }
            let progress = self.decoder.decode(fresh, &mut self.body, room)?;
            self.raw.extend_from_slice(&fresh[progress.consumed..]);
            progress
        } else {
            self.raw.extend_from_slice(fresh);
            let progress = self.decoder.decode(&self.raw[start..], &mut self.body, room)?;
            self.raw.drain(start..start + progress.consumed);
            progress
        };
        self.body_complete = progress.done;
        if !progress.done && self.body.len() < rules.body_buffer {
            return Ok(false);
        }
        self.phase = Phase::Request;
        Ok(true)
    }
}
