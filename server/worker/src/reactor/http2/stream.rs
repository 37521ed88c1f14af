//! One stream: between `h2` and the end of a pair of sockets whose other end is a connection of the engine.

use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use super::request::Body;
use super::response::{News, Reader};

const FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// See the module's text.
pub(super) struct Stream {
    pipe: OwnedFd,
    /// `None`: the request is complete, or nobody reads it any more.
    request: Option<RecvStream>,
    chunked: bool,
    /// Text for the engine, how much of it is gone, and the bytes of the client's window that it stands for.
    up: Vec<u8>,
    up_at: usize,
    held: usize,
    respond: SendResponse<Bytes>,
    /// The head is out.
    response: Option<SendStream<Bytes>>,
    reader: Reader,
    /// Bytes of the response's body that the client's window has had no room for.
    pending: Bytes,
    /// Bytes of it that the window has had room for since [`Self::lags`] was asked, and whether it was shut then.
    moved: usize,
    shut: bool,
}

/// Bytes of a response that are asked room for at a time.
const STEP: usize = 16 * 1024;
/// Bytes that are read all the same where there is no room: the end of a body may be all that is left.
const PEEK: usize = 256;

/// How a step has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Goes,
    Over,
}

impl Stream {
    pub(super) fn new(
        pipe: OwnedFd,
        head: Vec<u8>,
        body: Body,
        request: RecvStream,
        respond: SendResponse<Bytes>,
        head_only: bool,
    ) -> Self {
        Self {
            pipe,
            request: (body != Body::None).then_some(request),
            chunked: body == Body::Chunked,
            up: head,
            up_at: 0,
            held: 0,
            respond,
            response: None,
            reader: Reader::new(head_only),
            pending: Bytes::new(),
            moved: 0,
            shut: false,
        }
    }

    /// Whether the client has kept its window all but shut from one of these questions to the next.
    pub(super) fn lags(&mut self, least: u64) -> bool {
        let moved = std::mem::take(&mut self.moved);
        let before = std::mem::replace(&mut self.shut, !self.pending.is_empty());
        before && self.shut && (moved as u64) < least
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        match &mut self.response {
            Some(response) => response.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Moves what can be moved, both ways.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Life {
        let reset = match &mut self.response {
            Some(response) => response.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        // The engine sees that its client has gone.
        if reset.is_ready() || self.ask(cx) == Life::Over {
            return Life::Over;
        }
        match self.answer(cx, scratch) {
            Ok(life) => life,
            Err(reason) => {
                self.reset(reason);
                Life::Over
            }
        }
    }

    /// The request, on its way to the engine.
    fn ask(&mut self, cx: &mut Context<'_>) -> Life {
        loop {
            while self.up_at < self.up.len() {
                match send(self.pipe.as_raw_fd(), &self.up[self.up_at..], FLAGS) {
                    Ok(sent) => self.up_at += sent,
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => return Life::Goes,
                    // The engine reads no more of it, and may have answered.
                    Err(_) => {
                        self.up.clear();
                        self.up_at = 0;
                        self.request = None;
                    }
                }
            }
            self.up.clear();
            self.up_at = 0;
            let Some(request) = &mut self.request else { return Life::Goes };
            // Only now the client may send as much again.
            let held = std::mem::take(&mut self.held);
            if held > 0 && request.flow_control().release_capacity(held).is_err() {
                return Life::Over;
            }
            match request.poll_data(cx) {
                Poll::Pending => return Life::Goes,
                Poll::Ready(Some(Err(_))) => return Life::Over,
                Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
                Poll::Ready(Some(Ok(data))) => {
                    self.held = data.len();
                    if self.chunked {
                        self.up.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                    }
                    self.up.extend_from_slice(&data);
                    if self.chunked {
                        self.up.extend_from_slice(b"\r\n");
                    }
                }
                Poll::Ready(None) => {
                    match request.poll_trailers(cx) {
                        Poll::Pending => return Life::Goes,
                        Poll::Ready(Err(_)) => return Life::Over,
                        // As in HTTP/1 nobody is told of them.
                        Poll::Ready(Ok(_)) => {}
                    }
                    if self.chunked {
                        self.up.extend_from_slice(b"0\r\n\r\n");
                    }
                    self.request = None;
                }
            }
        }
    }

    /// The response, on its way to the client.
    fn answer(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Result<Life, Reason> {
        let lost = |_| Reason::INTERNAL_ERROR;
        loop {
            // No more is taken in than can go out: it is the engine that judges how fast its client reads.
            let limit = scratch.len();
            let mut most = limit;
            if let Some(response) = &mut self.response {
                response.reserve_capacity(self.pending.len().max(STEP));
                most = match response.capacity() {
                    0 => match response.poll_capacity(cx) {
                        Poll::Pending => 0,
                        Poll::Ready(Some(Ok(room))) => room,
                        Poll::Ready(_) => return Ok(Life::Over),
                    },
                    room => room,
                };
            }
            if let Some(response) = self.response.as_mut().filter(|_| !self.pending.is_empty()) {
                let room = most;
                if room == 0 {
                    return Ok(Life::Goes);
                }
                self.moved += room.min(self.pending.len());
                let part = self.pending.split_to(room.min(self.pending.len()));
                let ends = self.pending.is_empty() && self.reader.is_at_its_end();
                response.send_data(part, ends).map_err(lost)?;
                if ends {
                    return Ok(Life::Over);
                }
                continue;
            }
            let news = match self.reader.next().map_err(|_| Reason::INTERNAL_ERROR)? {
                News::None => {
                    match recv(self.pipe.as_raw_fd(), &mut scratch[..most.clamp(PEEK, limit)], FLAGS) {
                        Ok(0) => self.reader.end_of_input().map_err(|_| Reason::INTERNAL_ERROR)?,
                        Ok(received) => {
                            self.reader.feed(&scratch[..received]);
                            continue;
                        }
                        Err(Errno::EINTR) => continue,
                        Err(Errno::EAGAIN) => return Ok(Life::Goes),
                        Err(_) => return Err(Reason::INTERNAL_ERROR),
                    }
                }
                news => news,
            };
            match news {
                News::None => {}
                News::Interim(interim) => self.respond.send_informational(interim).map_err(lost)?,
                News::Head { response, bodiless } => {
                    self.response = Some(self.respond.send_response(response, bodiless).map_err(lost)?);
                    if bodiless {
                        return Ok(Life::Over);
                    }
                }
                News::Body(bytes) => self.pending = bytes.into(),
                News::End { trailers } => {
                    let Some(response) = &mut self.response else { return Err(Reason::INTERNAL_ERROR) };
                    match trailers {
                        Some(trailers) => response.send_trailers(trailers).map_err(lost)?,
                        None => response.send_data(Bytes::new(), true).map_err(lost)?,
                    }
                    return Ok(Life::Over);
                }
            }
        }
    }
}
