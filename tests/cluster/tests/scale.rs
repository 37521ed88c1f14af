//! Many apps at once: how soon the operator knows them all, what it costs, and how it takes a step of the load.
//!
//! `PODICORN_SCALE=500x5` says how many apps of how many pods; `make operator-scale` does that. It asserts what must hold
//! on any machine, and prints what depends on it beside the aims.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // these are tests; libtest's attribute is not theirs

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use kube::api::{ListParams, PostParams};
use podicorn_operator::api::GunicornApp;
use podicorn_testbed::kubelet::Kubelet;
use podicorn_testbed::kubelet::light::Change;
use podicorn_testbed::operator::Settings;
use podicorn_testbed::suite::{Context, run};
use podicorn_testbed::wait::eventually;
use podicorn_testbed::{beds, tests, yaml};

fn main() -> std::process::ExitCode {
    run(|| beds::operated(Settings::named("scale")), tests![a_fleet_is_known_kept_quiet_and_scaled])
}

/// Apps whose load changes.
const BUSY: usize = 20;
/// Of each pod.
const MOST_WORKERS: f64 = 4.0;
const TARGET: f64 = 0.7;
/// Workers' work at first, and how many times that it becomes.
const BASE: f64 = 3.0;
const STEP: f64 = 5.0;
const SERVICE_SECONDS: f64 = 0.1;
const LIMIT: Duration = Duration::from_secs(900);

struct Size {
    apps: usize,
    pods: u32,
}

fn size() -> Size {
    let text = std::env::var("PODICORN_SCALE").unwrap_or_else(|_| "20x3".to_owned());
    let (apps, pods) = text.split_once('x').expect("PODICORN_SCALE is like 500x5");
    Size { apps: apps.parse().unwrap(), pods: pods.parse().unwrap() }
}

fn report(what: &str, value: &str, aim: &str) {
    println!("  {what:<44} {value:>12}   {aim}");
}

async fn a_fleet_is_known_kept_quiet_and_scaled(context: Context) {
    let size = size();
    println!("{} apps of {} pods", size.apps, size.pods);
    create(&context, &size).await;
    restart(&context, &size).await;
    idle(&context).await;
    step(&context, &size).await;
    let memory = context.operator().unwrap().memory().unwrap();
    report(
        "resident memory at the end",
        &format!("{:.1} MiB", mebibytes(memory)),
        "aim: < 80 MiB for 500 apps",
    );
}

fn name(number: usize) -> String {
    format!("app-{number:03}")
}

fn is_busy(number: usize) -> bool {
    number < BUSY
}

async fn create(context: &Context, size: &Size) {
    let begin = Instant::now();
    let api = context.app("any").api::<GunicornApp>();
    stream::iter(0..size.apps)
        .for_each_concurrent(16, async |number| {
            let more = if is_busy(number) {
                "workers: {min: 1, max: 4}\nautoscaling: {mode: Operator, minPods: 2, maxPods: 40}".to_owned()
            } else {
                format!("workers: {{min: 1, max: 4}}\nreplicas: {}", size.pods)
            };
            let app: GunicornApp = serde_yaml::from_str(&yaml::light(&name(number), &more)).unwrap();
            api.create(&PostParams::default(), &app).await.unwrap();
        })
        .await;
    eventually("every app is ready", LIMIT, async || {
        let apps = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let waiting = apps.iter().filter(|app| !is_ready(app)).count();
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} are not ready")) }
    })
    .await
    .unwrap();
    report(
        "from nothing to all pods ready",
        &seconds(begin.elapsed()),
        "most of it is the controllers' and the bed's",
    );
}

fn is_ready(app: &GunicornApp) -> bool {
    let Some(status) = &app.status else { return false };
    let holds = |kind: &str| {
        status.condition(kind).is_some_and(|it| it.status == podicorn_operator::api::ConditionStatus::True)
    };
    holds("Ready") && holds("PodsReachable") && status.ready_pods.unwrap_or(0) >= 2
}

/// The operator comes back to a fleet that is as it should be.
async fn restart(context: &Context, size: &Size) {
    let operator = context.operator().unwrap();
    let plane = &context.bed.plane;
    // What it has begun, such as handing the number of pods over to the autoscaler, it may end.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(operator.terminate().await.unwrap().expect("it does not end").code(), Some(0));
    let mark = plane.audit().mark();
    let begin = Instant::now();
    operator.restart().await.unwrap();
    let metrics = eventually("every app has been looked at", LIMIT, async || {
        let metrics = operator.metrics().await.map_err(|error| error.to_string())?;
        let done = value(&metrics, "podicorn_operator_reconciles_total{result=\"ok\"}").unwrap_or(0.0);
        if done >= number(size.apps) { Ok(metrics) } else { Err(format!("{done} so far")) }
    })
    .await
    .unwrap();
    report("cold sync, start to the last reconcile", &seconds(begin.elapsed()), "aim: < 15 s");
    let p99 = quantile(&metrics, "podicorn_operator_reconcile_duration_seconds", 0.99);
    report("reconcile p99 (upper bound of its bucket)", &format!("{:.0} ms", p99 * 1000.0), "aim: < 250 ms");
    let memory = operator.memory().unwrap();
    report("resident memory", &format!("{:.1} MiB", mebibytes(memory)), "aim: < 80 MiB for 500 apps");
    let mut writes = operator.writes(plane, mark).unwrap();
    // A new autoscaler claims the number of pods once for each app that it scales, so that nobody else's apply resets it.
    let before = writes.len();
    writes.retain(|entry| entry.object_ref.subresource != "scale");
    let claims = before - writes.len();
    report("claims of the number of pods", &claims.to_string(), "once for each app in mode Operator at most");
    assert!(claims <= BUSY, "{claims}");
    report("other writes of a restart", &writes.len().to_string(), "aim: 0");
    let lines: Vec<String> = writes.iter().take(10).map(ToString::to_string).collect();
    assert!(writes.is_empty(), "it wrote what was so already:\n{}", lines.join("\n"));
}

async fn idle(context: &Context) {
    let operator = context.operator().unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mark = context.bed.plane.audit().mark();
    let time = Duration::from_secs(if size().apps >= 100 { 120 } else { 15 });
    tokio::time::sleep(time).await;
    let writes = operator.writes(&context.bed.plane, mark).unwrap();
    report(&format!("writes in {} idle seconds", time.as_secs()), &writes.len().to_string(), "aim: 0");
    let lines: Vec<String> = writes.iter().take(10).map(ToString::to_string).collect();
    assert!(writes.is_empty(), "{}", lines.join("\n"));
}

async fn step(context: &Context, size: &Size) {
    let kubelet = context.kubelet().unwrap();
    let busy: Vec<String> = (0..size.apps.min(BUSY)).map(name).collect();
    let load = |erlangs: f64| {
        for app in &busy {
            kubelet.set_load(&context.namespace, app, erlangs / SERVICE_SECONDS, SERVICE_SECONDS);
        }
    };
    load(BASE);
    eventually("the load is borne", LIMIT, async || borne(kubelet, &context.namespace, &busy)).await.unwrap();
    // The slow window must have seen it.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let before: Vec<usize> =
        busy.iter().map(|app| kubelet.loads().totals(&context.namespace, app).pods).collect();
    let mark = kubelet.loads().changes().len();
    load(BASE * STEP);
    let begin = Instant::now();
    let mut counts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut absorbed = None;
    // Until all is well and has been so for half a minute, in which a late overshoot would show.
    while absorbed.is_none_or(|at: Instant| at.elapsed() < Duration::from_secs(30)) {
        assert!(begin.elapsed() < LIMIT, "the step was not absorbed");
        for app in &busy {
            let pods = kubelet.loads().totals(&context.namespace, app).pods;
            let seen = counts.entry(app).or_default();
            if seen.last() != Some(&pods) {
                seen.push(pods);
            }
        }
        match borne(kubelet, &context.namespace, &busy) {
            Ok(()) => absorbed = absorbed.or_else(|| Some(Instant::now())),
            Err(_) => absorbed = None,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = absorbed.map_or(Duration::ZERO, |at| at - begin);
    report(&format!("{STEP} times the load on {} apps: absorbed after", busy.len()), &seconds(took), "");
    let need = need();
    let peak = counts.values().flatten().max().copied().unwrap_or(0);
    report("pods at most, of which needed", &format!("{peak} of {need}"), "aim: need + 1 at most");
    let reversals = counts.values().map(|seen| turns(seen)).sum::<usize>();
    report("reversals of pods", &reversals.to_string(), "aim: 0");
    let changes = kubelet.loads().changes().split_off(mark);
    let flaps = flaps(&changes);
    report("workers taken away and given again", &flaps.to_string(), "aim: 0");
    assert!(before.iter().all(|pods| *pods <= 3), "before the step there were {before:?} pods");
    assert!(peak <= need + 1, "{counts:?}");
    assert_eq!(reversals, 0, "{counts:?}");
    assert_eq!(flaps, 0, "{changes:?}");
}

/// Pods that bear the step at the target utilization with all the workers that they may have.
fn need() -> usize {
    let pods = (BASE * STEP / (MOST_WORKERS * TARGET)).ceil();
    (0..100).find(|count| number(*count) >= pods).unwrap()
}

fn borne(kubelet: &Kubelet, namespace: &str, apps: &[String]) -> Result<(), String> {
    let waiting: Vec<_> = apps
        .iter()
        .map(|app| (app, kubelet.loads().totals(namespace, app)))
        .filter(|(_, totals)| totals.queue >= 1.0)
        .collect();
    if waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:?}")) }
}

/// How often a series that should only rise or only fall changes its mind.
fn turns(seen: &[usize]) -> usize {
    let rises: Vec<bool> = seen.windows(2).map(|pair| pair[1] > pair[0]).collect();
    rises.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// Pods that were told to have fewer and then more, while the load stayed.
fn flaps(changes: &[Change]) -> usize {
    let mut fell: BTreeMap<&str, bool> = BTreeMap::new();
    let mut flaps = 0;
    for change in changes {
        let fell = fell.entry(&change.pod).or_default();
        if change.to < change.from {
            *fell = true;
        } else if *fell {
            *fell = false;
            flaps += 1;
        }
    }
    flaps
}

fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().split(' ').next()?.parse().ok())
}

/// The upper bound of the bucket that the quantile is in.
fn quantile(metrics: &str, name: &str, quantile: f64) -> f64 {
    let prefix = format!("{name}_bucket{{le=\"");
    let buckets: Vec<(f64, f64)> = metrics
        .lines()
        .filter_map(|line| {
            let (bound, rest) = line.strip_prefix(&prefix)?.split_once("\"}")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, rest.trim().split(' ').next()?.parse().ok()?))
        })
        .collect();
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    assert!(all > 0.0, "no {name} in\n{metrics}");
    buckets.iter().find(|(_, count)| *count >= quantile * all).map_or(f64::INFINITY, |(bound, _)| *bound)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0
}
