//! `podicorn-operator`: the command line, the runtime, the exit code: 0 done or told to end, 1 failed, 2 wrong arguments.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use podicorn_operator::api;
use podicorn_operator::autoscale::explain;
use podicorn_operator::cli::{self, Command, Surroundings};
use podicorn_operator::run::{RunError, beside_a_server, operator};
use podicorn_operator::telemetry::{Telemetry, TelemetryError};

/// Each tick the answers of thousands of pods come and go between what is kept. glibc's allocator then holds twice what is
/// in use. How soon this one gives memory back is set in .cargo/config.toml.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Reconciles wait more than they compute.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os().skip(1), &surroundings()) {
        Ok(command) => command,
        Err(exit) => {
            let _ = if exit.to_stderr {
                write!(std::io::stderr(), "{}", exit.text)
            } else {
                write!(std::io::stdout(), "{}", exit.text)
            };
            return ExitCode::from(exit.code);
        }
    };
    let done = match command {
        Command::Crd => api::crd_yaml().map_err(|error| error.to_string()).and_then(|text| print(&text)),
        Command::Explain(file) => saved(&file)
            .and_then(|yaml| explain(&yaml).map_err(|error| format!("{}: {error}", file.display())))
            .and_then(|text| print(&text)),
        Command::Run(options) => in_a_runtime(operator(options)),
        Command::Sidecar(options) => in_a_runtime(beside_a_server(options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The pod's name and namespace by the downward API; elsewhere a name that no other process has.
fn surroundings() -> Surroundings {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Surroundings {
        identity: variable("POD_NAME").or_else(|| Some(format!("{}_{}", host().trim(), std::process::id()))),
        namespace: variable("POD_NAMESPACE"),
    }
}

fn print(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn saved(file: &Path) -> Result<String, String> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn in_a_runtime(work: impl Future<Output = Result<(), RunError>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let telemetry = {
        let _inside = runtime.enter();
        Telemetry::start().map_err(|error: TelemetryError| error.to_string())?
    };
    let outcome = runtime.block_on(work);
    if let Err(error) = &outcome {
        tracing::error!("{error}");
    }
    // The exporter needs the runtime for its last request.
    telemetry.flush();
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome.map_err(|error| error.to_string())
}
