//! Judges what the apiserver cannot: settings by the table, and what may be laid over the pod template.
//!
//! Contract: pure. What comes out can be built.

mod settings;
mod template;

use kube::ResourceExt;

use crate::api::{GunicornApp, GunicornAppSpec};

/// What is wrong with a spec, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("spec.settings: {0}")]
    Settings(String),

    #[error("spec.podTemplate: {0}")]
    Template(String),
}

/// A spec that can be built, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Validated<'a> {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) spec: &'a GunicornAppSpec,
    /// The whole command line of the container, without the program.
    pub(crate) arguments: Vec<String>,
}

pub(crate) fn validate(app: &GunicornApp) -> Result<Validated<'_>, Invalid> {
    let spec = &app.spec;
    let arguments = settings::command_line(spec)?;
    if let Some(overrides) = &spec.pod_template {
        template::allowed(overrides)?;
    }
    Ok(Validated {
        name: app.name_any(),
        namespace: app.namespace().unwrap_or_default(),
        uid: app.uid().unwrap_or_default(),
        spec,
        arguments,
    })
}

pub(crate) use template::typed;
