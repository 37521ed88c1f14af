//! `podicorn`: signals first, then the command line, then the run loop. `podicorn simulate`, `podicorn ctl` and
//! `podicorn migrate` are other programs in the same file.

use std::io::Write;
use std::process::ExitCode;

use podicorn_arbiter::handover::Inheritance;
use podicorn_arbiter::signals::Signals;
use podicorn_arbiter::{arbiter, handover, migrate};
use podicorn_settings::parse_command_line;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == "simulate").is_some() {
        return exit_code(podicorn_simulator::run(arguments));
    }
    if arguments.next_if(|first| first == "ctl").is_some() {
        return exit_code(podicorn_ctl::run(arguments));
    }
    if arguments.next_if(|first| first == "migrate").is_some() {
        return exit_code(migrate::run(arguments));
    }
    if arguments.next_if(|first| first == handover::trial::ARGUMENT).is_some() {
        return exit_code(handover::trial::run(arguments));
    }
    // The program before this one may have left its place to it.
    let inheritance = match Inheritance::take() {
        Ok(inheritance) => inheritance,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Error: {error}");
            return ExitCode::from(1);
        }
    };
    // Before anything else: PID 1 has no default actions, and an early TERM must count.
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Error: cannot install signal handlers: {error}");
            return ExitCode::from(1);
        }
    };
    if let Some(inheritance) = &inheritance {
        inheritance.hear_signals();
    }
    match parse_command_line(arguments) {
        Ok(command_line) => exit_code(arbiter::run(command_line, signals, inheritance)),
        Err(exit) => {
            let _ = if exit.to_stderr {
                write!(std::io::stderr(), "{}", exit.text)
            } else {
                write!(std::io::stdout(), "{}", exit.text)
            };
            exit_code(exit.code)
        }
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
