//! How many workers a pod should have, and how many pods an app: decisions over plain figures.
//!
//! Contract:
//! - Pure. No I/O, no clock, no randomness: the caller brings the time as a [`Duration`](std::time::Duration) on a
//!   monotonic clock of its own. The same calls give the same answers, so the arbiter, the operator and the simulator
//!   share this code.
//! - Safe to misuse. Times that stand still or go back, ticks that are lost or come twice, figures that are negative,
//!   infinite or no numbers: the answer stays within the bounds, and the policy finds back once the figures are sound.
//! - Explained. Every answer is a [`Decision`] (or [`PodsDecision`]): the number, the direction, the reason in words, the
//!   figures it went by and the vetoes in force.
//!
//! Two layers, each its own machine:
//! - [`WorkersPolicy`] (in the pod, every second) follows the **offered concurrency** L = busy + waiting, so that
//!   workers are busy 70 % of their time;
//! - [`PodsPolicy`] (in the operator, every 5 to 15 s) follows the **demand** D = mean service time × (arrival rate +
//!   queue / drain time) over the *capacity at the worker cap*. It never looks at the present number of workers: the
//!   first layer holds busy / workers constant, so that ratio says nothing about load.
//!
//! The operator runs both for all pods of an app: [`Fleet`].
//!
//! [`Meter`] makes ticks of samples, the same way for all. All loads are in workers: a worker that runs four requests at a time and has two is half a worker busy.

mod decision;
mod fleet;
mod meter;
mod number;
mod pods;
mod sizing;
mod window;
mod workers;

pub use decision::{Cap, Decision, Direction, Inputs, Reason, Veto, VetoKind};
pub use fleet::{
    Fleet, FleetBounds, FleetConfig, FleetDecision, PODS_TICK, PodLoad, PodVerdict, PodsBounds, Standing,
    WARM,
};
pub use meter::{Meter, SAMPLE_INTERVAL, Sample, TICK, URGENT_TICK};
pub use pods::{PodReading, PodsConfig, PodsDecision, PodsInputs, PodsPolicy};
pub use sizing::{fits_in_memory, seed_for_cores};
pub use workers::{Config, Cpu, Memory, Observation, Situation, WorkersPolicy};
