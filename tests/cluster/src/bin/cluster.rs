//! The tour of the operator: `make cluster`.
//!
//! Brings up a control plane, the operator under its chart's rights and a kubelet that runs the real server, and walks
//! through what a user would do, printing each command before it runs. With `--stay` everything stays up until Ctrl-C.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use kube::ResourceExt;
use podicorn_testbed::app::App;
use podicorn_testbed::operator::Settings;
use podicorn_testbed::suite::Bed;
use podicorn_testbed::traffic::Traffic;
use podicorn_testbed::wait::PATIENCE;
use podicorn_testbed::{BedError, assets, beds, objects};
use tokio::io::{AsyncBufReadExt, BufReader};

/// The tour shortens the minute for which fewer workers must have been enough, so that it ends soon.
const SOON: &str = r#"{"spec":{"autoscaling":{"behavior":{"workersScaleDown":{"stabilizationSeconds":5}}}}}"#;
const CLIENTS: usize = 8;

fn main() -> ExitCode {
    let stay = std::env::args().any(|argument| argument == "--stay");
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(tour(stay));
    runtime.shutdown_timeout(Duration::from_secs(5));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn tour(stay: bool) -> Result<(), BedError> {
    say(
        "etcd, kube-apiserver, kube-controller-manager, a kubelet that runs pods as processes, and the operator start",
    );
    let bed = beds::operated(Settings::named("podicorn-operator")).await?;
    let kubeconfig = bed.plane.kubeconfig("you", Some("system:masters"))?;
    let guide = Guide { bed, kubeconfig };
    let walked = tokio::select! {
        walked = async { guide.absolute().await?; guide.signals().await } => walked,
        _ = tokio::signal::ctrl_c() => return Ok(()),
    };
    if let Err(error) = &walked
        && let Some(operator) = &guide.bed.operator
    {
        println!("{error}\n--- operator\n{}", podicorn_testbed::process::tail(&operator.log(), 40));
    }
    if stay {
        println!("\nIt stays up. In another terminal:\n");
        println!("  export KUBECONFIG={}", guide.kubeconfig.display());
        println!("  export PATH={}:$PATH", directory(&guide.bed.plane.assets().kubectl).display());
        println!("  kubectl get gapp --watch\n\nCtrl-C ends it.");
        // Without a handler for it, Ctrl-C ends the process anyway.
        let _ = tokio::signal::ctrl_c().await;
    }
    walked
}

fn directory(program: &std::path::Path) -> PathBuf {
    program.parent().map(PathBuf::from).unwrap_or_default()
}

fn say(text: &str) {
    println!("\n# {text}");
}

struct Guide {
    bed: Bed,
    kubeconfig: PathBuf,
}

impl Guide {
    async fn absolute(&self) -> Result<(), BedError> {
        say("An app with 1 to 8 workers in each of 2 to 6 pods");
        self.kubectl(&["apply", "--filename", "deploy/examples/flask.yaml"]).await?;
        self.patch("shop").await?;
        let app = self.app("shop").await?;
        app.ready().await?;
        app.condition("PodsReachable", true, "").await?;
        self.kubectl(&["get", "gapp"]).await?;
        let least = target(&app).await?;
        self.load_and_rest(&app, least, least + 3).await?;
        say("Why? status.scaling and the events say");
        self.kubectl(&["describe", "gapp", "shop"]).await
    }

    async fn signals(&self) -> Result<(), BedError> {
        say("The same app, steered by TTIN and TTOU: spec.scaling.commands is Signals");
        self.kubectl(&["delete", "gapp", "shop"]).await?;
        self.kubectl(&["apply", "--filename", "deploy/examples/flask-signals.yaml"]).await?;
        self.patch("shop-signals").await?;
        let app = self.app("shop-signals").await?;
        app.ready().await?;
        app.condition("PodsReachable", true, "").await?;
        let least = target(&app).await?;
        self.load_and_rest(&app, least, least + 3).await?;
        say("Each command is in the pod's log");
        let Some(pod) = app.pods().await?.into_iter().next() else { return Ok(()) };
        println!("$ kubectl logs {} | grep -E 'TT(IN|OU)'", pod.name_any());
        let output =
            objects::kubectl(&self.bed.plane.assets().kubectl, &self.kubeconfig, &["logs", &pod.name_any()])
                .await?;
        let lines: Vec<&str> =
            output.stdout.lines().filter(|line| line.contains("TTIN") || line.contains("TTOU")).collect();
        println!("{}", lines.join("\n"));
        if !(lines.iter().any(|line| line.contains("TTIN")) && lines.iter().any(|line| line.contains("TTOU")))
        {
            return Err(BedError::Unexpected(format!(
                "no TTIN and TTOU in the log: {} {}",
                output.stdout, output.stderr
            )));
        }
        Ok(())
    }

    async fn patch(&self, app: &str) -> Result<(), BedError> {
        say("For the tour only: workers may go after 5 s instead of a minute");
        self.kubectl(&["patch", "gapp", app, "--type=merge", "--patch", SOON]).await
    }

    /// Watches while the load is on, until so many workers are wanted, and off, until they are few again.
    async fn load_and_rest(&self, app: &App, least: u32, many: u32) -> Result<(), BedError> {
        say("The load will come and go; watch the workers");
        let watch = self.watch()?;
        say(&format!("Load on: {CLIENTS} clients, each with one request of 0.1 s after the other"));
        let traffic = Traffic::start(CLIENTS, app.addresses().await?, "/report");
        let grown = app
            .until_within("more workers that serve", PATIENCE, |status| {
                status.workers.as_ref().is_some_and(|workers| workers.ready >= many)
            })
            .await;
        // A while longer, so that there is something to see.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let counts = traffic.stop().await;
        say(&format!("Load off: {} requests were answered, {} were not", counts.answered, counts.failed));
        grown?;
        app.until_within("as few workers as before", Duration::from_secs(300), |status| {
            status.workers.as_ref().is_some_and(|workers| workers.target <= least && workers.ready <= least)
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(watch);
        println!("^C");
        Ok(())
    }

    async fn app(&self, name: &str) -> Result<App, BedError> {
        Ok(App::new(self.bed.plane.admin().await?, "default", name))
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<(), BedError> {
        println!("$ kubectl {}", shown(arguments));
        let mut places: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        if let Some(file) = places.iter_mut().find(|word| word.starts_with("deploy/")) {
            *file = assets::checkout(file).display().to_string();
        }
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        let output = objects::kubectl(&self.bed.plane.assets().kubectl, &self.kubeconfig, &places).await?;
        print!("{}{}", output.stdout, output.stderr);
        if output.success { Ok(()) } else { Err(BedError::Unexpected("kubectl failed".to_owned())) }
    }

    /// `kubectl get gapp --watch`, shown as it comes, until it is dropped.
    fn watch(&self) -> Result<tokio::process::Child, BedError> {
        println!("$ kubectl get gapp --watch");
        let mut child = tokio::process::Command::new(&self.bed.plane.assets().kubectl)
            .args(["get", "gapp", "--watch"])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| BedError::Io { what: "kubectl".to_owned(), source })?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    println!("{line}");
                }
            });
        }
        Ok(child)
    }
}

/// How many workers are wanted.
async fn target(app: &App) -> Result<u32, BedError> {
    let app = app
        .until("a target", |status| status.workers.as_ref().is_some_and(|workers| workers.target > 0))
        .await?;
    Ok(app.status.and_then(|status| status.workers).map_or(0, |workers| workers.target))
}

/// As one would type it.
fn shown(arguments: &[&str]) -> String {
    let quoted = arguments
        .iter()
        .map(|word| if word.contains(['{', ' ']) { format!("'{word}'") } else { (*word).to_owned() });
    quoted.collect::<Vec<_>>().join(" ")
}
