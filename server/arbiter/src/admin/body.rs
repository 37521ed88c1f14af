//! JSON bodies: bounded, and every wrong field named.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::problem::{FieldError, Kind, Problem};

/// The largest body, in bytes. The largest sensible one has about 150.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024;

/// How much of a larger one is read and thrown away before the answer.
const MAX_DISCARDED_BYTES: usize = 8 * 1024 * 1024;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// The members of a JSON object, taken one by one; what is wrong is collected.
pub(super) struct JsonObject {
    members: Vec<(String, Value)>,
    errors: Vec<FieldError>,
}

impl JsonObject {
    /// Takes a whole number that must be there.
    pub(super) fn required<T: TryFrom<u64>>(&mut self, name: &str) -> Option<T> {
        match self.take(name) {
            None => {
                self.errors.push(FieldError::new(name, "is missing"));
                None
            }
            Some(value) => self.number(name, &value),
        }
    }

    /// Takes a whole number that may be absent or null.
    pub(super) fn optional<T: TryFrom<u64>>(&mut self, name: &str) -> Option<T> {
        match self.take(name) {
            None | Some(Value::Null) => None,
            Some(value) => self.number(name, &value),
        }
    }

    /// Refuses what is left over and what was wrong.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.members) {
            self.errors.push(FieldError::new(&name, "is not a field of this body, or is there twice"));
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        let list: Vec<String> =
            self.errors.iter().map(|error| format!("{} {}", &error.pointer[1..], error.detail)).collect();
        let detail = format!("{}.", list.join("; "));
        Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::InvalidBody, detail)
            .with_errors(self.errors))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.members.iter().position(|(member, _)| member == name)?;
        Some(self.members.remove(index).1)
    }

    fn number<T: TryFrom<u64>>(&mut self, name: &str, value: &Value) -> Option<T> {
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            let limit = u64::MAX >> (64 - 8 * size_of::<T>().min(8));
            self.errors.push(FieldError::new(name, format!("must be a whole number from 0 to {limit}")));
        }
        number
    }
}

/// Reads a JSON object: 415 for another content type, 413 for too much, 408 for too slow, 400 for malformed JSON, 422
/// for JSON that is not an object.
pub(super) async fn read_object(request: Request) -> Result<JsonObject, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::blank(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body must be JSON, with \"Content-Type: application/json\".",
        )
        .with_header(ACCEPT, HeaderValue::from_static("application/json")));
    }
    let read = tokio::time::timeout(BODY_DEADLINE, collect(request.into_body())).await;
    let bytes = match read {
        Ok(Ok(Collected::Whole(bytes))) => bytes,
        Ok(Ok(Collected::TooLarge)) => {
            return Err(Problem::blank(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("The body may have {MAX_BODY_BYTES} bytes."),
            ));
        }
        Ok(Err(error)) => {
            return Err(Problem::blank(
                StatusCode::BAD_REQUEST,
                format!("The body could not be read: {error}."),
            ));
        }
        Err(_) => {
            return Err(Problem::blank(
                StatusCode::REQUEST_TIMEOUT,
                format!("The body did not arrive within {} s.", BODY_DEADLINE.as_secs()),
            ));
        }
    };
    if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok_and(|_| !starts_object(&bytes)) {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            Kind::InvalidBody,
            "The body must be a JSON object.",
        ));
    }
    let Members(members) = serde_json::from_slice(&bytes).map_err(|error| {
        Problem::blank(StatusCode::BAD_REQUEST, format!("The body is not well-formed JSON: {error}."))
    })?;
    Ok(JsonObject { members, errors: Vec::new() })
}

fn starts_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'{')
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(CONTENT_TYPE).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let Ok(field) = field.to_str() else { return false };
    let essence = field.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// A body, as far as it is wanted.
enum Collected {
    Whole(Vec<u8>),
    TooLarge,
}

/// Reads a body. One that is too large is still read, within bounds: a client that is answered while it sends would see
/// a reset connection and not the answer (RFC 9112 §9.6).
async fn collect(mut body: Body) -> Result<Collected, axum::Error> {
    let mut bytes = Vec::new();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        received += data.len();
        if received <= MAX_BODY_BYTES {
            bytes.extend_from_slice(&data);
        } else if received > MAX_DISCARDED_BYTES {
            break;
        }
    }
    Ok(if received > MAX_BODY_BYTES { Collected::TooLarge } else { Collected::Whole(bytes) })
}

/// Keeps every member, so that one that is there twice is seen.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
