//! README's "In a cluster of yours", command by command as it is written there: from `helm install` to a request that is
//! served and to workers that follow the load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // these are tests; libtest's attribute is not theirs

use std::path::{Path, PathBuf};
use std::process::Stdio;

use kube::ResourceExt;
use podicorn_testbed::app::App;
use podicorn_testbed::suite::{Context, run};
use podicorn_testbed::traffic::Traffic;
use podicorn_testbed::wait::{PATIENCE, eventually};
use podicorn_testbed::{assets, beds, http, tests};
use tokio::process::{Child, Command};

/// As the chart names them by default, in the namespace of README.
const IMAGE: &str = concat!("podicorn/operator:", env!("CARGO_PKG_VERSION"));
const ACCOUNT: &str = "podicorn:podicorn-operator";

fn main() -> std::process::ExitCode {
    run(|| beds::bare(IMAGE, ACCOUNT), tests![readme_leads_from_helm_install_to_a_scaled_worker])
}

/// The indented lines that follow the paragraph, without their comments.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(assets::checkout("README.md")).unwrap();
    let (_, section) = readme.split_once("\nIn a cluster of yours:\n").expect("README has the section");
    section
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// A shell in the checkout, with `helm` and `kubectl` on its path.
struct Shell {
    kubeconfig: PathBuf,
    directory: PathBuf,
}

impl Shell {
    fn new(context: &Context) -> Self {
        let plane = &context.bed.plane;
        let directory = plane.directory().join("you");
        std::fs::create_dir_all(&directory).unwrap();
        std::os::unix::fs::symlink(assets::helm().unwrap(), directory.join("helm")).unwrap();
        std::os::unix::fs::symlink(&plane.assets().kubectl, directory.join("kubectl")).unwrap();
        Self { kubeconfig: plane.kubeconfig("you", Some("system:masters")).unwrap(), directory }
    }

    fn command(&self, line: &str) -> Command {
        let path = format!("{}:/usr/bin:/bin", self.directory.display());
        let mut command = Command::new("bash");
        // `exec`: what is killed is then the program itself.
        command.args(["-c", &format!("exec {line}")]).current_dir(assets::checkout("."));
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", &self.directory)
            .env("KUBECONFIG", &self.kubeconfig);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, line: &str) -> String {
        let output = self.command(line).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// For what goes on until Ctrl-C; its output goes to the file.
    fn start(&self, line: &str, output: &Path) -> Child {
        self.command(line).stdout(std::fs::File::create(output).unwrap()).spawn().unwrap()
    }
}

async fn readme_leads_from_helm_install_to_a_scaled_worker(context: Context) {
    let shell = Shell::new(&context);
    let watched = shell.directory.join("watched");
    let mut watch = None;
    let commands = commands();
    assert!(commands.len() >= 5, "{commands:?}");
    assert_eq!(commands.iter().filter(|line| line.starts_with("helm install ")).count(), 2, "{commands:?}");
    for line in &commands {
        if line.ends_with(" -w") {
            watch = Some(shell.start(line, &watched));
        } else if line.starts_with("kubectl describe ") {
            // What it tells is there when the app is; below it is asked once more.
            app(&context).ready().await.unwrap();
            assert!(shell.run(line).await.contains("Ready"));
        } else {
            shell.run(line).await;
        }
    }
    let mut watch = watch.expect("README watches");

    // The operator is the Deployment that the chart made, and all of it is ready.
    eventually("the operator's pods are ready", PATIENCE, async || {
        let said = shell.run("kubectl get deployments --namespace podicorn --output=wide").await;
        if said.contains(" 2/2 ") { Ok(()) } else { Err(said) }
    })
    .await
    .unwrap();

    let app = app(&context);
    let pods = app.pods_ready(2).await.unwrap();
    for base in app.addresses().await.unwrap() {
        let answer = http::get(&format!("{base}/")).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    app.until("workers that the operator has seen", |status| status.workers.is_some()).await.unwrap();
    let before = app.get().await.unwrap().status.unwrap().workers.unwrap();
    let traffic = Traffic::start(8, app.addresses().await.unwrap(), "/report");
    let more = before.target + 2;
    app.until("more workers that serve", |status| {
        status.workers.as_ref().is_some_and(|workers| workers.target >= more && workers.ready >= more)
    })
    .await
    .unwrap();
    let counts = traffic.stop().await;
    assert_eq!(counts.failed, 0, "{counts:?}");
    assert!(counts.answered > 20, "{counts:?}");
    let still: Vec<String> = app.pods().await.unwrap().iter().map(ResourceExt::name_any).collect();
    assert!(pods.iter().all(|pod| still.contains(&pod.name_any())), "{still:?}");

    // Who watches has seen it come.
    watch.kill().await.unwrap();
    let seen = std::fs::read_to_string(&watched).unwrap();
    let header = seen.lines().next().unwrap_or_default();
    for column in ["NAME", "READY", "WORKERS", "PODS", "MODE"] {
        assert!(header.contains(column), "{seen}");
    }
    assert!(seen.lines().filter(|line| line.starts_with("shop ")).count() >= 2, "{seen}");
    let last = commands.last().unwrap();
    assert!(shell.run(last).await.contains("Workers"), "{last}");
}

fn app(context: &Context) -> App {
    App::new(context.client.clone(), "default", "shop")
}
