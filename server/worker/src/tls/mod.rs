//! TLS: what a worker presents to its clients, and each client's session.
//!
//! Most of it is rustls's: the certificate and its rules ([`material`]), how a worker follows its files ([`files`],
//! [`context`]), and one client's session ([`session`]), which sits inside the client's
//! [`Socket`](crate::reactor::socket::Socket). What rustls cannot take is done by Python's `ssl`, beside the reactor
//! ([`python`]).
//!
//! The reactor and the bindings know no more of it than a socket that reads and sends: the handshake is made as its bytes
//! come, within the deadline of the request head, and never holds a worker.

pub(crate) mod context;
pub(crate) mod describe;
pub(crate) mod entrance;
pub(crate) mod python;
pub(crate) mod session;

mod ciphers;
mod error;
mod files;
mod material;
