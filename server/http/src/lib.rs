//! HTTP/1.1 for an origin server, without IO: bytes in, facts out.
//!
//! The contract of this crate:
//!
//! * It never reads, writes, sleeps or looks at a clock. The caller owns the buffers and the time.
//! * **In:** [`parse_head_into`] turns the bytes of a connection into a [`Head`] (or says that more are
//!   needed, or [`Reject`]s them); [`BodyDecoder`] then takes the body out of what follows.
//! * **Out:** [`response::ResponseHead`] checks what an application wants to send,
//!   [`response::decide_framing`] says how its body is delimited, and plain writers put it into a `Vec<u8>`.
//! * **Strict.** The rules are RFC 9112 and RFC 9110, and Gunicorn 27 where that is stricter. Its leniency
//!   settings are fields of [`ParserConfig`]. `RFC9112.md` beside this crate lists each requirement with the
//!   test that shows it.
//! * **No verdict depends on how the bytes were split.** A prefix of a message gives "more" or the very error
//!   that the whole message gives.
//! * **Nothing is allocated per request** when [`Head`], [`BodyDecoder`] and [`response::ResponseHead`] are
//!   reused; all of what a [`Head`] says are [`Span`]s into the caller's buffer.
//!
//! [`parse_proxy_header`] is for what a proxy may say before all that.
//!
//! [`websocket`] is what a connection becomes after an upgrade; its contract is there.
//!
//! After a [`Reject`] the connection is out of step: answer with [`response::write_error`] and close it.

mod body;
mod chunked;
mod config;
pub mod date;
mod fields;
mod framing;
mod grammar;
mod head;
mod proxy_protocol;
mod reject;
mod request_line;
pub mod response;
pub mod target;
pub mod websocket;

pub use body::{BodyDecoder, Progress};
pub use chunked::ChunkedDecoder;
pub use config::{HeaderMap, Leniency, Limits, ParserConfig};
pub use fields::FieldKind;
pub use grammar::list_members;
pub use head::{BodyKind, Fields, Head, Scheme, Span, Version, parse_head, parse_head_into};
pub use proxy_protocol::{
    Preamble, Proxied, ProxyFamily, ProxyFault, ProxyProtocol, begins_proxy_header, parse_proxy_header,
};
pub use reject::{Excerpt, Reject, RejectReason};
