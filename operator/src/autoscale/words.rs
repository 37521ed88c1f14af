//! What is said about decisions, in status, events and snapshots.

use podicorn_admin_api::Reason as Voice;
use podicorn_policy::{Direction, PodVerdict, PodsDecision, Reason};

use super::app::OwnMove;
use super::fleet::AppSeen;
use super::notice::Notice;
use super::order::Command;
use super::visible::Visible;
use crate::api::{ConditionStatus, reasons};

/// A pod whose number is to be another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) pod: &'a str,
    pub(super) verdict: &'a PodVerdict,
}

impl Change<'_> {
    fn size(&self) -> u32 {
        self.verdict.decision.target.abs_diff(self.verdict.decision.current)
    }
}

/// The largest first.
pub(super) fn changes<'a>(seen: &'a AppSeen, verdicts: &'a [Option<PodVerdict>]) -> Vec<Change<'a>> {
    let pods = seen.pods.iter().zip(verdicts);
    let mut changes: Vec<Change<'a>> = pods
        .filter_map(|(pod, verdict)| verdict.as_ref().map(|verdict| Change { pod: &pod.name, verdict }))
        .filter(|change| change.verdict.decision.direction != Direction::Hold)
        .collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.size()));
    changes
}

/// Why workers change; None where they don't.
pub(super) fn of_workers(changes: &[Change<'_>], would: bool) -> Option<String> {
    let first = changes.first()?;
    let would = if would { "Would change " } else { "" };
    let message = &first.verdict.decision.message;
    let rest = match changes.len() - 1 {
        0 => String::new(),
        1 => " Another pod changes, too.".to_owned(),
        more => format!(" {more} other pods change, too."),
    };
    Some(format!("{would}{}: {message}{rest}", first.pod))
}

/// How workers became more or fewer without an order; None where they did not.
pub(super) fn of_own_moves(moves: &[OwnMove]) -> Option<String> {
    let first = moves.first()?;
    let by = match first.by {
        Voice::Policy => "by its own policy",
        Voice::Step => "by TTIN or TTOU",
        Voice::Configuration => "by its configuration",
        Voice::Lease => "by a lease of another's",
        Voice::Expiry => "at the end of a lease",
    };
    let rest = match moves.len() - 1 {
        0 => String::new(),
        1 => " Another pod changed, too.".to_owned(),
        more => format!(" {more} other pods changed, too."),
    };
    Some(format!(
        "{} went from {} to {} {by}. It says: {}{rest}",
        first.pod, first.from, first.to, first.message
    ))
}

/// Why nothing would change.
pub(super) fn steady(verdicts: &[Option<PodVerdict>]) -> Option<String> {
    let verdict = verdicts.iter().flatten().next()?;
    Some(format!("Would change nothing. {}: {}", verdict.pod, verdict.decision.message))
}

/// Why there are no more workers, where a veto is what forbids them.
pub(super) fn vetoed(verdicts: &[Option<PodVerdict>]) -> Option<String> {
    let verdict = verdicts.iter().flatten().find(|verdict| verdict.decision.reason == Reason::Vetoed)?;
    Some(format!("{}: {}", verdict.pod, verdict.decision.message))
}

pub(super) fn of_pods(number: &PodsDecision, would: bool) -> String {
    let verb = if would { "would be " } else { "" };
    format!("{verb}{} to {}: {}", number.current, number.target, number.message)
}

pub(super) fn of_order(command: &Command) -> String {
    match command {
        Command::Lease { request, renewal } => {
            let what = if *renewal { "the lease again" } else { "a lease" };
            format!(
                "{what} of {} workers for {} s, epoch {}·2³² + {}",
                request.workers,
                request.ttl_seconds,
                request.epoch >> 32,
                request.epoch & u64::from(u32::MAX)
            )
        }
        Command::Steps { from, to } if to > from => format!("TTIN, {} times", to - from),
        Command::Steps { from, to } => format!("TTOU, {} times", from - to),
    }
}

/// In words that stay the same while the cause does.
pub(super) fn failure(kind: &str) -> &'static str {
    match kind {
        "connect" => "cannot be connected to",
        "timeout" => "does not answer in time",
        "exchange" => "breaks the connection off",
        "unauthorized" => "refuses the token",
        "draining" => "is shutting down",
        "refused" => "refuses to answer",
        _ => "answers what makes no sense",
    }
}

/// What to tell of conditions that have become others.
pub(super) fn transitions(before: Option<&Visible>, now: &Visible) -> Vec<Notice> {
    let mut notices = Vec::new();
    let reason_before = before.map(|before| before.active.reason.as_str());
    if now.active.reason == reasons::FOREIGN_HPA && reason_before != Some(reasons::FOREIGN_HPA) {
        notices.push(Notice::warning(reasons::FOREIGN_HPA, "RefuseToScalePods", &now.active.message));
    }
    let was = before.map(|before| before.reachable.status);
    match now.reachable.status {
        ConditionStatus::False if was != Some(ConditionStatus::False) => {
            notices.push(Notice::warning(&now.reachable.reason, "AskPods", &now.reachable.message));
        }
        ConditionStatus::True if was == Some(ConditionStatus::False) => {
            notices.push(Notice::normal(&now.reachable.reason, "AskPods", &now.reachable.message));
        }
        _ => {}
    }
    notices
}
