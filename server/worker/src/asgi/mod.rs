//! The ASGI binding (ASGI 3, spec 2.5), inside the event loop of somebody else.
//!
//! - The loop watches the reactor's descriptor and calls `Engine.turn`. No thread takes part but the loop's.
//! - A request is a task of the loop, whose coroutine is a [`call::Call`]: it drives the app's own coroutine and sees how it
//!   ends, without a Python frame or a callback.
//! - `receive` and `send` are methods of the request's [`exchange::Exchange`]. The connection stays with the reactor
//!   ([`crate::reactor::live`]), which tells by events what a call waits for.
//! - The reactor's lock is never held while Python is called. The engine's own locks here are held only for plain moves.
//!
//! A request for a WebSocket is a [`websocket::Session`] instead; when the app accepts it, frames take the place of the
//! response ([`crate::reactor::websocket`]).

mod awaitable;
mod call;
mod ending;
mod exchange;
mod message;
mod news;
mod registry;
mod response;
mod scope;
pub(crate) mod service;
mod step;
mod websocket;
