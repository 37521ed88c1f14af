//! Where the operator acts.

use kube::api::Api;
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};

/// Every namespace, or some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    All,
    Namespaces(Vec<String>),
}

impl Scope {
    /// One API to watch for each namespace, or one for all.
    pub(super) fn apis<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(
        &self,
        client: &Client,
    ) -> Vec<Api<K>> {
        match self {
            Self::All => vec![Api::all(client.clone())],
            Self::Namespaces(names) => {
                names.iter().map(|name| Api::namespaced(client.clone(), name)).collect()
            }
        }
    }

    /// As `apis`, of a kind that has no type here.
    pub(super) fn dynamic(
        &self,
        client: &Client,
        resource: &kube::core::ApiResource,
    ) -> Vec<Api<kube::core::DynamicObject>> {
        match self {
            Self::All => vec![Api::all_with(client.clone(), resource)],
            Self::Namespaces(names) => {
                names.iter().map(|name| Api::namespaced_with(client.clone(), name, resource)).collect()
            }
        }
    }
}
