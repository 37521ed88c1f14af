//! Gathers the names of apps that are to be looked at.
//!
//! Contract: changes that come together are looked at once. A name waits no longer than [`GATHER`], however often it is
//! repeated: a rollout with many pods changes all the time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use futures::{Stream, stream};
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::UnboundedReceiver;

const GATHER: Duration = Duration::from_millis(150);

/// Each name once for a batch. Ends when nobody can name any more.
pub(super) fn of<K: Resource<DynamicType = ()> + 'static>(
    names: UnboundedReceiver<ObjectRef<K>>,
) -> impl Stream<Item = Result<ObjectRef<K>, Infallible>> {
    stream::unfold((names, BTreeMap::new()), |(mut names, mut batch)| async move {
        if batch.is_empty() {
            add(&mut batch, names.recv().await?);
            tokio::time::sleep(GATHER).await;
            while let Ok(name) = names.try_recv() {
                add(&mut batch, name);
            }
        }
        let (_, name) = batch.pop_first()?;
        Some((Ok(name), (names, batch)))
    })
}

type Batch<K> = BTreeMap<(Option<String>, String), ObjectRef<K>>;

fn add<K: Resource<DynamicType = ()>>(batch: &mut Batch<K>, name: ObjectRef<K>) {
    batch.insert((name.namespace.clone(), name.name.clone()), name);
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use k8s_openapi::api::core::v1::Pod;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_name_that_is_repeated_comes_once_and_none_is_lost() {
        let (queue, names) = mpsc::unbounded_channel();
        for name in ["a", "b", "a", "a"] {
            queue.send(ObjectRef::<Pod>::new(name).within("x")).unwrap();
        }
        queue.send(ObjectRef::new("a").within("y")).unwrap();
        drop(queue);
        let got: Vec<String> = of(names).map(|name| name.unwrap().to_string()).collect().await;
        assert_eq!(got, ["Pod.v1./a.x", "Pod.v1./b.x", "Pod.v1./a.y"]);
    }
}
