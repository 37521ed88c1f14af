//! What goes out: the app's messages, and what waits for the client to take it.

use std::sync::Arc;

use nix::sys::epoll::EpollFlags;

use super::{Outgoing, UNSENT_HIGH, UNSENT_LOW};
use crate::clock::Nanos;
use crate::reactor::Reactor;
use crate::reactor::conn::Phase;
use crate::reactor::live::{Event, Parcel, Push};
use crate::reactor::outbound::{Piece, Sent, SharedBytes};
use crate::reactor::socket::Then;
use crate::reactor::table::Token;
use crate::reactor::timers::Deadline;

impl Reactor {
    /// Sends a message of the app. `shared`: the same bytes, which are sent from where they are if that is possible.
    pub(crate) fn send_message(
        &mut self,
        token: Token,
        message: Outgoing<'_>,
        shared: Option<SharedBytes>,
        now: Nanos,
    ) -> Push {
        let mut parcel = Parcel::default();
        std::mem::swap(&mut parcel.buffer, &mut self.frames);
        parcel.buffer.clear();
        let sent = self.transmit_message(token, message, shared, &mut parcel);
        self.frames = parcel.buffer;
        let Some(connection) = self.table.get(token) else { return Push::Over };
        match sent {
            None => Push::Over,
            Some(Sent::All) => Push::Taken,
            Some(Sent::Blocked { .. }) => {
                let full = connection.outbound.held() > UNSENT_HIGH;
                if let Some(socket) = &mut connection.websocket {
                    socket.wants_room |= full;
                }
                self.watch_sending(token, now);
                if full { Push::Full } else { Push::Taken }
            }
            Some(Sent::Failed(_)) => {
                self.close(token);
                Push::Over
            }
        }
    }

    /// `None`: nothing is sent on this connection any more.
    fn transmit_message(
        &mut self,
        token: Token,
        message: Outgoing<'_>,
        shared: Option<SharedBytes>,
        parcel: &mut Parcel,
    ) -> Option<Sent> {
        let connection = self.table.get(token).filter(|connection| connection.phase == Phase::WebSocket)?;
        let socket = connection.websocket.as_mut().filter(|socket| !socket.parted)?;
        let shared = shared.filter(|_| {
            socket.codec.send_head(&mut parcel.buffer, message.kind(), message.len()) == Ok(true)
        });
        if let Some(shared) = shared {
            parcel.pieces.push(Piece::Owned(parcel.buffer.as_slice().to_vec()));
            parcel.pieces.push(Piece::Shared(shared));
            parcel.buffer.clear();
        } else {
            let compressor = &mut self.compressor;
            match message {
                Outgoing::Text(text) => socket.codec.send_text(&mut parcel.buffer, text, compressor),
                Outgoing::Binary(data) => socket.codec.send_binary(&mut parcel.buffer, data, compressor),
            }
            .ok()?;
        }
        Some(connection.transmit(parcel, Then::More))
    }

    /// Without Pings nothing else would end a connection whose client takes nothing.
    fn watch_sending(&mut self, token: Token, now: Nanos) {
        if self.timers.kind(token.index()).is_none() {
            self.set_send_deadline(token, now);
        }
    }

    /// What epoll says of the connection.
    pub(in crate::reactor) fn websocket_event(&mut self, token: Token, flags: EpollFlags, now: Nanos) {
        let Some(connection) = self.websocket(token) else { return };
        let mut sent = false;
        if flags.contains(EpollFlags::EPOLLOUT) && !connection.outbound.is_empty() {
            let client = Arc::clone(&connection.socket);
            if matches!(connection.outbound.flush(&client, Then::More), Sent::Failed(_)) {
                return self.close(token);
            }
            sent = true;
            if connection.outbound.is_empty() && self.timers.kind(token.index()) == Some(Deadline::Send) {
                self.timers.clear(token.index());
            }
        }
        let Some(connection) = self.websocket(token) else { return };
        let held = connection.outbound.held();
        let Some(socket) = &mut connection.websocket else { return };
        let room = socket.wants_room && held <= UNSENT_LOW;
        socket.wants_room &= !room;
        let held_back = socket.held_back;
        let lost = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        let drained = connection.drained;
        if room {
            self.tell(token, Event::Room);
        }
        if held_back && lost {
            self.close(token);
        } else if held_back && sent {
            self.make_use_of_room(token, now);
        } else if !held_back && !drained {
            self.read_frames(token, now);
        }
    }
}
