//! Traffic: when requests come and how long each keeps a worker.

use crate::random::Random;

/// One request; times in microseconds since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub at: u64,
    pub service: u64,
}

/// Requests in the order of their arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub name: String,
    /// In one sentence, for the report.
    pub about: String,
    pub requests: Vec<Request>,
}

pub(crate) const SECOND: u64 = 1_000_000;

#[allow(clippy::cast_sign_loss)] // negative times are 0: `as` saturates
pub(crate) fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

#[allow(clippy::cast_precision_loss)] // microseconds of a simulation fit
pub(crate) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// The shapes that need no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Poisson,
    Bursty,
    Diurnal,
    Flash,
}

impl Shape {
    pub const ALL: [Self; 4] = [Self::Poisson, Self::Bursty, Self::Diurnal, Self::Flash];

    pub fn name(self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::Bursty => "bursty",
            Self::Diurnal => "diurnal",
            Self::Flash => "flash",
        }
    }

    /// Traffic of this shape: `load` is the mean number of busy workers in quiet times, `service` the mean time of a
    /// request in seconds.
    pub fn trace(self, load: f64, service: f64, seed: u64) -> Trace {
        let mut arrivals = Random::new(seed, self as u64);
        let mut services = Random::new(seed, 100 + self as u64);
        let (length, about): (f64, String) = match self {
            Self::Poisson => (1200.0, format!("constant load of {load} workers for 20 minutes")),
            Self::Bursty => (
                1800.0,
                format!(
                    "{load} workers' load for a minute, four times that for 15 s, and so on at random (MMPP), 30 minutes"
                ),
            ),
            Self::Diurnal => {
                (3600.0, format!("a day in an hour: from {load} to {} workers' load and back", 5.0 * load))
            }
            Self::Flash => {
                (900.0, format!("{load} workers' load, five times that from minute 5 to minute 10"))
            }
        };
        let mut bursts = Bursts { until: 0.0, high: true };
        let mut requests = Vec::new();
        let peak = 5.0 * load;
        let mut now = 0.0;
        loop {
            // Thinning: candidates at the peak rate, each taken with the present share of it.
            now += arrivals.exponential(service / peak);
            if now >= length {
                break;
            }
            let present = match self {
                Self::Poisson => load,
                Self::Bursty => load * if bursts.high_at(now, &mut arrivals) { 4.0 } else { 1.0 },
                Self::Diurnal => load * (3.0 - 2.0 * (std::f64::consts::TAU * now / length).cos()),
                Self::Flash => load * if (300.0..600.0).contains(&now) { 5.0 } else { 1.0 },
            };
            if arrivals.uniform() <= present / peak {
                let service = services.lognormal(service, 0.8);
                requests.push(Request { at: micros(now), service: micros(service).max(1) });
            }
        }
        Trace { name: self.name().to_owned(), about, requests }
    }
}

/// Two states that take turns.
struct Bursts {
    until: f64,
    high: bool,
}

impl Bursts {
    fn high_at(&mut self, now: f64, random: &mut Random) -> bool {
        while now >= self.until {
            self.high = !self.high;
            self.until += random.exponential(if self.high { 15.0 } else { 60.0 });
        }
        self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_have_their_load_and_are_the_same_again() {
        for (shape, factor) in
            [(Shape::Poisson, 1.0), (Shape::Bursty, 1.6), (Shape::Diurnal, 3.0), (Shape::Flash, 7.0 / 3.0)]
        {
            let trace = shape.trace(2.0, 0.1, 1);
            let length = seconds(trace.requests.last().unwrap().at);
            let load = trace.requests.iter().map(|request| seconds(request.service)).sum::<f64>() / length;
            assert!((load / (2.0 * factor) - 1.0).abs() < 0.25, "{shape:?}: {load}");
            assert!(trace.requests.is_sorted_by_key(|request| request.at));
            assert_eq!(trace, shape.trace(2.0, 0.1, 1));
            assert_ne!(trace, shape.trace(2.0, 0.1, 2));
        }
    }
}
