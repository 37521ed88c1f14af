//! The section `settings` of the Helm chart `charts/podicorn`, made from the table: its part of `values.yaml`, its part of
//! `values.schema.json`, and the file that tells the templates which flag gives a setting its value.
//!
//! Every setting that works is in the section, except those that the chart itself sets ([`ELSEWHERE`]), those that print
//! and end the server, those for development, and those that only a config file can give (the chart's `configFile`).

use std::fmt::Write;

use serde_json::{Value, json};

use crate::env::POD_KEEPALIVE;
use crate::table::{Kind, Section, Setting, Status, Takes, table};
use crate::{MAX_WORKERS, value};

/// The settings that the chart sets from another of its values.
const ELSEWHERE: &[(&str, &str)] = &[
    ("wsgi_app", "app"),
    ("bind", "ports.http"),
    ("admin_bind", "ports.admin"),
    ("admin_token_file", "adminToken"),
];

/// The settings whose default in the chart is not the server's.
const CHART_DEFAULTS: &[(&str, &str)] =
    &[("workers", "1..4"), ("graceful_timeout", "30"), ("drain_delay", "5")];

/// Settings that make the server print something and exit.
const COMMANDS: &[&str] = &["check_config", "print_config"];

/// The settings of the section, in the table's order.
fn settings() -> impl Iterator<Item = &'static Setting> {
    table().iter().filter(|setting| {
        setting.status == Status::Works
            && setting.section != Section::Development
            && !setting.flags.is_empty()
            && !COMMANDS.contains(&setting.name)
            && !ELSEWHERE.iter().any(|(name, _)| *name == setting.name)
    })
}

/// The lines of `values.yaml` below `settings:`. What the chart leaves to the server is commented out.
pub fn chart_values() -> String {
    let mut text = String::new();
    let mut section: Option<Section> = None;
    for setting in settings() {
        if section != Some(setting.section) {
            section = Some(setting.section);
            let _ = write!(text, "\n  ## {}\n\n", setting.section.title());
        }
        // The help of a flag that switches something off says what false does.
        let off = if setting.takes == Takes::False { "false: " } else { "" };
        let _ = writeln!(text, "  # {off}{}", setting.help);
        match CHART_DEFAULTS.iter().find(|(name, _)| *name == setting.name) {
            Some((name, default)) => {
                let _ = writeln!(text, "  {name}: {default}");
            }
            None => {
                let _ = writeln!(text, "  #{}: {}", setting.name, default_in_a_pod(setting));
            }
        }
    }
    text
}

fn default_in_a_pod(setting: &Setting) -> Value {
    match setting.name {
        "keepalive" => POD_KEEPALIVE.into(),
        // As one writes it: a text, though the server keeps a list.
        "http_protocols" => "h1".into(),
        _ => value::plain(setting.default),
    }
}

/// The property `settings` of `values.schema.json`.
pub fn chart_schema() -> Value {
    let properties: serde_json::Map<_, _> = settings()
        .map(|setting| {
            let mut schema = schema_of(setting);
            if let Some(map) = schema.as_object_mut() {
                map.insert("description".to_owned(), setting.help.into());
            }
            (setting.name.to_owned(), schema)
        })
        .collect();
    json!({
        "type": "object",
        "description": "Podicorn's settings by their names; what is not set has the server's default.",
        "additionalProperties": false,
        "properties": properties,
    })
}

/// `files/settings.yaml`: how the templates write each setting.
pub fn chart_flags() -> String {
    let mut text = "# Made from the table in server/settings/src/table: UPDATE_REFERENCE=1 cargo test -p \
                    podicorn-settings chart\n"
        .to_owned();
    for setting in settings() {
        let takes = match setting.takes {
            Takes::Value | Takes::Optional(_) => "value",
            Takes::Values => "values",
            Takes::True => "true",
            Takes::False => "false",
        };
        let flag = setting.long_flag().unwrap_or_default();
        let _ = writeln!(text, "{}: {{flag: {flag}, takes: \"{takes}\"}}", setting.name);
    }
    text
}

/// What the chart takes is what the server takes from the config file, null included, as far as a schema can say it.
fn schema_of(setting: &Setting) -> Value {
    let mut any_of = match setting.kind {
        Kind::Flag => vec![json!({"type": "boolean"})],
        Kind::Int { min, max, prefixed } => {
            let number = json!({"type": "integer", "minimum": min, "maximum": max});
            let mode = json!({"type": "string", "pattern": "^0[oO]?[0-7]+$"});
            if prefixed { vec![number, mode] } else { vec![number] }
        }
        Kind::Seconds => vec![json!({"type": "number", "minimum": 0})],
        Kind::Size => vec![
            json!({"type": "integer", "minimum": 0}),
            json!({"type": "string", "pattern": "^[0-9]+([kKmMgG]([iI]?[bB]|[iI])?)?$"}),
        ],
        Kind::Workers => vec![
            json!({"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}),
            json!({"type": "string", "pattern": r"^([0-9]+(\.\.[0-9]+)?|auto)$"}),
        ],
        Kind::Choice(words) => vec![json!({"enum": words})],
        Kind::User | Kind::Group => vec![json!({"type": "string"}), json!({"type": "integer", "minimum": 0})],
        Kind::TextList | Kind::CommaList | Kind::Networks => {
            vec![json!({"type": "string"}), json!({"type": "array", "items": {"type": "string"}})]
        }
        Kind::Pairs => {
            vec![json!({"type": "array", "items": {"type": "string", "pattern": "^[^=]+=", "minLength": 2}})]
        }
        _ => vec![json!({"type": "string"})],
    };
    any_of.push(json!({"type": "null"}));
    json!({ "anyOf": any_of })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADVICE: &str = "is stale: run UPDATE_REFERENCE=1 cargo test -p podicorn-settings chart";

    fn chart(file: &str) -> String {
        format!("../../charts/podicorn/{file}")
    }

    /// Compares `made` with what stands between the two marks of the file, or writes it there.
    fn compare(file: &str, begin: &str, end: &str, made: &str) {
        let path = chart(file);
        let kept = std::fs::read_to_string(&path).unwrap();
        let from = kept.find(begin).unwrap_or_else(|| panic!("{file} has no {begin:?}")) + begin.len();
        let to = from + kept[from..].find(end).unwrap_or_else(|| panic!("{file} has no {end:?}"));
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, format!("{}{made}{}", &kept[..from], &kept[to..])).unwrap();
        } else {
            assert!(&kept[from..to] == made, "{file} {ADVICE}");
        }
    }

    #[test]
    fn chart_values_are_up_to_date() {
        compare("values.yaml", "\nsettings:\n", "\n## End of the settings", &chart_values());
    }

    #[test]
    fn chart_schema_is_up_to_date() {
        let schema = serde_json::to_string_pretty(&chart_schema()).unwrap().replace('\n', "\n    ");
        compare("values.schema.json", "\n    \"settings\": ", ",\n    \"", &schema);
    }

    #[test]
    fn chart_flags_are_up_to_date() {
        let path = chart("files/settings.yaml");
        let made = chart_flags();
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert!(std::fs::read_to_string(&path).unwrap_or_default() == made, "files/settings.yaml {ADVICE}");
    }

    #[test]
    fn chart_section_has_every_setting_that_has_no_other_place() {
        let section: Vec<_> = settings().map(|setting| setting.name).collect();
        for setting in table().iter().filter(|setting| setting.status == Status::Works) {
            let elsewhere = ELSEWHERE.iter().any(|(name, _)| *name == setting.name)
                || COMMANDS.contains(&setting.name)
                || setting.section == Section::Development
                || (setting.flags.is_empty() && setting.in_config_file);
            assert!(section.contains(&setting.name) != elsewhere, "{}", setting.name);
            if section.contains(&setting.name) {
                assert!(setting.long_flag().is_some(), "{}", setting.name);
            }
        }
        let values = std::fs::read_to_string(chart("values.yaml")).unwrap();
        for (name, key) in ELSEWHERE {
            let key = key.split('.').next().unwrap();
            assert!(values.contains(&format!("\n{key}:")), "{name} comes from {key}");
        }
    }

    /// A setting whose default depends on being in a pod is shown with the one that it has there.
    #[test]
    fn chart_shows_defaults_of_a_pod() {
        for setting in settings().filter(|setting| setting.default_variable == "KUBERNETES_SERVICE_HOST") {
            assert!(default_in_a_pod(setting) != value::plain(setting.default), "{}", setting.name);
        }
    }

    #[test]
    fn chart_defaults_are_values_that_the_server_takes() {
        for (name, text) in CHART_DEFAULTS {
            let setting = crate::find(name).unwrap();
            let texts = [(*text).to_owned()];
            assert!(value::from_texts(setting, &texts, value::TextFrom::CommandLine).is_ok(), "{name}");
        }
    }
}
