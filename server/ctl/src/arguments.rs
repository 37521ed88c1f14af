//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::address::Address;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) admin: Address,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) order: Order,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Status { json: bool },
    Scale(Option<Scale>),
    Reload,
    Drain,
    Stack(u32),
    Top,
}

/// How the number of workers is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scale {
    /// So many, for so many seconds.
    Absolute { workers: u32, seconds: u32 },
    /// So many more or less.
    Steps(i32),
}

/// Print and leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl Arguments {
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Exit> {
        let arguments = std::iter::once(OsString::from("podicorn ctl")).chain(arguments);
        let matches = command().try_get_matches_from(arguments).map_err(|error| {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            Exit { code: if asked { 0 } else { 2 }, text: error.render().to_string() }
        })?;
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let admin = matches
            .get_one::<String>("admin")
            .cloned()
            // The setting takes several addresses; the first will do.
            .or_else(|| set("PODICORN_ADMIN_BIND").and_then(|all| all.split(',').next().map(str::to_owned)));
        let admin = admin
            .map_or_else(|| Ok(Address::default()), |text| Address::parse(text.trim()))
            .map_err(usage)?;
        let token_file = matches
            .get_one::<PathBuf>("token-file")
            .cloned()
            .or_else(|| set("PODICORN_ADMIN_TOKEN_FILE").map(PathBuf::from));
        Ok(Self { admin, token_file, order: order(&matches)? })
    }
}

fn order(matches: &ArgMatches) -> Result<Order, Exit> {
    Ok(match matches.subcommand() {
        Some(("status", given)) => Order::Status { json: given.get_flag("json") },
        Some(("scale", given)) => Order::Scale(match given.get_one::<String>("WORKERS") {
            None => None,
            Some(text) => Some(scale(text, given.get_one("seconds").copied().unwrap_or(DEFAULT_SECONDS))?),
        }),
        Some(("reload", _)) => Order::Reload,
        Some(("drain", _)) => Order::Drain,
        Some(("stack", given)) => Order::Stack(given.get_one("SLOT").copied().unwrap_or_default()),
        Some(("top", _)) => Order::Top,
        _ => return Err(usage("a command is missing")),
    })
}

/// An hour: long enough to sleep over, short enough not to be forgotten.
const DEFAULT_SECONDS: u32 = 3600;

fn scale(text: &str, seconds: u32) -> Result<Scale, Exit> {
    let error = || usage(format!("{text:?} is no number of workers: give 6, +1 or -2"));
    if text.starts_with(['+', '-']) {
        let steps: i32 = text.parse().map_err(|_| error())?;
        return if (1..=MOST_STEPS).contains(&steps.unsigned_abs()) {
            Ok(Scale::Steps(steps))
        } else {
            Err(error())
        };
    }
    match text.parse() {
        Ok(workers) if workers > 0 => Ok(Scale::Absolute { workers, seconds }),
        _ => Err(error()),
    }
}

/// Each is a request.
const MOST_STEPS: u32 = 64;

fn usage(problem: impl std::fmt::Display) -> Exit {
    Exit { code: 2, text: format!("error: {problem}\n\nFor more information, try 'podicorn ctl --help'.\n") }
}

fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name);
    Command::new("podicorn ctl")
        .about("Asks and orders a running server through its admin API")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            flag("admin")
                .value_name("ADDRESS")
                .global(true)
                .help("IP:PORT or unix:PATH [default: PODICORN_ADMIN_BIND, else 127.0.0.1:9099]"),
        )
        .arg(
            flag("token-file")
                .value_name("FILE")
                .global(true)
                .value_parser(value_parser!(PathBuf))
                .help("The file with the bearer token [default: PODICORN_ADMIN_TOKEN_FILE]"),
        )
        .subcommand(
            Command::new("status")
                .about("The pool, each worker, and why there are so many")
                .arg(flag("json").num_args(0).action(clap::ArgAction::SetTrue).help("As the API has it")),
        )
        .subcommand(
            Command::new("scale")
                .about("Shows the wanted number of workers and why, or sets it")
                .arg(
                    Arg::new("WORKERS")
                        .allow_hyphen_values(true)
                        .help("6: so many for a time (a lease); +1, -2: so many more or less (TTIN, TTOU)"),
                )
                .arg(
                    flag("seconds")
                        .value_name("SECONDS")
                        .value_parser(value_parser!(u32).range(1..=86_400))
                        .help("How long the number holds [default: 3600]"),
                ),
        )
        .subcommand(Command::new("reload").about("New code without a lost request, as HUP"))
        .subcommand(Command::new("drain").about("Ends the server without a lost request, as TERM"))
        .subcommand(
            Command::new("stack").about("Where a worker is: its threads, greenlets and tasks").arg(
                Arg::new("SLOT").required(true).value_parser(value_parser!(u32)).help("As `status` has it"),
            ),
        )
        .subcommand(Command::new("top").about("A live view; q leaves"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, variables: &[(&str, &str)]) -> Result<Arguments, Exit> {
        Arguments::parse(line.split_whitespace().map(OsString::from), |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_flag_goes_before_the_environment() {
        let variables =
            [("PODICORN_ADMIN_BIND", "[::]:7000,unix:/x"), ("PODICORN_ADMIN_TOKEN_FILE", "/token")];
        let arguments = parse("status", &variables).unwrap();
        assert_eq!(arguments.admin.to_string(), "http://127.0.0.1:7000");
        assert_eq!(arguments.token_file, Some("/token".into()));
        let arguments = parse("status --admin /a.sock --token-file b", &variables).unwrap();
        assert_eq!(arguments.admin, Address::Unix("/a.sock".into()));
        assert_eq!(arguments.token_file, Some("b".into()));
        assert_eq!(parse("top", &[("PODICORN_ADMIN_BIND", "")]).unwrap().admin, Address::default());
    }

    #[test]
    fn numbers_of_workers() {
        let order = |line: &str| parse(line, &[]).unwrap().order;
        assert_eq!(order("scale"), Order::Scale(None));
        assert_eq!(order("scale 6"), Order::Scale(Some(Scale::Absolute { workers: 6, seconds: 3600 })));
        assert_eq!(
            order("scale 6 --seconds 60"),
            Order::Scale(Some(Scale::Absolute { workers: 6, seconds: 60 }))
        );
        assert_eq!(order("scale +2"), Order::Scale(Some(Scale::Steps(2))));
        assert_eq!(order("scale -1"), Order::Scale(Some(Scale::Steps(-1))));
    }

    #[test]
    fn what_cannot_be_read_is_two() {
        for line in [
            "",
            "walk",
            "scale 0",
            "scale x",
            "scale +0",
            "scale +65",
            "stack",
            "stack x",
            "status --admin 1",
        ] {
            let exit = parse(line, &[]).unwrap_err();
            assert_eq!(exit.code, 2, "{line}");
            assert!(!exit.text.is_empty());
        }
        assert_eq!(parse("--help", &[]).unwrap_err().code, 0);
    }
}
