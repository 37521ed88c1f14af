//! Whether a live object holds all that is wanted of it.
//!
//! Contract: as server-side apply sees it. What others have added is not looked at. Lists whose items have a key are sets by
//! that key; other lists are wanted whole. A quantity that the apiserver has written in another form counts as different,
//! which costs one needless write and no more.

use serde_json::Value;

/// The keys by which items of lists are told apart, the first that an item has.
const KEYS: [&str; 6] = ["name", "mountPath", "containerPort", "uid", "topologyKey", "ip"];

/// As `contains`, of a whole object, whose kind is known.
pub(crate) fn object_contains(live: &Value, wanted: &Value) -> bool {
    let fields = wanted.as_object().into_iter().flatten();
    fields
        .filter(|(key, _)| *key != "apiVersion" && *key != "kind")
        .all(|(key, wanted)| live.get(key).map_or_else(|| is_nothing(wanted), |live| contains(live, wanted)))
}

fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        // Ports and percentages are written as numbers or texts, and stay what they are.
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| match live.get(key) {
                Some(live) => contains(live, wanted),
                None => is_nothing(wanted),
            })
        }
        (Value::Array(live), Value::Array(wanted)) => match key_of(wanted) {
            Some(key) => wanted.iter().all(|wanted| {
                live.iter().any(|live| live.get(key) == wanted.get(key) && contains(live, wanted))
            }),
            None => {
                live.len() == wanted.len()
                    && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
            }
        },
        _ => live == wanted,
    }
}

/// What the apiserver leaves out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(_) => false,
    }
}

/// The key that every item has; none: the list is one value.
fn key_of(items: &[Value]) -> Option<&'static str> {
    KEYS.into_iter().find(|key| !items.is_empty() && items.iter().all(|item| item.get(key).is_some()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_add_is_not_looked_at() {
        let live = json!({"a": 1, "env": [{"name": "X", "value": "1"}, {"name": "THEIRS"}], "more": {}});
        assert!(contains(&live, &json!({"a": 1, "env": [{"name": "X", "value": "1"}]})));
    }

    #[test]
    fn a_changed_value_is_seen_at_any_depth() {
        let live = json!({"spec": {"containers": [{"name": "web", "args": ["a", "b"]}]}});
        assert!(contains(&live, &json!({"spec": {"containers": [{"name": "web", "args": ["a", "b"]}]}})));
        assert!(!contains(&live, &json!({"spec": {"containers": [{"name": "web", "args": ["a"]}]}})));
        assert!(!contains(&live, &json!({"spec": {"containers": [{"name": "web", "args": ["b", "a"]}]}})));
        assert!(!contains(&live, &json!({"spec": {"containers": [{"name": "other"}]}})));
    }

    #[test]
    fn what_is_empty_may_be_left_out() {
        assert!(contains(&json!({}), &json!({"a": {}, "b": [], "c": "", "d": false, "e": {"f": null}})));
        assert!(!contains(&json!({}), &json!({"a": 0})));
    }
}
