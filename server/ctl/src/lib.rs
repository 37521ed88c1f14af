//! `podicorn ctl`: asks and orders a running server through its admin API.
//!
//! Contract:
//! - One command is one or two requests; nothing is kept between commands. `top` asks once a second until it is left.
//! - The server is found by `--admin` (an address, `:PORT` or the path of a unix socket), else by the environment that the server itself
//!   goes by (`PODICORN_ADMIN_BIND`), else at `127.0.0.1:9099`, where a server in a pod listens. The token comes from
//!   `--token-file` or `PODICORN_ADMIN_TOKEN_FILE`.
//! - Exit codes: 0 done, 1 the server refused or was not reached, 2 the command line cannot be read.
//! - What is printed goes to stdout; errors say what, where and what to do, on stderr.

mod address;
mod arguments;
mod client;
mod commands;
mod pool;
mod screen;
mod status;
mod top;

use std::ffi::OsString;
use std::io::Write;

use arguments::Arguments;

/// Runs `podicorn ctl`; `arguments` come after the word `ctl`. The answer is the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let parsed = match Arguments::parse(arguments, |name| std::env::var(name).ok()) {
        Ok(parsed) => parsed,
        Err(exit) => {
            let _ = if exit.code == 0 {
                write!(std::io::stdout(), "{}", exit.text)
            } else {
                write!(std::io::stderr(), "{}", exit.text)
            };
            return exit.code;
        }
    };
    match commands::execute(&parsed) {
        Ok(text) => {
            // A reader that has gone (`| head`) is no error of ours.
            let _ = write!(std::io::stdout(), "{text}");
            0
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Error: {error}");
            1
        }
    }
}
