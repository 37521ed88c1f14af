use serde_json::json;

use super::*;
use crate::api::{Commands, Mode};

fn app(namespace: &str, name: &str) -> GunicornApp {
    let app = json!({
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
    });
    serde_json::from_value(app).unwrap()
}

#[test]
fn an_app_is_known_by_what_it_is() {
    let seen = AppSeen::of(&app("prod", "shop"));
    assert_eq!((seen.uid.as_str(), seen.generation), ("prod-shop", Some(4)));
    let reference = seen.reference();
    assert_eq!(reference.api_version.as_deref(), Some("podicorn.io/v1alpha1"));
    assert_eq!(reference.kind.as_deref(), Some("GunicornApp"));
    assert_eq!((reference.namespace.as_deref(), reference.name.as_deref()), (Some("prod"), Some("shop")));
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
        let mut spec = app("prod", "shop").spec;
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
