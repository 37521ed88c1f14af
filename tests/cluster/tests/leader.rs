//! Two replicas of the operator: one acts, the other takes over, and nobody notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // these are tests; libtest's attribute is not theirs

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt};
use nix::sys::signal::Signal;
use podicorn_testbed::app::App;
use podicorn_testbed::fault::{Action, FaultProxy, Rule, Verb};
use podicorn_testbed::operator::{self, Operator, Settings};
use podicorn_testbed::suite::{Context, run};
use podicorn_testbed::wait::{PATIENCE, eventually};
use podicorn_testbed::{beds, tests, yaml};

fn main() -> std::process::ExitCode {
    run(
        beds::cluster,
        tests![
            a_killed_leader_is_replaced,
            a_leader_killed_in_the_middle_of_an_apply_leaves_no_half_app,
            a_leader_that_lost_its_lease_ends_without_a_word,
            a_leader_that_is_told_to_end_hands_over,
            a_restart_leaves_pods_and_objects_untouched,
        ],
    )
}

/// A replica that competes for the test's own Lease.
fn replica(context: &Context, name: &str) -> Settings {
    Settings {
        namespaces: vec![context.namespace.clone()],
        lease: Some(context.namespace.clone()),
        ..Settings::named(&format!("{}-{name}", context.namespace))
    }
}

async fn lease(context: &Context) -> Result<(String, i32), String> {
    let api = Api::<Lease>::namespaced(context.client.clone(), operator::NAMESPACE);
    let lease = api.get(&context.namespace).await.map_err(|error| error.to_string())?;
    let spec = lease.spec.unwrap_or_default();
    Ok((spec.holder_identity.unwrap_or_default(), spec.lease_transitions.unwrap_or(0)))
}

/// Starts the replica that leads, and then the one that waits.
async fn pair(context: &Context) -> (Operator, Operator) {
    let plane = &context.bed.plane;
    let first = Operator::start(plane, &replica(context, "a")).await.unwrap();
    held_by(context, "-a").await;
    let second = Operator::start(plane, &replica(context, "b")).await.unwrap();
    (first, second)
}

async fn held_by(context: &Context, end: &str) {
    eventually(&format!("{end} holds the Lease"), PATIENCE, async || {
        let (holder, _) = lease(context).await?;
        if holder.contains(&format!("{}{end}", context.namespace)) { Ok(()) } else { Err(holder) }
    })
    .await
    .unwrap();
}

async fn shop(context: &Context, name: &str) -> App {
    context.apply(&yaml::light(name, "workers: {min: 2, max: 6}")).await.unwrap();
    context.app(name)
}

async fn a_killed_leader_is_replaced(context: Context) {
    let plane = &context.bed.plane;
    let (first, second) = pair(&context).await;
    let app = shop(&context, "shop").await;
    app.ready().await.unwrap();
    app.condition("PodsReachable", true, "").await.unwrap();
    let writes = second.writes(plane, podicorn_testbed::control_plane::audit::Mark::BEGIN).unwrap();
    assert!(writes.is_empty(), "the replica that waits wrote: {writes:?}");
    let pod = app.pods_ready(1).await.unwrap().remove(0);
    let epoch = eventually("the leader's lease on the pod", PATIENCE, async || {
        let view = app.scale_of(&pod).await.map_err(|error| error.to_string())?;
        view.last_epoch.ok_or_else(|| format!("{view:?}"))
    })
    .await
    .unwrap();

    let begin = Instant::now();
    first.kill().await.unwrap();
    held_by(&context, "-b").await;
    println!("the other replica led {:.1} s after the leader was killed", begin.elapsed().as_secs_f64());
    let other = shop(&context, "other").await;
    other.ready().await.unwrap();
    // Its orders outrank those of the dead.
    eventually("a lease of the new leader", PATIENCE, async || {
        let view = app.scale_of(&pod).await.map_err(|error| error.to_string())?;
        if view.last_epoch.is_some_and(|now| now >> 32 > epoch >> 32) {
            Ok(())
        } else {
            Err(format!("{view:?}"))
        }
    })
    .await
    .unwrap();
    assert_eq!(app.pods_ready(1).await.unwrap()[0].name_any(), pod.name_any());
    second.check(plane).unwrap();
}

async fn a_leader_killed_in_the_middle_of_an_apply_leaves_no_half_app(context: Context) {
    let plane = &context.bed.plane;
    let mut settings = replica(&context, "a");
    let user = format!("system:serviceaccount:{}:{}", operator::NAMESPACE, settings.name);
    let proxy = FaultProxy::start(plane, &user).await.unwrap();
    settings.url = Some(proxy.url().to_owned());
    let first = Operator::start(plane, &settings).await.unwrap();
    held_by(&context, "-a").await;
    let second = Operator::start(plane, &replica(&context, "b")).await.unwrap();
    // Some of the app's objects are there, and the next one's answer never comes.
    for verb in [Verb::Create, Verb::Patch] {
        proxy.inject(Rule::new(verb, "/deployments", 100, Action::Delay(Duration::from_secs(600))));
    }
    let app = shop(&context, "shop").await;
    eventually("the leader is in the middle of it", PATIENCE, async || {
        if proxy.injected() > 0 { Ok(()) } else { Err("not yet") }
    })
    .await
    .unwrap();
    assert!(app.api::<Deployment>().get_opt("shop").await.unwrap().is_none());
    first.kill().await.unwrap();
    app.ready().await.unwrap();
    app.condition("Degraded", false, "").await.unwrap();
    second.check(plane).unwrap();
}

async fn a_leader_that_lost_its_lease_ends_without_a_word(context: Context) {
    let plane = &context.bed.plane;
    let (first, second) = pair(&context).await;
    let app = shop(&context, "shop").await;
    app.ready().await.unwrap();
    let process = first.process().unwrap();
    process.signal(Signal::SIGSTOP);
    held_by(&context, "-b").await;
    let mark = plane.audit().mark();
    process.signal(Signal::SIGCONT);
    let status = process.wait(PATIENCE).await.expect("it goes on without a lease");
    assert_eq!(status.code(), Some(1), "{}", first.log());
    let writes = first.writes(plane, mark).unwrap();
    assert!(writes.is_empty(), "it wrote after another led: {writes:?}");
    app.patch(serde_json::json!({"spec": {"replicas": 2}})).await.unwrap();
    app.pods_ready(2).await.unwrap();
    second.check(plane).unwrap();
}

async fn a_leader_that_is_told_to_end_hands_over(context: Context) {
    let (first, second) = pair(&context).await;
    let (_, before) = lease(&context).await.unwrap();
    let begin = Instant::now();
    let status = first.terminate().await.unwrap().expect("it does not end");
    assert_eq!(status.code(), Some(0), "{}", first.log());
    held_by(&context, "-b").await;
    println!("the other replica led {:.1} s after the leader was told to end", begin.elapsed().as_secs_f64());
    assert!(lease(&context).await.unwrap().1 > before);
    shop(&context, "shop").await.ready().await.unwrap();
    assert_eq!(second.terminate().await.unwrap().expect("it does not end").code(), Some(0));
    let (holder, _) = lease(&context).await.unwrap();
    assert_eq!(holder, "", "the Lease is not released");
}

async fn a_restart_leaves_pods_and_objects_untouched(context: Context) {
    let plane = &context.bed.plane;
    let operator = Operator::start(plane, &replica(&context, "a")).await.unwrap();
    let app = shop(&context, "shop").await;
    app.ready().await.unwrap();
    app.condition("PodsReachable", true, "").await.unwrap();
    let pod = app.pods_ready(1).await.unwrap()[0].name_any();
    let version = app.object::<Deployment>("shop").await.unwrap().metadata.generation;
    assert_eq!(operator.terminate().await.unwrap().unwrap().code(), Some(0));
    let mark = plane.audit().mark();
    operator.restart().await.unwrap();
    held_by(&context, "-a").await;
    // It acts again: what is new is done.
    let other = shop(&context, "other").await;
    other.ready().await.unwrap();
    let writes = operator.writes(plane, mark).unwrap();
    let touched: Vec<String> = writes
        .iter()
        .filter(|entry| entry.object_ref.name.starts_with("shop") && entry.object_ref.subresource != "status")
        .map(ToString::to_string)
        .collect();
    assert!(touched.is_empty(), "{touched:?}");
    assert_eq!(app.object::<Deployment>("shop").await.unwrap().metadata.generation, version);
    assert_eq!(app.pods_ready(1).await.unwrap()[0].name_any(), pod);
}
