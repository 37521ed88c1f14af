//! One app: from what its pods say to what is done. Pure.
//!
//! Contract: [`App::to_ask`] says which pods are worth asking; [`App::decide`] takes their answers and makes the [`Plan`]. What was
//! held by pods before is taken from their own word, so nothing is lost with a former leader. Pods that do not answer
//! are asked less and less often, are told nothing, and count for nothing.

mod looks;
mod own;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use podicorn_admin_api::ScaleView;
use podicorn_policy::{
    Direction, Fleet as FleetPolicy, FleetDecision, PodLoad, PodVerdict, PodsDecision, Standing,
};

use super::epoch::Epochs;
use super::fleet::AppSeen;
use super::notice::Notice;
use super::order::{Manner, Order, Word};
use super::visible::{self, Reach, Visible};
use super::words;
use crate::api::Mode;
use looks::{Looks, Sums};
pub(super) use own::OwnMove;

/// A pod that has not answered so many times in a row is told of.
const SILENT: u32 = 2;
/// And after so many it is asked less often.
const PATIENCE: u32 = 3;
/// But at least this often.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// When it is.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// On a monotonic clock; never zero.
    pub(super) at: Duration,
    /// For people, in whole seconds.
    pub(super) now: Timestamp,
}

/// Why a pod did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: &'static str,
    pub(super) message: String,
}

pub(super) type Answer = Result<ScaleView, Failure>;

/// What a look comes to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) orders: Vec<Order>,
    /// Pods to ask the Deployment for.
    pub(super) replicas: Option<u32>,
    pub(super) notices: Vec<Notice>,
    pub(super) visible: Visible,
    /// In the order of the pods: none where a pod has not answered.
    pub(super) verdicts: Vec<Option<PodVerdict>>,
    pub(super) level: Option<u32>,
    /// Pods that have orders of a later leader.
    pub(super) yielded: usize,
    /// It was another number before.
    pub(super) yields_anew: bool,
    pub(super) reach: Reach,
    /// Ready pods that have answered.
    pub(super) answered: usize,
}

#[derive(Debug, Clone, Default)]
struct Contact {
    failures: u32,
    ask_at: Duration,
    last: Option<Failure>,
}

/// What is remembered of an app from one look to the next.
#[derive(Debug)]
pub(super) struct App {
    wishes: super::wishes::Wishes,
    policy: FleetPolicy,
    contacts: BTreeMap<String, Contact>,
    /// What each pod that answered said last.
    known: BTreeMap<String, Sums>,
    /// What each pod was told last.
    told: BTreeMap<String, u32>,
    number: Option<PodsDecision>,
    /// The number of pods has been written since this leader began: so it is this field manager's from then on.
    owns_replicas: bool,
    /// What the texts in the status are about: workers wanted and whether a veto is in force; pods wanted.
    said_of_workers: Option<(u32, bool)>,
    said_of_pods: Option<u32>,
    visible: Option<Visible>,
    yielded: usize,
}

impl App {
    pub(super) fn new(seen: &AppSeen) -> Self {
        Self {
            wishes: seen.wishes,
            policy: FleetPolicy::new(seen.wishes.config()),
            contacts: BTreeMap::new(),
            known: BTreeMap::new(),
            told: BTreeMap::new(),
            number: None,
            owns_replicas: false,
            said_of_workers: None,
            said_of_pods: None,
            visible: seen.status.as_ref().and_then(Visible::of),
            yielded: 0,
        }
    }

    /// Places of the pods that are to be asked now.
    pub(super) fn to_ask(&self, at: Duration, seen: &AppSeen) -> Vec<usize> {
        let due = |uid: &str| self.contacts.get(uid).is_none_or(|contact| contact.ask_at <= at);
        let pods = seen.pods.iter().enumerate();
        pods.filter(|(_, pod)| pod.serves() && due(&pod.uid)).map(|(place, _)| place).collect()
    }

    /// `answers` are in the order of the pods: none where a pod was not asked.
    pub(super) fn decide(
        &mut self,
        moment: &Moment,
        seen: &AppSeen,
        answers: &[Option<Answer>],
        manner: Manner,
        epochs: &Epochs,
    ) -> Plan {
        self.take_over(seen);
        let reach = self.contact(moment.at, seen, answers, manner);
        let views: Vec<Option<&ScaleView>> =
            answers.iter().map(|answer| answer.as_ref().and_then(|answer| answer.as_ref().ok())).collect();
        let loads: Vec<PodLoad<'_>> = seen
            .pods
            .iter()
            .zip(&views)
            .filter_map(|(pod, view)| {
                view.map(|view| PodLoad {
                    pod: &pod.name,
                    current: view.target,
                    min: view.min,
                    max: view.max,
                    decision: view.decision.as_ref(),
                })
            })
            .collect();
        let answered = loads.len();
        let bounds = self.wishes.bounds(seen.replicas);
        let FleetDecision { pods, number, level } = self.policy.tick(moment.at, &bounds, &loads);
        let mut decided = pods.into_iter();
        let verdicts: Vec<Option<PodVerdict>> =
            views.iter().map(|view| view.and_then(|_| decided.next())).collect();

        let (orders, yielded) = self.orders(seen, &views, &verdicts, manner, epochs);
        let replicas = self.replicas(seen, number.as_ref());
        if number.is_some() {
            self.number = number;
        }
        let mut notices = Vec::new();
        let before = self.visible.clone();
        let visible = self.look(
            moment,
            seen,
            &Looks { views: &views, verdicts: &verdicts, orders: &orders, replicas },
            &reach,
            &mut notices,
        );
        notices.extend(words::transitions(before.as_ref(), &visible));
        self.told.retain(|uid, _| seen.pods.iter().any(|pod| pod.uid == *uid));
        for order in &orders {
            self.told.insert(seen.pods[order.pod].uid.clone(), order.command.workers());
        }
        self.visible = Some(visible.clone());
        let yields_anew = std::mem::replace(&mut self.yielded, yielded) != yielded;
        Plan { orders, replicas, notices, visible, verdicts, level, yielded, yields_anew, reach, answered }
    }

    /// What the spec says may have changed. What was observed under other rules is forgotten; no number jumps by that.
    fn take_over(&mut self, seen: &AppSeen) {
        if self.wishes == seen.wishes {
            return;
        }
        if self.wishes.config() != seen.wishes.config() || self.wishes.concurrency != seen.wishes.concurrency
        {
            self.policy = FleetPolicy::new(seen.wishes.config());
        }
        if self.wishes.mode != seen.wishes.mode {
            self.owns_replicas = false;
            self.said_of_workers = None;
            self.said_of_pods = None;
        }
        self.wishes = seen.wishes;
    }

    fn contact(&mut self, at: Duration, seen: &AppSeen, answers: &[Option<Answer>], manner: Manner) -> Reach {
        let there: BTreeSet<&str> = seen.pods.iter().map(|pod| pod.uid.as_str()).collect();
        self.contacts.retain(|uid, _| there.contains(uid.as_str()));
        let mut reach = Reach::default();
        for (pod, answer) in seen.pods.iter().zip(answers) {
            if !pod.serves() {
                continue;
            }
            reach.ready += 1;
            let contact = match answer {
                Some(Ok(_)) => {
                    self.contacts.remove(&pod.uid);
                    continue;
                }
                Some(Err(failure)) => {
                    let contact = self.contacts.entry(pod.uid.clone()).or_default();
                    contact.failures = contact.failures.saturating_add(1);
                    contact.last = Some(failure.clone());
                    let doublings = contact.failures.saturating_sub(PATIENCE).min(8);
                    let pause = Duration::from_secs_f64(manner.tick_seconds / 2.0) * (1 << doublings);
                    contact.ask_at =
                        at + if doublings == 0 { Duration::ZERO } else { pause.min(LONGEST_PAUSE) };
                    contact
                }
                None => match self.contacts.get_mut(&pod.uid) {
                    Some(contact) => contact,
                    None => continue,
                },
            };
            if contact.failures >= SILENT {
                let why = contact.last.as_ref().map_or("", |failure| failure.kind);
                reach.silent.push((pod.name.clone(), words::failure(why).to_owned()));
            }
        }
        reach
    }

    fn orders(
        &self,
        seen: &AppSeen,
        views: &[Option<&ScaleView>],
        verdicts: &[Option<PodVerdict>],
        manner: Manner,
        epochs: &Epochs,
    ) -> (Vec<Order>, usize) {
        let mut orders = Vec::new();
        let mut yielded = 0;
        if !self.wishes.acts() {
            return (orders, yielded);
        }
        for (place, pod) in seen.pods.iter().enumerate() {
            let (Some(view), Some(verdict)) = (views[place], &verdicts[place]) else { continue };
            let steered = match verdict.standing {
                Standing::Steered => true,
                // What a lease holds is held on; a pod that scales by itself does so until it is known.
                Standing::Watched => view.lease.is_some(),
                Standing::Silent | Standing::Unsound => false,
            };
            if !steered {
                continue;
            }
            match manner.word(&pod.name, view, verdict.decision.target, epochs) {
                Word::Nothing => {}
                Word::Yield => yielded += 1,
                Word::Say(command) => orders.push(Order {
                    pod: place,
                    command,
                    direction: verdict.decision.direction,
                    reason: verdict.decision.reason,
                }),
            }
        }
        (orders, yielded)
    }

    fn replicas(&mut self, seen: &AppSeen, number: Option<&PodsDecision>) -> Option<u32> {
        if self.wishes.mode != Mode::Operator || !seen.hpas.is_empty() {
            self.owns_replicas = false;
            return None;
        }
        let current = seen.replicas?;
        match number {
            Some(number) if number.target != current => Some(number.target),
            // As it is, but by this field manager: reconcile may then let go of it.
            _ if !self.owns_replicas => Some(current),
            _ => None,
        }
    }

    /// The number of pods was written.
    pub(super) fn wrote_replicas(&mut self) {
        self.owns_replicas = true;
    }

    /// Demand over capacity, as last reckoned.
    pub(super) fn utilization(&self) -> Option<f64> {
        let number = self.number.as_ref().filter(|number| number.inputs.reporting > 0)?;
        Some(number.inputs.capacity_utilization)
    }

    /// A pod that has failed to answer once has not lost its workers by that: its last word counts on.
    fn sums(&mut self, seen: &AppSeen, looks: &Looks<'_>) -> Sums {
        let mut sums = looks.sums();
        let mut known = BTreeMap::new();
        for (place, pod) in seen.pods.iter().enumerate() {
            let failures = self.contacts.get(&pod.uid).map_or(0, |contact| contact.failures);
            if let Some(of_pod) = looks.of_pod(place) {
                known.insert(pod.uid.clone(), of_pod);
            } else if let Some(last) = self.known.remove(&pod.uid).filter(|_| (1..SILENT).contains(&failures))
            {
                sums.add(&last);
                known.insert(pod.uid.clone(), last);
            }
        }
        self.known = known;
        sums
    }

    fn look(
        &mut self,
        moment: &Moment,
        seen: &AppSeen,
        looks: &Looks<'_>,
        reach: &Reach,
        notices: &mut Vec<Notice>,
    ) -> Visible {
        let own = own::moves(seen, looks, &self.known, &self.told);
        let sums = self.sums(seen, looks);
        let shown = if self.wishes.acts() { sums.proposed } else { sums.before };
        let before = self.visible.clone();
        let mut scaling = before.as_ref().map(|visible| visible.scaling.clone()).unwrap_or_default();
        let now = Time(moment.now);

        let changes = words::changes(seen, looks.verdicts);
        let vetoed = words::vetoed(looks.verdicts);
        let about = (sums.proposed, vetoed.is_some());
        let fresh = self.said_of_workers != Some(about);
        if fresh {
            let would = !self.wishes.acts();
            let steady = || would.then(|| words::steady(looks.verdicts)).flatten();
            if let Some(why) = words::of_workers(&changes, would).or(vetoed).or_else(steady) {
                scaling.workers = Some(visible::text(&why));
            }
            self.said_of_workers = Some(about);
        }
        // What could not be said is said again at the next tick, but not to people.
        if fresh && looks.changes() {
            let why = words::of_workers(&changes, false).unwrap_or_default();
            notices.push(Notice::workers(sums.before, sums.proposed, &why));
            scaling.last_scale_time = Some(now.clone());
        }
        if let Some(why) = words::of_own_moves(&own) {
            let (from, to) = own.iter().fold((0, 0), |sum, own| (sum.0 + own.from, sum.1 + own.to));
            let all_before = (sums.before + from).saturating_sub(to);
            notices.push(Notice::workers(all_before, sums.before, &why));
            scaling.workers = Some(visible::text(&why));
            scaling.last_scale_time = Some(now.clone());
        }
        let told = matches!(self.wishes.mode, Mode::Operator) || self.wishes.max_pods.is_some();
        match &self.number {
            Some(number)
                if told
                    && number.direction != Direction::Hold
                    && self.said_of_pods != Some(number.target) =>
            {
                self.said_of_pods = Some(number.target);
                scaling.pods = Some(visible::text(&words::of_pods(number, !self.wishes.acts())));
            }
            _ if !told => scaling.pods = None,
            _ => {}
        }
        if let (Some(replicas), Some(current), Some(number)) = (looks.replicas, seen.replicas, &self.number)
            && replicas != current
        {
            notices.push(Notice::pods(current, replicas, &number.message));
            scaling.last_scale_time = Some(now.clone());
        }
        let previous = before.as_ref();
        Visible {
            workers: visible::workers(sums.existing, shown, sums.ready),
            scaling,
            active: visible::active(seen, previous.map(|visible| &visible.active), &now),
            reachable: visible::reachable(seen, reach, previous.map(|visible| &visible.reachable), &now),
        }
    }
}

#[cfg(test)]
mod tests;
