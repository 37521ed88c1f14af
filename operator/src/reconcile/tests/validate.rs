use super::app;
use crate::reconcile::build::{Ingredients, build};
use crate::reconcile::validate::{Invalid, validate};

fn arguments(spec: &str) -> Vec<String> {
    validate(&app(spec)).unwrap().arguments
}

fn refusal(spec: &str) -> String {
    let app = app(spec);
    let refused = validate(&app).and_then(|valid| {
        build(&valid, &Ingredients { secret: super::secret(), replicas: Some(1) }).map(|_| ())
    });
    refused.err().map(|error: Invalid| error.to_string()).unwrap_or_default()
}

#[test]
fn settings_become_flags() {
    let arguments = arguments(
        "{preload: true, threads: 2, workerClass: gthread, settings: {timeout: 45, reuse_port: true, \
         raw_env: [A=1, B=2], ws_per_message_deflate: false, accesslog: '-', reload: false}}",
    );
    let expected = [
        "--bind=0.0.0.0:8000",
        "--admin-bind=[::]:9099",
        "--admin-token-file=/var/run/podicorn/admin/token",
        "--workers=1..4",
        "--worker-class=gthread",
        "--threads=2",
        "--scale-down-delay=60",
        "--drain-delay=5",
        "--graceful-timeout=30",
        "--preload",
        "--access-logfile=-",
        "--env=A=1",
        "--env=B=2",
        "--reuse-port",
        "--timeout=45",
        "--no-ws-per-message-deflate",
        "shop:app",
    ];
    assert_eq!(arguments, expected);
}

#[test]
fn workers_are_a_range_or_a_number_to_count_from() {
    let workers =
        |spec: &str| arguments(spec).into_iter().find(|flag| flag.starts_with("--workers=")).unwrap();
    assert_eq!(workers("{workers: {min: 2, max: 8}}"), "--workers=2..8");
    assert_eq!(workers("{workers: {min: 3, max: 3}}"), "--workers=3");
    assert_eq!(workers("{workers: {auto: true}}"), "--workers=auto");
    assert_eq!(
        workers("{workers: {min: 2, max: 8, initial: 4}, scaling: {commands: Signals}}"),
        "--workers=4"
    );
    assert_eq!(workers("{workers: {min: 2, max: 8}, scaling: {commands: Signals}}"), "--workers=2");
}

#[test]
fn a_misspelt_setting_is_named_with_the_one_that_was_meant() {
    let text = refusal("{settings: {keep_alive: 5}}");
    assert_eq!(text, "spec.settings: keep_alive is not a setting of podicorn; did you mean keepalive?");
    assert_eq!(refusal("{settings: {zzz: 5}}"), "spec.settings: zzz is not a setting of podicorn");
}

#[test]
fn what_follows_from_other_fields_is_refused_with_the_field() {
    for (setting, field) in [
        ("bind", "spec.ports.http"),
        ("workers", "spec.workers"),
        ("graceful_timeout", "spec.drain.gracefulTimeoutSeconds"),
        ("preload_app", "spec.preload"),
    ] {
        let text = refusal(&format!("{{settings: {{{setting}: 1}}}}"));
        assert!(text.contains(field) && text.contains(setting), "{text}");
    }
}

#[test]
fn values_are_judged_by_the_servers_own_parser() {
    let text = refusal("{settings: {timeout: soon}}");
    assert!(text.contains("timeout") && text.contains("soon"), "{text}");
    assert!(refusal("{settings: {daemon: true}}").contains("stay in the foreground"));
    assert!(refusal("{settings: {when_ready: hook}}").contains("config file"));
    assert!(
        refusal("{settings: {reuse_port: 'yes'}}").contains("reuse_port is true or false, and not \"yes\"")
    );
    assert!(refusal("{settings: {timeout: [1]}}").contains("timeout is a text or a number"));
}

#[test]
fn a_template_may_not_set_what_follows_from_other_fields() {
    let refused = |template: &str| refusal(&format!("{{podTemplate: {template}}}"));
    assert!(refused("{spec: {containers: [{name: web, args: [x]}]}}").contains("spec.settings"));
    assert!(
        refused("{spec: {terminationGracePeriodSeconds: 5}}").contains("spec.drain.gracefulTimeoutSeconds")
    );
    assert!(refused("{replicas: 3}").contains("replicas is no part of a pod template"));
    assert!(refused("{metadata: {name: x}}").contains("metadata.name has no effect"));
}

#[test]
fn a_template_that_is_no_pod_template_is_refused_with_the_place() {
    let refused = |template: &str| refusal(&format!("{{podTemplate: {template}}}"));
    assert_eq!(
        refused("{spec: {nodeSelectr: {a: b}}}"),
        "spec.podTemplate: spec.nodeSelectr is not a field of pod templates"
    );
    assert!(
        refused("{spec: {containers: [{name: web, env: [{nam: A}]}]}}").starts_with("spec.podTemplate: ")
    );
    assert!(refused("{spec: {priority: high}}").contains("invalid type"));
    assert!(refused("{metadata: {labels: {podicorn.io/app: other}}}").contains("podicorn.io/app"));
    assert!(refused("{spec: {containers: [{name: web, $patch: delete}]}}").contains("cannot be taken away"));
}
