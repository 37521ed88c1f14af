//! The new program is tried before the old one is given up: run as a child, it reads the state that it would get, makes its
//! settings of it, and says what it is.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::unistd::pipe2;
use podicorn_scoreboard::layout;
use podicorn_settings::parse_command_line;
use serde::{Deserialize, Serialize};

use super::{FORMAT, State, carrier};
use crate::origin::Origin;
use crate::pool::Exit;

/// The first argument of a trial; the second is the number of the state's descriptor. No other version takes it for the
/// name of an app.
pub const ARGUMENT: &str = "--try-upgrade";

/// What is read of what a program prints.
const MOST: u64 = 16 * 1024;

/// The line that a program prints about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    version: String,
    format: u32,
    scoreboard: u64,
    /// Why it could not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why the program is not taken into use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it {exit} instead of saying what it is{said}")]
    Mute { exit: Exit, said: String },
    #[error(
        "it is podicorn {version} with handover format {format} and scoreboard layout {scoreboard}, where the running server \
         has {FORMAT} and {}",
        layout::VERSION
    )]
    Other { version: String, format: u32, scoreboard: u64 },
    #[error("it is podicorn {version} and cannot go on here: {error}")]
    Unable { version: String, error: String },
}

/// A program that is being tried. Its child is reaped by the arbiter's own `waitpid`.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) pid: i32,
    out: OwnedFd,
    err: OwnedFd,
}

impl Trial {
    pub(crate) fn begin(program: &Path, directory: &Path, state: &OwnedFd) -> std::io::Result<Self> {
        let ((out, out_end), (err, err_end)) = (pipe2(OFlag::O_CLOEXEC)?, pipe2(OFlag::O_CLOEXEC)?);
        for end in [&out, &err] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let mut command = Command::new(program);
        command.args([ARGUMENT, &state.as_raw_fd().to_string()]).current_dir(directory);
        command.stdin(Stdio::null()).stdout(out_end).stderr(err_end);
        // No other thread starts programs: the mark is off for this one only.
        fcntl(state, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let spawned = command.spawn();
        fcntl(state, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(Self { pid: i32::try_from(spawned?.id()).unwrap_or(0), out, err })
    }

    /// Its end has come: the version, if it can take this program's place.
    pub(crate) fn end(self, exit: Exit) -> Result<String, Refusal> {
        let Self { out, err, .. } = self;
        judge(exit, &printed(out), &printed(err))
    }
}

/// What is there now; a grandchild may keep the pipe open.
fn printed(pipe: OwnedFd) -> String {
    let mut bytes = Vec::new();
    let _ = std::fs::File::from(pipe).take(MOST).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn judge(exit: Exit, out: &str, err: &str) -> Result<String, Refusal> {
    let answer = out.lines().next().and_then(|line| serde_json::from_str::<Answer>(line).ok());
    let Some(Answer { version, format, scoreboard, error }) = answer else {
        return Err(Refusal::Mute { exit, said: quoted(out, err) });
    };
    if (format, scoreboard) != (FORMAT, layout::VERSION) {
        return Err(Refusal::Other { version, format, scoreboard });
    }
    match (error, exit) {
        (Some(error), _) => Err(Refusal::Unable { version, error }),
        (None, Exit::Code(0)) => Ok(version),
        (None, exit) => Err(Refusal::Mute { exit, said: quoted("", err) }),
    }
}

/// One line of what it printed, for the log.
fn quoted(out: &str, err: &str) -> String {
    const LONGEST: usize = 200;
    let line = err.lines().chain(out.lines()).map(str::trim).find(|line| !line.is_empty());
    let mut text = String::new();
    if let Some(line) = line {
        let short: String = line.chars().take(LONGEST).collect();
        let _ = write!(text, "; it printed {short:?}");
    }
    text
}

/// The program that is tried: the exit code.
pub fn run(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> i32 {
    let number = arguments.next().and_then(|number| number.to_str()?.parse().ok()).unwrap_or(-1);
    let error = look(number).err();
    let code = i32::from(error.is_some());
    let answer = Answer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: FORMAT,
        scoreboard: layout::VERSION,
        error,
    };
    let line = serde_json::to_string(&answer).unwrap_or_default();
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => code,
        Err(_) => 1,
    }
}

fn look(number: i32) -> Result<(), String> {
    let text = carrier::read(number).map_err(|error| error.to_string())?;
    let state = State::read(&text).map_err(|error| error.to_string())?;
    let command_line = parse_command_line(state.arguments.into_iter().skip(1))
        .map_err(|exit| exit.text.lines().next().unwrap_or_default().to_owned())?;
    let origin = Origin::new(command_line).map_err(|error| error.to_string())?;
    for generation in &state.generations {
        origin.settings(&generation.configured).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(change: impl Fn(&mut Answer)) -> String {
        let mut answer =
            Answer { version: "7.0".into(), format: FORMAT, scoreboard: layout::VERSION, error: None };
        change(&mut answer);
        serde_json::to_string(&answer).unwrap() + "\n"
    }

    #[test]
    fn a_program_that_fits_is_taken() {
        assert_eq!(judge(Exit::Code(0), &answer(|_| ()), "a warning"), Ok("7.0".into()));
        let more = answer(|_| ()).replace('{', "{\"new\": 1, ");
        assert_eq!(judge(Exit::Code(0), &more, ""), Ok("7.0".into()));
    }

    #[test]
    fn others_are_refused_with_their_reason() {
        let refused = |exit, out: &str, err: &str| judge(exit, out, err).unwrap_err();
        let other = refused(Exit::Code(0), &answer(|answer| answer.scoreboard += 1), "");
        assert!(matches!(other, Refusal::Other { .. }), "{other}");
        let other = refused(
            Exit::Code(1),
            &answer(|answer| (answer.format, answer.error) = (9, Some("?".into()))),
            "",
        );
        assert!(matches!(other, Refusal::Other { format: 9, .. }), "{other}");
        let unable =
            refused(Exit::Code(1), &answer(|answer| answer.error = Some("no such setting".into())), "");
        assert!(unable.to_string().ends_with("cannot go on here: no such setting"), "{unable}");
        for (exit, out) in [
            (Exit::Code(0), "garbage".to_owned()),
            (Exit::Code(0), String::new()),
            (Exit::Code(0), "{}\n".to_owned()),
            (Exit::Signal(libc::SIGKILL), String::new()),
            (Exit::Code(3), answer(|_| ())),
        ] {
            let mute = refused(exit, &out, "cannot load libc.so\nmore");
            assert!(mute.to_string().ends_with("; it printed \"cannot load libc.so\""), "{mute}");
        }
    }
}
