//! WebSocket for a server (RFC 6455), with permessage-deflate (RFC 7692), without IO: bytes in, events out.
//!
//! The contract of this module:
//!
//! * It never reads, writes, sleeps or looks at a clock: keep-alive, close deadlines and the order of what is
//!   written belong to the caller.
//! * **Opening.** [`is_upgrade`] tells a WebSocket request from others by its [`Head`](crate::Head);
//!   [`Handshake::read`] checks it or says with which response it is [refused](Refusal); [`Handshake::accept`]
//!   fills in the 101 response, with a subprotocol that the application chose.
//! * **In.** [`Connection::receive`] takes the bytes that came, in the caller's buffer, which it unmasks in place, and
//!   gives one [`Event`] at a time. What the protocol itself has to answer (a Pong, the other half of the closing
//!   handshake, the Close of a violation) it appends to the caller's output.
//! * **Out.** [`Connection::send`], [`Connection::ping`], [`Connection::pong`] and [`Connection::close`] append whole
//!   frames.
//! * **Strict.** What RFC 6455 forbids ends the connection with 1002, bad text or bad compressed data with 1007, and
//!   what is larger than the limit with 1009: a frame as soon as its length is known, a compressed message as soon
//!   as its content has outgrown the limit. `RFC6455.md` beside this crate lists each requirement with its test.
//! * **No verdict depends on how the bytes were split**, and text is refused at the first byte that cannot be right.
//! * Compressing takes one [`Compressor`] for all connections.
//! * A message that arrives whole in one frame is handed on from the caller's buffer, without a copy.

mod close;
mod connection;
mod deflate;
mod extension;
mod frame;
mod handshake;
mod message;
mod utf8;
mod violation;

pub use close::{CloseCode, may_send};
pub use connection::{Connection, Event, Received, SendError};
pub use deflate::Compressor;
pub use extension::{DeflateConfig, DeflatePolicy};
pub use frame::Kind;
pub use handshake::{Handshake, Refusal, add_field, is_upgrade, subprotocols};
pub use violation::Violation;
