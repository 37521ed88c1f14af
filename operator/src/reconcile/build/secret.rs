//! The Secret with the admin token, and with the one before, which pods may still have.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::json;

use super::{Object, Validated, object};
use crate::reconcile::Kind;
use crate::reconcile::live::SecretFacts;
use crate::reconcile::names::{ROTATE_TOKEN, token_secret};

pub(super) fn build(app: &Validated<'_>, facts: &SecretFacts) -> Object {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut data = BTreeMap::from([("token", bytes(&facts.tokens.current))]);
    if let Some(previous) = &facts.tokens.previous {
        data.insert("previous", bytes(previous));
    }
    let mut more = json!({"type": "Opaque", "data": data});
    if let Some(rotation) = &facts.rotation {
        more["metadata"] = json!({"annotations": {ROTATE_TOKEN: rotation}});
    }
    object(app, Kind::Secret, token_secret(&app.name), &more)
}
