//! From `GunicornApp`s to what runs them: every object, again after changes, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // these are tests; libtest's attribute is not theirs

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use podicorn_testbed::app::App;
use podicorn_testbed::operator::Settings;
use podicorn_testbed::suite::{Context, run};
use podicorn_testbed::wait::{PATIENCE, eventually};
use podicorn_testbed::{beds, objects, tests, yaml};
use serde_json::{Value, json};

fn main() -> std::process::ExitCode {
    run(
        || beds::operated(Settings::named("reconcile")),
        tests![
            nothing_is_written_while_nothing_changes,
            an_app_becomes_its_objects,
            what_is_switched_off_goes,
            what_people_change_or_delete_comes_back,
            what_others_own_stays,
            a_deleted_app_leaves_nothing,
            a_new_image_is_rolled_out,
            replicas_follow_the_spec,
            a_misspelt_setting_is_reported_and_blocks_nobody,
            an_object_that_is_somebody_elses_is_not_taken,
            a_token_is_rotated_without_losing_the_pods,
            a_migration_comes_before_the_rollout,
            a_failed_migration_holds_the_rollout_back,
            a_template_override_is_merged,
            restricted_namespaces_take_the_pods,
            kinds_that_are_not_installed_are_named,
        ],
    )
}

const EVERYTHING: &str = "
workerClass: gthread
threads: 4
workers: {min: 2, max: 6}
settings: {timeout: 40, keepalive: 3}
replicas: 2
preload: true
drain: {delaySeconds: 3, gracefulTimeoutSeconds: 25}
service: {enabled: true, port: 80}
ingress: {className: nginx, host: shop.example.com, path: /}
podDisruptionBudget: {enabled: true, maxUnavailable: 1}
networkPolicy: {enabled: true}
resources: {requests: {cpu: 100m, memory: 64Mi}}
";

fn labelled(map: Option<&BTreeMap<String, String>>, key: &str) -> String {
    map.and_then(|labels| labels.get(key)).cloned().unwrap_or_default()
}

async fn an_app_becomes_its_objects(context: Context) {
    context.apply(&yaml::light("shop", EVERYTHING)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    let object = app.get().await.unwrap();
    let uid = object.uid().unwrap();

    let deployment: Deployment = app.object("shop").await.unwrap();
    let owner = &deployment.owner_references()[0];
    assert_eq!((owner.kind.as_str(), &owner.uid, owner.controller), ("GunicornApp", &uid, Some(true)));
    let labels = Some(deployment.labels());
    assert_eq!(labelled(labels, "app.kubernetes.io/managed-by"), "podicorn-operator");
    assert_eq!(labelled(labels, "podicorn.io/owner-uid"), uid);
    let spec = deployment.spec.unwrap();
    assert_eq!(spec.replicas, Some(2));
    assert_eq!(labelled(spec.selector.match_labels.as_ref(), "podicorn.io/app"), "shop");
    let pod = spec.template.spec.unwrap();
    assert_eq!(pod.termination_grace_period_seconds, Some(25));
    let container = &pod.containers[0];
    assert_eq!(container.name, "web");
    assert_eq!(container.command.as_deref().unwrap(), ["podicorn"]);
    let arguments = container.args.clone().unwrap();
    for wanted in ["--bind=0.0.0.0:8000", "--admin-bind=[::]:9099", "--workers=2..6", "--preload"] {
        assert!(arguments.iter().any(|argument| argument == wanted), "{wanted} is not in {arguments:?}");
    }
    assert_eq!(arguments.last().unwrap(), "shop:app");
    let probe = container.readiness_probe.clone().unwrap().http_get.unwrap();
    assert_eq!(probe.path.as_deref(), Some("/readyz"));

    let service: Service = app.object("shop").await.unwrap();
    assert_eq!(service.spec.unwrap().ports.unwrap()[0].port, 80);
    assert_eq!(app.token().await.unwrap().len(), 64);
    let ingress: Ingress = app.object("shop").await.unwrap();
    assert_eq!(ingress.spec.unwrap().rules.unwrap()[0].host.as_deref(), Some("shop.example.com"));
    let budget: PodDisruptionBudget = app.object("shop").await.unwrap();
    assert!(budget.spec.unwrap().max_unavailable.is_some());
    let _: NetworkPolicy = app.object("shop").await.unwrap();

    let status = app.until("two ready pods", |status| status.ready_pods == Some(2)).await.unwrap();
    let generation = status.metadata.generation;
    let status = status.status.unwrap();
    assert_eq!(status.observed_generation, generation);
    assert_eq!(status.mode.as_deref(), Some("Workers"));
    assert_eq!(status.image.as_deref(), Some("podicorn/light:0.1"));
    assert!(status.selector.unwrap().contains("podicorn.io/app=shop"));
    app.condition("Degraded", false, "").await.unwrap();
    app.condition("Progressing", false, "").await.unwrap();
}

async fn what_is_switched_off_goes(context: Context) {
    context.apply(&yaml::light("shop", EVERYTHING)).await.unwrap();
    let app = context.app("shop");
    let _: Ingress = app.object("shop").await.unwrap();
    let _: NetworkPolicy = app.object("shop").await.unwrap();
    let _: PodDisruptionBudget = app.object("shop").await.unwrap();
    let foreign = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: mine, labels: \
                   {app.kubernetes.io/name: shop}}\nspec: {maxUnavailable: 1, selector: {matchLabels: {a: b}}}\n";
    context.apply(foreign).await.unwrap();
    app.patch(json!({"spec": {
        "ingress": null, "service": {"enabled": false},
        "podDisruptionBudget": {"enabled": false}, "networkPolicy": {"enabled": false},
    }}))
    .await
    .unwrap();
    app.gone::<Ingress>("shop").await.unwrap();
    app.gone::<Service>("shop").await.unwrap();
    app.gone::<PodDisruptionBudget>("shop").await.unwrap();
    app.gone::<NetworkPolicy>("shop").await.unwrap();
    app.ready().await.unwrap();
    let _: PodDisruptionBudget = app.object("mine").await.unwrap();
    let _: Deployment = app.object("shop").await.unwrap();
}

async fn what_people_change_or_delete_comes_back(context: Context) {
    context.apply(&yaml::light("shop", "")).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    let services = app.api::<Service>();
    let before = services.get("shop").await.unwrap().uid();
    services.delete("shop", &DeleteParams::default()).await.unwrap();
    eventually("another Service", PATIENCE, async || {
        let now = services.get_opt("shop").await.map_err(|error| error.to_string())?.and_then(|it| it.uid());
        if now.is_some() && now != before { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await
    .unwrap();
    let deployments = app.api::<Deployment>();
    let grace = json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}});
    deployments.patch("shop", &PatchParams::default(), &Patch::Strategic(grace)).await.unwrap();
    eventually("the old grace period", PATIENCE, async || {
        let deployment = deployments.get("shop").await.map_err(|error| error.to_string())?;
        let grace = deployment.spec.unwrap().template.spec.unwrap().termination_grace_period_seconds;
        if grace == Some(30) { Ok(()) } else { Err(format!("{grace:?}")) }
    })
    .await
    .unwrap();
    // A deleted Secret comes back with another token, and with it the pods' files.
    app.api::<Secret>().delete("shop-admin", &DeleteParams::default()).await.unwrap();
    let _: Secret = app.object("shop-admin").await.unwrap();
    app.ready().await.unwrap();
}

async fn what_others_own_stays(context: Context) {
    context.apply(&yaml::light("shop", "")).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    let note = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "shop", "annotations": {"example.com/team": "shop"}},
    });
    let deployments = app.api::<Deployment>();
    deployments.patch("shop", &PatchParams::apply("somebody"), &Patch::Apply(note)).await.unwrap();
    app.patch(json!({"spec": {"drain": {"delaySeconds": 1}}})).await.unwrap();
    eventually("the change is applied", PATIENCE, async || {
        let deployment = deployments.get("shop").await.map_err(|error| error.to_string())?;
        let arguments = deployment.spec.unwrap().template.spec.unwrap().containers[0].args.clone().unwrap();
        if arguments.contains(&"--drain-delay=1".to_owned()) { Ok(()) } else { Err(format!("{arguments:?}")) }
    })
    .await
    .unwrap();
    let annotations = deployments.get("shop").await.unwrap().annotations().clone();
    assert_eq!(annotations.get("example.com/team").map(String::as_str), Some("shop"));
}

async fn a_deleted_app_leaves_nothing(context: Context) {
    context.apply(&yaml::light("shop", EVERYTHING)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    app.delete().await.unwrap();
    app.gone::<Deployment>("shop").await.unwrap();
    app.gone::<Service>("shop").await.unwrap();
    app.gone::<Secret>("shop-admin").await.unwrap();
    app.gone::<Ingress>("shop").await.unwrap();
    app.gone::<PodDisruptionBudget>("shop").await.unwrap();
    app.gone::<NetworkPolicy>("shop").await.unwrap();
    app.pods_ready(0).await.unwrap();
}

async fn a_new_image_is_rolled_out(context: Context) {
    context.apply(&yaml::light("shop", "replicas: 2")).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    app.patch(json!({"spec": {"image": "podicorn/light:0.2"}})).await.unwrap();
    app.until("the new image", |status| status.image.as_deref() == Some("podicorn/light:0.2")).await.unwrap();
    app.ready().await.unwrap();
    eventually("all pods are new", PATIENCE, async || {
        let pods = app.pods().await.map_err(|error| error.to_string())?;
        let images: Vec<_> =
            pods.iter().map(|pod| pod.spec.clone().unwrap().containers[0].image.clone().unwrap()).collect();
        if images == ["podicorn/light:0.2", "podicorn/light:0.2"] {
            Ok(())
        } else {
            Err(format!("{images:?}"))
        }
    })
    .await
    .unwrap();
}

async fn replicas_follow_the_spec(context: Context) {
    context.apply(&yaml::light("shop", "replicas: 1")).await.unwrap();
    let app = context.app("shop");
    app.pods_ready(1).await.unwrap();
    app.patch(json!({"spec": {"replicas": 3}})).await.unwrap();
    app.pods_ready(3).await.unwrap();
    app.patch(json!({"spec": {"replicas": 0}})).await.unwrap();
    app.pods_ready(0).await.unwrap();
    app.until("no pods in the status", |status| status.replicas.unwrap_or(0) == 0).await.unwrap();
}

async fn a_misspelt_setting_is_reported_and_blocks_nobody(context: Context) {
    context.apply(&yaml::light("typo", "settings: {tiemout: 40}")).await.unwrap();
    context.apply(&yaml::light("well", "")).await.unwrap();
    let app = context.app("typo");
    let degraded = app.condition("Degraded", true, "InvalidSpec").await.unwrap();
    assert!(degraded.message.contains("tiemout") && degraded.message.contains("timeout"), "{degraded:?}");
    app.condition("Ready", false, "").await.unwrap();
    let note = app.event("InvalidSpec").await.unwrap();
    assert!(note.contains("tiemout"), "{note}");
    assert!(app.api::<Deployment>().get_opt("typo").await.unwrap().is_none());
    context.app("well").ready().await.unwrap();
    app.patch(json!({"spec": {"settings": {"tiemout": null, "timeout": 40}}})).await.unwrap();
    app.ready().await.unwrap();
    app.condition("Degraded", false, "").await.unwrap();
}

async fn an_object_that_is_somebody_elses_is_not_taken(context: Context) {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec: {ports: [{port: 99}], selector: {a: b}}\n";
    context.apply(service).await.unwrap();
    context.apply(&yaml::light("shop", "")).await.unwrap();
    let app = context.app("shop");
    let degraded = app.condition("Degraded", true, "NameTaken").await.unwrap();
    assert!(degraded.message.contains("Service"), "{degraded:?}");
    let service: Service = app.object("shop").await.unwrap();
    assert_eq!(service.spec.unwrap().ports.unwrap()[0].port, 99);
    app.api::<Service>().delete("shop", &DeleteParams::default()).await.unwrap();
    app.condition("Degraded", false, "").await.unwrap();
    app.ready().await.unwrap();
}

async fn a_token_is_rotated_without_losing_the_pods(context: Context) {
    context.apply(&yaml::flask("shop", "workers: {min: 1, max: 2}\ndrain: {delaySeconds: 0}")).await.unwrap();
    let app = context.app("shop");
    app.condition("PodsReachable", true, "").await.unwrap();
    let old = app.token().await.unwrap();
    let pods = app.pods_ready(1).await.unwrap();
    app.patch(json!({"metadata": {"annotations": {"podicorn.io/rotate-token": "1"}}})).await.unwrap();
    eventually("another token", PATIENCE, async || {
        let token = app.token().await.map_err(|error| error.to_string())?;
        if token == old { Err("the same") } else { Ok(()) }.map_err(str::to_owned)
    })
    .await
    .unwrap();
    let secret: Secret = app.object("shop-admin").await.unwrap();
    let previous = secret.data.unwrap().get("previous").map(|bytes| bytes.0.clone());
    assert_eq!(previous, Some(old.into_bytes()));
    eventually("the pod takes the new token", PATIENCE, async || app.scale_of(&pods[0]).await.map(drop))
        .await
        .unwrap();
    app.condition("PodsReachable", true, "").await.unwrap();
    let after = app.pods_ready(1).await.unwrap();
    assert_eq!(after[0].name_any(), pods[0].name_any(), "the pod was replaced");
}

async fn jobs(app: &App) -> Vec<Job> {
    app.api::<Job>().list(&ListParams::default()).await.unwrap().items
}

async fn a_migration_comes_before_the_rollout(context: Context) {
    let migrations = "migrations: {command: [python, -c, 'import time; time.sleep(2)']}";
    context.apply(&yaml::flask("shop", migrations)).await.unwrap();
    let app = context.app("shop");
    eventually("the Job", PATIENCE, async || if jobs(&app).await.is_empty() { Err("none") } else { Ok(()) })
        .await
        .unwrap();
    let job = jobs(&app).await.remove(0);
    assert!(job.name_any().starts_with("shop-migrate-"), "{}", job.name_any());
    if job.status.and_then(|status| status.succeeded) != Some(1) {
        assert!(
            app.api::<Deployment>().get_opt("shop").await.unwrap().is_none(),
            "rolled out before the migration"
        );
    }
    app.ready().await.unwrap();
    let status = app.get().await.unwrap().status.unwrap();
    assert_eq!(serde_json::to_value(status.migration).unwrap()["state"], "Succeeded");
    // What a migration does not depend on makes no new one.
    app.patch(json!({"spec": {"drain": {"delaySeconds": 1}}})).await.unwrap();
    app.ready().await.unwrap();
    assert_eq!(jobs(&app).await.len(), 1);
    app.patch(json!({"spec": {"image": "podicorn/example-flask:0.2"}})).await.unwrap();
    app.until("the new image", |status| status.image.as_deref() == Some("podicorn/example-flask:0.2"))
        .await
        .unwrap();
    app.ready().await.unwrap();
}

async fn a_failed_migration_holds_the_rollout_back(context: Context) {
    let more = "migrations: {command: [python, -c, 'raise SystemExit(0)'], backoffLimit: 0}";
    context.apply(&yaml::flask("shop", more)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    let before = app.pods_ready(1).await.unwrap()[0].name_any();
    app.patch(json!({"spec": {
        "image": "podicorn/example-flask:0.2", "migrations": {"command": ["python", "-c", "raise SystemExit(7)"]},
    }}))
    .await
    .unwrap();
    let degraded = app.condition("Degraded", true, "MigrationFailed").await.unwrap();
    assert!(degraded.message.contains("shop-migrate-"), "{}", degraded.message);
    let deployment: Deployment = app.object("shop").await.unwrap();
    let image = deployment.spec.unwrap().template.spec.unwrap().containers[0].image.clone();
    assert_eq!(image.as_deref(), Some("podicorn/example-flask:0.1"));
    assert_eq!(app.pods_ready(1).await.unwrap()[0].name_any(), before);
    app.patch(json!({"spec": {"migrations": {"command": ["python", "-c", "pass"]}}})).await.unwrap();
    app.until("the new image", |status| status.image.as_deref() == Some("podicorn/example-flask:0.2"))
        .await
        .unwrap();
    app.condition("Degraded", false, "").await.unwrap();
}

async fn a_template_override_is_merged(context: Context) {
    let more = "
podTemplate:
  metadata: {annotations: {example.com/a: b}}
  spec:
    nodeSelector: {disk: ssd}
    containers:
    - name: web
      env: [{name: MODE, value: fast}]
    - name: proxy
      image: podicorn/light:0.1
";
    context.apply(&yaml::light("shop", more)).await.unwrap();
    let app = context.app("shop");
    let deployment: Deployment = app.object("shop").await.unwrap();
    let template = deployment.spec.unwrap().template;
    assert_eq!(labelled(template.metadata.unwrap().annotations.as_ref(), "example.com/a"), "b");
    let spec = template.spec.unwrap();
    assert_eq!(labelled(spec.node_selector.as_ref(), "disk"), "ssd");
    let names: Vec<&str> = spec.containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(names, ["web", "proxy"]);
    assert_eq!(spec.containers[0].command.as_deref().unwrap(), ["podicorn"]);
    assert!(spec.containers[0].env.iter().flatten().any(|variable| variable.name == "MODE"));
}

async fn restricted_namespaces_take_the_pods(context: Context) {
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces = Api::<Namespace>::all(context.client.clone());
    namespaces.patch(&context.namespace, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    let migrations = "migrations: {command: [python, -c, 'pass']}";
    context.apply(&yaml::flask("shop", migrations)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    let pod: Pod = app.pods_ready(1).await.unwrap().remove(0);
    let security = pod.spec.unwrap().containers[0].security_context.clone().unwrap();
    assert_eq!(security.allow_privilege_escalation, Some(false));
}

async fn kinds_that_are_not_installed_are_named(context: Context) {
    let more = "httpRoute: {parentRefs: [{name: gateway}], hostnames: [shop.example.com]}\n\
                metrics: {podMonitor: {enabled: true, interval: 30s}}";
    context.apply(&yaml::light("shop", more)).await.unwrap();
    let app = context.app("shop");
    let condition = app.condition("Degraded", true, "KindNotInstalled").await.unwrap();
    assert!(
        condition.message.contains("HTTPRoute") || condition.message.contains("PodMonitor"),
        "{condition:?}"
    );
    // The rest is there all the same.
    app.pods_ready(1).await.unwrap();
    let crds = std::fs::read_to_string(podicorn_testbed::assets::checkout(
        "tests/cluster/fixtures/foreign-crds.yaml",
    ));
    objects::apply_yaml(&context.client, &context.namespace, &crds.unwrap()).await.unwrap();
    // It looks again by itself at some time; a change makes it look at once.
    eventually("the foreign kinds are served", PATIENCE, async || {
        let _ = foreign(&app, "gateway.networking.k8s.io", "HTTPRoute").list(&ListParams::default()).await?;
        foreign(&app, "monitoring.coreos.com", "PodMonitor").list(&ListParams::default()).await
    })
    .await
    .unwrap();
    app.patch(json!({"spec": {"drain": {"delaySeconds": 1}}})).await.unwrap();
    app.condition("Degraded", false, "").await.unwrap();
    let route = foreign(&app, "gateway.networking.k8s.io", "HTTPRoute").get("shop").await.unwrap();
    assert_eq!(route.data["spec"]["hostnames"], json!(["shop.example.com"]));
    let monitor = foreign(&app, "monitoring.coreos.com", "PodMonitor").get("shop").await.unwrap();
    assert_ne!(monitor.data["spec"], Value::Null);
    app.patch(json!({"spec": {"httpRoute": null, "metrics": {"podMonitor": {"enabled": false}}}}))
        .await
        .unwrap();
    for (group, kind) in [("gateway.networking.k8s.io", "HTTPRoute"), ("monitoring.coreos.com", "PodMonitor")]
    {
        eventually(&format!("no {kind}"), PATIENCE, async || {
            match foreign(&app, group, kind).get_opt("shop").await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    }
}

fn foreign(app: &App, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(app.api::<Pod>().into_client(), &app.namespace, &resource)
}

/// Long enough for every timer of the operator but the rare resync to have come: two minutes.
const IDLE: Duration = Duration::from_secs(120);

async fn nothing_is_written_while_nothing_changes(context: Context) {
    for number in 0..5 {
        context.apply(&yaml::light(&format!("light-{number}"), EVERYTHING)).await.unwrap();
    }
    let more = "autoscaling: {mode: Operator, minPods: 1, maxPods: 2}\nworkers: {min: 1, max: 2}";
    context.apply(&yaml::flask("real", more)).await.unwrap();
    for name in ["light-0", "light-1", "light-2", "light-3", "light-4", "real"] {
        let app = context.app(name);
        app.ready().await.unwrap();
        app.condition("PodsReachable", true, "").await.unwrap();
        app.until("workers", |status| {
            status.workers.as_ref().is_some_and(|it| it.ready == it.target && it.ready > 0)
        })
        .await
        .unwrap();
    }
    let operator = context.operator().unwrap();
    let audit = context.bed.plane.audit();
    // What has just become so may still be told of.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mark = audit.mark();
    tokio::time::sleep(IDLE).await;
    let mut writes = audit.writes(mark, operator.user()).unwrap();
    writes.retain(|entry| entry.object_ref.namespace == context.namespace);
    let lines: Vec<String> = writes.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} writes while idle:\n{}", lines.len(), lines.join("\n"));
}
