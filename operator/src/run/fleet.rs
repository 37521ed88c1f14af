//! The controller's caches as the autoscaler's fleet.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::autoscale::{AppSeen, Fleet, PodSeen};
use crate::controller::{AppKey, PodFacts, Stores};
use crate::pods::{Token, Tokens};
use crate::reconcile;

/// What the watches have seen.
pub(super) struct Watched(pub(super) Arc<Stores>);

impl Fleet for Watched {
    fn apps(&self) -> Vec<AppSeen> {
        let apps = self.0.apps();
        let readable = apps.iter().filter_map(|app| app.0.as_ref().ok());
        readable
            .filter(|app| app.metadata.deletion_timestamp.is_none())
            .map(|app| {
                let key = AppKey::of(app);
                let mut pods: Vec<PodSeen> = self.0.pods_of(&key).into_iter().filter_map(seen).collect();
                pods.sort_by(|a, b| a.name.cmp(&b.name));
                let mut hpas: Vec<String> = self.0.hpas_of(&key).into_iter().map(|hpa| hpa.name).collect();
                hpas.sort();
                AppSeen {
                    pods,
                    hpas,
                    replicas: self.0.deployment_replicas(&key),
                    tokens: self.0.tokens(&key).and_then(tokens).map(Arc::new),
                    ..AppSeen::of(app)
                }
            })
            .collect()
    }
}

/// None: it is on its way out.
fn seen(pod: PodFacts) -> Option<PodSeen> {
    let PodFacts { name, uid, address, admin_port, ready, ending, broken: _ } = pod;
    let address = address.map(|address| SocketAddr::new(address, admin_port));
    (!ending).then_some(PodSeen { name, uid, address, ready })
}

/// None: what is in the Secret is no token.
fn tokens(tokens: reconcile::Tokens) -> Option<Tokens> {
    let previous = tokens.previous.and_then(|token| Token::new(&token).ok());
    Some(Tokens::new(Token::new(&tokens.current).ok()?, previous))
}
