//! Checking values: from text (command line, environment) or from JSON (config file) to one plain form per setting.
//!
//! The plain form is what Gunicorn's validator would return, as JSON. Users and groups that are named, and relative
//! directories, are resolved later, when the layers are merged.

use std::fmt::Write;

use serde_json::{Map, Number, Value};

use crate::table::{DefaultValue, Kind, Setting, Takes};
use crate::{Bind, Network, SettingsError, Source, Workers, number};

/// A value that a setting does not take.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    given: String,
    expected: String,
    /// Argparse would not have read it: exit 2.
    usage: bool,
}

impl Problem {
    pub(crate) fn wrong(given: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { given: given.into(), expected: expected.into(), usage: false }
    }

    /// The error, with the place and an example in that place's notation.
    pub(crate) fn at(self, setting: &Setting, source: &Source) -> SettingsError {
        let Self { given, mut expected, usage } = self;
        if let Some(example) = example(setting, source) {
            expected = format!("{expected}; for example {example}");
        }
        let usage = usage && matches!(source, Source::CommandLine(_) | Source::GunicornCmdArgs(_));
        SettingsError::Invalid { name: setting.name, given, place: source.clone(), expected, usage }
    }
}

fn example(setting: &Setting, source: &Source) -> Option<String> {
    let text = if setting.example.is_empty() {
        match setting.default {
            DefaultValue::Int(value) => value.to_string(),
            _ => return None,
        }
    } else {
        setting.example.to_owned()
    };
    match source {
        Source::CommandLine(_) | Source::GunicornCmdArgs(_) => {
            Some(format!("{} {text}", setting.long_flag()?))
        }
        Source::Environment(variable) => Some(format!("{variable}={text}")),
        Source::DefaultFrom(_) | Source::Default => None,
        Source::ConfigFile(_) => {
            let text = match setting.kind {
                Kind::Int { prefixed: true, .. } => text.replacen('0', "0o", 1),
                Kind::Int { .. } | Kind::Seconds | Kind::Workers => text,
                Kind::TextList | Kind::Pairs => format!("[\"{text}\"]"),
                _ => format!("\"{text}\""),
            };
            Some(format!("{} = {text}", setting.name))
        }
    }
}

/// What a setting takes, to go after "it must be".
pub(crate) fn expectation(setting: &Setting) -> String {
    let unit = if setting.unit.is_empty() { String::new() } else { format!(" ({})", setting.unit) };
    match setting.kind {
        Kind::Flag => "True or False".to_owned(),
        Kind::Int { min, max, .. } if max >= i64::from(i32::MAX) => {
            format!("a whole number, {min} or more{unit}")
        }
        Kind::Int { min, max, .. } => format!("a whole number from {min} to {max}{unit}"),
        Kind::Seconds => "a number of seconds, 0 or more".to_owned(),
        Kind::Size => "a number of bytes, with or without the suffix k, m or g".to_owned(),
        Kind::Text | Kind::TextOrDefault => "a text".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::TextList => "a text or a list of texts".to_owned(),
        Kind::Pairs => "KEY=VALUE texts".to_owned(),
        Kind::CommaList => "a comma-separated text".to_owned(),
        Kind::Networks => "a comma-separated text of IP addresses and networks, or *".to_owned(),
        Kind::Headers => "a dictionary of header names to texts".to_owned(),
        Kind::Dict => "a dictionary".to_owned(),
        Kind::Class => "the name of a class".to_owned(),
        Kind::Binds => "HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH or fd://FD, or a list of them".to_owned(),
        Kind::BindOrOff(_) => "HOST:PORT, [IPV6]:PORT, unix:PATH or off".to_owned(),
        Kind::Workers => crate::WorkersError.to_string(),
        Kind::User => "the name or number of a user".to_owned(),
        Kind::Group => "the name or number of a group".to_owned(),
        Kind::Directory => "an existing directory".to_owned(),
        Kind::ProxyProtocol => "off, v1, v2 or auto".to_owned(),
        Kind::HttpProtocols => "h1 or h2, or both in order of preference, comma-separated".to_owned(),
        Kind::Cleartext => "off, prior-knowledge, upgrade or both".to_owned(),
        Kind::Any => "any value".to_owned(),
        Kind::Hook => "a Python callable, or the name of one as module.name".to_owned(),
    }
}

/// Where a text was written: a list is one text per item on the command line, and one text altogether in a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextFrom {
    CommandLine,
    Environment,
}

/// The plain form of a setting's texts. A flag without a value has the text `true` or `false`.
pub(crate) fn from_texts(setting: &Setting, texts: &[String], from: TextFrom) -> Result<Value, Problem> {
    if setting.takes == Takes::Values {
        let items = match (setting.kind, from) {
            (_, TextFrom::CommandLine) => texts.to_vec(),
            (Kind::Binds, TextFrom::Environment) => {
                texts.iter().flat_map(|text| Bind::split_list(text)).collect()
            }
            (_, TextFrom::Environment) => {
                let words = shell_words::split(&texts.join(" "));
                words.map_err(|_| Problem::wrong(quoted(&texts.join(" ")), "words with closed quotes"))?
            }
        };
        return list(setting, &items);
    }
    // The last one counts, as with argparse.
    let text = texts.last().map_or("", String::as_str);
    match setting.kind {
        Kind::Flag if from == TextFrom::Environment => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Value::Bool(true)),
            "false" | "0" | "no" | "off" => Ok(Value::Bool(false)),
            _ => Err(Problem::wrong(quoted(text), "true or false")),
        },
        Kind::Int { min, max, prefixed } => {
            let read = if prefixed { number::mode(text) } else { number::decimal(text) };
            let value = read.ok_or_else(|| not_readable(setting, text))?;
            in_range(setting, value, min, max)
        }
        Kind::Seconds => {
            number::seconds(text).map_or_else(|| Err(not_readable(setting, text)), |n| seconds(setting, n))
        }
        Kind::Size if number::size(text).is_none() => Err(not_readable(setting, text)),
        Kind::Workers => {
            let mut problem = workers(setting, text);
            if let Err(problem) = &mut problem {
                problem.usage = number::decimal(text).is_none();
            }
            problem
        }
        _ => from_json(setting, &Value::String(text.to_owned())),
    }
}

fn not_readable(setting: &Setting, text: &str) -> Problem {
    Problem { given: quoted(text), expected: expectation(setting), usage: true }
}

/// The plain form of a value of the config file.
pub(crate) fn from_json(setting: &Setting, value: &Value) -> Result<Value, Problem> {
    let wrong = || Problem::wrong(shown(value), expectation(setting));
    match (setting.kind, value) {
        (Kind::Text | Kind::Class | Kind::BindOrOff(_) | Kind::User | Kind::Group, Value::Null) => {
            Ok(Value::Null)
        }
        (Kind::Flag, Value::Null | Value::Bool(_)) | (Kind::Dict, Value::Object(_)) | (Kind::Any, _) => {
            Ok(value.clone())
        }
        (Kind::Flag, Value::String(text)) => match text.trim().to_lowercase().as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(wrong()),
        },
        (Kind::Int { min, max, .. }, _) => in_range(setting, integer(value).ok_or_else(wrong)?, min, max),
        (Kind::Workers, Value::String(text)) if text.contains("..") || text.trim() == "auto" => {
            workers(setting, text)
        }
        (Kind::Workers, _) => workers(setting, &integer(value).ok_or_else(wrong)?.to_string()),
        (Kind::Seconds, Value::Number(number)) => seconds(setting, number.clone()),
        (Kind::Seconds, Value::String(text)) => seconds(setting, number::seconds(text).ok_or_else(wrong)?),
        (Kind::Size, Value::Number(number)) => {
            number.as_i64().filter(|n| *n >= 0).map(Value::from).ok_or_else(wrong)
        }
        (Kind::Size, Value::String(text)) => {
            number::size(text).filter(|n| *n >= 0).map(Value::from).ok_or_else(wrong)
        }
        (Kind::Text | Kind::TextOrDefault | Kind::Class | Kind::Directory, Value::String(text)) => {
            Ok(text.trim().into())
        }
        (
            Kind::TextOrDefault
            | Kind::Choice(_)
            | Kind::ProxyProtocol
            | Kind::HttpProtocols
            | Kind::Cleartext,
            Value::Null,
        ) => Ok(plain(setting.default)),
        (Kind::Choice(words), Value::String(text)) => {
            let word = text.trim().to_lowercase();
            if words.contains(&word.as_str()) { Ok(word.into()) } else { Err(wrong()) }
        }
        (Kind::TextList | Kind::Pairs | Kind::Binds, _) => list(setting, &texts(value).ok_or_else(wrong)?),
        (Kind::CommaList | Kind::Networks, Value::Null) => Ok(Value::Array(Vec::new())),
        (Kind::CommaList, Value::String(text)) => Ok(comma_list(text).into()),
        (Kind::Networks, Value::String(text)) => networks(setting, text),
        (Kind::Headers, Value::Object(map)) if map.values().all(Value::is_string) => Ok(value.clone()),
        (Kind::BindOrOff(port), Value::String(text)) => match text.trim() {
            "off" => Ok(Value::Null),
            "" => Err(wrong()),
            address => match Bind::parse(address, port) {
                Ok(Bind::Fd(_)) => Err(wrong()),
                Ok(bind) => Ok(bind.to_string().into()),
                Err(error) => {
                    Err(Problem::wrong(shown(value), format!("{} ({error})", expectation(setting))))
                }
            },
        },
        (Kind::User | Kind::Group, Value::Number(_)) => id(value).ok_or_else(wrong),
        (Kind::User | Kind::Group, Value::String(text)) if !text.is_empty() => {
            if text.bytes().all(|byte| byte.is_ascii_digit()) {
                text.parse::<u32>().map(Value::from).map_err(|_| wrong())
            } else {
                Ok(text.as_str().into())
            }
        }
        (Kind::ProxyProtocol, Value::Bool(on)) => Ok(if *on { "auto" } else { "off" }.into()),
        (Kind::ProxyProtocol, Value::String(text)) => match text.trim().to_lowercase().as_str() {
            "off" | "false" | "0" | "none" => Ok("off".into()),
            "auto" | "true" | "1" => Ok("auto".into()),
            version @ ("v1" | "v2") => Ok(version.into()),
            _ => Err(wrong()),
        },
        (Kind::HttpProtocols, Value::String(text)) => http_protocols(text).ok_or_else(wrong),
        (Kind::Cleartext, Value::Bool(on)) => Ok(if *on { "prior-knowledge" } else { "off" }.into()),
        (Kind::Cleartext, Value::String(text)) => match text.trim().to_lowercase().as_str() {
            word @ ("off" | "prior-knowledge" | "upgrade" | "both") => Ok(word.into()),
            _ => Err(wrong()),
        },
        // A hook by name stays a name; the fork server imports it.
        (Kind::Hook, Value::String(text)) if text.contains('.') => Ok(Value::Bool(true)),
        _ => Err(wrong()),
    }
}

/// The default in plain form; null where it is worked out at the merge.
pub(crate) fn plain(default: DefaultValue) -> Value {
    match default {
        DefaultValue::Null | DefaultValue::Computed(_) => Value::Null,
        DefaultValue::Flag(on) => on.into(),
        DefaultValue::Int(number) => number.into(),
        DefaultValue::Text(text) => text.into(),
        DefaultValue::List(items) => items.iter().copied().collect(),
        DefaultValue::Dict(items) => Value::Object(
            items.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect::<Map<_, _>>(),
        ),
    }
}

/// As Gunicorn's `validate_pos_int`: whole numbers, True and False, and text that `int(text, 0)` reads.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(on) => Some(i64::from(*on)),
        Value::Number(number) => number.as_i64(),
        Value::String(text) => number::literal(text),
        _ => None,
    }
}

fn in_range(setting: &Setting, value: i64, min: i64, max: i64) -> Result<Value, Problem> {
    if (min..=max).contains(&value) {
        return Ok(value.into());
    }
    let expected =
        if value > max { format!("a whole number from {min} to {max}") } else { expectation(setting) };
    Err(Problem::wrong(value.to_string(), expected))
}

fn seconds(setting: &Setting, number: Number) -> Result<Value, Problem> {
    match number.as_f64() {
        Some(value) if (0.0..=f64::from(u32::MAX)).contains(&value) => Ok(Value::Number(number)),
        _ => Err(Problem::wrong(number.to_string(), expectation(setting))),
    }
}

fn workers(setting: &Setting, text: &str) -> Result<Value, Problem> {
    match text.parse::<Workers>() {
        Ok(Workers::Fixed(count)) => Ok(count.into()),
        Ok(other) => Ok(other.to_string().into()),
        Err(_) => Err(Problem::wrong(quoted(text), expectation(setting))),
    }
}

/// As Gunicorn's `validate_list_string`: what is false is no item, a text is one item.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null | Value::Bool(false) => Some(Vec::new()),
        Value::String(text) if text.is_empty() => Some(Vec::new()),
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn list(setting: &Setting, items: &[String]) -> Result<Value, Problem> {
    match setting.kind {
        Kind::Binds => {
            let mut binds = Vec::new();
            for item in items.iter().flat_map(|item| Bind::split_list(item)) {
                if let Err(error) = item.parse::<Bind>() {
                    return Err(Problem::wrong(quoted(&item), format!("{} ({error})", expectation(setting))));
                }
                binds.push(Value::String(item));
            }
            if binds.is_empty() {
                return Err(Problem::wrong("nothing", expectation(setting)));
            }
            Ok(Value::Array(binds))
        }
        Kind::Pairs => {
            if let Some(item) = items.iter().find(|item| !item.contains('=')) {
                return Err(Problem::wrong(quoted(item), expectation(setting)));
            }
            Ok(items.iter().map(|item| item.trim()).collect())
        }
        _ => Ok(items.iter().map(|item| item.trim()).collect()),
    }
}

fn comma_list(text: &str) -> Vec<String> {
    text.trim().split(',').filter(|item| !item.is_empty()).map(|item| item.trim().to_owned()).collect()
}

fn networks(setting: &Setting, text: &str) -> Result<Value, Problem> {
    let items = comma_list(text);
    for item in items.iter().filter(|item| *item != "*") {
        if let Err(error) = item.parse::<Network>() {
            return Err(Problem::wrong(quoted(text), format!("{} ({error})", expectation(setting))));
        }
    }
    Ok(items.into())
}

fn id(value: &Value) -> Option<Value> {
    value.as_u64().and_then(|id| u32::try_from(id).ok()).map(Value::from)
}

fn http_protocols(text: &str) -> Option<Value> {
    let mut protocols: Vec<String> =
        text.split(',').map(|item| item.trim().to_lowercase()).filter(|item| !item.is_empty()).collect();
    if protocols.is_empty() {
        protocols.push("h1".to_owned());
    }
    let known = protocols.iter().all(|protocol| protocol == "h1" || protocol == "h2");
    let twice = protocols.len() == 2 && protocols.first() == protocols.last();
    (known && !twice && protocols.len() <= 2).then(|| protocols.into())
}

/// A value as Python would write it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let items: Vec<_> =
                map.iter().map(|(key, value)| format!("{}: {}", quoted(key), shown(value))).collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

/// A text as Python's `repr` writes it: in single quotes, or in double ones if it has single ones only.
pub(crate) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
