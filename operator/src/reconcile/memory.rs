//! What the reconciler remembers of an app between two reconciles.

use std::collections::HashMap;

use crate::api::GunicornAppStatus;

use super::kind::Kind;

/// What was wanted of an object and what it was like when it last had all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) wanted: u64,
    pub(crate) live: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Of the app: another one may come under the same name.
    pub(crate) uid: String,
    pub(crate) settled: HashMap<(Kind, String), Settled>,
    /// What was written last, and the version that this made: the cache may be behind.
    pub(crate) status: Option<(GunicornAppStatus, u64)>,
    /// What was said of an object that cannot be read.
    pub(crate) malformed: Option<String>,
    /// Reconciles that have failed since one has not.
    pub(crate) failures: u32,
}

impl Memory {
    /// Forgets what was remembered of another app of that name.
    pub(crate) fn is_of(&mut self, uid: &str) {
        if self.uid != uid {
            *self = Self { uid: uid.to_owned(), ..Self::default() };
        }
    }
}
