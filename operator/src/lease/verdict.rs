//! What a look at the Lease means: pure.

use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;

use super::DURATION;

/// What counts of a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Empty: free.
    pub holder: String,
    pub transitions: i32,
    /// Only ever compared with itself: has the holder renewed since the last look?
    pub renewed: String,
}

impl Record {
    pub fn of(lease: &Lease) -> Self {
        let spec = lease.spec.as_ref();
        Self {
            holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
            transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or(0).max(0),
            renewed: spec
                .and_then(|spec| spec.renew_time.as_ref())
                .map(|time| time.0.to_string())
                .unwrap_or_default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Write our name into it (or renew it there), with this number of transitions.
    Acquire {
        transitions: i32,
    },
    Wait {
        holder: String,
    },
}

/// What was seen last, and when.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    last: Option<(Record, Instant)>,
}

impl Watch {
    /// `record` is None where there is no Lease yet. `leads`: this process holds it; a process that has just started and
    /// finds its own name takes the Lease over from the one before it, whose orders must not be taken for its own.
    pub fn judge(&mut self, record: Option<&Record>, identity: &str, leads: bool, now: Instant) -> Verdict {
        let Some(record) = record else {
            self.last = None;
            return Verdict::Acquire { transitions: 1 };
        };
        if self.last.as_ref().is_none_or(|(last, _)| last != record) {
            self.last = Some((record.clone(), now));
        }
        if leads && record.holder == identity {
            return Verdict::Acquire { transitions: record.transitions };
        }
        let since = self.last.as_ref().map_or(now, |(_, since)| *since);
        let expired = now.saturating_duration_since(since) >= DURATION;
        if record.holder.is_empty() || record.holder == identity || expired {
            return Verdict::Acquire { transitions: record.transitions.saturating_add(1) };
        }
        Verdict::Wait { holder: record.holder.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(holder: &str, transitions: i32, renewed: &str) -> Record {
        Record { holder: holder.into(), transitions, renewed: renewed.into() }
    }

    fn wait(holder: &str) -> Verdict {
        Verdict::Wait { holder: holder.into() }
    }

    #[test]
    fn no_lease_is_free() {
        assert_eq!(
            Watch::default().judge(None, "a", false, Instant::now()),
            Verdict::Acquire { transitions: 1 }
        );
    }

    #[test]
    fn the_holder_renews_without_a_transition() {
        let verdict = Watch::default().judge(Some(&record("a", 3, "t")), "a", true, Instant::now());
        assert_eq!(verdict, Verdict::Acquire { transitions: 3 });
    }

    #[test]
    fn a_process_that_finds_its_own_name_is_another_leader() {
        let verdict = Watch::default().judge(Some(&record("a", 3, "t")), "a", false, Instant::now());
        assert_eq!(verdict, Verdict::Acquire { transitions: 4 });
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once() {
        let verdict = Watch::default().judge(Some(&record("", 3, "t")), "b", false, Instant::now());
        assert_eq!(verdict, Verdict::Acquire { transitions: 4 });
    }

    #[test]
    fn another_one_waits_as_long_as_it_sees_renewals() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        for second in (0..60).step_by(5) {
            let seen = record("a", 1, &second.to_string());
            assert_eq!(watch.judge(Some(&seen), "b", false, start + Duration::from_secs(second)), wait("a"));
        }
    }

    #[test]
    fn without_renewals_it_takes_over_after_the_duration_and_not_before() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let dead = record("a", 7, "once");
        assert_eq!(watch.judge(Some(&dead), "b", false, start), wait("a"));
        let nearly = start + Duration::from_millis(14_999);
        assert_eq!(watch.judge(Some(&dead), "b", false, nearly), wait("a"));
        assert_eq!(
            watch.judge(Some(&dead), "b", false, start + DURATION),
            Verdict::Acquire { transitions: 8 }
        );
    }

    #[test]
    fn a_replica_that_has_just_started_does_not_trust_old_times() {
        let verdict =
            Watch::default().judge(Some(&record("a", 1, "1970-01-01T00:00:00Z")), "b", false, Instant::now());
        assert_eq!(verdict, wait("a"));
    }

    #[test]
    fn a_new_holder_is_a_new_record() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        watch.judge(Some(&record("a", 1, "t")), "c", false, start);
        let taken = record("b", 2, "u");
        assert_eq!(watch.judge(Some(&taken), "c", false, start + DURATION), wait("b"));
    }

    #[test]
    fn transitions_never_overflow_or_start_below_zero() {
        let mut lease = Lease::default();
        assert_eq!(Record::of(&lease), record("", 0, ""));
        lease.spec = Some(k8s_openapi::api::coordination::v1::LeaseSpec {
            lease_transitions: Some(-5),
            ..Default::default()
        });
        assert_eq!(Record::of(&lease).transitions, 0);
        let verdict = Watch::default().judge(Some(&record("", i32::MAX, "")), "a", false, Instant::now());
        assert_eq!(verdict, Verdict::Acquire { transitions: i32::MAX });
    }
}
