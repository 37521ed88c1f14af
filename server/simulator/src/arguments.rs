//! The command line of `podicorn simulate`.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::access_log::{self, LogError};
use crate::compare::{Comparison, Parameters, compare};
use crate::plot::plot;
use crate::table::{Format, table};
use crate::trace::{Shape, Trace};

#[derive(Debug, thiserror::Error)]
enum SimulateError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Plot(String),
}

/// Runs `podicorn simulate` with the arguments after that word; the exit code: 0, 1 (a file), 2 (an argument).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let text = error.render();
            let _ = if error.use_stderr() {
                write!(std::io::stderr(), "{text}")
            } else {
                write!(std::io::stdout(), "{text}")
            };
            return error.exit_code();
        }
    };
    match simulate(&matches) {
        Ok(report) => {
            let _ = write!(std::io::stdout(), "{report}");
            0
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Error: {error}");
            1
        }
    }
}

fn command() -> Command {
    let number = |name: &'static str, help: &'static str, value: &'static str, default: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).default_value(default)
    };
    Command::new("podicorn simulate")
        .no_binary_name(true)
        .about(
            "Replays traffic against scaling policies in virtual time, and compares what they cost (worker-seconds) with \
             what they give (how long requests wait). The same arguments give the same output.",
        )
        .arg(
            Arg::new("trace")
                .long("trace")
                .value_name("SHAPE")
                .help("Traffic to replay; may be given several times. Without it and without --access-log: all shapes")
                .value_parser(PossibleValuesParser::new(Shape::ALL.map(Shape::name)))
                .value_delimiter(',')
                .action(ArgAction::Append),
        )
        .arg(
            Arg::new("access-log")
                .long("access-log")
                .value_name("FILE")
                .help(
                    "Replay an access log: Gunicorn's combined format with %(D)s or %(L)s as the last field, or Podicorn's JSON \
                     lines",
                )
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(number("workers", "Fewest and most workers of every policy", "MIN..MAX", "2..16").value_parser(range))
        .arg(
            number("workers-per-pod", "Workers of a pod, where a policy scales pods", "N", "4")
                .value_parser(value_parser!(u32).range(1..=512)),
        )
        .arg(number("load", "Busy workers in quiet times, for the shapes", "WORKERS", "2").value_parser(positive))
        .arg(number("service", "Mean time of a request, for the shapes", "SECONDS", "0.1").value_parser(positive))
        .arg(number("worker-boot", "Time that a worker takes to boot", "SECONDS", "0.5").value_parser(positive))
        .arg(number("pod-start", "Time that a pod takes to be ready", "SECONDS", "12").value_parser(positive))
        .arg(number("objective", "How long a request may wait", "SECONDS", "0.1").value_parser(positive))
        .arg(number("seed", "Of the random numbers", "N", "1").value_parser(value_parser!(u64)))
        .arg(
            number("format", "Form of the tables", "FORM", "text")
                .value_parser(PossibleValuesParser::new(["text", "markdown"])),
        )
        .arg(
            Arg::new("plot")
                .long("plot")
                .value_name("FILE")
                .help("Write an SVG plot to this file")
                .value_parser(value_parser!(PathBuf)),
        )
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| (0.001..=10_000.0).contains(value))
        .ok_or_else(|| "a number from 0.001 to 10000 is wanted".to_owned())
}

fn range(text: &str) -> Result<(u32, u32), String> {
    let bounds = text.split_once("..").and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)));
    bounds
        .filter(|(min, max)| (1..=*max).contains(min) && *max <= 512)
        .ok_or_else(|| "a range MIN..MAX within 1 and 512 is wanted, such as 2..16".to_owned())
}

/// An argument that has a default.
fn get<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str, otherwise: T) -> T {
    matches.get_one::<T>(name).cloned().unwrap_or(otherwise)
}

fn simulate(matches: &ArgMatches) -> Result<String, SimulateError> {
    let (min, max) = get(matches, "workers", (2, 16));
    let parameters = Parameters {
        min,
        max,
        per_pod: get(matches, "workers-per-pod", 4).min(max),
        worker_boot: get(matches, "worker-boot", 0.5),
        pod_start: get(matches, "pod-start", 12.0),
        objective: get(matches, "objective", 0.1),
    };
    let comparisons: Vec<Comparison> =
        traces(matches)?.iter().map(|trace| compare(trace, &parameters)).collect();
    if let Some(path) = matches.get_one::<PathBuf>("plot") {
        let svg = plot(&comparisons).map_err(SimulateError::Plot)?;
        std::fs::write(path, svg).map_err(|source| SimulateError::Write { path: path.clone(), source })?;
    }
    let format = matches.get_one::<String>("format").map(String::as_str);
    Ok(table(&comparisons, if format == Some("markdown") { Format::Markdown } else { Format::Text }))
}

fn traces(matches: &ArgMatches) -> Result<Vec<Trace>, SimulateError> {
    let seed = get(matches, "seed", 1);
    let names: Vec<&String> = matches.get_many("trace").into_iter().flatten().collect();
    let log = matches.get_one::<PathBuf>("access-log");
    let wanted = |shape: &Shape| {
        if names.is_empty() { log.is_none() } else { names.iter().any(|name| *name == shape.name()) }
    };
    let (load, service) = (get(matches, "load", 2.0), get(matches, "service", 0.1));
    let mut traces: Vec<Trace> =
        Shape::ALL.into_iter().filter(wanted).map(|shape| shape.trace(load, service, seed)).collect();
    if let Some(path) = log {
        traces.push(read(path, seed)?);
    }
    Ok(traces)
}

fn read(path: &Path, seed: u64) -> Result<Trace, LogError> {
    let bytes = std::fs::read(path).map_err(|source| LogError::Read { path: path.into(), source })?;
    // Paths and user agents may be anything; what is read of a line is ASCII.
    access_log::read(path, &String::from_utf8_lossy(&bytes), seed)
}
