//! The operator scales: real pods under real load, and pods that are dead, slow or lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // these are tests; libtest's attribute is not theirs

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use podicorn_testbed::app::App;
use podicorn_testbed::operator::{Operator, Settings};
use podicorn_testbed::suite::{Context, run};
use podicorn_testbed::traffic::Traffic;
use podicorn_testbed::wait::{PATIENCE, eventually};
use podicorn_testbed::{beds, objects, tests, yaml};
use serde_json::json;

fn main() -> std::process::ExitCode {
    let settings = Settings { arguments: vec!["--tick-seconds=1".to_owned()], ..Settings::named("scaling") };
    run(
        || beds::operated(settings),
        tests![
            workers_of_real_pods_grow_and_shrink_by_leases,
            signals_come_one_at_a_time_and_are_in_the_log,
            pods_go_on_without_the_operator_and_nothing_jumps_when_it_returns,
            pods_follow_demand_where_the_operator_has_them,
            an_hpa_on_the_deployment_is_not_fought,
            an_hpa_scales_the_app_itself,
            an_observer_orders_nothing,
            pods_that_do_not_answer_or_lie_move_nobody,
        ],
    )
}

/// Waits until the workers that are wanted over all pods are as many as that.
async fn workers(app: &App, what: &str, holds: impl Fn(u32) -> bool) {
    let within = Duration::from_secs(200);
    app.until_within(what, within, |status| status.workers.as_ref().is_some_and(|it| holds(it.target)))
        .await
        .unwrap();
}

/// Waits until the operator leads all the pods.
async fn leased(app: &App, pods: &[Pod]) {
    eventually("all pods are leased", PATIENCE, async || {
        for pod in pods {
            let view = app.scale_of(pod).await.map_err(|error| error.to_string())?;
            if view.lease.is_none() {
                return Err(format!("{view:?}"));
            }
        }
        Ok(())
    })
    .await
    .unwrap();
}

async fn workers_of_real_pods_grow_and_shrink_by_leases(context: Context) {
    let more = "
workers: {min: 1, max: 6}
replicas: 2
drain: {delaySeconds: 0}
autoscaling: {mode: Workers, behavior: {workersScaleDown: {stabilizationSeconds: 5}}}
";
    context.apply(&yaml::flask("shop", more)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    app.condition("AutoscalingActive", true, "ScalingWorkers").await.unwrap();
    let pods = app.pods_ready(2).await.unwrap();
    let traffic = Traffic::start(8, app.addresses().await.unwrap(), "/report");
    workers(&app, "eight workers or more", |target| target >= 8).await;
    // The pods' own policy may have been there first; the operator's word comes all the same.
    leased(&app, &pods).await;
    for pod in &pods {
        let view = app.scale_of(pod).await.unwrap();
        assert!(view.target >= 4, "{view:?}");
    }
    // The kubectl column follows: workers that serve, of those that are wanted.
    app.until("the text", |status| {
        status
            .workers
            .as_ref()
            .is_some_and(|it| it.text == format!("{}/{}", it.ready, it.target) && it.ready >= 8)
    })
    .await
    .unwrap();
    let counts = traffic.stop().await;
    assert!(counts.answered > 50, "{counts:?}");
    assert_eq!(counts.failed, 0, "{counts:?}");
    workers(&app, "back to the least", |target| target == 2).await;
    let status = app.get().await.unwrap().status.unwrap();
    assert!(!status.scaling.unwrap().workers.unwrap_or_default().is_empty());
    assert!(!app.events().await.unwrap().is_empty(), "no event tells of it");
    // Nobody was replaced for it.
    let names = |pods: &[Pod]| pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    assert_eq!(names(&app.pods().await.unwrap()), names(&pods));
}

async fn signals_come_one_at_a_time_and_are_in_the_log(context: Context) {
    let more = "
workers: {min: 1, max: 4}
drain: {delaySeconds: 0}
scaling: {commands: Signals}
autoscaling: {mode: Workers, behavior: {workersScaleDown: {stabilizationSeconds: 5}}}
";
    context.apply(&yaml::flask("shop", more)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    let pod = app.pods_ready(1).await.unwrap().remove(0);
    let traffic = Traffic::start(4, app.addresses().await.unwrap(), "/report");
    workers(&app, "four workers", |target| target == 4).await;
    eventually("the pod has four", PATIENCE, async || {
        let view = app.scale_of(&pod).await.map_err(|error| error.to_string())?;
        if view.base == 4 && view.lease.is_none() { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .await
    .unwrap();
    traffic.stop().await;
    workers(&app, "one worker", |target| target == 1).await;
    eventually("the pod has one", PATIENCE, async || {
        let view = app.scale_of(&pod).await.map_err(|error| error.to_string())?;
        if view.base == 1 { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .await
    .unwrap();
    let log = context.kubelet().unwrap().log(&context.namespace, &pod.name_any());
    let count = |word: &str| log.lines().filter(|line| line.contains(word)).count();
    assert!(count("TTIN") >= 3 && count("TTOU") >= 3, "{log}");
    // Each moved the number by one.
    for line in log.lines().filter(|line| line.contains("Workers wanted: ") && line.contains("TT")) {
        let words: Vec<i64> = line
            .rsplit("Workers wanted: ")
            .next()
            .unwrap()
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        assert_eq!((words[0] - words[1]).abs(), 1, "{line}");
    }
}

/// On a control plane of its own, because its operator dies.
async fn pods_go_on_without_the_operator_and_nothing_jumps_when_it_returns(_: Context) {
    let bed = beds::cluster().await.unwrap();
    let settings = Settings { arguments: vec!["--tick-seconds=1".to_owned()], ..Settings::named("mortal") };
    let operator = Operator::start(&bed.plane, &settings).await.unwrap();
    let client = bed.plane.admin().await.unwrap();
    let namespace = objects::namespace(&client, "mortal").await.unwrap();
    let app = App::new(client.clone(), &namespace, "shop");
    let more = "replicas: 3\nworkers: {min: 1, max: 8}";
    objects::apply_yaml(&client, &namespace, &yaml::light("shop", more)).await.unwrap();
    let kubelet = bed.kubelet.as_ref().unwrap();
    kubelet.set_load(&namespace, "shop", 60.0, 0.1);
    let pods = app.pods_ready(3).await.unwrap();
    app.condition("PodsReachable", true, "").await.unwrap();
    // Two workers' work on each pod: three or four workers.
    let settled = || {
        let totals = kubelet.loads().totals(&namespace, "shop");
        if (9..=12).contains(&totals.workers) && totals.queue < 1.0 {
            Ok(totals.workers)
        } else {
            Err(format!("{totals:?}"))
        }
    };
    eventually("the load is borne", PATIENCE, async || settled()).await.unwrap();
    leased(&app, &pods).await;
    tokio::time::sleep(Duration::from_secs(5)).await;

    operator.kill().await.unwrap();
    let before = kubelet.loads().changes().len();
    eventually("the leases have lapsed", PATIENCE, async || {
        for pod in &pods {
            let view = app.scale_of(pod).await.map_err(|error| error.to_string())?;
            if view.lease.is_some() {
                return Err(format!("{view:?}"));
            }
        }
        Ok(())
    })
    .await
    .unwrap();
    let falls =
        |from: usize| kubelet.loads().changes()[from..].iter().filter(|it| it.to + 1 < it.from).count();
    assert_eq!(falls(before), 0, "{:?}", &kubelet.loads().changes()[before..]);
    // More load comes, and the pods help themselves.
    kubelet.set_load(&namespace, "shop", 120.0, 0.1);
    eventually("the pods grow by themselves", PATIENCE, async || {
        let totals = kubelet.loads().totals(&namespace, "shop");
        if totals.workers >= 16 && totals.queue < 1.0 { Ok(()) } else { Err(format!("{totals:?}")) }
    })
    .await
    .unwrap();

    let before = kubelet.loads().changes().len();
    operator.restart().await.unwrap();
    leased(&app, &pods).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let changes = kubelet.loads().changes().split_off(before);
    let jumps: Vec<_> = changes.iter().filter(|it| it.to.abs_diff(it.from) > 1).collect();
    assert!(jumps.is_empty(), "{jumps:?}");
    let totals = kubelet.loads().totals(&namespace, "shop");
    assert!(totals.workers >= 16 && totals.queue < 1.0, "{totals:?}");
    operator.check(&bed.plane).unwrap();
}

async fn pods_follow_demand_where_the_operator_has_them(context: Context) {
    let more = "
workers: {min: 1, max: 2}
autoscaling:
  mode: Operator
  minPods: 2
  maxPods: 9
  behavior: {scaleDown: {stabilizationSeconds: 5}, workersScaleDown: {stabilizationSeconds: 5}}
";
    context.apply(&yaml::light("shop", more)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    app.pods_ready(2).await.unwrap();
    app.condition("AutoscalingActive", true, "ScalingWorkersAndPods").await.unwrap();
    // Six workers' work, 1.4 of which a pod of two workers bears at 70 %: five pods.
    context.kubelet().unwrap().set_load(&context.namespace, "shop", 60.0, 0.1);
    let pods = eventually("five or six pods", PATIENCE, async || {
        let pods = app.pods().await.map_err(|error| error.to_string())?.len();
        let totals = context.kubelet().unwrap().loads().totals(&context.namespace, "shop");
        if pods >= 5 && totals.queue < 1.0 { Ok(pods) } else { Err(format!("{pods} pods, {totals:?}")) }
    })
    .await
    .unwrap();
    assert!(pods <= 6, "{pods} pods where five are needed");
    let deployment: Deployment = app.object("shop").await.unwrap();
    let managers = deployment.managed_fields();
    let of = |manager: &str| {
        managers
            .iter()
            .filter(|it| it.manager.as_deref() == Some(manager))
            .any(|it| it.fields_v1.as_ref().is_some_and(|fields| fields.0.to_string().contains("f:replicas")))
    };
    assert!(of("podicorn-autoscaler"), "{managers:?}");
    // A change of the app does not take the number back.
    app.patch(json!({"spec": {"drain": {"delaySeconds": 1}}})).await.unwrap();
    app.until("the change is rolled out", |status| status.observed_generation == Some(2)).await.unwrap();
    let replicas = app.object::<Deployment>("shop").await.unwrap().spec.unwrap().replicas;
    assert!(replicas >= Some(5), "{replicas:?}");
    assert!(!app.get().await.unwrap().status.unwrap().scaling.unwrap().pods.unwrap_or_default().is_empty());

    context.kubelet().unwrap().set_load(&context.namespace, "shop", 1.0, 0.1);
    app.until_within("two pods again", Duration::from_secs(200), |status| status.ready_pods == Some(2))
        .await
        .unwrap();
    // Out of the operator's hands the pods are what the spec says, and never one in between.
    app.patch(json!({"spec": {"replicas": 3, "autoscaling": {"mode": "Workers"}}})).await.unwrap();
    app.pods_ready(3).await.unwrap();
    app.condition("AutoscalingActive", true, "ScalingWorkers").await.unwrap();
}

fn hpa(kind: &str, version: &str, least: u32) -> String {
    format!(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: shop}}\nspec:\n  \
         scaleTargetRef: {{apiVersion: {version}, kind: {kind}, name: shop}}\n  minReplicas: {least}\n  maxReplicas: 5\n  \
         metrics: [{{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 70}}}}}}]\n"
    )
}

async fn an_hpa_on_the_deployment_is_not_fought(context: Context) {
    let more = "workers: {min: 1, max: 2}\nautoscaling: {mode: Operator, minPods: 1, maxPods: 4}";
    context.apply(&yaml::light("shop", more)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    app.condition("AutoscalingActive", true, "ScalingWorkersAndPods").await.unwrap();
    for (kind, version) in [("Deployment", "apps/v1"), ("GunicornApp", "podicorn.io/v1alpha1")] {
        context.apply(&hpa(kind, version, 1)).await.unwrap();
        let refused = app.condition("AutoscalingActive", false, "ForeignHPA").await.unwrap();
        assert!(refused.message.contains("shop"), "{refused:?}");
        app.api::<HorizontalPodAutoscaler>().delete("shop", &DeleteParams::default()).await.unwrap();
        app.condition("AutoscalingActive", true, "ScalingWorkersAndPods").await.unwrap();
    }
    app.event("ForeignHPA").await.unwrap();
}

async fn an_hpa_scales_the_app_itself(context: Context) {
    let more = "workers: {min: 1, max: 2}\nautoscaling: {mode: External}";
    context.apply(&yaml::light("shop", more)).await.unwrap();
    let app = context.app("shop");
    app.pods_ready(1).await.unwrap();
    app.until("the selector", |status| status.selector.is_some()).await.unwrap();
    context.apply(&hpa("GunicornApp", "podicorn.io/v1alpha1", 3)).await.unwrap();
    app.pods_ready(3).await.unwrap();
    assert_eq!(app.get().await.unwrap().spec.replicas, 3);
    app.condition("AutoscalingActive", true, "").await.unwrap();
    app.until("the pods in the status", |status| status.replicas == Some(3)).await.unwrap();
}

async fn an_observer_orders_nothing(context: Context) {
    // With signals in use pods have no policy of their own, so what the operator would do is always news.
    let more = "workers: {min: 1, max: 8}\nautoscaling: {mode: Observe}\nscaling: {commands: Signals}";
    context.apply(&yaml::light("shop", more)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    context.kubelet().unwrap().set_load(&context.namespace, "shop", 30.0, 0.1);
    app.condition("AutoscalingActive", false, "Observing").await.unwrap();
    let pod = app.pods_ready(1).await.unwrap().remove(0);
    app.until("what it would do", |status| {
        status.scaling.as_ref().and_then(|it| it.workers.as_ref()).is_some_and(|text| !text.is_empty())
    })
    .await
    .unwrap();
    // Long enough for several ticks under the load.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let view = app.scale_of(&pod).await.unwrap();
    assert_eq!((view.target, view.last_epoch, view.lease.is_none()), (1, None, true), "{view:?}");
}

async fn pods_that_do_not_answer_or_lie_move_nobody(context: Context) {
    let more = "workers: {min: 1, max: 8}\nreplicas: 2";
    context.apply(&yaml::light("shop", more)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    let honest = app.pods_ready(2).await.unwrap();
    app.condition("PodsReachable", true, "").await.unwrap();
    for kind in ["lying", "garbled", "slow", "silent"] {
        context.apply(&bad_pod(kind)).await.unwrap();
    }
    app.pods_ready(6).await.unwrap();
    // 20 requests a second for each of six pods: two workers' work, three or four workers.
    context.kubelet().unwrap().set_load(&context.namespace, "shop", 120.0, 0.1);
    eventually("each that does not answer is named", PATIENCE, async || {
        let condition = app.condition("PodsReachable", false, "SomePodsDoNotAnswer").await;
        let message = condition.map_err(|error| error.to_string())?.message;
        let named = ["garbled", "slow", "silent"].into_iter().all(|kind| message.contains(kind));
        if named { Ok(()) } else { Err(message) }
    })
    .await
    .unwrap();
    let mut steady = 0;
    eventually("the honest pods are led all the while", PATIENCE, async || {
        for pod in &honest {
            let view = app.scale_of(pod).await.map_err(|error| error.to_string())?;
            if view.lease.is_none() || !(3..=5).contains(&view.target) {
                steady = 0;
                return Err(format!("{view:?}"));
            }
        }
        steady += 1;
        // At ten looks a second: longer than any lease lasts.
        if steady >= 250 { Ok(()) } else { Err(format!("for {steady} looks")) }
    })
    .await
    .unwrap();
    for kind in ["lying", "garbled", "slow", "silent"] {
        let force = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        app.api::<Pod>().delete(kind, &force).await.unwrap();
    }
    app.condition("PodsReachable", true, "").await.unwrap();
}

/// One of the app's pods by its labels, made by no controller.
fn bad_pod(kind: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {kind}\n  labels: {{app.kubernetes.io/name: shop, \
         app.kubernetes.io/instance: shop, podicorn.io/app: shop}}\nspec:\n  containers:\n  - name: web\n    \
         image: podicorn/light:{kind}\n    args: [\"--workers=1..8\"]\n    \
         ports: [{{name: http, containerPort: 8000}}, {{name: admin, containerPort: 9099}}]\n"
    )
}
