//! Who says how many pods there are.

use crate::api::{GunicornAppSpec, Mode};

use super::live::DeploymentFacts;

/// What `spec.replicas` of the Deployment is to the reconciler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replicas {
    /// It says so itself.
    Fixed(u32),
    /// Another says so; until it has, this many.
    Left { first: u32 },
}

impl Replicas {
    pub(crate) fn of(spec: &GunicornAppSpec, hpa_on_deployment: bool) -> Self {
        match spec.autoscaling.mode {
            Mode::Operator => Self::Left { first: spec.autoscaling.fewest_pods() },
            Mode::External if hpa_on_deployment => Self::Left { first: spec.replicas },
            Mode::External | Mode::Workers | Mode::Observe => Self::Fixed(spec.replicas),
        }
    }

    /// What is applied; none: nothing. A field that is given up before another has written it falls back to 1, so that the
    /// value of now is held until then.
    pub(crate) fn applied(self, live: Option<&DeploymentFacts>) -> Option<u32> {
        match (self, live) {
            (Self::Fixed(count), _) => Some(count),
            (Self::Left { first }, None) => Some(first),
            (Self::Left { .. }, Some(live)) if live.replicas_of_others => None,
            (Self::Left { first }, Some(live)) => Some(live.wanted.unwrap_or(first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(wanted: u32, replicas_of_others: bool) -> DeploymentFacts {
        DeploymentFacts { wanted: Some(wanted), replicas_of_others, ..DeploymentFacts::default() }
    }

    #[test]
    fn a_fixed_number_is_taken_back_from_others() {
        assert_eq!(Replicas::Fixed(3).applied(None), Some(3));
        assert_eq!(Replicas::Fixed(3).applied(Some(&live(7, true))), Some(3));
    }

    #[test]
    fn what_is_left_to_another_is_held_until_that_one_has_written() {
        let left = Replicas::Left { first: 2 };
        assert_eq!(left.applied(None), Some(2));
        assert_eq!(left.applied(Some(&live(5, false))), Some(5));
        assert_eq!(left.applied(Some(&live(5, true))), None);
    }
}
