//! Decisions and vetoes in words.

use super::{Config, Memory, Situation};
use crate::decision::{Inputs, Reason, Veto, VetoKind};
use crate::number::{mebibytes, percent, workers};

pub(super) fn message(
    config: &Config,
    situation: Situation,
    inputs: &Inputs,
    target: u32,
    reason: Reason,
    vetoes: &[Veto],
) -> String {
    let Situation { current, min, max, .. } = situation;
    let Inputs { offered_fast, offered_slow, desired, .. } = *inputs;
    let utilization = percent(config.utilization);
    let (fast, slow) = (config.fast.as_secs(), config.slow.as_secs());
    match reason {
        Reason::Load => {
            let limit = if target >= desired {
                String::new()
            } else if target == max {
                format!("; {max} is the upper bound")
            } else if target == current.saturating_mul(2) {
                "; a step at most doubles the number".to_owned()
            } else if inputs.ceiling == Some(target) {
                format!("; {target} is a quarter above what the demand needs")
            } else {
                vetoes
                    .first()
                    .map_or_else(String::new, |veto| format!("; {}", veto.message.trim_end_matches('.')))
            };
            format!(
                "{current} to {target}: over {fast} s there was work for {offered_fast:.1} workers, waiting requests \
                 included; {desired} would be {utilization} busy{limit}."
            )
        }
        Reason::Queue => format!(
            "{current} to {target}: requests wait {:.2} s, more than {:.2} s, for the second time.",
            inputs.wait_seconds,
            config.objective.as_secs_f64()
        ),
        Reason::Idle => format!(
            "{current} to {target}: {offered_slow:.1} workers were busy over {slow} s, and fewer than {current} have been \
             enough for {:.0} s.",
            inputs.down_window_seconds
        ),
        Reason::Bounds => format!("{current} to {target}: the bounds are {min} and {max}."),
        Reason::MemoryPressure => {
            format!(
                "{current} to {target}: the container stalls on memory; one worker less takes less of it."
            )
        }
        Reason::Steady if desired > current && current >= max => {
            format!("{desired} would be {utilization} busy, and {max} is the upper bound.")
        }
        Reason::Steady => {
            format!("{} and work for {offered_fast:.1}: that fits.", workers(current))
        }
        Reason::Settling => format!(
            "Work for {offered_slow:.1} workers over {slow} s: fewer than {current} would do; that has to hold for {:.0} s.",
            inputs.down_window_seconds
        ),
        Reason::Vetoed => {
            let why = vetoes.first().map_or("", |veto| veto.message.as_str());
            format!("{desired} would be {utilization} busy, but it stays at {current}: {why}")
        }
        Reason::Starting => {
            format!("{} boot; what one can do is not known yet.", workers(inputs.starting.max(1)))
        }
        Reason::Leased => format!("A lease is in force; {desired} would be {utilization} busy."),
        Reason::BackingOff => {
            "Workers die while they boot: the number stays until one has become ready.".to_owned()
        }
        Reason::NoData => "Nothing has been observed since the last decision.".to_owned(),
    }
}

fn veto(kind: VetoKind, message: String) -> Veto {
    Veto { kind, message }
}

pub(super) fn backing_off() -> Veto {
    veto(VetoKind::CrashBackOff, "Workers die while they boot, and the next boot is waited for.".to_owned())
}

pub(super) fn marginal_gain(message: String) -> Veto {
    veto(VetoKind::MarginalGain, message)
}

pub(super) fn stalls(pressure: f64) -> Veto {
    veto(
        VetoKind::MemoryPressure,
        format!("Somebody waited for memory in {pressure:.0} % of the last 10 s (PSI some avg10)."),
    )
}

pub(super) fn full(memory: &Memory) -> Veto {
    veto(
        VetoKind::MemoryPressure,
        format!(
            "The container uses {} of {}, more than 90 %.",
            mebibytes(memory.working_set),
            mebibytes(memory.limit)
        ),
    )
}

pub(super) fn headroom(memory: &Memory, per_worker: u64, most: u32) -> Veto {
    veto(
        VetoKind::MemoryHeadroom,
        format!(
            "A worker takes {}, the container uses {} of {}: {} fit into 90 % of it.",
            mebibytes(per_worker),
            mebibytes(memory.working_set),
            mebibytes(memory.limit),
            workers(most)
        ),
    )
}

pub(super) fn throttled(throttled: f64, spent: f64, quota: f64) -> Veto {
    veto(
        VetoKind::CpuThrottled,
        format!(
            "{} of the CPU periods of the last 10 s were throttled, with {} of {quota:.2} cores used: more workers would \
             share the same CPU time.",
            percent(throttled),
            percent(spent)
        ),
    )
}
