//! Runs the tests of a suite beside each other on one control plane, each in a namespace of its own.
//!
//! libtest has no place for what tests share and no end at which to take it down, so the suites' `main` is this. It
//! takes libtest's arguments as far as they make sense here: words choose tests by their names, `--exact` and
//! `--test-threads=N` are known, `--list` lists.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{self, StreamExt};
use kube::Client;

use crate::app::App;
use crate::control_plane::ControlPlane;
use crate::error::BedError;
use crate::kubelet::Kubelet;
use crate::objects;
use crate::operator::Operator;

/// What the tests of a suite share.
#[derive(Debug)]
pub struct Bed {
    pub operator: Option<Operator>,
    pub kubelet: Option<Kubelet>,
    pub plane: ControlPlane,
}

/// What a test is given.
#[derive(Clone)]
pub struct Context {
    pub bed: Arc<Bed>,
    pub namespace: String,
    /// As the bed's own user, to whom everything is allowed.
    pub client: Client,
}

impl Context {
    /// Applies YAML in the test's namespace.
    pub async fn apply(&self, yaml: &str) -> Result<(), BedError> {
        objects::apply_yaml(&self.client, &self.namespace, yaml).await.map(drop)
    }

    pub fn app(&self, name: &str) -> App {
        App::new(self.client.clone(), &self.namespace, name)
    }

    pub fn kubelet(&self) -> Result<&Kubelet, BedError> {
        self.bed.kubelet.as_ref().ok_or_else(|| BedError::Unexpected("this bed has no kubelet".to_owned()))
    }

    pub fn operator(&self) -> Result<&Operator, BedError> {
        self.bed.operator.as_ref().ok_or_else(|| BedError::Unexpected("this bed has no operator".to_owned()))
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Context").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

type Run = Box<dyn FnOnce(Context) -> LocalBoxFuture<'static, ()>>;

/// A test: a function that panics where something is not as it should be.
pub struct Test {
    name: &'static str,
    run: Run,
}

impl std::fmt::Debug for Test {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Test").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Test {
    pub fn new<F: Future<Output = ()> + 'static>(
        name: &'static str,
        run: impl FnOnce(Context) -> F + 'static,
    ) -> Self {
        Self { name, run: Box::new(move |context| run(context).boxed_local()) }
    }
}

/// The functions, with their names.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => { vec![$($crate::suite::Test::new(stringify!($name), $name)),+] };
}

struct Arguments {
    filters: Vec<String>,
    exact: bool,
    list: bool,
    threads: usize,
}

/// Brings the bed up, runs the tests and takes it down.
pub fn run<F>(bed: impl FnOnce() -> F, tests: Vec<Test>) -> ExitCode
where
    F: Future<Output = Result<Bed, BedError>>,
{
    let arguments = arguments();
    let chosen: Vec<Test> = tests.into_iter().filter(|test| arguments.choose(test.name)).collect();
    if arguments.list {
        for test in chosen {
            println!("{}: test", test.name);
        }
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        println!("no test is chosen");
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("no runtime: {error}")),
    };
    let code = runtime.block_on(async {
        let begin = Instant::now();
        match bed().await {
            Ok(bed) => {
                println!("the bed is up after {:.1} s", begin.elapsed().as_secs_f64());
                run_all(Arc::new(bed), chosen, arguments.threads).await
            }
            Err(error) => failed(&format!("the bed could not be brought up: {error}")),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    code
}

async fn run_all(bed: Arc<Bed>, tests: Vec<Test>, threads: usize) -> ExitCode {
    let begin = Instant::now();
    let count = tests.len();
    let failures: Vec<&'static str> = stream::iter(tests)
        .map(|test| run_one(bed.clone(), test))
        .buffer_unordered(threads)
        .filter_map(async |failure| failure)
        .collect()
        .await;
    let mut failures: Vec<String> = failures.into_iter().map(str::to_owned).collect();
    if let Some(operator) = &bed.operator
        && let Err(error) = operator.check(&bed.plane)
    {
        println!("the operator: {error}");
        failures.push("the operator's rights".to_owned());
    }
    let seconds = begin.elapsed().as_secs_f64();
    if failures.is_empty() {
        println!("{count} tests passed in {seconds:.1} s");
        return ExitCode::SUCCESS;
    }
    if let Some(operator) = &bed.operator {
        println!("--- operator\n{}", crate::process::tail(&operator.log(), 60));
    }
    println!("{}", bed.plane.logs(15));
    failed(&format!("{} of {count} failed in {seconds:.1} s: {}", failures.len(), failures.join(", ")))
}

/// The name of the test, if it failed.
async fn run_one(bed: Arc<Bed>, test: Test) -> Option<&'static str> {
    let begin = Instant::now();
    let outcome = async {
        let client = bed.plane.admin().await.map_err(|error| error.to_string())?;
        let namespace = objects::namespace(&client, test.name).await.map_err(|error| error.to_string())?;
        let context = Context { bed, namespace, client };
        AssertUnwindSafe((test.run)(context)).catch_unwind().await.map_err(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
        })
    };
    let outcome: Result<(), String> = outcome.await;
    let seconds = begin.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            println!("test {} ... ok ({seconds:.1} s)", test.name);
            None
        }
        Err(message) => {
            println!("test {} ... FAILED ({seconds:.1} s)\n{message}", test.name);
            Some(test.name)
        }
    }
}

fn failed(message: &str) -> ExitCode {
    println!("{message}");
    ExitCode::FAILURE
}

fn arguments() -> Arguments {
    let mut arguments = Arguments { filters: Vec::new(), exact: false, list: false, threads: 8 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--exact" => arguments.exact = true,
            "--list" => arguments.list = true,
            "--test-threads" => arguments.threads = threads(words.next().as_deref()),
            word if word.starts_with("--test-threads=") => {
                arguments.threads = threads(word.split_once('=').map(|(_, number)| number));
            }
            word if word.starts_with('-') => {}
            word => arguments.filters.push(word.to_owned()),
        }
    }
    arguments
}

fn threads(word: Option<&str>) -> usize {
    word.and_then(|word| word.parse().ok()).unwrap_or(1).max(1)
}

impl Arguments {
    fn choose(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        self.filters.is_empty() || self.filters.iter().any(fits)
    }
}
