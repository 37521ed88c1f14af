//! A bed for tests of the operator: a real control plane, the real operator under its own rights, real servers as pods.
//!
//! Contract:
//! - [`control_plane`] starts etcd and kube-apiserver (and kube-controller-manager) for a suite, on loopback;
//!   [`suite`] runs the suite's tests on it, each in a namespace of its own.
//! - [`operator`] starts the program itself, as a user who has the rules of its chart and no more; [`fault`] stands
//!   between it and the apiserver where a test wants the network or the apiserver to misbehave.
//! - [`kubelet`] runs the pods: the real arbiter on an address in 127/8 for each.
//! - Whatever is started ends with the test's process, however that ends. Nothing is read from or left in the user's
//!   own kubeconfig, and no cluster but the bed's is ever talked to.

pub mod app;
pub mod assets;
pub mod beds;
pub mod certificates;
pub mod collector;
pub mod control_plane;
pub mod error;
pub mod fault;
pub mod http;
pub mod kubelet;
pub mod objects;
pub mod operator;
mod ports;
pub mod process;
pub mod suite;
mod tls;
pub mod traffic;
pub mod wait;
pub mod yaml;

pub use error::BedError;
