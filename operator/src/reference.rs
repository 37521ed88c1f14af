//! The page that lists every field of a `GunicornApp`, made from the schema: docs/gunicornapp.md.

use std::fmt::Write;

use serde_json::Value;

use crate::api::crd;

const HEAD: &str = "\
# GunicornApp: every field

`podicorn.io/v1alpha1`, namespaced, `kubectl get gapp`. Made from the schema of the custom resource definition, which
`podicorn-operator crd` prints; `kubectl explain gunicornapp.spec` shows the same in a cluster. What the operator does with
them is in [operator.md](operator.md).

`[]` is a list, `{}` a map by name. *needed* fields have no default and must be given where their parent is.
";

/// What Kubernetes itself describes, field by field.
const OF_KUBERNETES: [(&str, &str); 4] = [
    ("spec.env", "EnvVar"),
    ("spec.envFrom", "EnvFromSource"),
    ("spec.resources", "ResourceRequirements"),
    ("spec.podTemplate", "PodTemplateSpec"),
];

/// The page as Markdown.
pub fn page() -> Result<String, serde_json::Error> {
    let schema = crd().spec.versions.into_iter().next().and_then(|version| version.schema);
    let schema = serde_json::to_value(schema.and_then(|schema| schema.open_api_v3_schema))?;
    let mut page = HEAD.to_owned();
    for part in ["spec", "status"] {
        let Some(root) = schema.pointer(&format!("/properties/{part}")) else { continue };
        let _ = write!(page, "\n## {part}\n\n| field | type | default | |\n| --- | --- | --- | --- |\n");
        rows(&mut page, part, root);
        let mut rules = Vec::new();
        collect_rules(root, &mut rules);
        if !rules.is_empty() {
            page += "\nThe apiserver refuses, with these words:\n\n";
            for rule in rules {
                let _ = writeln!(page, "- {rule}");
            }
        }
    }
    Ok(page)
}

fn rows(page: &mut String, path: &str, schema: &Value) {
    let Some(fields) = schema.get("properties").and_then(Value::as_object) else { return };
    let required = |name: &str| {
        let names = schema.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|one| one.as_str() == Some(name)))
    };
    for (name, field) in fields {
        let path = format!("{path}.{name}");
        let default = match field.get("default") {
            // An object's defaults are those of its fields.
            Some(Value::Object(_)) => String::new(),
            Some(default) => format!("`{default}`"),
            None if required(name) => "*needed*".to_owned(),
            None => String::new(),
        };
        let text = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(page, "| `{path}` | {} | {default} | {} |", kind(&path, field), cell(text));
        if !OF_KUBERNETES.iter().any(|(known, _)| *known == path) {
            rows(page, &path, field);
            rows(page, &format!("{path}[]"), field.get("items").unwrap_or(&Value::Null));
            rows(page, &format!("{path}{{}}"), field.get("additionalProperties").unwrap_or(&Value::Null));
        }
    }
}

/// The type in a word or two, with the bounds.
fn kind(path: &str, field: &Value) -> String {
    if let Some((_, name)) = OF_KUBERNETES.iter().find(|(known, _)| *known == path) {
        let list = if field.get("items").is_some() { "list of " } else { "" };
        return format!("{list}{name} of Kubernetes");
    }
    if let Some(values) = field.get("enum").and_then(Value::as_array) {
        let names: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        return names.join(", ");
    }
    if field.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return "integer or string".to_owned();
    }
    let bound = |name| field.get(name).and_then(Value::as_f64);
    match field.get("type").and_then(Value::as_str) {
        Some("array") => {
            let items = field.get("items").map_or_else(String::new, |items| kind("", items));
            format!("list of {items}")
        }
        Some("object") if field.get("additionalProperties").is_some() => {
            let values =
                field.get("additionalProperties").map_or_else(String::new, |values| kind("", values));
            format!("map to {values}")
        }
        Some(kind @ ("integer" | "number")) => match (bound("minimum"), bound("maximum")) {
            (Some(least), Some(most)) => format!("{kind}, {least} to {most}"),
            (Some(least), None) => format!("{kind}, from {least}"),
            _ => kind.to_owned(),
        },
        Some(kind) => kind.to_owned(),
        None => "any".to_owned(),
    }
}

/// One line, with no bar that would end the cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Every message of a rule, once, in the order of the fields.
fn collect_rules(schema: &Value, rules: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let own = fields.get("x-kubernetes-validations").and_then(Value::as_array);
            for message in own.into_iter().flatten().filter_map(|rule| rule.get("message")?.as_str()) {
                if !rules.iter().any(|known| known == message) {
                    rules.push(message.to_owned());
                }
            }
            fields.values().for_each(|value| collect_rules(value, rules));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_rules(value, rules)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1 cargo test -p podicorn-operator reference` writes it.
    #[test]
    fn the_page_is_up_to_date() {
        let file = "../docs/gunicornapp.md";
        let page = page().unwrap();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &page).unwrap();
        }
        let kept = std::fs::read_to_string(file).unwrap_or_default();
        assert!(kept == page, "docs/gunicornapp.md is not what the schema says; UPDATE=1 writes it");
    }

    #[test]
    fn fields_have_their_types_bounds_and_defaults() {
        let page = page().unwrap();
        for line in [
            "| `spec.image` | string | *needed* |",
            "| `spec.autoscaling.mode` | Workers, Operator, External, Observe | `\"Workers\"` |",
            "| `spec.autoscaling.target` | integer, 10 to 95 | `70` |",
            "| `spec.env` | list of EnvVar of Kubernetes |",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        assert!(page.contains("\n- autoscaling.minPods is greater than autoscaling.maxPods\n"));
    }
}
