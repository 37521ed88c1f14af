//! The custom resource definition, as a real apiserver takes it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // these are tests; libtest's attribute is not theirs

use std::fs;
use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use podicorn_operator::api::{CRD_NAME, GunicornApp};
use podicorn_testbed::control_plane::{ControlPlane, Options};
use podicorn_testbed::objects::Output;
use podicorn_testbed::suite::{Bed, Context, run};
use podicorn_testbed::wait::{PATIENCE, eventually};
use podicorn_testbed::{BedError, assets, objects, tests};
use serde_json::{Value, json};

fn main() -> std::process::ExitCode {
    run(
        start,
        tests![
            the_schema_is_structural_and_the_names_are_accepted,
            the_charts_file_can_be_applied_by_kubectl,
            good_objects_are_taken,
            bad_objects_are_refused_with_the_reason,
            what_is_left_out_gets_its_default,
            an_unknown_field_is_refused,
            kubectl_shows_the_columns,
            kubectl_explains_and_scales,
            the_selector_is_immutable,
            two_writers_share_the_status,
        ],
    )
}

async fn start() -> Result<Bed, BedError> {
    let plane = ControlPlane::start(Options::default()).await?;
    objects::install_crd(&plane.admin().await?).await?;
    Ok(Bed { operator: None, kubelet: None, plane })
}

async fn the_schema_is_structural_and_the_names_are_accepted(context: Context) {
    let api = Api::<CustomResourceDefinition>::all(context.client);
    let conditions = api.get(CRD_NAME).await.unwrap().status.unwrap().conditions.unwrap();
    let status = |kind: &str| conditions.iter().find(|it| it.type_ == kind).map(|it| it.status.clone());
    assert_eq!(status("NamesAccepted").as_deref(), Some("True"));
    assert_eq!(status("Established").as_deref(), Some("True"));
    assert_ne!(status("NonStructuralSchema").as_deref(), Some("True"), "{conditions:?}");
}

async fn the_charts_file_can_be_applied_by_kubectl(context: Context) {
    let file = assets::checkout("charts/podicorn-crds/files/gunicornapps.yaml").display().to_string();
    // Without --server-side `kubectl apply` keeps the whole object in an annotation of at most 256 KiB.
    let size = fs::metadata(&file).unwrap().len();
    assert!(size < 256 * 1024, "{size} bytes");
    let output =
        kubectl(&context, &["apply", "--server-side", "--force-conflicts", "--filename", &file]).await;
    assert!(output.contains("serverside-applied"), "{output}");
}

/// The objects of a folder of the corpus, by the names of their files.
fn corpus(folder: &str) -> Vec<(PathBuf, String, DynamicObject)> {
    let directory = assets::checkout("operator/corpus").join(folder);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{} holds only {}", directory.display(), files.len());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let value: Value =
            serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let object = serde_json::from_value(value).unwrap();
        (path, text, object)
    };
    files.into_iter().map(read).collect()
}

async fn good_objects_are_taken(context: Context) {
    for (path, _, object) in corpus("good") {
        let created = objects::create(&context.client, &context.namespace, &object).await;
        assert!(created.is_ok(), "{}: {}", path.display(), created.unwrap_err());
    }
}

async fn bad_objects_are_refused_with_the_reason(context: Context) {
    for (path, text, object) in corpus("bad") {
        let path = path.display();
        let wanted = text.lines().next().and_then(|line| line.strip_prefix("# error: "));
        let wanted = wanted.unwrap_or_else(|| panic!("{path} does not begin with `# error: `"));
        match objects::create(&context.client, &context.namespace, &object).await {
            Ok(_) => panic!("{path} was taken"),
            Err(BedError::Kube(kube::Error::Api(status))) => {
                assert_eq!(status.code, 422, "{path}: {}", status.message);
                assert!(status.message.contains(wanted), "{path}: {} does not say {wanted}", status.message);
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }
}

fn least(name: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "podicorn.io/v1alpha1", "kind": "GunicornApp", "metadata": {"name": name},
        "spec": {"image": "shop:1", "app": "shop:app"},
    }))
    .unwrap()
}

async fn what_is_left_out_gets_its_default(context: Context) {
    let made = objects::create(&context.client, &context.namespace, &least("least")).await.unwrap();
    let spec = &made.data["spec"];
    assert_eq!(spec["workerClass"], "sync");
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["workers"]["min"], 1);
    assert_eq!(spec["workers"]["max"], 4);
    assert_eq!(spec["autoscaling"]["mode"], "Workers");
    assert_eq!(spec["autoscaling"]["target"], 70);
    assert_eq!(spec["scaling"]["commands"], "Absolute");
    assert_eq!(spec["ports"], json!({"http": 8000, "admin": 9099}));
    assert_eq!(spec["drain"]["delaySeconds"], 5);
    assert_eq!(spec["drain"]["gracefulTimeoutSeconds"], 30);
    // What the apiserver stores is what the operator's own types read.
    let api = Api::<GunicornApp>::namespaced(context.client, &context.namespace);
    let read = api.get("least").await.unwrap();
    assert_eq!(serde_json::to_value(&read.spec.workers).unwrap()["max"], 4);
}

async fn an_unknown_field_is_refused(context: Context) {
    let mut object = least("typo");
    object.data["spec"]["wokers"] = json!({"min": 2});
    let file = context.bed.plane.directory().join("typo.json");
    fs::write(&file, serde_json::to_string(&object).unwrap()).unwrap();
    let kubeconfig = context.bed.plane.kubeconfig("kubectl-typo", Some("system:masters")).unwrap();
    let program = &context.bed.plane.assets().kubectl;
    let file = file.display().to_string();
    let arguments = ["create", "--namespace", &context.namespace, "--filename", &file];
    let output = objects::kubectl(program, &kubeconfig, &arguments).await.unwrap();
    assert!(!output.success && output.stderr.contains("unknown field \"spec.wokers\""), "{output:?}");
}

async fn kubectl(context: &Context, arguments: &[&str]) -> String {
    let output = try_kubectl(context, arguments).await;
    assert!(output.success, "kubectl {arguments:?}: {}", output.stderr);
    output.stdout
}

async fn try_kubectl(context: &Context, arguments: &[&str]) -> Output {
    let kubeconfig = context.bed.plane.kubeconfig("kubectl", Some("system:masters")).unwrap();
    let mut all = vec!["--namespace", &context.namespace];
    all.extend(arguments);
    objects::kubectl(&context.bed.plane.assets().kubectl, &kubeconfig, &all).await.unwrap()
}

async fn kubectl_shows_the_columns(context: Context) {
    objects::create(&context.client, &context.namespace, &least("shop")).await.unwrap();
    let status = json!({"status": {
        "readyPods": 2, "mode": "Workers", "image": "shop:1",
        "workers": {"current": 8, "target": 8, "ready": 6, "text": "6/8"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "AllPodsReady", "message": "all",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }});
    let api = Api::<GunicornApp>::namespaced(context.client.clone(), &context.namespace);
    api.patch_status("shop", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let table = kubectl(&context, &["get", "gapp"]).await;
    let mut lines = table.lines();
    assert_eq!(words(lines.next().unwrap()), ["NAME", "READY", "WORKERS", "PODS", "MODE", "AGE"]);
    assert_eq!(words(lines.next().unwrap())[..5], ["shop", "True", "6/8", "2", "Workers"]);
    let wide = kubectl(&context, &["get", "gapp", "--output", "wide"]).await;
    let mut lines = wide.lines();
    assert_eq!(words(lines.next().unwrap())[6..], ["IMAGE", "REASON"]);
    assert_eq!(words(lines.next().unwrap())[6..], ["shop:1", "AllPodsReady"]);
    assert!(kubectl(&context, &["get", "podicorn"]).await.contains("shop"));
}

async fn kubectl_explains_and_scales(context: Context) {
    // The document that `explain` reads is published some time after the CRD is established.
    let explained = eventually("kubectl explain", PATIENCE, async || {
        let output = try_kubectl(&context, &["explain", "gunicornapp.spec.workers"]).await;
        if output.success { Ok(output.stdout) } else { Err(output.stderr) }
    });
    let text = explained.await.unwrap();
    assert!(text.contains("max") && text.contains("DESCRIPTION"), "{text}");
    objects::create(&context.client, &context.namespace, &least("shop")).await.unwrap();
    kubectl(&context, &["scale", "gapp/shop", "--replicas", "3"]).await;
    let api = Api::<GunicornApp>::namespaced(context.client.clone(), &context.namespace);
    assert_eq!(api.get("shop").await.unwrap().spec.replicas, 3);
}

async fn the_selector_is_immutable(context: Context) {
    objects::create(&context.client, &context.namespace, &least("shop")).await.unwrap();
    let api = Api::<GunicornApp>::namespaced(context.client.clone(), &context.namespace);
    let patch = async |selector: &str| {
        let status = json!({"status": {"selector": selector}});
        api.patch_status("shop", &PatchParams::default(), &Patch::Merge(status)).await
    };
    patch("podicorn.io/app=shop").await.unwrap();
    patch("podicorn.io/app=shop").await.unwrap();
    assert!(patch("podicorn.io/app=other").await.unwrap_err().to_string().contains("never changes"));
    assert_eq!(
        api.get_scale("shop").await.unwrap().status.unwrap().selector.unwrap(),
        "podicorn.io/app=shop"
    );
}

/// Each applies fields of its own and leaves the other's conditions alone.
async fn two_writers_share_the_status(context: Context) {
    objects::create(&context.client, &context.namespace, &least("shop")).await.unwrap();
    let api = Api::<GunicornApp>::namespaced(context.client.clone(), &context.namespace);
    let apply = async |manager: &str, condition: &str| {
        let object = json!({
            "apiVersion": "podicorn.io/v1alpha1", "kind": "GunicornApp", "metadata": {"name": "shop"},
            "status": {"conditions": [{"type": condition, "status": "True", "reason": "Because", "message": "",
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        });
        api.patch_status("shop", &PatchParams::apply(manager), &Patch::Apply(object)).await.unwrap();
    };
    apply("podicorn-operator", "Ready").await;
    apply("podicorn-autoscaler", "AutoscalingActive").await;
    apply("podicorn-operator", "Ready").await;
    let status = serde_json::to_value(api.get("shop").await.unwrap().status).unwrap();
    let kinds: Vec<&str> =
        status["conditions"].as_array().unwrap().iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Ready", "AutoscalingActive"]);
}
