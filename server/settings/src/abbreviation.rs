//! Abbreviated long flags, as argparse takes them.
//!
//! A prefix that is unambiguous among Gunicorn's flags means that flag whatever Podicorn adds, so that no new setting can
//! break an existing command line.

use std::ffi::OsString;

use crate::Origin;
use crate::table::table;

/// A long flag, what it sets, and whether Gunicorn has it.
struct Flag {
    long: &'static str,
    sets: &'static str,
    gunicorn: bool,
}

fn flags() -> Vec<Flag> {
    let mut flags = vec![
        Flag { long: "--help", sets: "help", gunicorn: true },
        Flag { long: "--version", sets: "version", gunicorn: true },
    ];
    for setting in table() {
        let gunicorn = setting.origin == Origin::Gunicorn;
        let longs = setting.flags.iter().filter(|flag| flag.starts_with("--"));
        flags.extend(longs.map(|long| Flag { long, sets: setting.name, gunicorn }));
    }
    flags
}

/// Replaces each abbreviation by its flag. What matches nothing stays, for the parser to refuse; the error says what an
/// ambiguous one could mean.
pub(crate) fn expand(args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let flags = flags();
    let mut options = true;
    args.into_iter()
        .map(|arg| {
            options &= arg != "--";
            match arg.to_str() {
                Some(text) if options && text.starts_with("--") => Ok(full(text, &flags)?.into()),
                _ => Ok(arg),
            }
        })
        .collect()
}

fn full(text: &str, flags: &[Flag]) -> Result<String, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if flags.iter().any(|flag| flag.long == name) {
        return Ok(text.to_owned());
    }
    let mut matching: Vec<&Flag> =
        flags.iter().filter(|flag| flag.gunicorn && flag.long.starts_with(name)).collect();
    if matching.is_empty() {
        matching = flags.iter().filter(|flag| flag.long.starts_with(name)).collect();
    }
    let Some(first) = matching.first() else { return Ok(text.to_owned()) };
    if matching.iter().any(|flag| flag.sets != first.sets) {
        let longs: Vec<&str> = matching.iter().map(|flag| flag.long).collect();
        return Err(format!("ambiguous flag {name}: it could mean {}", longs.join(", ")));
    }
    Ok(match value {
        Some(value) => format!("{}={value}", first.long),
        None => first.long.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(args: &[&str]) -> Result<Vec<String>, String> {
        let args = expand(args.iter().map(OsString::from).collect())?;
        Ok(args.into_iter().map(|arg| arg.into_string().unwrap()).collect())
    }

    #[test]
    fn a_unique_prefix_is_its_flag() {
        for (given, meant) in [
            ("--bi=:8000", "--bind=:8000"),
            ("--prel", "--preload"),
            ("--worker-cl", "--worker-class"),
            ("--worker-class", "--worker-class"),
            ("--ver", "--version"),
            // Podicorn has --head-timeout, --log-format and --python beside these.
            ("--head", "--header-map"),
            ("--log-f", "--log-file"),
            ("--pyth", "--pythonpath"),
            ("--admin-b", "--admin-bind"),
            ("--nonsense", "--nonsense"),
        ] {
            assert_eq!(expanded(&[given]).unwrap(), [meant], "{given}");
        }
    }

    #[test]
    fn an_ambiguous_prefix_is_refused() {
        let message = expanded(&["--work", "3"]).unwrap_err();
        assert!(
            message.starts_with("ambiguous flag --work: it could mean --workers, --worker-class"),
            "{message}"
        );
        assert!(expanded(&["--access-l"]).is_err());
    }

    #[test]
    fn arguments_after_two_dashes_stay() {
        assert_eq!(expanded(&["--", "--prel"]).unwrap(), ["--", "--prel"]);
    }
}
