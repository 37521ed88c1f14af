//! Looks now and then for what apps own of kinds that not every cluster has: a watch of a kind that is not there would fail
//! and fail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::core::DynamicObject;

use super::child_watch::{Children, selector};
use super::follow::Listener;
use super::{Context, Guarded, Queue, Scope};
use crate::api::GunicornApp;
use crate::reconcile::Kind;

const PERIOD: Duration = Duration::from_secs(60);

pub(super) async fn run(context: Arc<Context>, scope: Scope, queue: Queue) -> &'static str {
    let mut installed: [Option<bool>; 2] = [None, None];
    let mut period = tokio::time::interval(PERIOD);
    loop {
        period.tick().await;
        for (kind, installed) in Kind::OPTIONAL.into_iter().zip(&mut installed) {
            let mut found = None;
            for api in scope.dynamic(&context.client, &kind.resource()) {
                found = list(&context, api, kind, &queue).await.or(found);
            }
            if *installed == Some(false) && found == Some(true) {
                tracing::info!(kind = kind.as_str(), "the cluster has this kind now");
                look_at_those_that_want(&context, kind, &queue);
            }
            *installed = found.or(*installed);
            context.stores.was_read(kind.as_str());
        }
    }
}

/// Whether the cluster has the kind; none: it did not say.
async fn list(context: &Arc<Context>, api: Api<DynamicObject>, kind: Kind, queue: &Queue) -> Option<bool> {
    let namespace = api.namespace().map(str::to_owned);
    match api.list(&ListParams::default().labels(&selector())).await {
        Ok(found) => {
            let mut children =
                Children { context: Arc::clone(context), namespace, kind, queue: queue.clone() };
            let listed: BTreeSet<_> =
                found.items.into_iter().filter_map(|object| children.seen(object)).collect();
            for place in children.known().difference(&listed) {
                children.lost(place);
            }
            Some(true)
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Some(false),
        Err(error) => {
            tracing::warn!(kind = kind.as_str(), %error, "cannot list");
            None
        }
    }
}

fn look_at_those_that_want(context: &Context, kind: Kind, queue: &Queue) {
    let wants = |app: &GunicornApp| match kind {
        Kind::HttpRoute => app.spec.http_route.is_some(),
        _ => app.spec.metrics.as_ref().is_some_and(|metrics| metrics.pod_monitor.is_some()),
    };
    for app in context.stores.apps() {
        let app: &Guarded = &app;
        if app.0.as_ref().is_ok_and(wants) {
            // The receiver is gone only when the controller ends.
            let _ = queue.send(super::AppKey::of(app).reference());
        }
    }
}
