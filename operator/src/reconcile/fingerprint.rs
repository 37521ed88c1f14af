//! Hashes of JSON.
//!
//! Contract: the same for the same content, whatever the order of keys, in every build: they are kept in annotations and in
//! names.

use serde_json::Value;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a over a canonical form.
pub(crate) fn hash(value: &Value) -> u64 {
    let mut state = OFFSET;
    feed(&mut state, value);
    state
}

/// As `hash`, of what a live object has in common with what was applied: without status and bookkeeping.
pub(crate) fn of_live(object: &Value) -> u64 {
    let mut state = OFFSET;
    for (key, value) in sorted(object) {
        match key {
            "status" => {}
            "metadata" => {
                for (key, value) in sorted(value) {
                    match key {
                        "resourceVersion" | "managedFields" | "generation" | "creationTimestamp" => {}
                        "annotations" => {
                            for (key, value) in
                                sorted(value).filter(|(key, _)| *key != "deployment.kubernetes.io/revision")
                            {
                                bytes(&mut state, key.as_bytes());
                                feed(&mut state, value);
                            }
                        }
                        _ => {
                            bytes(&mut state, key.as_bytes());
                            feed(&mut state, value);
                        }
                    }
                }
            }
            _ => {
                bytes(&mut state, key.as_bytes());
                feed(&mut state, value);
            }
        }
    }
    state
}

fn sorted(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let mut fields: Vec<(&str, &Value)> =
        value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value)).collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    fields.into_iter()
}

fn feed(state: &mut u64, value: &Value) {
    match value {
        Value::Null => bytes(state, b"n"),
        Value::Bool(flag) => bytes(state, if *flag { b"t" } else { b"f" }),
        Value::Number(number) => {
            bytes(state, b"#");
            bytes(state, number.to_string().as_bytes());
        }
        Value::String(text) => {
            bytes(state, b"\"");
            bytes(state, text.as_bytes());
        }
        Value::Array(items) => {
            bytes(state, b"[");
            for item in items {
                feed(state, item);
            }
            bytes(state, b"]");
        }
        Value::Object(_) => {
            bytes(state, b"{");
            for (key, value) in sorted(value) {
                bytes(state, key.as_bytes());
                feed(state, value);
            }
            bytes(state, b"}");
        }
    }
}

/// With an end mark, so that `ab`, `c` and `a`, `bc` differ.
fn bytes(state: &mut u64, bytes: &[u8]) {
    for byte in bytes.iter().chain(&[0xff]) {
        *state = (*state ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hash_stays_as_it_is_from_build_to_build() {
        assert_eq!(hash(&json!({"b": [1, "x", null], "a": {"c": true}})), 0xe13a_0017_87c6_adfc);
    }

    #[test]
    fn order_of_items_counts_and_where_texts_end() {
        assert_ne!(hash(&json!(["a", "b"])), hash(&json!(["b", "a"])));
        assert_ne!(hash(&json!(["ab", "c"])), hash(&json!(["a", "bc"])));
        assert_ne!(hash(&json!([[], 1])), hash(&json!([[1]])));
    }

    #[test]
    fn bookkeeping_and_status_do_not_count_in_a_live_object() {
        let object = |version: &str, replicas: u32, ready: u32, revision: &str| {
            json!({
                "metadata": {
                    "name": "shop", "resourceVersion": version, "managedFields": [{"manager": version}],
                    "annotations": {"deployment.kubernetes.io/revision": revision, "a": "b"},
                },
                "spec": {"replicas": replicas},
                "status": {"readyReplicas": ready},
            })
        };
        assert_eq!(of_live(&object("1", 2, 0, "1")), of_live(&object("2", 2, 1, "2")));
        assert_ne!(of_live(&object("1", 2, 0, "1")), of_live(&object("1", 3, 0, "1")));
    }
}
