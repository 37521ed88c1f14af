//! Strategic merge of pod templates.
//!
//! Contract: as kubectl's patches: maps are merged, a null takes a field away, lists that have a merge key in Kubernetes' API
//! are merged by it, others are replaced; `$patch: delete` takes an item away, `$patch: replace` replaces a map or a list.

use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";

/// The merge key of a list in a pod template; none: the list is one value.
fn merge_key(field: &str) -> Option<&'static str> {
    match field {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" | "resourceClaims" => {
            Some("name")
        }
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        "hostAliases" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

pub(crate) fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => merge_maps(base, patch),
        (base, patch) => *base = plain(patch),
    }
}

fn merge_maps(base: &mut Map<String, Value>, patch: &Map<String, Value>) {
    if patch.get(DIRECTIVE).and_then(Value::as_str) == Some("replace") {
        base.clear();
    }
    for (key, patch) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        match (base.get_mut(key), patch) {
            (_, Value::Null) => {
                base.remove(key);
            }
            (Some(Value::Array(items)), Value::Array(patches)) if merge_key(key).is_some() => {
                merge_lists(items, patches, merge_key(key).unwrap_or_default());
            }
            (Some(base), patch) => merge(base, patch),
            (None, patch) => {
                base.insert(key.clone(), plain(patch));
            }
        }
    }
}

fn merge_lists(items: &mut Vec<Value>, patches: &[Value], key: &str) {
    let directive = |patch: &Value| patch.get(DIRECTIVE).and_then(Value::as_str).map(str::to_owned);
    if patches.iter().any(|patch| directive(patch).as_deref() == Some("replace") && patch.get(key).is_none())
    {
        items.clear();
    }
    for patch in patches {
        let place = items.iter().position(|item| item.get(key).is_some() && item.get(key) == patch.get(key));
        match (place, directive(patch).as_deref()) {
            (Some(place), Some("delete")) => {
                items.remove(place);
            }
            (None, Some("delete")) => {}
            (None, Some("replace")) if patch.get(key).is_none() => {}
            (Some(place), _) => {
                if let Some(item) = items.get_mut(place) {
                    merge(item, patch);
                }
            }
            (None, _) => items.push(plain(patch)),
        }
    }
}

/// Without directives and nulls, which mean nothing where there is nothing to change.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut base: Value, patch: &Value) -> Value {
        merge(&mut base, patch);
        base
    }

    #[test]
    fn containers_and_their_lists_are_merged_by_their_keys() {
        let base = json!({"spec": {"containers": [
            {"name": "web", "image": "a", "env": [{"name": "A", "value": "1"}], "args": ["x", "y"]},
        ]}});
        let patch = json!({"spec": {"nodeSelector": {"disk": "ssd"}, "containers": [
            {"name": "proxy", "image": "p"},
            {"name": "web", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}]},
        ]}});
        let expected = json!({"spec": {"nodeSelector": {"disk": "ssd"}, "containers": [
            {"name": "web", "image": "a", "env": [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}], "args": ["x", "y"]},
            {"name": "proxy", "image": "p"},
        ]}});
        assert_eq!(merged(base, &patch), expected);
    }

    #[test]
    fn null_and_delete_take_away() {
        let base = json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 5}, "volumes": [{"name": "a"}, {"name": "b"}]});
        let patch =
            json!({"securityContext": {"runAsUser": null}, "volumes": [{"name": "a", "$patch": "delete"}]});
        assert_eq!(
            merged(base, &patch),
            json!({"securityContext": {"runAsNonRoot": true}, "volumes": [{"name": "b"}]})
        );
    }

    #[test]
    fn lists_without_a_key_and_replaced_maps_are_taken_whole() {
        let base = json!({"tolerations": [{"key": "a"}], "nodeSelector": {"a": "b"}});
        let patch = json!({"tolerations": [{"key": "b"}], "nodeSelector": {"$patch": "replace", "c": "d"}});
        assert_eq!(merged(base, &patch), json!({"tolerations": [{"key": "b"}], "nodeSelector": {"c": "d"}}));
    }
}
