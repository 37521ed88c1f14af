//! Objects that are taken, and objects that are refused with a message that helps. A real apiserver judges the same ones in
//! the cluster's suite.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("corpus").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 3);
    files
}

#[test]
fn good_objects_are_taken_and_read() {
    for file in files("good") {
        let text = std::fs::read_to_string(&file).unwrap();
        let object: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(complaints(&object, None), Vec::<String>::new(), "{}", file.display());
        let app: GunicornApp = serde_json::from_value(kept(&object)).unwrap();
        // What was read is written as it was.
        let again = serde_json::to_value(&app).unwrap();
        assert_eq!(serde_json::from_value::<GunicornApp>(again).unwrap(), app, "{}", file.display());
    }
}

#[test]
fn bad_objects_are_refused_with_a_message_that_helps() {
    let mut unproved: BTreeSet<String> = messages(&schema()).into_iter().collect();
    // Only a change breaks it.
    unproved.retain(|message| !message.starts_with("the selector follows"));
    for file in files("bad") {
        let text = std::fs::read_to_string(&file).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("# error: ").unwrap();
        // Bounds and types are judged by the apiserver alone.
        if text.lines().nth(1) == Some("# judged by: schema") {
            continue;
        }
        let complaints = complaints(&serde_yaml::from_str(&text).unwrap(), None);
        assert!(
            complaints.iter().any(|message| message.contains(expected)),
            "{}: {complaints:?}",
            file.display()
        );
        assert_eq!(complaints.len(), 1, "{} breaks one rule: {complaints:?}", file.display());
        unproved.retain(|message| !message.contains(expected));
    }
    assert_eq!(unproved, BTreeSet::new(), "every rule has an object that breaks it");
}

#[test]
fn the_selector_stays() {
    let object = |selector: &str| {
        serde_json::json!({
            "apiVersion": "podicorn.io/v1alpha1", "kind": "GunicornApp", "metadata": {"name": "shop"},
            "spec": {"image": "a", "app": "a"}, "status": {"selector": selector},
        })
    };
    assert_eq!(complaints(&object("a=b"), Some(&object("a=b"))), Vec::<String>::new());
    let refused = complaints(&object("a=c"), Some(&object("a=b")));
    assert!(
        refused.iter().any(|message| message.contains("the selector follows from the app's name")),
        "{refused:?}"
    );
}

/// The messages of all rules.
fn messages(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| {
                let own = if key == "x-kubernetes-validations" { value.as_array().cloned() } else { None };
                let own = own
                    .unwrap_or_default()
                    .into_iter()
                    .map(|rule| rule["message"].as_str().unwrap().to_owned());
                own.chain(messages(value)).collect::<Vec<_>>()
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(messages).collect(),
        _ => Vec::new(),
    }
}
