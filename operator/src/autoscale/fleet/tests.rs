use serde_json::json;

use super::*;
use crate::api::{Commands, Mode};

fn from<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn app(namespace: &str, name: &str) -> Arc<GunicornApp> {
    from(json!({
        "apiVersion": "podicorn.io/v1alpha1",
        "kind": "GunicornApp",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "generation": 4},
        "spec": {
            "image": "shop:1",
            "app": "shop:app",
            "workers": {"min": 2, "max": 9},
            "threads": 3,
            "autoscaling": {"mode": "Operator", "maxPods": 6, "target": 60},
            "scaling": {"commands": "Signals"},
            "ports": {"http": 8000, "admin": 9100},
        },
    }))
}

fn pod(namespace: &str, name: &str, app: &str, address: Option<&str>, ready: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": {"podicorn.io/app": app}},
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]},
    })
}

#[test]
fn what_belongs_together_is_put_together() {
    let apps = [app("prod", "shop"), app("test", "shop")];
    let mut leaving = pod("prod", "shop-4", "shop", Some("10.0.0.4"), "True");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-28T06:00:00Z");
    let mut ended = pod("prod", "shop-5", "shop", Some("10.0.0.5"), "True");
    ended["status"]["phase"] = json!("Failed");
    let pods = [
        from(pod("prod", "shop-2", "shop", Some("fd00::2"), "False")),
        from(pod("prod", "shop-1", "shop", Some("10.0.0.1"), "True")),
        from(pod("prod", "shop-3", "shop", None, "True")),
        from(leaving),
        from(ended),
        from(pod("prod", "else-1", "else", Some("10.0.0.9"), "True")),
        from(pod("test", "shop-9", "shop", Some("10.0.1.1"), "True")),
    ];
    let deployments = [from(json!({
        "metadata": {"name": "shop", "namespace": "prod"},
        "spec": {"replicas": 3, "selector": {}, "template": {}},
    }))];
    let secrets = [
        from(
            json!({"metadata": {"name": "shop-admin", "namespace": "prod"}, "data": {"token": "YWJj", "previous": "eHl6"}}),
        ),
        from(json!({"metadata": {"name": "shop-admin", "namespace": "test"}, "data": {"password": "YWJj"}})),
    ];
    let hpa = |namespace: &str, name: &str, kind: &str, target: &str| {
        from(json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": kind, "name": target}},
        }))
    };
    let hpas = [
        hpa("prod", "by-cpu", "Deployment", "shop"),
        hpa("prod", "another", "StatefulSet", "shop"),
        hpa("prod", "by-app", "GunicornApp", "shop"),
        hpa("test", "of-else", "Deployment", "else"),
    ];
    let seen = group(&apps, &pods, &deployments, &secrets, &hpas);
    assert_eq!(seen.len(), 2);
    let prod = &seen[0];
    let summary: Vec<_> = prod.pods.iter().map(|pod| (pod.name.as_str(), pod.serves())).collect();
    assert_eq!(summary, [("shop-1", true), ("shop-2", false), ("shop-3", false)]);
    assert_eq!(prod.pods[0].address, Some("10.0.0.1:9100".parse().unwrap()));
    assert_eq!(prod.pods[1].address, Some("[fd00::2]:9100".parse().unwrap()));
    assert_eq!((prod.replicas, prod.generation), (Some(3), Some(4)));
    assert_eq!(prod.hpas, ["by-app", "by-cpu"]);
    let expected = Tokens::new(Token::new("abc").unwrap(), Some(Token::new("xyz").unwrap()));
    assert_eq!(prod.tokens.as_deref(), Some(&expected));
    let test = &seen[1];
    assert_eq!((test.pods.len(), test.replicas), (1, None));
    assert_eq!(test.tokens, None);
    assert!(test.hpas.is_empty());
}

#[test]
fn an_app_that_is_being_deleted_is_left_alone() {
    let mut leaving = (*app("prod", "shop")).clone();
    leaving.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-11-28T06:00:00Z")).unwrap());
    assert!(group(&[Arc::new(leaving)], &[], &[], &[], &[]).is_empty());
}

#[test]
fn wishes_are_what_the_spec_says_of_scaling() {
    let wishes = Wishes::of(&app("prod", "shop").spec);
    assert_eq!((wishes.mode, wishes.commands), (Mode::Operator, Commands::Signals));
    assert_eq!((wishes.min_workers, wishes.max_workers), (2, Some(9)));
    assert_eq!((wishes.min_pods, wishes.max_pods), (1, Some(6)));
    assert_eq!((wishes.target, wishes.concurrency), (60, 3));
    let config = wishes.config();
    assert!((config.workers.utilization - 0.6).abs() < 1e-9 && (config.pods.utilization - 0.6).abs() < 1e-9);
    // The band stays a seventh of the target, so that workers can go at any target.
    assert!((config.workers.band - 0.6 / 7.0).abs() < 1e-9);
    assert_eq!(config.pods.down_window.as_secs(), 300);
}

#[test]
fn how_many_requests_a_worker_runs_follows_from_its_type() {
    let concurrency = |class: &str, threads: Option<u32>, settings: serde_json::Value| {
        let mut spec = app("prod", "shop").spec.clone();
        spec.worker_class = class.to_owned();
        spec.threads = threads;
        spec.settings = serde_json::from_value(settings).unwrap();
        Wishes::of(&spec).concurrency
    };
    assert_eq!(concurrency("sync", None, json!({})), 1);
    assert_eq!(concurrency("gthread", Some(8), json!({})), 8);
    assert_eq!(concurrency("gunicorn.workers.sync.SyncWorker", None, json!({"threads": "4"})), 4);
    assert_eq!(concurrency("asgi", None, json!({})), 1000);
    assert_eq!(concurrency("gevent", Some(4), json!({"worker_connections": 50})), 50);
}
