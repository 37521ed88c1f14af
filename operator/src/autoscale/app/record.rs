//! What a look leaves behind for people who ask later.

use std::collections::BTreeMap;

use podicorn_admin_api::ScaleView;

use super::super::fleet::AppSeen;
use super::super::history::{Past, PodSnapshot, Snapshot};
use super::super::order::Order;
use super::super::words;
use super::looks::Looks;
use super::{Answer, App, Moment, Plan};

impl App {
    /// Updates what is to be had for `explain`.
    pub(in crate::autoscale) fn record(
        &self,
        moment: &Moment,
        seen: &AppSeen,
        answers: Vec<Option<Answer>>,
        plan: &Plan,
        snapshot: &mut Snapshot,
    ) {
        let looks_views: Vec<Option<&ScaleView>> =
            answers.iter().map(|answer| answer.as_ref().and_then(|answer| answer.as_ref().ok())).collect();
        let looks = Looks {
            views: &looks_views,
            verdicts: &plan.verdicts,
            orders: &plan.orders,
            replicas: plan.replicas,
        };
        let sums = looks.sums();
        let changes = words::changes(seen, &plan.verdicts);
        snapshot.remember(Past {
            at: moment.now,
            answered: count(plan.answered),
            ready_pods: count(plan.reach.ready),
            workers: sums.before,
            target: sums.proposed,
            ready: sums.ready,
            offered: sums.offered,
            why: words::of_workers(&changes, !self.wishes.acts()),
        });
        snapshot.taken_at = moment.now;
        snapshot.generation = seen.generation;
        snapshot.spec = seen.wishes;
        snapshot.replicas = seen.replicas;
        snapshot.hpas.clone_from(&seen.hpas);
        snapshot.level = plan.level;
        snapshot.number.clone_from(&self.number);
        let mut orders: BTreeMap<usize, &Order> =
            plan.orders.iter().map(|order| (order.pod, order)).collect();
        snapshot.pods = answers
            .into_iter()
            .enumerate()
            .map(|(place, answer)| {
                let pod = &seen.pods[place];
                let known = self.contacts.get(&pod.uid).and_then(|contact| contact.last.as_ref());
                let failure = match &answer {
                    Some(Err(failure)) => Some(failure.message.clone()),
                    Some(Ok(_)) => None,
                    None => known.map(|failure| failure.message.clone()),
                };
                PodSnapshot {
                    pod: pod.name.clone(),
                    ready: pod.serves(),
                    failure,
                    scale: answer.and_then(Result::ok),
                    verdict: plan.verdicts[place].clone(),
                    order: orders.remove(&place).map(|order| words::of_order(&order.command)),
                }
            })
            .collect();
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
