//! The upgrade in place, as far as two programs have to agree on it: an arbiter that is PID 1 cannot start a second server and
//! leave, so it becomes the new program by execve(2), and hands over what it has.
//!
//! Contract:
//! - What is handed over is one [`State`], as JSON in a sealed memfd whose number is in [`VARIABLE`]. Descriptors are named in it by
//!   their numbers and stay open across the exec.
//! - [`FORMAT`] is raised when an older program could not read the state rightly, or when the two sides of the control socket
//!   (`server/PROTOCOL.md`) no longer understand each other: the fork servers and workers of the old program go on.
//! - The new program is tried first, as a child ([`trial`]): it reads the state as it will, and says what it makes of it.
//! - All signals are held back from before the state is written until the new program has its handlers.

mod carrier;
mod state;
pub mod trial;

pub use carrier::Inheritance;
pub(crate) use carrier::{Luggage, execute, seal};
pub use state::StateError;
pub(crate) use state::{
    Admin, Attendant, Descriptors, Directory, ForkServer, Generation, Interpreter, Listener, Reloads, State,
    Tally,
};

/// Which descriptor holds the state. Taken out of the environment before anything else can read it.
pub const VARIABLE: &str = "PODICORN_UPGRADE_STATE";

/// See the contract.
pub const FORMAT: u32 = 1;

/// Why a program cannot go on where another one was.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error(
        "{VARIABLE} is {0:?}, which is not a state that a running server has handed over ({1}); leave the variable unset"
    )]
    NotHanded(String, String),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{what}: {source}")]
    System { what: &'static str, source: std::io::Error },
}

impl HandoverError {
    pub(crate) fn system<E: Into<std::io::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::System { what, source: source.into() }
    }
}
