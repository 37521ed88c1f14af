//! Whole reconciles against a stand-in for the apiserver, which keeps what is applied and notes what it is asked.

use std::sync::Arc;

use serde_json::{Value, json};

use super::app;
use crate::api::{GunicornApp, reasons};
use crate::controller::{AppKey, Context, Metrics, Stores};
use crate::reconcile::{Error, Kind, Live, Memory, reconcile, reconcile_malformed};

mod apiserver;

use apiserver::Apiserver;

/// An operator that has just started: it knows what is there, and remembers nothing.
fn operator(apiserver: &Apiserver) -> Context {
    let client = apiserver.client();
    let recorder = kube::runtime::events::Recorder::new(client.clone(), "test".into());
    let context = Context::new(client, recorder, Arc::new(Metrics::default()), Arc::new(Stores::default()));
    hear(&context, apiserver);
    context
}

/// Tells the caches what is there.
fn hear(context: &Context, apiserver: &Apiserver) {
    for (kind, object) in apiserver.objects() {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let object = serde_json::from_value(object).unwrap();
        if let Some((app, live)) = Live::of(kind, &object) {
            context.stores.put(&AppKey::new("prod", app), kind, &name, live);
        }
    }
}

/// The app with the status that has been written.
fn with_status(mut app: GunicornApp, apiserver: &Apiserver) -> GunicornApp {
    let (status, version) = apiserver.status();
    app.status = Some(serde_json::from_value(status).unwrap());
    app.metadata.resource_version = Some(version);
    app
}

const FIRST: [&str; 3] = ["apply Deployment shop", "apply Secret shop-admin", "apply Service shop"];

#[tokio::test]
async fn what_is_missing_is_made_and_then_nothing_is_written() {
    let apiserver = Apiserver::default();
    let context = operator(&apiserver);
    let mut memory = Memory::default();
    let shop = app("{}");
    reconcile(&shop, &context, &mut memory).await.unwrap();
    let mut writes = apiserver.take_writes();
    let mut told = writes.split_off(3);
    writes.sort();
    assert_eq!(writes, FIRST);
    assert_eq!(told.remove(0), "status shop");
    // The cache has not heard of the status yet, and later has.
    reconcile(&shop, &context, &mut memory).await.unwrap();
    assert_eq!(apiserver.take_writes(), Vec::<String>::new());
    reconcile(&with_status(shop, &apiserver), &context, &mut memory).await.unwrap();
    assert_eq!(apiserver.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn another_process_finds_everything_as_it_should_be() {
    let apiserver = Apiserver::default();
    let shop = app("{ingress: {}, podDisruptionBudget: {}}");
    reconcile(&shop, &operator(&apiserver), &mut Memory::default()).await.unwrap();
    apiserver.take_writes();
    let shop = with_status(shop, &apiserver);
    reconcile(&shop, &operator(&apiserver), &mut Memory::default()).await.unwrap();
    assert_eq!(apiserver.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn only_what_has_changed_is_written() {
    let apiserver = Apiserver::default();
    let context = operator(&apiserver);
    let mut memory = Memory::default();
    reconcile(&app("{}"), &context, &mut memory).await.unwrap();
    apiserver.take_writes();
    reconcile(&app("{image: 'shop:2'}"), &context, &mut memory).await.unwrap();
    assert_eq!(apiserver.take_writes()[0], "apply Deployment shop");
}

#[tokio::test]
async fn what_somebody_has_changed_is_put_right_and_additions_stay() {
    let apiserver = Apiserver::default();
    let context = operator(&apiserver);
    let mut memory = Memory::default();
    let shop = app("{}");
    reconcile(&shop, &context, &mut memory).await.unwrap();
    let shop = with_status(shop, &apiserver);
    apiserver.take_writes();
    apiserver.change(Kind::Service, |service| service["metadata"]["annotations"]["theirs"] = "yes".into());
    hear(&context, &apiserver);
    reconcile(&shop, &context, &mut memory).await.unwrap();
    assert_eq!(apiserver.take_writes(), Vec::<String>::new());
    apiserver.change(Kind::Service, |service| service["spec"]["ports"][0]["port"] = 81.into());
    hear(&context, &apiserver);
    reconcile(&shop, &context, &mut memory).await.unwrap();
    assert_eq!(apiserver.take_writes(), ["apply Service shop"]);
}

#[tokio::test]
async fn what_belongs_to_something_else_is_not_touched_and_pods_wait() {
    let apiserver = Apiserver::default();
    apiserver.add(Kind::Service, json!({"metadata": {"name": "shop", "uid": "theirs"}}));
    let context = operator(&apiserver);
    let error = reconcile(&app("{}"), &context, &mut Memory::default()).await.unwrap_err();
    assert_eq!(error.reason(), reasons::NAME_TAKEN);
    let writes = apiserver.take_writes();
    assert_eq!(writes[..2], ["apply Secret shop-admin", "status shop"]);
    assert!(
        !writes
            .iter()
            .any(|write| write.starts_with("apply Service") || write.starts_with("apply Deployment"))
    );
    let (status, _) = apiserver.status();
    assert_eq!(status["conditions"][0]["reason"], reasons::NAME_TAKEN);
}

#[tokio::test]
async fn a_kind_that_is_not_installed_keeps_nothing_else_from_being_made() {
    let apiserver = Apiserver::default();
    apiserver.refuse(Kind::HttpRoute, 404);
    let context = operator(&apiserver);
    reconcile(&app("{httpRoute: {parentRefs: [{name: g}]}}"), &context, &mut Memory::default())
        .await
        .unwrap();
    let mut writes = apiserver.take_writes();
    writes.truncate(3);
    writes.sort();
    assert_eq!(writes, FIRST);
    let (status, _) = apiserver.status();
    assert_eq!(status["conditions"][2]["reason"], reasons::KIND_NOT_INSTALLED);
}

#[tokio::test]
async fn an_ingress_that_is_refused_is_told_and_pods_are_made_all_the_same() {
    let apiserver = Apiserver::default();
    apiserver.refuse(Kind::Ingress, 422);
    let context = operator(&apiserver);
    let error = reconcile(&app("{ingress: {}}"), &context, &mut Memory::default()).await.unwrap_err();
    assert_eq!(error.metric_label(), "refused");
    assert!(apiserver.take_writes().contains(&"apply Deployment shop".to_owned()));
    let (status, _) = apiserver.status();
    assert_eq!(status["conditions"][2]["reason"], reasons::APPLY_FAILED);
}

#[tokio::test]
async fn what_an_app_no_longer_has_is_deleted_and_nothing_of_others() {
    let apiserver = Apiserver::default();
    let context = operator(&apiserver);
    let mut memory = Memory::default();
    reconcile(&app("{ingress: {}, podDisruptionBudget: {}}"), &context, &mut memory).await.unwrap();
    apiserver.add(
        Kind::Ingress,
        json!({"metadata": {"name": "theirs", "uid": "u", "labels": {"app.kubernetes.io/instance": "shop"}}}),
    );
    hear(&context, &apiserver);
    apiserver.take_writes();
    reconcile(&app("{podDisruptionBudget: {}}"), &context, &mut memory).await.unwrap();
    assert_eq!(apiserver.take_writes(), ["delete Ingress shop"]);
}

#[tokio::test]
async fn a_rollout_waits_for_its_migration_and_pods_still_follow_their_number() {
    let apiserver = Apiserver::default();
    let context = operator(&apiserver);
    let mut memory = Memory::default();
    reconcile(&app("{replicas: 2}"), &context, &mut memory).await.unwrap();
    apiserver.take_writes();
    let migrating = "migrations: {command: [migrate]}, image: 'shop:2'";
    reconcile(&app(&format!("{{replicas: 2, {migrating}}}")), &context, &mut memory).await.unwrap();
    let writes = apiserver.take_writes();
    assert!(writes[0].starts_with("apply Job shop-migrate-"), "{writes:?}");
    assert!(!writes.contains(&"apply Deployment shop".to_owned()));
    // More pods of the old template.
    reconcile(&app(&format!("{{replicas: 5, {migrating}}}")), &context, &mut memory).await.unwrap();
    assert_eq!(apiserver.take_writes(), ["scale shop 5"]);
    apiserver.change(Kind::Job, |job| {
        job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    });
    hear(&context, &apiserver);
    reconcile(&app(&format!("{{replicas: 5, {migrating}}}")), &context, &mut memory).await.unwrap();
    assert_eq!(apiserver.take_writes()[0], "apply Deployment shop");
    let (status, _) = apiserver.status();
    assert_eq!(status["migration"]["state"], "Succeeded");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_told_of_once() {
    let apiserver = Apiserver::default();
    let context = operator(&apiserver);
    let mut memory = Memory::default();
    let object = kube::core::error_boundary::InvalidObject {
        error: "spec.image: invalid type".to_owned(),
        metadata: app("{}").metadata,
    };
    let key = AppKey::new("prod", "shop");
    for _ in 0..2 {
        let error = reconcile_malformed(&object, &key, &context, &mut memory).await.unwrap_err();
        assert!(matches!(error, Error::Malformed(_)));
    }
    let writes = apiserver.take_writes();
    assert_eq!(writes, ["status shop", "event Malformed"]);
    let (status, _): (Value, _) = apiserver.status();
    assert!(status["conditions"][0]["message"].as_str().unwrap().contains("spec.image: invalid type"));
}

#[tokio::test]
async fn another_app_of_the_same_name_starts_afresh() {
    let apiserver = Apiserver::default();
    let context = operator(&apiserver);
    let mut memory = Memory::default();
    reconcile(&app("{}"), &context, &mut memory).await.unwrap();
    apiserver.take_writes();
    let mut again = app("{}");
    again.metadata.uid = Some("uid-2".to_owned());
    // What the first one has left is not taken over: the garbage collector is about to delete it.
    let error = reconcile(&again, &context, &mut memory).await.unwrap_err();
    assert_eq!(error.reason(), reasons::NAME_TAKEN);
    assert!(
        !apiserver
            .take_writes()
            .iter()
            .any(|write| write.starts_with("apply") || write.starts_with("delete"))
    );
}
