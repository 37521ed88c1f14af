use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{app, kept, secret};
use crate::api::GunicornApp;
use crate::reconcile::build::{Ingredients, Object, Resources, build};
use crate::reconcile::validate::validate;

fn built(app: &GunicornApp, replicas: Option<u32>) -> Resources {
    build(&validate(app).unwrap(), &Ingredients { secret: secret(), replicas }).unwrap()
}

/// All objects, as YAML documents in the order of their fields.
fn documents(resources: Resources) -> String {
    let Resources {
        secret,
        network_policy,
        service,
        migration,
        deployment,
        disruption,
        ingress,
        http_route,
        pod_monitor,
    } = resources;
    let optional =
        [network_policy, service, migration, Some(deployment), disruption, ingress, http_route, pod_monitor];
    let all = std::iter::once(secret).chain(optional.into_iter().flatten());
    all.fold(String::new(), |text, object| text + "---\n" + &serde_yaml::to_string(&object.content).unwrap())
}

#[test]
fn the_corpus_is_built_as_it_was() {
    let root = Path::new("");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root.join("corpus/good")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| !file.ends_with("nulls.yaml")) {
        let mut object: Value = serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        object["metadata"]["namespace"] = "prod".into();
        object["metadata"]["uid"] = "uid-1".into();
        let yaml = documents(built(&kept(&object), Some(2)));
        let golden = root.join("src/reconcile/tests/golden").join(file.file_name().unwrap());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&golden, &yaml).unwrap();
        }
        let before = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(
            before,
            yaml,
            "{}: look at the difference, then write it anew with UPDATE=1",
            golden.display()
        );
    }
}

#[test]
fn every_object_has_the_labels_and_the_owner() {
    let yaml = documents(built(
        &app(
            "{ingress: {}, podDisruptionBudget: {}, networkPolicy: {enabled: true}, migrations: {command: [a]}, \
              metrics: {podMonitor: {enabled: true}}}",
        ),
        None,
    ));
    let mut count = 0;
    for document in yaml.split("---\n").skip(1) {
        let object: Value = serde_yaml::from_str(document).unwrap();
        let metadata = &object["metadata"];
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "shop");
        assert_eq!(metadata["labels"]["podicorn.io/owner-uid"], "uid-1");
        assert_eq!(metadata["ownerReferences"][0]["uid"], "uid-1");
        assert_eq!(metadata["ownerReferences"][0]["controller"], true);
        count += 1;
    }
    assert_eq!(count, 8);
}

#[test]
fn labels_of_the_user_do_not_replace_those_of_the_operator() {
    let service =
        built(&app("{service: {labels: {app.kubernetes.io/managed-by: me, a: b}}}"), None).service.unwrap();
    assert_eq!(service.content["metadata"]["labels"]["app.kubernetes.io/managed-by"], "podicorn-operator");
    assert_eq!(service.content["metadata"]["labels"]["a"], "b");
}

fn job(spec: &str) -> Object {
    built(&app(spec), None).migration.unwrap()
}

#[test]
fn a_migration_is_named_by_what_it_runs() {
    let one = job("{migrations: {command: [migrate]}}");
    assert_eq!(
        one.name,
        job("{migrations: {command: [migrate], backoffLimit: 9}, resources: {limits: {memory: 1Gi}}}").name
    );
    for other in [
        "{migrations: {command: [migrate, now]}}",
        "{migrations: {command: [migrate]}, image: 'shop:2'}",
        "{migrations: {command: [migrate]}, env: [{name: A, value: b}]}",
    ] {
        assert_ne!(one.name, job(other).name, "{other}");
    }
    assert!(
        one.name.starts_with("shop-migrate-") && one.name.len() == "shop-migrate-".len() + 8,
        "{}",
        one.name
    );
}

#[test]
fn a_migration_is_no_pod_of_the_service() {
    let job = job("{migrations: {command: [migrate]}}");
    assert_eq!(job.content["spec"]["template"]["metadata"]["labels"].get("podicorn.io/app"), None);
    let container = &job.content["spec"]["template"]["spec"]["containers"][0];
    for field in ["ports", "args", "readinessProbe"] {
        assert_eq!(container.get(field), None, "{field}");
    }
}

#[test]
fn names_of_migrations_fit_into_a_label() {
    let name = crate::reconcile::names::migration(&"a".repeat(63), u64::MAX);
    assert_eq!(name.len(), 61);
}

#[test]
fn variables_of_telemetry_give_way_to_the_users() {
    let template = built(
        &app("{telemetry: {otlp: {endpoint: 'http://c:4318'}, sampling: 0.5}, env: [{name: OTEL_SERVICE_NAME, value: mine}]}"),
        None,
    )
    .deployment;
    let env =
        template.content.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap().clone();
    let value = |name: &str| {
        let found: Vec<&Value> = env.iter().filter(|variable| variable["name"] == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0]["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(value("OTEL_SERVICE_NAME"), "mine");
    assert_eq!(value("OTEL_EXPORTER_OTLP_ENDPOINT"), "http://c:4318");
    assert_eq!(value("OTEL_TRACES_SAMPLER_ARG"), "0.5");
}
