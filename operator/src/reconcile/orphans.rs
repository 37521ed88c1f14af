//! Deletes what an app no longer has.
//!
//! Contract: only what the app itself controls, by its uid, and Jobs only when nothing depends on them any more.

use std::sync::Arc;

use super::apply::{Applier, Outcome};
use super::dereference::Dereferenced;
use super::migration::Migration;
use super::{Kind, Live};

/// What is to go: pure.
pub(crate) fn find<'a>(
    uid: &str,
    there: &'a Dereferenced,
    wanted: &[(Kind, String)],
    migration: &Migration,
) -> Vec<(Kind, &'a str, &'a Arc<Live>)> {
    let ours =
        there.children.iter().filter(|(_, live)| live.controller.as_deref() == Some(uid) && !live.deleting);
    let unwanted = ours.filter(|(key, _)| !wanted.contains(key));
    let released = unwanted.filter(|(_, live)| live.job().is_none_or(|state| migration.releases(state)));
    released.map(|((kind, name), live)| (*kind, name.as_str(), live)).collect()
}

impl Applier<'_> {
    pub(crate) async fn delete_orphans(
        &self,
        there: &Dereferenced,
        migration: &Migration,
        outcome: &mut Outcome,
    ) {
        for (kind, name, live) in find(self.uid, there, &outcome.wanted, migration) {
            match self.requests.delete(kind, name, &live.uid).await {
                Ok(()) => {
                    self.metrics.wrote(kind.as_str(), "delete");
                    self.stores.forget(self.app, kind, name);
                    tracing::info!(kind = kind.as_str(), object = name, "deleted what the app no longer has");
                }
                Err(error) => {
                    outcome.error.get_or_insert(error);
                }
            }
        }
    }
}
