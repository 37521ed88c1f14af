//! The fork server, seen from the arbiter: start the process ([`spawn`]), speak its protocol ([`client`]).
//!
//! The wire format is `server/PROTOCOL.md` §2.

pub mod client;
pub mod interpreter;
pub mod message;
pub mod spawn;

pub use client::{Client, RequestError};
pub use interpreter::{Interpreter, InterpreterError};
pub use message::{Configured, Failure, FailureKind, Started};
pub use spawn::{Process, SpawnError};
