//! What holds for every row of the table.

use std::collections::HashSet;

use podicorn_settings::{Kind, Status, environment_name, table};

#[test]
fn names_and_flags_are_unique() {
    let mut seen = HashSet::from(["-h", "--help", "-v", "--version"]);
    for setting in table() {
        for flag in setting.flags {
            assert!(seen.insert(flag), "{flag}");
        }
        assert!(seen.insert(setting.name), "{}", setting.name);
    }
}

#[test]
fn texts_are_sentences_that_fit_one_line() {
    for setting in table() {
        let name = setting.name;
        assert!(setting.help.ends_with('.') && !setting.help.contains('\n'), "{name}: {}", setting.help);
        assert!(!setting.details.contains('\n'), "{name}");
        if let Status::NoEffect(text) | Status::Unsupported(text) = setting.status {
            assert!(!text.ends_with('.') && !text.contains(['\n', '|']), "{name}: {text}");
        }
    }
}

#[test]
fn sections_are_not_scattered() {
    let mut sections: Vec<_> = table().iter().map(|setting| setting.section).collect();
    sections.dedup();
    let unique: HashSet<_> = sections.iter().map(|section| section.title()).collect();
    assert_eq!(sections.len(), unique.len());
}

#[test]
fn durations_name_their_unit() {
    for setting in
        table().iter().filter(|setting| setting.kind == Kind::Seconds || setting.metavar == "SECONDS")
    {
        assert_eq!(setting.unit, "seconds", "{}", setting.name);
    }
}

/// Kubernetes gives every container variables for the services of its namespace, such as `PODICORN_PORT` for a service
/// named podicorn; none of them may be a setting. `PODICORN_REUSE_PORT`, Gunicorn's name, would be that of a service
/// named podicorn-reuse.
#[test]
fn no_variable_looks_like_one_for_a_service() {
    for setting in table().iter().filter(|setting| setting.name != "reuse_port") {
        let variable = environment_name(setting.name);
        assert!(!variable.contains("_PORT_"), "{variable}");
        for suffix in ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"] {
            assert!(!variable.ends_with(suffix), "{variable}");
        }
    }
}
