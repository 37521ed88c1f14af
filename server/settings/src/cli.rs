//! The command line, made from the table.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::abbreviation;
use crate::env::POD_KEEPALIVE;
use crate::table::{DefaultValue, Kind, Setting, Takes, table};
use crate::value::{self, TextFrom};
use crate::{Layer, SettingsError, Source, VERSION};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct CommandLine {
    pub layer: Layer,
    /// The argument `[APP_MODULE]`.
    pub app: Option<String>,
    /// Further arguments; Gunicorn ignores them, and so does [`crate::merge()`], with a notice.
    pub(crate) ignored: Vec<String>,
}

/// Print `text` and leave: for `--help` and `--version` (code 0, to stdout) and for a wrong command line (to stderr; code
/// 2 for what cannot be read, 1 for a value that is refused, as Gunicorn).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    /// Ends with a newline.
    pub text: String,
    pub to_stderr: bool,
}

/// Reads the command line; `args` are without the program's name. Long flags may be abbreviated, as with argparse.
pub fn parse_command_line<I: IntoIterator<Item = OsString>>(args: I) -> Result<CommandLine, Exit> {
    parse(args, Source::CommandLine).map_err(|stop| match stop {
        Stop::Exit(exit) => exit,
        Stop::Value(error) => Exit {
            code: error.exit_code(),
            text: format!("Error: {error}\n\nAll settings: podicorn --help\n"),
            to_stderr: true,
        },
    })
}

/// The text of `--help`.
pub fn help() -> String {
    command().render_help().to_string()
}

/// Why a command line has no settings.
pub(crate) enum Stop {
    Exit(Exit),
    Value(SettingsError),
}

/// In `GUNICORN_CMD_ARGS` nobody asks for help.
impl From<Stop> for SettingsError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Value(error) => error,
            Stop::Exit(Exit { to_stderr: false, .. }) => Self::GunicornCmdArgs {
                message: "--help and --version belong on the command line".to_owned(),
            },
            Stop::Exit(Exit { text, .. }) => {
                // The first line says what is wrong; the rest is clap's advice for a terminal.
                let message = text.lines().next().unwrap_or_default();
                Self::GunicornCmdArgs { message: message.trim_start_matches("Error: ").to_owned() }
            }
        }
    }
}

/// `source` makes the source of a value from its flag.
pub(crate) fn parse<I: IntoIterator<Item = OsString>>(
    args: I,
    source: fn(String) -> Source,
) -> Result<CommandLine, Stop> {
    let args = abbreviation::expand(args.into_iter().collect()).map_err(|message| {
        let text = format!("Error: {message}\n\nAll settings: podicorn --help\n");
        Stop::Exit(Exit { code: 2, text, to_stderr: true })
    })?;
    let matches = command().try_get_matches_from(args).map_err(|error| {
        Stop::Exit(match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Exit { code: 0, text: error.to_string(), to_stderr: false }
            }
            _ => Exit { code: 2, text: complaint(&error.to_string()), to_stderr: true },
        })
    })?;
    let mut layer = Layer::default();
    for setting in table().iter().filter(|setting| !setting.flags.is_empty()) {
        let Some(texts) = texts(setting, &matches) else { continue };
        let source = source(setting.long_flag().unwrap_or_default().to_owned());
        let value = value::from_texts(setting, &texts, TextFrom::CommandLine)
            .map_err(|problem| Stop::Value(problem.at(setting, &source)))?;
        layer.set(setting.name, value, source);
    }
    let app = matches.get_one::<String>(APP).cloned();
    let ignored = matches.get_many::<String>(IGNORED).into_iter().flatten().cloned().collect();
    Ok(CommandLine { layer, app, ignored })
}

/// Clap's message, with the same beginning and end as our own.
fn complaint(text: &str) -> String {
    let text = text.replace("error: ", "Error: ");
    let end = text.find("\n\nUsage:").or_else(|| text.find("\n\nFor more information")).unwrap_or(text.len());
    format!("{}\n\nAll settings: podicorn --help\n", text[..end].trim_end())
}

/// The texts given for a setting; none if its flag is absent.
fn texts(setting: &Setting, matches: &ArgMatches) -> Option<Vec<String>> {
    match setting.takes {
        Takes::True => matches.get_flag(setting.name).then(|| vec!["true".to_owned()]),
        Takes::False => matches.get_flag(setting.name).then(|| vec!["false".to_owned()]),
        Takes::Value | Takes::Values | Takes::Optional(_) => {
            let texts = matches.get_many::<String>(setting.name)?;
            Some(texts.cloned().collect())
        }
    }
}

const APP: &str = "APP_MODULE";
const IGNORED: &str = "IGNORED";

const AFTER_HELP: &str = "\
Every setting but python callables can also be set by the environment variable PODICORN_<NAME>, where NAME is the word \
in brackets above, in upper case (PODICORN_WORKERS=4), and by that word in the config file (workers = 4). The command \
line wins over GUNICORN_CMD_ARGS, that over PODICORN_<NAME>, that over the config file, and that over WEB_CONCURRENCY \
and PORT. To see what is in force, and from where: podicorn --print-config APP_MODULE

Hooks and dictionaries are set in the config file only. Gunicorn's other flags are known, too: setting one that this \
version does not support ends with a message that says what to do instead.

Examples:
  podicorn myproject.wsgi
  podicorn -b 0.0.0.0:8000 -w 4 --access-logfile - --log-format json myapp:app
  podicorn --preload -w 2..8 --admin-bind 127.0.0.1:9099 'myapp:create_app()'
";

pub(crate) fn command() -> Command {
    let mut command = Command::new("podicorn")
        .no_binary_name(true)
        .version(format!("(version {VERSION})"))
        .disable_version_flag(true)
        .disable_help_flag(true)
        .args_override_self(true)
        .override_usage("podicorn [OPTIONS] [APP_MODULE]")
        .about("Serve a Python web app from a pool of worker processes, as Gunicorn does.")
        .after_help(AFTER_HELP)
        .arg(Arg::new(APP).help(
            "The app: MODULE (its attribute application), MODULE:NAME or MODULE:FACTORY(). Or set wsgi_app.",
        ))
        .arg(Arg::new(IGNORED).num_args(0..).hide(true));
    for setting in table().iter().filter(|setting| !setting.flags.is_empty()) {
        command = command.arg(arg(setting));
    }
    command
        .next_help_heading("Information")
        .arg(information("help", 'h', "Print this help and exit.", ArgAction::Help))
        .arg(information("version", 'v', "Print the version and exit.", ArgAction::Version))
}

fn information(name: &'static str, short: char, help: &'static str, action: ArgAction) -> Arg {
    Arg::new(name).long(name).short(short).help(help).help_heading("Information").action(action)
}

fn arg(setting: &'static Setting) -> Arg {
    let mut arg = Arg::new(setting.name)
        .help(described(setting))
        .help_heading(setting.section.title())
        .hide(!setting.listed());
    let mut has_long = false;
    for flag in setting.flags {
        match flag.strip_prefix("--") {
            Some(long) if has_long => arg = arg.alias(long),
            Some(long) => {
                arg = arg.long(long);
                has_long = true;
            }
            None => arg = arg.short(flag.chars().nth(1)),
        }
    }
    match setting.takes {
        Takes::True | Takes::False => arg.action(ArgAction::SetTrue),
        Takes::Value => arg.action(ArgAction::Set).allow_negative_numbers(true).value_name(setting.metavar),
        Takes::Values => {
            arg.action(ArgAction::Append).allow_negative_numbers(true).value_name(setting.metavar)
        }
        Takes::Optional(missing) => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .default_missing_value(missing)
            .value_name(setting.metavar),
    }
}

/// The help of a setting, with its name and default in brackets.
fn described(setting: &Setting) -> String {
    let mut text = setting.help.to_owned();
    text.push_str(" [");
    text.push_str(setting.name);
    // A long default, such as a format, is left to the reference page.
    if let Some(default) = default_text(setting).filter(|default| default.len() <= 50) {
        text.push_str(": ");
        text.push_str(&default);
    }
    text.push(']');
    text
}

/// The default for people, with its unit; none where nothing is the default.
pub(crate) fn default_text(setting: &Setting) -> Option<String> {
    let text = match (setting.default, setting.kind) {
        (DefaultValue::Null, Kind::BindOrOff(_)) => "off".to_owned(),
        (
            DefaultValue::Null
            | DefaultValue::Flag(false)
            | DefaultValue::Text("")
            | DefaultValue::List([])
            | DefaultValue::Dict([]),
            _,
        ) => return None,
        (DefaultValue::Flag(true), _) => "on".to_owned(),
        (DefaultValue::Int(bytes), Kind::Size) => format!("{} KiB", bytes / 1024),
        (DefaultValue::Int(mode), Kind::Int { prefixed: true, .. }) if mode != 0 => format!("0{mode:o}"),
        (DefaultValue::Int(number), _) => match setting.unit {
            "seconds" => format!("{number} s"),
            "bytes" => format!("{number} bytes"),
            _ => number.to_string(),
        },
        (DefaultValue::Text(text) | DefaultValue::Computed(text), _) => text.to_owned(),
        (DefaultValue::List(items), _) => items.join(","),
        (DefaultValue::Dict(items), _) => {
            items.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join(", ")
        }
    };
    Some(match (setting.default_variable, setting.kind) {
        ("KUBERNETES_SERVICE_HOST", Kind::BindOrOff(port)) => format!("{text}; in a pod [::]:{port}"),
        ("KUBERNETES_SERVICE_HOST", _) => format!("{text}; in a pod {POD_KEEPALIVE} s"),
        ("PORT", _) => format!("{text}, or 0.0.0.0:$PORT"),
        ("" | "SENDFILE", _) => text,
        (variable, _) => format!("{text}, or ${variable}"),
    })
}
