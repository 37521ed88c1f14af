//! Whether a rollout may go on: pure.

use std::collections::BTreeMap;

use super::live::JobState;

/// How far the migration is that belongs to what is to be rolled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Migration {
    /// None is wanted.
    Unwanted,
    /// It has to be started.
    Start {
        job: String,
    },
    /// It runs.
    Running {
        job: String,
    },
    /// An older one runs; two at a time would be in each other's way.
    Behind {
        other: String,
    },
    Succeeded {
        job: String,
    },
    Failed {
        job: String,
        why: String,
    },
}

impl Migration {
    /// `migrated`: the Job before the rollout of what is there now. It may have been deleted since.
    pub(crate) fn of(
        wanted: Option<&str>,
        jobs: &BTreeMap<String, JobState>,
        migrated: Option<&str>,
    ) -> Self {
        let Some(wanted) = wanted else { return Self::Unwanted };
        let job = wanted.to_owned();
        match jobs.get(wanted) {
            Some(JobState::Succeeded) => Self::Succeeded { job },
            None if migrated == Some(wanted) => Self::Succeeded { job },
            Some(JobState::Running) => Self::Running { job },
            Some(JobState::Failed(why)) => Self::Failed { job, why: why.clone() },
            None => match jobs.iter().find(|(_, state)| **state == JobState::Running) {
                Some((other, _)) => Self::Behind { other: other.clone() },
                None => Self::Start { job },
            },
        }
    }

    /// Whether pods may be made from the new template.
    pub(crate) fn lets_pass(&self) -> bool {
        matches!(self, Self::Unwanted | Self::Succeeded { .. })
    }

    /// Whether a Job that is not wanted may go: not while it runs, nor before the one after it has succeeded.
    pub(crate) fn releases(&self, state: &JobState) -> bool {
        self.lets_pass() && *state != JobState::Running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(wanted: Option<&str>, jobs: &[(&str, JobState)], migrated: Option<&str>) -> Migration {
        let jobs = jobs.iter().map(|(name, state)| ((*name).to_owned(), state.clone())).collect();
        Migration::of(wanted, &jobs, migrated)
    }

    #[test]
    fn a_migration_is_started_once_and_waited_for() {
        let job = || "b".to_owned();
        assert_eq!(decide(None, &[("a", JobState::Succeeded)], None), Migration::Unwanted);
        assert_eq!(decide(Some("b"), &[("a", JobState::Succeeded)], None), Migration::Start { job: job() });
        assert_eq!(decide(Some("b"), &[("b", JobState::Running)], None), Migration::Running { job: job() });
        assert_eq!(
            decide(Some("b"), &[("b", JobState::Succeeded)], None),
            Migration::Succeeded { job: job() }
        );
    }

    #[test]
    fn two_do_not_run_at_a_time() {
        assert_eq!(
            decide(Some("b"), &[("a", JobState::Running)], None),
            Migration::Behind { other: "a".to_owned() }
        );
    }

    #[test]
    fn a_job_that_was_cleared_away_after_its_rollout_is_not_run_again() {
        assert_eq!(decide(Some("b"), &[], Some("b")), Migration::Succeeded { job: "b".to_owned() });
    }

    #[test]
    fn a_failed_one_holds_the_rollout_and_keeps_the_one_before() {
        let failed = JobState::Failed("BackoffLimitExceeded: …".to_owned());
        let decision = decide(Some("b"), &[("b", failed), ("a", JobState::Succeeded)], None);
        assert!(!decision.lets_pass());
        assert!(!decision.releases(&JobState::Succeeded));
    }

    #[test]
    fn what_runs_is_not_deleted() {
        assert!(!Migration::Unwanted.releases(&JobState::Running));
        assert!(Migration::Unwanted.releases(&JobState::Succeeded));
    }
}
