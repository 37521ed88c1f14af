//! From a `GunicornApp` to what runs it.
//!
//! Contract: five steps, each in its file. [`dereference`] takes from the caches what the app refers to; [`validate`] judges
//! the spec (no client); [`build`] makes every object that should be there (no client); [`apply`] writes what differs and
//! deletes what is left over; [`status`] says what is so, and is written where people would see a change. What has not
//! changed is not written.

mod apply;
mod build;
mod contains;
mod dereference;
mod error;
mod events;
mod fingerprint;
mod kind;
mod live;
mod memory;
mod merge;
mod migration;
mod names;
mod orphans;
mod replicas;
mod requests;
mod status;
mod steps;
mod token;
mod validate;

#[cfg(test)]
mod tests;

pub use error::{Error, Retry};
pub use live::Tokens;
pub use names::{MANAGER, ROTATE_TOKEN, token_secret};

pub(crate) use kind::Kind;
pub(crate) use live::Live;
pub(crate) use memory::Memory;
pub(crate) use names::{APP_LABEL, INSTANCE_LABEL, MANAGED_BY_LABEL};
pub(crate) use steps::{reconcile, reconcile_malformed};
