//! The page `docs/settings.md`, made from the table.

use std::fmt::Write;

use crate::cli::default_text;
use crate::env::{environment_name, settable};
use crate::table::{Kind, Origin, Section, Setting, Status, Takes, table};

const HEAD: &str = "\
<!-- Made from the table in server/settings/src/table. Do not edit it here: change the table, then run
     UPDATE_REFERENCE=1 cargo test -p podicorn-settings reference -->

# Settings

Each setting has one name, which is Gunicorn's where Gunicorn has it. It is the key in the config file, and in upper case
after `PODICORN_` the environment variable.

| Where | Example | Wins over |
|---|---|---|
| command line | `podicorn --workers 4 myapp:app` | all below |
| `GUNICORN_CMD_ARGS` | `GUNICORN_CMD_ARGS=\"--workers 4\"` | all below |
| environment | `PODICORN_WORKERS=4` | all below |
| config file | `workers = 4` in `gunicorn.conf.py` | all below |
| environment, as defaults | `WEB_CONCURRENCY=4`, `PORT=8000`, `FORWARDED_ALLOW_IPS`, `SENDFILE` | the defaults below |

`podicorn --print-config myapp:app` prints every setting as it is in force, and where it was set.

- **Command line.** Long flags may be abbreviated as long as they are unambiguous. A flag given twice counts once, the last
  time; those marked repeatable add up.
- **Environment.** A `PODICORN_` variable with an empty value counts as not set. Flags take true or false. Several addresses
  are separated by commas, other lists are split like a shell's command line. Python callables and dictionaries can only be
  set in the config file.
- **Config file.** Python code. Global variables with a setting's name are settings, others are ignored.
- **In a pod** means that `KUBERNETES_SERVICE_HOST` is set, as Kubernetes does in every container.
- **Traces** are set up by the `OTEL_*` variables of OpenTelemetry: see [telemetry.md](telemetry.md).
- A setting marked *Podicorn* is not Gunicorn's.
";

const ELSEWHERE: &str = "
## Gunicorn's other settings

They are known, so that an existing command line or config file says clearly what becomes of it.

**Refused**: a value other than the default ends the server with exit code 1 and the sentence below.

";

const NO_EFFECT: &str = "
**Without effect**: accepted; a line in the log says so at start-up.

";

/// The text of `docs/settings.md`.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    let mut section = None;
    for setting in table().iter().filter(|setting| setting.status == Status::Works) {
        if section != Some(setting.section) {
            section = Some(setting.section);
            let _ = write!(page, "\n## {}\n", setting.section.title());
            if setting.section == Section::Hooks {
                page.push_str("\nPython functions in the config file, with Gunicorn's arguments.\n\n");
            }
        }
        if setting.kind == Kind::Hook {
            // The help of a hook begins with its arguments.
            let (arguments, when) = setting.help.split_once(':').unwrap_or((setting.help, ""));
            let _ = writeln!(page, "- `{}{arguments}`:{when}", setting.name);
        } else {
            entry(&mut page, setting);
        }
    }
    page.push_str(ELSEWHERE);
    let rows = |page: &mut String, wanted: fn(Status) -> Option<&'static str>| {
        page.push_str("| Setting | Flag | Default | |\n|---|---|---|---|\n");
        for setting in table() {
            let Some(sentence) = wanted(setting.status) else { continue };
            let flag = setting.long_flag().map_or("config file only".to_owned(), |flag| format!("`{flag}`"));
            let default = default_text(setting).map_or("none".to_owned(), |text| format!("`{text}`"));
            let _ = writeln!(page, "| `{}` | {flag} | {default} | {sentence} |", setting.name);
        }
    };
    rows(&mut page, |status| match status {
        Status::Unsupported(instead) => Some(instead),
        _ => None,
    });
    page.push_str(NO_EFFECT);
    rows(&mut page, |status| match status {
        Status::NoEffect(why) => Some(why),
        _ => None,
    });
    page
}

fn entry(page: &mut String, setting: &Setting) {
    let _ = write!(page, "\n### {}\n\n{}", setting.name, setting.help);
    if !setting.details.is_empty() {
        let _ = write!(page, " {}", setting.details);
    }
    page.push_str("\n\n");
    let mut line = |label: &str, text: String| {
        let _ = writeln!(page, "- {label}: {text}");
    };
    if setting.flags.is_empty() {
        line("Flag", "none".to_owned());
    } else {
        let flags: Vec<String> =
            setting.flags.iter().map(|flag| format!("`{flag}{}`", value_name(setting, flag))).collect();
        let repeatable = if setting.takes == Takes::Values { " (repeatable)" } else { "" };
        line("Flag", format!("{}{repeatable}", flags.join(", ")));
    }
    if settable(setting) {
        line("Variable", format!("`{}`", environment_name(setting.name)));
    }
    if !setting.in_config_file {
        line("Config file", "no".to_owned());
    }
    let default = match (default_text(setting), setting.kind) {
        (Some(text), _) => format!("`{text}`"),
        (None, Kind::Flag) if setting.takes == Takes::True => "off".to_owned(),
        (None, _) => "not set".to_owned(),
    };
    line("Default", default);
    if !setting.unit.is_empty() {
        line("Unit", setting.unit.to_owned());
    }
    if setting.origin == Origin::Podicorn {
        line("Origin", "Podicorn".to_owned());
    }
}

fn value_name(setting: &Setting, flag: &str) -> String {
    match setting.takes {
        Takes::True | Takes::False => String::new(),
        _ if flag.starts_with("--") => format!(" {}", setting.metavar),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_page_is_up_to_date() {
        let path = "../../docs/settings.md";
        let page = reference();
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == page,
            "docs/settings.md is stale: run UPDATE_REFERENCE=1 cargo test -p podicorn-settings reference"
        );
    }

    #[test]
    fn every_setting_is_on_the_page() {
        let page = reference();
        for setting in table() {
            let name = setting.name;
            let listed = [format!("### {name}\n"), format!("- `{name}("), format!("| `{name}` |")];
            assert!(listed.iter().any(|entry| page.contains(entry)), "{name}");
        }
    }
}
