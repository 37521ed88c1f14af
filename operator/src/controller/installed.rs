//! Waits for the custom resource definition: who installs both may install them in any order.

use std::time::Duration;

use kube::Client;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;

use super::Scope;
use crate::api::GunicornApp;

const MOST: Duration = Duration::from_secs(15);

/// Returns when `GunicornApps` can be listed.
pub(super) async fn wait(client: &Client, scope: &Scope) {
    let mut delay = Duration::from_millis(250);
    for api in scope.apis::<PartialObjectMeta<GunicornApp>>(client) {
        while let Err(error) = api.list(&ListParams::default().limit(1)).await {
            if matches!(&error, kube::Error::Api(status) if status.code == 404) {
                tracing::warn!(
                    definition = crate::api::CRD_NAME,
                    "waiting for the custom resource definition"
                );
            } else {
                tracing::warn!(%error, "cannot list GunicornApps");
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(MOST);
        }
    }
}
