//! TLS by rustls: what a worker presents to its clients ([`material`]), how it follows its files ([`files`], [`context`]),
//! and one client's session ([`session`]), which sits inside the client's [`Socket`](crate::reactor::socket::Socket).
//!
//! The reactor and the bindings know no more of it than a socket that reads and sends: the handshake is made as its bytes
//! come, within the deadline of the request head, and never holds a worker.

pub(crate) mod context;
pub(crate) mod describe;
pub(crate) mod session;

mod ciphers;
mod error;
mod files;
mod material;
