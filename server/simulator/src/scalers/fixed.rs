//! A fixed number of workers, as Gunicorn has it.

use crate::engine::{Plan, PodView, Scaler};
use crate::trace::SECOND;

pub(super) struct Fixed(pub(super) u32);

impl Scaler for Fixed {
    fn name(&self) -> String {
        format!("fixed {}", self.0)
    }

    fn interval(&self) -> u64 {
        60 * SECOND
    }

    fn start(&self) -> Plan {
        Plan::of(1, self.0)
    }

    fn tick(&mut self, _: u64, _: &[PodView]) -> Plan {
        self.start()
    }
}
