//! `podicorn migrate`: what becomes of each setting and hook of a Gunicorn config file.
//!
//! The file is Python, so a fork server reads it, as it would for the server itself. The verdicts are those of
//! [`podicorn_settings::assess`]. Exit code 0: nothing is refused; 1: something is; 2: the file cannot be read.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};
use podicorn_settings::{Finding, Verdict, assess, table};
use serde_json::{Map, Value, json};

use crate::forkserver::interpreter::{InterpreterError, Surroundings, find};
use crate::forkserver::spawn::spawn;
use crate::forkserver::{Client, Configured, RequestError, SpawnError};

/// How long the file may take.
const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
enum MigrateError {
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Read(#[from] RequestError),
    #[error("cannot read the config file: {0}")]
    System(#[from] io::Error),
    #[error("cannot read the config file: {0}")]
    Descriptor(#[from] nix::Error),
}

/// The whole command; its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let arguments = std::iter::once(OsString::from("podicorn migrate")).chain(arguments);
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return if asked { 0 } else { 2 };
        }
    };
    match migrate(&matches) {
        Ok(code) => code,
        Err(error) => {
            let traceback = match &error {
                MigrateError::Read(RequestError::Failed(failure)) => failure.traceback.as_deref(),
                _ => None,
            };
            let traceback = traceback.map(|text| format!("{}\n", text.trim_end())).unwrap_or_default();
            let _ = writeln!(io::stderr(), "{traceback}Error: {error}");
            2
        }
    }
}

/// For the command line, and for the pages and completions made from it.
fn command() -> Command {
    Command::new("podicorn migrate")
        .about("Say what becomes of each setting and hook of a Gunicorn config file.")
        .after_help(
            "Exit code 0: nothing is refused; 1: something is; 2: the file cannot be read. The file's code runs, the app \
             is not imported.",
        )
        .arg(
            Arg::new("FILE")
                .default_value("gunicorn.conf.py")
                .help("The config file: PATH, file:PATH or python:MODULE."),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("How to print it."),
        )
        .arg(
            Arg::new("python")
                .long("python")
                .value_name("PATH")
                .help("The Python interpreter that the app runs with."),
        )
}

fn migrate(matches: &ArgMatches) -> Result<i32, MigrateError> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let file = text("FILE").unwrap_or_default();
    let mut out = stdout_for_us_alone()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let configured = runtime.block_on(read(&file, text("python").map(Into::into)))?;
    let path = configured.path.unwrap_or(file);
    let findings = assess(&configured.values, &configured.python, &path);
    let report = if text("format").as_deref() == Some("json") {
        as_json(&path, &findings)
    } else {
        as_text(&path, &findings)
    };
    out.write_all(report.as_bytes())?;
    Ok(i32::from(findings.iter().any(|finding| finding.verdict == Verdict::Refused)))
}

/// What the file prints goes to stderr, so that the report is all there is on stdout.
fn stdout_for_us_alone() -> Result<File, MigrateError> {
    let ours = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    nix::unistd::dup2_stdout(io::stderr())?;
    Ok(ours)
}

async fn read(file: &str, python: Option<OsString>) -> Result<Configured, MigrateError> {
    let python = find(python.as_deref(), &Surroundings::of_process())?;
    let process = spawn(&python, Path::new("."))?;
    let client = Client::new(process.control)?;
    let known: Vec<&str> = table().iter().map(|setting| setting.name).collect();
    let body = json!({
        "path": file, "explicit": true, "chdir": null, "pythonpath": null, "env": [], "known": known,
    });
    let body = match body {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Ok(client.request("load_config", body, Vec::new(), DEADLINE).await?)
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings.iter().filter(|finding| finding.verdict == verdict).count()
}

fn as_json(path: &str, findings: &[Finding]) -> String {
    let counts: Map<String, Value> = Verdict::ALL
        .into_iter()
        .map(|verdict| (verdict.as_str().to_owned(), count(findings, verdict).into()))
        .collect();
    let report = json!({"file": path, "counts": counts, "settings": findings});
    format!("{report:#}\n")
}

fn as_text(path: &str, findings: &[Finding]) -> String {
    let counts: Vec<String> = Verdict::ALL
        .into_iter()
        .map(|verdict| format!("{} {}", count(findings, verdict), verdict.as_str()))
        .collect();
    let mut text = format!("{path}: {}\n", counts.join(", "));
    for finding in findings {
        let Finding { name, value, verdict, note } = finding;
        let _ = write!(text, "\n{:8} {name} = {value}", verdict.as_str());
        if !note.is_empty() {
            let _ = write!(text, "\n         {note}");
        }
    }
    text.push('\n');
    text
}
