//! The bed itself, before anything is concluded from it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // these are tests; libtest's attribute is not theirs

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use podicorn_testbed::control_plane::{ControlPlane, Options};
use podicorn_testbed::fault::{Action, FaultProxy, Rule, Verb};
use podicorn_testbed::kubelet::light::Behaviour;
use podicorn_testbed::kubelet::{Image, Kubelet};
use podicorn_testbed::suite::{Bed, Context, run};
use podicorn_testbed::traffic::Traffic;
use podicorn_testbed::wait::{PATIENCE, eventually};
use podicorn_testbed::{BedError, assets, control_plane, http, objects, tests};

fn main() -> std::process::ExitCode {
    run(
        start,
        tests![
            the_version_is_the_pinned_one,
            rights_are_what_rbac_says_and_the_audit_log_tells,
            a_deployment_runs_the_real_server_and_drains_it,
            a_job_ends,
            a_light_pod_scales_by_its_load,
            faults_are_injected_once,
            kubectl_talks_to_it,
        ],
    )
}

async fn start() -> Result<Bed, BedError> {
    let plane = ControlPlane::start(Options { controllers: true }).await?;
    let images = BTreeMap::from([
        ("podicorn/example-flask:0.1".to_owned(), Image::Directory(assets::checkout("examples/flask"))),
        ("podicorn/light:0.1".to_owned(), Image::Light(Behaviour::Honest)),
    ]);
    let kubelet = Kubelet::start(&plane, Some(assets::podicorn()?), images).await?;
    Ok(Bed { operator: None, kubelet: Some(kubelet), plane })
}

async fn the_version_is_the_pinned_one(context: Context) {
    let module = std::fs::read_to_string(assets::checkout("tests/cluster/tools/kubernetes/go.mod")).unwrap();
    let pinned = module.lines().find_map(|line| line.strip_prefix("require k8s.io/kubernetes ")).unwrap();
    let version = context.client.apiserver_version().await.unwrap();
    assert_eq!(version.git_version, pinned);
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "36"));
}

async fn rights_are_what_rbac_says_and_the_audit_log_tells(context: Context) {
    let audit = context.bed.plane.audit();
    let mark = audit.mark();
    let stranger = context.bed.plane.client_as("stranger", None).await.unwrap();
    let api = Api::<ConfigMap>::namespaced(stranger, &context.namespace);
    let refused = api.create(&PostParams::default(), &config_map("a")).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    let forbidden = audit.forbidden("stranger").unwrap();
    assert_eq!(forbidden.len(), 1, "{forbidden:?}");
    assert_eq!(forbidden[0].right().unwrap(), (String::new(), "configmaps".to_owned(), "create".to_owned()));
    assert_eq!(audit.writes(mark, "stranger").unwrap().len(), 1);
    assert!(audit.writes(audit.mark(), "stranger").unwrap().is_empty());
}

fn config_map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

const SHOP: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: shop-admin}
stringData: {token: sesame}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 20
      volumes: [{name: token, secret: {secretName: shop-admin}}]
      containers:
      - name: web
        image: podicorn/example-flask:0.1
        command: [podicorn]
        args: ["--bind=0.0.0.0:8000", "--admin-bind=[::]:9099", "--admin-token-file=/var/run/podicorn/admin/token",
               "--workers=1..3", "--drain-delay=0", "shop:app"]
        ports: [{name: http, containerPort: 8000}, {name: admin, containerPort: 9099}]
        readinessProbe: {httpGet: {path: /readyz, port: admin}}
        volumeMounts: [{name: token, mountPath: /var/run/podicorn/admin}]
"#;

async fn a_deployment_runs_the_real_server_and_drains_it(context: Context) {
    let Context { bed, namespace, client } = context;
    objects::apply_yaml(&client, &namespace, SHOP).await.unwrap();
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    eventually("two pods are available", PATIENCE, async || {
        let status = deployments.get("shop").await.map_err(|error| error.to_string())?.status.unwrap();
        if status.available_replicas == Some(2) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await
    .unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let running = pods.list(&ListParams::default()).await.unwrap().items;
    let address = |pod: &Pod| pod.status.clone().unwrap().pod_ip.unwrap();
    let admin = format!("http://{}:9099/scale", address(&running[0]));
    assert_eq!(http::request(hyper::Method::GET, &admin, None, "").await.unwrap().status, 401);
    let view = http::request(hyper::Method::GET, &admin, Some("sesame"), "").await.unwrap();
    assert_eq!(view.status, 200, "{}", view.text());
    assert!(view.text().contains("\"max\":3"), "{}", view.text());

    let bases = running.iter().map(|pod| format!("http://{}:8000", address(pod))).collect();
    let traffic = Traffic::start(2, bases, "/report?seconds=0.01");
    eventually("requests are answered", PATIENCE, async || {
        let counts = traffic.counts();
        if counts.answered >= 10 { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await
    .unwrap();
    assert_eq!(traffic.stop().await.failed, 0);

    // A Secret that changes reaches the file that is mounted.
    let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
    let mut secret = secrets.get("shop-admin").await.unwrap();
    secret.string_data = Some(BTreeMap::from([("token".to_owned(), "other".to_owned())]));
    secrets.replace("shop-admin", &PostParams::default(), &secret).await.unwrap();
    eventually("the new token is known", PATIENCE, async || {
        let answer = http::request(hyper::Method::GET, &admin, Some("other"), "").await;
        let status = answer.map_err(|error| error.to_string())?.status;
        if status == 200 { Ok(()) } else { Err(status.to_string()) }
    })
    .await
    .unwrap();

    deployments.delete("shop", &DeleteParams::background()).await.unwrap();
    eventually("the pods are gone", PATIENCE, async || {
        let left = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} pods")) }
    })
    .await
    .unwrap();
    let log = bed.kubelet.as_ref().unwrap().log(&namespace, &running[0].name_any());
    assert!(log.contains("Handling signal: term"), "{log}");
}

async fn a_job_ends(context: Context) {
    let Context { namespace, client, .. } = context;
    let job = |name: &str, script: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  backoffLimit: 0\n  template:\n    \
             spec:\n      restartPolicy: Never\n      containers:\n      - name: migrate\n        \
             image: podicorn/example-flask:0.1\n        command: [python, -c, '{script}']\n"
        )
    };
    let jobs = Api::<Job>::namespaced(client.clone(), &namespace);
    objects::apply_yaml(&client, &namespace, &job("good", "print(1)")).await.unwrap();
    objects::apply_yaml(&client, &namespace, &job("bad", "raise SystemExit(3)")).await.unwrap();
    for (name, condition) in [("good", "Complete"), ("bad", "Failed")] {
        eventually(condition, PATIENCE, async || {
            let status = jobs.get(name).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let found = conditions.iter().any(|it| it.type_ == condition && it.status == "True");
            if found { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await
        .unwrap();
    }
}

async fn a_light_pod_scales_by_its_load(context: Context) {
    let Context { bed, namespace, client } = context;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: light, labels: {app.kubernetes.io/name: light}}\nspec:\n  \
               containers:\n  - name: web\n    image: podicorn/light:0.1\n    args: [\"--workers=1..9\"]\n    \
               ports: [{name: admin, containerPort: 9099}]\n";
    objects::apply_yaml(&client, &namespace, pod).await.unwrap();
    let kubelet = bed.kubelet.as_ref().unwrap();
    kubelet.set_load(&namespace, "light", 40.0, 0.1);
    // 4 workers' work at 70 % needs 6; a queue may ask for a quarter more.
    eventually("six to eight workers", PATIENCE, async || {
        let totals = kubelet.loads().totals(&namespace, "light");
        if (6..=8).contains(&totals.workers) { Ok(()) } else { Err(format!("{totals:?}")) }
    })
    .await
    .unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let address = pods.get("light").await.unwrap().status.unwrap().pod_ip.unwrap();
    let url = format!("http://{address}:9099/scale");
    let order = |workers: u32, epoch: u32| {
        let body = format!(r#"{{"workers": {workers}, "epoch": {epoch}, "ttlSeconds": 30}}"#);
        let url = url.clone();
        async move { http::request(hyper::Method::PUT, &url, Some("any"), &body).await.unwrap().status }
    };
    assert_eq!(order(3, 5).await, 200);
    assert_eq!(order(4, 4).await, 409);
    assert_eq!(order(9, 6).await, 200);
    eventually("the lease's target", PATIENCE, async || {
        let totals = kubelet.loads().totals(&namespace, "light");
        if totals.workers == 9 { Ok(()) } else { Err(format!("{totals:?}")) }
    })
    .await
    .unwrap();
}

async fn faults_are_injected_once(context: Context) {
    let Context { bed, namespace, .. } = context;
    let proxy = FaultProxy::start(&bed.plane, "admin-by-proxy").await.unwrap();
    let kubeconfig = bed.plane.kubeconfig_by(proxy.url(), "admin-by-proxy", None).unwrap();
    let client = control_plane::client(&kubeconfig).await.unwrap();
    // Without rights all that gets through is refused, which is enough to see what does.
    let api = Api::<ConfigMap>::namespaced(client, &namespace);
    let code = async || match api.create(&PostParams::default(), &config_map("a")).await {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("{other:?}"),
    };
    proxy.inject(Rule::new(Verb::Create, "/configmaps", 1, Action::Answer { code: 409, retry_after: None }));
    assert_eq!(code().await, 409);
    assert_eq!(code().await, 403);
    proxy.inject(Rule::new(Verb::Create, "/secrets", 1, Action::Answer { code: 500, retry_after: None }));
    assert_eq!(code().await, 403);
    assert_eq!((proxy.injected(), proxy.pending()), (1, 1));
    proxy.clear();
    proxy.inject(Rule::new(Verb::Create, "/configmaps", 1, Action::Delay(Duration::from_millis(10))));
    assert_eq!(code().await, 403);
    assert_eq!((proxy.injected(), proxy.pending()), (2, 0));
}

async fn kubectl_talks_to_it(context: Context) {
    let Context { bed, namespace, .. } = context;
    let kubeconfig = bed.plane.kubeconfig("kubectl", Some("system:masters")).unwrap();
    let program = &bed.plane.assets().kubectl;
    let output = objects::kubectl(program, &kubeconfig, &["get", "namespace", &namespace]).await.unwrap();
    assert!(output.success && output.stdout.contains("Active"), "{output:?}");
}
