//! The names and labels of all that belongs to an app. They are an interface: people select by them.

use std::collections::BTreeMap;

/// The field manager of all that the reconciler writes.
pub const MANAGER: &str = "podicorn-operator";
/// Another value of this annotation on the app makes a new admin token.
pub const ROTATE_TOKEN: &str = "podicorn.io/rotate-token";

pub(crate) const NAME_LABEL: &str = "app.kubernetes.io/name";
pub(crate) const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
pub(crate) const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
pub(crate) const OWNER_UID_LABEL: &str = "podicorn.io/owner-uid";
/// On pods: the app that they run.
pub(crate) const APP_LABEL: &str = "podicorn.io/app";
/// On what was applied: the hash of what was wanted, so that another process knows that it still is.
pub(crate) const APPLIED: &str = "podicorn.io/applied";

/// On the Deployment: the migration that its template waited for.
pub(crate) const MIGRATED: &str = "podicorn.io/migrated";

pub(crate) const CONTAINER: &str = "web";
pub(crate) const HTTP_PORT: &str = "http";
pub(crate) const ADMIN_PORT: &str = "admin";
pub(crate) const TOKEN_VOLUME: &str = "podicorn-admin-token";
pub(crate) const TOKEN_DIRECTORY: &str = "/var/run/podicorn/admin";

/// The Secret with the app's admin token.
pub fn token_secret(app: &str) -> String {
    format!("{app}-admin")
}

/// The labels that select an app's pods.
pub(crate) fn selector(app: &str) -> BTreeMap<String, String> {
    [(NAME_LABEL, app), (INSTANCE_LABEL, app), (APP_LABEL, app)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// The same as text, for the scale subresource.
pub(crate) fn selector_text(app: &str) -> String {
    let pairs: Vec<String> = selector(app).iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// The labels of every object of an app.
pub(crate) fn labels(app: &str, uid: &str) -> BTreeMap<String, String> {
    [(NAME_LABEL, app), (INSTANCE_LABEL, app), (MANAGED_BY_LABEL, MANAGER), (OWNER_UID_LABEL, uid)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// The Job that runs what the hash stands for. Its pods bear the name as a label, which has 63 characters.
pub(crate) fn migration(app: &str, hash: u64) -> String {
    let short: String = app.chars().take(44).collect();
    format!("{}-migrate-{:08x}", short.trim_end_matches('-'), hash >> 32)
}
