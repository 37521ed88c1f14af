use std::collections::BTreeSet;

use super::*;
use crate::admin::openapi;
use crate::admin::routes::{ENDPOINTS, Openness};

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let (_pool, router) = api(Access::Trusted);
    for path in ["/nothing", "/livez/", "/workers/0", "/workers/0/stack/x", "/scale/ttii", "//livez"] {
        get(&router, path).await.problem(404);
    }
    for (method, path, allow) in [
        ("POST", "/livez", "GET, HEAD"),
        ("DELETE", "/scale", "GET, HEAD, PUT"),
        ("GET", "/reload", "POST"),
        ("HEAD", "/reload", "POST"),
        ("GET", "/drain", "POST"),
        ("PUT", "/scale/ttin", "POST"),
        ("OPTIONS", "/workers/3/stack", "GET, HEAD"),
        ("PURGE", "/", "GET, HEAD"),
    ] {
        let answer = send(&router, request(method, path)).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        if method != "HEAD" {
            answer.problem(405);
        }
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let (_pool, router) = api(Access::Trusted);
    // The stream has no end to wait for: `watch.rs` has its tests.
    for endpoint in
        ENDPOINTS.iter().filter(|endpoint| endpoint.verb.key() == "get" && endpoint.path != "/watch")
    {
        let path = endpoint.path.replace("{slot}", "0");
        let (head, get) = (send(&router, request("HEAD", &path)).await, get(&router, &path).await);
        assert_eq!((head.status.as_u16(), get.status.as_u16()), (200, 200), "{path}");
        assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn the_document_describes_every_route_and_no_other() {
    let (_pool, router) = api(Access::Trusted);
    let document = get(&router, "/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|verb| (path.clone(), verb.clone())))
        .collect();
    let table: BTreeSet<(String, String)> =
        ENDPOINTS.iter().map(|endpoint| (endpoint.path.to_owned(), endpoint.verb.key().to_owned())).collect();
    assert_eq!(described, table);
    let mut ids = BTreeSet::new();
    for endpoint in ENDPOINTS {
        let operation = &document["paths"][endpoint.path][endpoint.verb.key()];
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{} twice", operation["operationId"]);
        assert!(!operation["summary"].as_str().unwrap().is_empty());
        let guarded = endpoint.openness == Openness::Guarded;
        assert_eq!(!operation["security"].as_array().unwrap().is_empty(), guarded, "{}", endpoint.path);
        assert_eq!(operation["responses"].get("401").is_some(), guarded, "{}", endpoint.path);
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = openapi::build();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

/// What is sent has the members that the document promises, and no other.
#[tokio::test]
async fn answers_fit_their_schemas() {
    let (_pool, router) = api(Access::Trusted);
    let document = openapi::build();
    let order = r#"{"workers":3,"min":1,"max":5,"epoch":1,"ttlSeconds":30}"#;
    for (request, path, verb, status) in [
        (request("GET", "/workers"), "/workers", "get", "200"),
        (put_json("/scale", order), "/scale", "put", "200"),
        (request("GET", "/scale"), "/scale", "get", "200"),
        (request("POST", "/scale/ttin"), "/scale/ttin", "post", "200"),
        (request("POST", "/reload"), "/reload", "post", "202"),
        (request("POST", "/drain"), "/drain", "post", "202"),
        (request("GET", "/workers/9/stack"), "/workers/{slot}/stack", "get", "404"),
        (put_json("/scale", r#"{"workers":"x"}"#), "/scale", "put", "422"),
    ] {
        let answer = send(&router, request).await;
        assert_eq!(answer.status.as_str(), status, "{path}");
        let content = &document["paths"][path][verb]["responses"][status]["content"];
        let schema = &content[answer.header("content-type")]["schema"];
        fits(&document, schema, &answer.json(), path);
    }
}

/// A small reading of JSON Schema: references, nullable ones too, objects and arrays.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(document, document.pointer(&reference[1..]).unwrap(), value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        if !value.is_null() {
            fits(document, &choices[0], value, at);
        }
        return;
    }
    match value {
        Value::Object(members) => {
            let Some(properties) = schema["properties"].as_object() else {
                panic!("{at}: no properties in {schema}")
            };
            for (name, member) in members {
                let property =
                    properties.get(name).unwrap_or_else(|| panic!("{at}.{name} is not in the schema"));
                fits(document, property, member, &format!("{at}.{name}"));
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(members.contains_key(name.as_str().unwrap()), "{at}: {name} is required");
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fits(document, &schema["items"], item, at)),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {
            assert!(schema.get("properties").is_none(), "{at}: a plain value for {schema}");
        }
    }
}
