//! The apiserver's audit log: who asked for what, and what came of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::BedError;

/// A place in the log: what comes after it has happened since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    pub const BEGIN: Self = Self(0);
}

#[derive(Debug, Clone)]
pub struct Audit {
    path: PathBuf,
}

/// A request that has been answered (a watch: whose answer has begun or ended).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub stage: String,
    pub verb: String,
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    pub user: User,
    #[serde(default)]
    pub object_ref: ObjectRef,
    #[serde(default)]
    pub response_status: ResponseStatus,
    #[serde(default)]
    pub user_agent: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct User {
    pub username: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    pub api_group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResponseStatus {
    pub code: u16,
}

/// What RBAC judges: group, resource (with its subresource) and verb.
pub type Right = (String, String, String);

impl Entry {
    pub fn writes(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// An apply that made the object was asked for both rights, and the log names only the first.
    fn right_to_create(&self) -> Option<Right> {
        let (group, resource, verb) = self.right()?;
        (verb == "patch" && self.response_status.code == 201).then(|| (group, resource, "create".to_owned()))
    }

    /// None where it was no request for a resource.
    pub fn right(&self) -> Option<Right> {
        let object = &self.object_ref;
        if object.resource.is_empty() {
            return None;
        }
        let resource = match object.subresource.as_str() {
            "" => object.resource.clone(),
            subresource => format!("{}/{subresource}", object.resource),
        };
        Some((object.api_group.clone(), resource, self.verb.clone()))
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verb, request_uri, user, response_status, .. } = self;
        write!(formatter, "{verb} {request_uri} by {}: {}", user.username, response_status.code)
    }
}

impl Audit {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What has been logged so far lies before it. The log is written before a request is answered.
    pub fn mark(&self) -> Mark {
        Mark(self.path.metadata().map_or(0, |metadata| metadata.len()))
    }

    /// All of a user's requests since the mark, in the order in which they were answered.
    pub fn since(&self, mark: Mark, user: &str) -> Result<Vec<Entry>, BedError> {
        let mut text = String::new();
        let mut file = File::open(&self.path).map_err(BedError::io("the audit log"))?;
        file.seek(SeekFrom::Start(mark.0)).map_err(BedError::io("the audit log"))?;
        file.read_to_string(&mut text).map_err(BedError::io("the audit log"))?;
        let mut entries = Vec::new();
        // A last line without an end is still being written.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let entry: Entry = serde_json::from_str(line)?;
            if entry.user.username == user {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    pub fn writes(&self, mark: Mark, user: &str) -> Result<Vec<Entry>, BedError> {
        Ok(self.since(mark, user)?.into_iter().filter(Entry::writes).collect())
    }

    /// What was refused for want of rights.
    pub fn forbidden(&self, user: &str) -> Result<Vec<Entry>, BedError> {
        let all = self.since(Mark::BEGIN, user)?;
        Ok(all.into_iter().filter(|entry| entry.response_status.code == 403).collect())
    }

    /// The rights that a user has made use of.
    pub fn rights(&self, user: &str) -> Result<BTreeSet<Right>, BedError> {
        let all = self.since(Mark::BEGIN, user)?;
        let allowed = all.iter().filter(|entry| entry.response_status.code != 403);
        Ok(allowed.flat_map(|entry| [entry.right(), entry.right_to_create()]).flatten().collect())
    }
}
