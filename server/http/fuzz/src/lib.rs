//! What the fuzz targets of `podicorn-http` share.
//!
//! **An input** begins with four bytes that choose the [`config`], some targets take a few more; the rest is what
//! a peer or an application sends. `@` chooses the default everywhere, so a seed that begins with `@@@@` is a
//! request under Gunicorn's default settings and can be written by hand. Those of WebSocket take two bytes, or none.
//!
//! **The judges** are independent of the crate: [`grammar`] and [`reader`] are written from RFC 9110 and RFC 9112 in
//! the most plain way (whole input, no state, no limits), [`websocket`] from RFC 6455, and `httparse` is somebody else's. The crate is also
//! its own judge: at every [split point](splits) it has to say what it says about the whole.

pub mod bytes;
pub mod config;
pub mod grammar;
pub mod reader;
pub mod splits;
pub mod told;
pub mod websocket;
