//! TLS by Python's `ssl`, for what rustls cannot take: a context that the hook `ssl_context` has made, `sni_callback`, other
//! ciphers, other keys.
//!
//! It happens beside the reactor, on a thread of its own ([`pump`]), which takes the GIL for each step. Each client's records
//! go through a session over two `MemoryBIO`s ([`session`]); what is in them goes through a pair of sockets to the reactor
//! ([`relay`]), which so neither waits for the GIL nor calls Python with its lock held, and whose watchdog answers in time
//! from where it always does. What the reactor has to know of the session is in a [`Link`](link::Link).

pub(crate) mod context;
pub(crate) mod link;
pub(crate) mod pump;

mod relay;
mod session;
