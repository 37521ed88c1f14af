//! The command line of `podicorn-operator`.
//!
//! Contract: pure. [`parse`] turns arguments into a [`Command`], or into an [`Exit`] that says what to print and with which
//! code to leave: 0 for help and version, 2 for arguments that cannot be read.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Run(RunOptions),
    /// Print the custom resource definition.
    Crd,
    /// Print the decisions of a saved snapshot; `-` is standard input.
    Explain(PathBuf),
    Sidecar(SidecarOptions),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// Where `/livez`, `/readyz`, `/metrics` and `/snapshot` are served.
    pub bind: SocketAddr,
    /// Between two looks at the load.
    pub tick: Duration,
    /// Empty: every namespace.
    pub namespaces: Vec<String>,
    /// None: leads without asking.
    pub lease: Option<LeaseOptions>,
    pub identity: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOptions {
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarOptions {
    /// Where the server's admin API is.
    pub admin: SocketAddr,
    pub token_file: Option<PathBuf>,
    pub min: u32,
    pub max: u32,
    pub tick: Duration,
    /// The arbiter's process id; found by its name where absent.
    pub pid: Option<u32>,
    /// Where `/livez` and `/metrics` are served.
    pub bind: SocketAddr,
}

/// Print `text` and leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub code: u8,
    /// Ends with a newline.
    pub text: String,
    pub to_stderr: bool,
}

/// What the environment tells (the downward API of Kubernetes, in the chart).
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `POD_NAME`, or else the host's name.
    pub identity: Option<String>,
    /// `POD_NAMESPACE`.
    pub namespace: Option<String>,
}

/// Reads the command line; `arguments` are without the program's name.
pub fn parse<I: IntoIterator<Item = OsString>>(
    arguments: I,
    surroundings: &Surroundings,
) -> Result<Command, Exit> {
    let arguments = std::iter::once(OsString::from("podicorn-operator")).chain(arguments);
    let matches = command().try_get_matches_from(arguments).map_err(|error| {
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        Exit { code: if asked { 0 } else { 2 }, text: error.render().to_string(), to_stderr: !asked }
    })?;
    match matches.subcommand() {
        Some(("run", given)) => run_options(given, surroundings).map(Command::Run),
        Some(("crd", _)) => Ok(Command::Crd),
        Some(("explain", given)) => Ok(Command::Explain(required(given, "FILE")?)),
        Some(("sidecar", given)) => sidecar_options(given).map(Command::Sidecar),
        _ => Err(usage("a command is missing: run, crd, explain or sidecar")),
    }
}

fn run_options(given: &ArgMatches, surroundings: &Surroundings) -> Result<RunOptions, Exit> {
    let identity = surroundings.identity.clone().unwrap_or_else(|| "podicorn-operator".to_owned());
    let namespace =
        given.get_one::<String>("lease-namespace").cloned().or_else(|| surroundings.namespace.clone());
    let lease = if given.get_flag("no-leader-election") {
        None
    } else {
        let Some(namespace) = namespace else {
            return Err(usage(
                "the namespace of the leader's Lease is not known: set POD_NAMESPACE (as the chart does) or \
                 --lease-namespace, or run alone with --no-leader-election",
            ));
        };
        Some(LeaseOptions { namespace, name: required(given, "lease-name")? })
    };
    Ok(RunOptions {
        bind: required(given, "bind")?,
        tick: seconds(given)?,
        namespaces: given
            .get_many::<String>("namespace")
            .map(|names| names.cloned().collect())
            .unwrap_or_default(),
        lease,
        identity,
    })
}

fn sidecar_options(given: &ArgMatches) -> Result<SidecarOptions, Exit> {
    let (min, max) = (required(given, "min")?, required(given, "max")?);
    if min > max {
        return Err(usage(&format!("--min {min} is above --max {max}")));
    }
    Ok(SidecarOptions {
        admin: required(given, "admin")?,
        token_file: given.get_one("token-file").cloned(),
        min,
        max,
        tick: seconds(given)?,
        pid: given.get_one("pid").copied(),
        bind: required(given, "bind")?,
    })
}

fn seconds(given: &ArgMatches) -> Result<Duration, Exit> {
    required::<u64>(given, "tick-seconds").map(Duration::from_secs)
}

/// Clap has seen to it that it is there, by a default or as an error of its own.
fn required<T: Clone + Send + Sync + 'static>(given: &ArgMatches, name: &str) -> Result<T, Exit> {
    given.get_one::<T>(name).cloned().ok_or_else(|| usage(&format!("{name} is missing")))
}

fn usage(problem: &str) -> Exit {
    Exit {
        code: 2,
        text: format!("error: {problem}\n\nFor more information, try 'podicorn-operator --help'.\n"),
        to_stderr: true,
    }
}

fn command() -> clap::Command {
    let bind = |default: &'static str| {
        Arg::new("bind")
            .long("bind")
            .value_name("ADDRESS")
            .default_value(default)
            .value_parser(value_parser!(SocketAddr))
    };
    let tick = |default: &'static str| {
        Arg::new("tick-seconds")
            .long("tick-seconds")
            .value_name("SECONDS")
            .default_value(default)
            .value_parser(value_parser!(u64).range(1..=60))
    };
    let run = clap::Command::new("run")
        .about("Acts on GunicornApps: creates what they need and scales their workers and pods by load")
        .after_help(
            "The cluster is found by KUBECONFIG, or else by the pod's service account. Logs are JSON on standard output, \
             filtered by RUST_LOG. Traces go to OTEL_EXPORTER_OTLP_ENDPOINT if that is set (OTLP, HTTP).",
        )
        .arg(bind("[::]:8080").help("Where /livez, /readyz, /metrics and /snapshot are served"))
        .arg(tick("2").help("Time between two looks at the load of an app's pods, from 1 to 60"))
        .arg(
            Arg::new("namespace")
                .long("namespace")
                .value_name("NAMESPACE")
                .action(ArgAction::Append)
                .help("Acts only on GunicornApps of this namespace; may be given several times"),
        )
        .arg(
            Arg::new("lease-namespace")
                .long("lease-namespace")
                .value_name("NAMESPACE")
                .help("Where the Lease of the leader is [default: POD_NAMESPACE]"),
        )
        .arg(
            Arg::new("lease-name")
                .long("lease-name")
                .value_name("NAME")
                .default_value("podicorn-operator")
                .help("The name of that Lease"),
        )
        .arg(
            Arg::new("no-leader-election")
                .long("no-leader-election")
                .action(ArgAction::SetTrue)
                .help("Leads without asking; only where no other replica runs"),
        );
    let sidecar = clap::Command::new("sidecar")
        .about("In a pod with a shared process namespace: scales one server's workers by TTIN and TTOU")
        .arg(
            Arg::new("admin")
                .long("admin")
                .value_name("ADDRESS")
                .default_value("127.0.0.1:9099")
                .value_parser(value_parser!(SocketAddr))
                .help("The server's admin API"),
        )
        .arg(
            Arg::new("token-file")
                .long("token-file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The file with the admin API's bearer token"),
        )
        .arg(workers_arg("min", "1", "The fewest workers"))
        .arg(workers_arg("max", "4", "The most workers"))
        .arg(tick("1").help("Time between two looks at the load, from 1 to 60"))
        .arg(
            Arg::new("pid")
                .long("pid")
                .value_name("PID")
                .value_parser(value_parser!(u32).range(1..))
                .help("The server's process [default: found by its name]"),
        )
        .arg(bind("[::]:8080").help("Where /livez, /readyz and /metrics are served"));
    clap::Command::new("podicorn-operator")
        .version(podicorn_settings::VERSION)
        .about("Runs Python web apps from GunicornApp resources and scales their workers and pods by load")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(run)
        .subcommand(clap::Command::new("crd").about("Prints the custom resource definition as YAML"))
        .subcommand(
            clap::Command::new("explain")
                .about("Prints why workers and pods were scaled, from a snapshot that was saved")
                .after_help(
                    "To save one: curl -s http://OPERATOR:8080/snapshot/NAMESPACE/NAME > snapshot.yaml",
                )
                .arg(
                    Arg::new("FILE")
                        .required(true)
                        .value_parser(value_parser!(PathBuf))
                        .help("The snapshot, as YAML; - is standard input"),
                ),
        )
        .subcommand(sidecar)
}

fn workers_arg(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("WORKERS")
        .default_value(default)
        .value_parser(value_parser!(u32).range(1..=4096))
        .help(help)
}

#[cfg(test)]
mod tests;
