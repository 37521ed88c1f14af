//! The operator: acts on `GunicornApp` resources (`podicorn.io/v1alpha1`).
//!
//! Contract:
//! - One replica acts at a time ([`lease`]); it ends with code 1 when it has lost the Lease, and with 0 when it was told to
//!   (TERM or INT), the Lease given back.
//! - [`controller`] and [`reconcile`] make and keep what an app needs (Deployment, Service, …) and say in its status what
//!   is so. What has not changed is not written.
//! - [`autoscale`] reads the load of every pod, decides with the `policy` crate, and tells pods how many workers and
//!   Deployments how many pods. It shares the watches with the controller and nothing else; each goes on without the other.
//! - Pods serve without the operator: nothing that it does is needed for a request.
//! - [`api`] is the resource, [`serve`] the operator's own port, [`telemetry`] its logs and traces, [`run`] puts all
//!   together.

pub mod api;
pub mod autoscale;
pub mod cli;
pub mod controller;
pub mod lease;
pub mod pods;
pub mod reconcile;
pub mod reference;
pub mod run;
pub mod serve;
pub mod sidecar;
pub mod telemetry;
