//! What networks and apiservers do on bad days, done to the operator on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // these are tests; libtest's attribute is not theirs

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use podicorn_testbed::app::App;
use podicorn_testbed::control_plane::{ControlPlane, Options};
use podicorn_testbed::fault::{Action, FaultProxy, Rule, Verb};
use podicorn_testbed::kubelet::Kubelet;
use podicorn_testbed::operator::{self, Operator, Settings};
use podicorn_testbed::suite::{Context, run};
use podicorn_testbed::wait::{PATIENCE, eventually};
use podicorn_testbed::{beds, objects, tests, yaml};
use serde_json::json;

fn main() -> std::process::ExitCode {
    run(
        beds::cluster,
        tests![
            refused_writes_are_tried_again,
            lost_answers_do_no_harm,
            watches_that_expire_or_break_lose_nothing,
            an_app_that_fails_does_not_hold_up_others,
            an_apiserver_that_restarts_is_found_again,
            a_malformed_object_is_isolated,
            a_crd_that_comes_late_is_waited_for,
        ],
    )
}

/// An operator for the test's namespace whose requests go through a proxy.
async fn behind_a_proxy(context: &Context) -> (Operator, FaultProxy) {
    let plane = &context.bed.plane;
    let mut settings = Settings {
        namespaces: vec![context.namespace.clone()],
        lease: None,
        ..Settings::named(&context.namespace)
    };
    let user = format!("system:serviceaccount:{}:{}", operator::NAMESPACE, settings.name);
    let proxy = FaultProxy::start(plane, &user).await.unwrap();
    settings.url = Some(proxy.url().to_owned());
    (Operator::start(plane, &settings).await.unwrap(), proxy)
}

async fn shop(context: &Context, name: &str) -> App {
    context.apply(&yaml::light(name, "workers: {min: 2, max: 6}")).await.unwrap();
    context.app(name)
}

async fn used_up(proxy: &FaultProxy) {
    eventually("all faults have been met", PATIENCE, async || match proxy.pending() {
        0 => Ok(()),
        left => Err(format!("{left} rules left")),
    })
    .await
    .unwrap();
}

async fn refused_writes_are_tried_again(context: Context) {
    let (operator, proxy) = behind_a_proxy(&context).await;
    // How an object is made, by POST or by apply, is the operator's to choose; one rule of each pair is met.
    let app = shop(&context, "warm").await;
    app.ready().await.unwrap();
    for (code, retry_after, path) in [
        (409, None, "/deployments"),
        (429, Some(1), "/deployments"),
        (500, None, "/services"),
        (409, None, "/gunicornapps"),
        (500, None, "/gunicornapps"),
    ] {
        proxy.inject(Rule::new(Verb::Patch, path, 1, Action::Answer { code, retry_after }));
    }
    let app = shop(&context, "shop").await;
    app.patch(json!({"spec": {"drain": {"delaySeconds": 1}, "service": {"port": 81}}})).await.unwrap();
    app.ready().await.unwrap();
    used_up(&proxy).await;
    // And after the last of them all is as it should be.
    app.patch(json!({"spec": {"replicas": 2}})).await.unwrap();
    app.pods_ready(2).await.unwrap();
    app.ready().await.unwrap();
    app.condition("Degraded", false, "").await.unwrap();
    operator.process().unwrap().check().unwrap();
    operator.check(&context.bed.plane).unwrap();
}

async fn lost_answers_do_no_harm(context: Context) {
    let (operator, proxy) = behind_a_proxy(&context).await;
    for verb in [Verb::Create, Verb::Patch] {
        proxy.inject(Rule::new(verb, "/secrets", 1, Action::LoseAnswer));
        proxy.inject(Rule::new(verb, "/deployments", 1, Action::LoseAnswer));
        proxy.inject(Rule::new(verb, "/services", 1, Action::Refuse));
    }
    let app = shop(&context, "shop").await;
    app.ready().await.unwrap();
    assert!(proxy.injected() >= 2, "{} met", proxy.injected());
    let token = app.token().await.unwrap();
    app.condition("PodsReachable", true, "").await.unwrap();
    assert_eq!(app.token().await.unwrap(), token);
    operator.check(&context.bed.plane).unwrap();
}

async fn watches_that_expire_or_break_lose_nothing(context: Context) {
    let (operator, proxy) = behind_a_proxy(&context).await;
    let app = shop(&context, "shop").await;
    app.ready().await.unwrap();
    for (round, replicas) in [2, 3, 1].into_iter().enumerate() {
        if round == 1 {
            proxy.inject(Rule::new(Verb::Watch, "/gunicornapps", 1, Action::Expired));
            proxy.inject(Rule::new(
                Verb::Watch,
                "/deployments",
                1,
                Action::Answer { code: 410, retry_after: None },
            ));
            proxy.inject(Rule::new(Verb::Watch, "/pods", 1, Action::Answer { code: 500, retry_after: None }));
        }
        proxy.drop_watches();
        app.patch(json!({"spec": {"replicas": replicas}})).await.unwrap();
        app.pods_ready(replicas).await.unwrap();
        let ready = u32::try_from(replicas).unwrap();
        app.until("the pods are seen", |status| status.ready_pods == Some(ready)).await.unwrap();
    }
    used_up(&proxy).await;
    operator.process().unwrap().check().unwrap();
}

async fn an_app_that_fails_does_not_hold_up_others(context: Context) {
    let (operator, proxy) = behind_a_proxy(&context).await;
    for verb in [Verb::Create, Verb::Patch] {
        proxy.inject(Rule::new(
            verb,
            "/deployments/unlucky",
            100_000,
            Action::Answer { code: 500, retry_after: None },
        ));
        proxy.inject(Rule::new(
            verb,
            "/services/unlucky",
            100_000,
            Action::Answer { code: 500, retry_after: None },
        ));
    }
    shop(&context, "unlucky").await;
    let lucky: Vec<App> = {
        let mut apps = Vec::new();
        for number in 0..5 {
            apps.push(shop(&context, &format!("lucky-{number}")).await);
        }
        apps
    };
    for app in &lucky {
        app.ready().await.unwrap();
    }
    let failing = context.app("unlucky");
    failing.condition("Ready", false, "").await.unwrap();
    eventually(
        "it has been tried",
        PATIENCE,
        async || {
            if proxy.injected() > 0 { Ok(()) } else { Err("never") }
        },
    )
    .await
    .unwrap();
    // Back-off: it is not tried as fast as it can be refused.
    let tried = proxy.injected();
    assert!(tried < 200, "{tried} attempts");
    proxy.clear();
    failing.ready().await.unwrap();
    operator.check(&context.bed.plane).unwrap();
}

/// On a control plane of its own, since the others' tests would notice.
async fn an_apiserver_that_restarts_is_found_again(_: Context) {
    let plane = ControlPlane::start(Options { controllers: true }).await.unwrap();
    let client = plane.admin().await.unwrap();
    objects::install_crd(&client).await.unwrap();
    let _kubelet = Kubelet::start(&plane, None, beds::images()).await.unwrap();
    let operator =
        Operator::start(&plane, &Settings { lease: None, ..Settings::named("restart") }).await.unwrap();
    let namespace = objects::namespace(&client, "restart").await.unwrap();
    objects::apply_yaml(&client, &namespace, &yaml::light("shop", "")).await.unwrap();
    let app = App::new(client.clone(), &namespace, "shop");
    app.ready().await.unwrap();

    let process = operator.process().unwrap();
    plane.restart_apiserver(Duration::from_secs(3)).await.unwrap();
    process.check().unwrap();
    app.patch(json!({"spec": {"replicas": 2}})).await.unwrap();
    app.pods_ready(2).await.unwrap();

    // A partition: connections stay, answers do not come.
    plane.stop_apiserver().unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    plane.cont_apiserver().unwrap();
    eventually("the apiserver answers again", PATIENCE, async || {
        app.patch(json!({"spec": {"replicas": 1}})).await.map(drop)
    })
    .await
    .unwrap();
    app.pods_ready(1).await.unwrap();
    app.ready().await.unwrap();
    // Without a look at what was refused: an apiserver that starts refuses what it has yet to read the rules for.
    process.check().unwrap();
}

/// The schema keeps malformed objects out, so it is loosened for this test, as an older or edited CRD may be.
async fn a_malformed_object_is_isolated(_: Context) {
    let plane = ControlPlane::start(Options { controllers: true }).await.unwrap();
    let client = plane.admin().await.unwrap();
    objects::install_crd(&client).await.unwrap();
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let mut crd = serde_json::to_value(podicorn_operator::api::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({
        "type": "object", "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    });
    let params = PatchParams::apply("podicorn-testbed").force();
    crds.patch(podicorn_operator::api::CRD_NAME, &params, &Patch::Apply(crd)).await.unwrap();
    let _kubelet = Kubelet::start(&plane, None, beds::images()).await.unwrap();
    let namespace = objects::namespace(&client, "malformed").await.unwrap();
    let malformed = "apiVersion: podicorn.io/v1alpha1\nkind: GunicornApp\nmetadata: {name: broken}\n\
                     spec: {image: [1, 2], app: 7, workers: many}\n";
    eventually("the loose schema is served", PATIENCE, async || {
        objects::apply_yaml(&client, &namespace, malformed).await.map(drop)
    })
    .await
    .unwrap();
    let operator =
        Operator::start(&plane, &Settings { lease: None, ..Settings::named("malformed") }).await.unwrap();
    let whole = "apiVersion: podicorn.io/v1alpha1\nkind: GunicornApp\nmetadata: {name: shop}\n\
                 spec: {image: 'podicorn/light:0.1', app: 'shop:app'}\n";
    objects::apply_yaml(&client, &namespace, whole).await.unwrap();
    let app = App::new(client.clone(), &namespace, "shop");
    app.ready().await.unwrap();
    eventually("the operator says which object it cannot read", PATIENCE, async || {
        let log = operator.log();
        let said = log
            .lines()
            .any(|line| line.contains("broken") && (line.contains("WARN") || line.contains("ERROR")));
        let events = App::new(client.clone(), &namespace, "broken").events().await.unwrap_or_default();
        if said || !events.is_empty() { Ok(()) } else { Err("neither in the log nor by an event") }
    })
    .await
    .unwrap();
    assert!(app.api::<Deployment>().get_opt("broken").await.unwrap().is_none());
    operator.check(&plane).unwrap();
}

async fn a_crd_that_comes_late_is_waited_for(_: Context) {
    let plane = ControlPlane::start(Options { controllers: true }).await.unwrap();
    let client = plane.admin().await.unwrap();
    let _kubelet = Kubelet::start(&plane, None, beds::images()).await.unwrap();
    let settings = Settings { lease: None, ..Settings::named("late") };
    let operator = Operator::start_unready(&plane, &settings).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    operator.process().unwrap().check().unwrap();
    objects::install_crd(&client).await.unwrap();
    let namespace = objects::namespace(&client, "late").await.unwrap();
    objects::apply_yaml(&client, &namespace, &yaml::light("shop", "")).await.unwrap();
    App::new(client.clone(), &namespace, "shop").ready().await.unwrap();
    operator.ready().await.unwrap();
    operator.check(&plane).unwrap();
}
