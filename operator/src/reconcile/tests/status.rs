use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{app, deployment};
use crate::api::{ConditionStatus, GunicornApp, GunicornAppStatus, MigrationState, conditions, reasons};
use crate::controller::PodsSummary;
use crate::reconcile::Kind;
use crate::reconcile::error::Error;
use crate::reconcile::events::between;
use crate::reconcile::live::DeploymentFacts;
use crate::reconcile::migration::Migration;
use crate::reconcile::status::{Observed, status};
use crate::reconcile::validate::Invalid;

/// What a test looks at, and all else as usual.
struct Case {
    app: GunicornApp,
    previous: GunicornAppStatus,
    deployment: Option<DeploymentFacts>,
    pods: PodsSummary,
    migration: Migration,
    missing: Vec<Kind>,
    error: Option<Error>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            app: app("{}"),
            previous: GunicornAppStatus::default(),
            deployment: Some(deployment(3, 3)),
            pods: PodsSummary::default(),
            migration: Migration::Unwanted,
            missing: Vec::new(),
            error: None,
        }
    }
}

impl Case {
    fn at(&self, second: i64) -> GunicornAppStatus {
        status(&Observed {
            app: &self.app,
            previous: &self.previous,
            deployment: self.deployment.as_ref(),
            pods: self.pods,
            migration: &self.migration,
            missing: &self.missing,
            error: self.error.as_ref(),
            now: Time(Timestamp::from_second(second).unwrap()),
        })
    }

    /// Status and reason of a condition.
    fn condition(&self, kind: &str) -> (ConditionStatus, String) {
        let status = self.at(100);
        let condition = status.condition(kind).unwrap();
        (condition.status, condition.reason.clone())
    }
}

fn yes(reason: &str) -> (ConditionStatus, String) {
    (ConditionStatus::True, reason.to_owned())
}

fn no(reason: &str) -> (ConditionStatus, String) {
    (ConditionStatus::False, reason.to_owned())
}

#[test]
fn an_app_that_serves_is_ready() {
    let case = Case::default();
    assert_eq!(case.condition(conditions::READY), yes(reasons::ALL_PODS_READY));
    assert_eq!(case.condition(conditions::PROGRESSING), no(reasons::ROLLED_OUT));
    assert_eq!(case.condition(conditions::DEGRADED), no(reasons::AS_EXPECTED));
    let status = case.at(100);
    assert_eq!((status.replicas, status.ready_pods, status.observed_generation), (Some(3), Some(3), Some(3)));
    assert_eq!(
        status.selector.as_deref(),
        Some("app.kubernetes.io/instance=shop,app.kubernetes.io/name=shop,podicorn.io/app=shop")
    );
}

#[test]
fn nothing_moves_while_nothing_happens() {
    let mut case = Case::default();
    case.previous = case.at(100);
    assert_eq!(case.at(200), case.previous);
}

#[test]
fn an_app_is_not_ready_before_its_rollout_is_done() {
    let old_pods = DeploymentFacts { updated: 1, ..deployment(3, 3) };
    let case = Case { deployment: Some(old_pods), ..Case::default() };
    assert_eq!(case.condition(conditions::READY), no(reasons::ROLLING_OUT));
    assert_eq!(case.condition(conditions::PROGRESSING), yes(reasons::ROLLING_OUT));
    let unseen = DeploymentFacts { observed: false, ..deployment(3, 3) };
    assert_eq!(
        Case { deployment: Some(unseen), ..Case::default() }.condition(conditions::READY),
        no(reasons::ROLLING_OUT)
    );
}

#[test]
fn more_pods_do_not_take_readiness_away_while_they_start() {
    let before = Case::default().at(100);
    let growing = Case { previous: before.clone(), deployment: Some(deployment(6, 3)), ..Case::default() };
    assert_eq!(growing.condition(conditions::READY), yes(reasons::ALL_PODS_READY));
    // At first all are waited for.
    let first = Case { deployment: Some(deployment(6, 3)), ..Case::default() };
    assert_eq!(first.condition(conditions::READY), no(reasons::PODS_NOT_READY));
    // One that served and no longer does is another matter.
    let broken = Case {
        previous: before,
        deployment: Some(deployment(3, 2)),
        pods: PodsSummary { ready: 2, broken: 1 },
        ..Case::default()
    };
    assert_eq!(broken.condition(conditions::READY), no(reasons::PODS_NOT_READY));
}

#[test]
fn a_failed_migration_degrades_and_says_where_to_look() {
    let failed =
        Migration::Failed { job: "shop-migrate-1".to_owned(), why: "BackoffLimitExceeded: x".to_owned() };
    let case = Case { migration: failed, ..Case::default() };
    assert_eq!(case.condition(conditions::DEGRADED), yes(reasons::MIGRATION_FAILED));
    // The old pods still serve.
    assert_eq!(case.condition(conditions::READY), yes(reasons::ALL_PODS_READY));
    let status = case.at(100);
    assert!(
        status.condition(conditions::DEGRADED).unwrap().message.contains("kubectl logs job/shop-migrate-1")
    );
    assert_eq!(status.migration.unwrap().state, MigrationState::Failed);
    let none_yet = Case { deployment: None, ..case };
    assert_eq!(none_yet.condition(conditions::READY), no(reasons::MIGRATION_FAILED));
}

#[test]
fn an_invalid_spec_is_told_in_conditions_and_once_in_an_event() {
    let good = Case::default();
    let mut case = Case {
        previous: good.at(100),
        error: Some(Error::Invalid(Invalid::Settings("x is not a setting".to_owned()))),
        ..Case::default()
    };
    assert_eq!(case.condition(conditions::READY), no(reasons::INVALID_SPEC));
    assert_eq!(case.condition(conditions::DEGRADED), yes(reasons::INVALID_SPEC));
    let bad = case.at(200);
    let events = between(&case.previous, &bad);
    assert_eq!(events.iter().map(|event| event.reason.as_str()).collect::<Vec<_>>(), [reasons::INVALID_SPEC]);
    assert_eq!(events[0].note.as_deref(), Some("spec.settings: x is not a setting"));
    case.previous = bad;
    assert!(between(&case.previous, &case.at(300)).is_empty());
    // Mended: told once more.
    let mended = Case { previous: case.previous.clone(), ..Case::default() }.at(400);
    assert_eq!(between(&case.previous, &mended).len(), 1);
}

#[test]
fn what_passes_by_itself_is_told_only_when_it_does_not() {
    let error = Error::NoAnswer { verb: "apply", kind: "Service", name: "shop".to_owned() };
    assert!(!error.is_told(2));
    assert!(error.is_told(3));
    assert!(Error::NameTaken { kind: "Service", name: "shop".to_owned() }.is_told(0));
    let case = Case { error: Some(error), ..Case::default() };
    assert_eq!(case.condition(conditions::DEGRADED), yes(reasons::APPLY_FAILED));
}

#[test]
fn a_kind_that_is_not_installed_is_named() {
    let case = Case { missing: vec![Kind::HttpRoute], ..Case::default() };
    assert_eq!(case.condition(conditions::DEGRADED), yes(reasons::KIND_NOT_INSTALLED));
    let message = case.at(1).condition(conditions::DEGRADED).unwrap().message.clone();
    assert!(message.contains("HTTPRoute (gateway.networking.k8s.io/v1)"), "{message}");
}

#[test]
fn a_rollout_is_told_when_it_begins_and_when_it_is_done() {
    let done = Case::default().at(100);
    let rolling = Case {
        previous: done.clone(),
        deployment: Some(DeploymentFacts { updated: 1, ..deployment(3, 3) }),
        ..Case::default()
    };
    let rolling = rolling.at(200);
    let reasons_of = |from: &GunicornAppStatus, to: &GunicornAppStatus| {
        between(from, to).into_iter().map(|event| event.reason).collect::<Vec<_>>()
    };
    assert_eq!(reasons_of(&done, &rolling), [reasons::ROLLING_OUT]);
    assert_eq!(reasons_of(&rolling, &done), [reasons::ROLLED_OUT]);
}
