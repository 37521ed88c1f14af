//! The rights in the chart are those that the operator needs: enough, and none too many.
//!
//! Every suite fails where the apiserver refused its operator something; here the audit log shows that each right that
//! is granted is also used. So taking any of them away makes a request of this suite fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // these are tests; libtest's attribute is not theirs

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use podicorn_testbed::operator::{Settings, rules};
use podicorn_testbed::suite::{Context, run};
use podicorn_testbed::wait::{PATIENCE, eventually};
use podicorn_testbed::{assets, beds, objects, tests, yaml};
use serde_json::json;

fn main() -> std::process::ExitCode {
    let bed = async || {
        let bed = beds::cluster().await?;
        // Before the operator starts, so that it finds the foreign kinds.
        let crds = std::fs::read_to_string(assets::checkout("tests/cluster/fixtures/foreign-crds.yaml"));
        objects::apply_yaml(&bed.plane.admin().await?, "default", &crds.unwrap()).await?;
        let operator =
            podicorn_testbed::operator::Operator::start(&bed.plane, &Settings::named("rbac")).await?;
        Ok(podicorn_testbed::suite::Bed { operator: Some(operator), ..bed })
    };
    run(bed, tests![every_right_is_used])
}

const EVERYTHING: &str = "
workers: {min: 1, max: 2}
autoscaling: {mode: Operator, minPods: 1, maxPods: 3, behavior: {scaleDown: {stabilizationSeconds: 5}}}
httpRoute: {parentRefs: [{name: gateway}], hostnames: [shop.example.com]}
metrics: {podMonitor: {enabled: true, interval: 30s}}
podDisruptionBudget: {enabled: true, maxUnavailable: 1}
networkPolicy: {enabled: true}
migrations: {command: [python, -c, 'pass']}
";

async fn every_right_is_used(context: Context) {
    context.apply(&yaml::light("shop", EVERYTHING)).await.unwrap();
    let with_ingress = "ingress: {className: nginx, host: a.example.com, path: /}";
    context.apply(&yaml::light("ingress", with_ingress)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    let other = context.app("ingress");
    other.ready().await.unwrap();
    // More pods than there are, so that the autoscaler writes their number.
    let kubelet = context.kubelet().unwrap();
    kubelet.set_load(&context.namespace, "shop", 40.0, 0.1);
    app.pods_ready(3).await.unwrap();
    // Something of each kind changes, and then goes.
    app.patch(json!({"spec": {
        "service": {"port": 81}, "podDisruptionBudget": {"maxUnavailable": 2},
        "httpRoute": {"hostnames": ["b.example.com"]}, "metrics": {"podMonitor": {"interval": "15s"}},
        "networkPolicy": {"operatorPodLabels": {"app": "operator"}},
    }, "metadata": {"annotations": {"podicorn.io/rotate-token": "2"}}}))
        .await
        .unwrap();
    other.patch(json!({"spec": {"ingress": {"host": "c.example.com"}}})).await.unwrap();
    eventually("the change", PATIENCE, async || {
        let ingress = other.object::<Ingress>("ingress").await.map_err(|error| error.to_string())?;
        let host = ingress.spec.unwrap().rules.unwrap()[0].host.clone().unwrap_or_default();
        if host == "c.example.com" { Ok(()) } else { Err(host) }
    })
    .await
    .unwrap();
    app.ready().await.unwrap();
    app.patch(json!({"spec": {
        "httpRoute": null, "metrics": {"podMonitor": {"enabled": false}}, "podDisruptionBudget": {"enabled": false},
        "networkPolicy": {"enabled": false}, "service": {"enabled": false}, "migrations": null,
    }}))
    .await
    .unwrap();
    other.patch(json!({"spec": {"ingress": null}})).await.unwrap();
    app.gone::<NetworkPolicy>("shop").await.unwrap();
    app.gone::<PodDisruptionBudget>("shop").await.unwrap();
    other.gone::<Ingress>("ingress").await.unwrap();
    // The same event twice: the second time it is counted on the first.
    for setting in [json!(1), json!(null), json!(1)] {
        let wrong = !setting.is_null();
        other.patch(json!({"spec": {"settings": {"tiemout": setting}}})).await.unwrap();
        other.condition("Degraded", wrong, "").await.unwrap();
    }
    let operator = context.operator().unwrap();

    let unused = eventually("every right is used", PATIENCE, async || {
        let used = context.bed.plane.audit().rights(operator.user()).map_err(|error| error.to_string())?;
        let granted = granted();
        let unused: Vec<String> = granted
            .difference(&used)
            .map(|(group, resource, verb)| format!("{verb} {resource}.{group}"))
            .collect();
        if unused.is_empty() { Ok(()) } else { Err(unused.join(", ")) }
    })
    .await;
    assert!(unused.is_ok(), "granted and never used: {}", unused.unwrap_err());
}

fn granted() -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    for rule in rules("rules.yaml").unwrap().into_iter().chain(rules("leader-rules.yaml").unwrap()) {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    all.insert((group.clone(), resource.clone(), verb.clone()));
                }
            }
        }
    }
    assert!(all.len() > 20, "{all:?}");
    all
}
