//! Which traces are recorded: `OTEL_TRACES_SAMPLER`. One decision for the arbiter's own spans, those of requests and, by
//! the flag in `traceparent`, those of the app.

use opentelemetry_sdk::trace::Sampler;
use serde::Serialize;

/// The samplers of the specification are two questions: does the caller's decision count, and how many of the others
/// are taken?
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sampling {
    /// Where a request has a caller with a decision, that one holds.
    pub parent_based: bool,
    /// From 0 to 1.
    pub ratio: f64,
}

impl Default for Sampling {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Self { parent_based: true, ratio: 1.0 }
    }
}

impl Sampling {
    /// By the specification's names; an argument that is no ratio is 1.
    pub fn named(name: &str, argument: Option<&str>) -> Option<Self> {
        let (parent_based, root) =
            name.strip_prefix("parentbased_").map_or((false, name), |root| (true, root));
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument
                .and_then(|text| text.parse().ok())
                .filter(|ratio| (0.0..=1.0).contains(ratio))
                .unwrap_or(1.0),
            _ => return None,
        };
        Some(Self { parent_based, ratio })
    }

    /// The same for the SDK.
    pub fn sampler(self) -> Sampler {
        let root = Sampler::TraceIdRatioBased(self.ratio);
        if self.parent_based { Sampler::ParentBased(Box::new(root)) } else { root }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_specification() {
        let named = |name| Sampling::named(name, Some("0.25")).map(|it| (it.parent_based, it.ratio));
        assert_eq!(named("always_on"), Some((false, 1.0)));
        assert_eq!(named("always_off"), Some((false, 0.0)));
        assert_eq!(named("traceidratio"), Some((false, 0.25)));
        assert_eq!(named("parentbased_always_on"), Some((true, 1.0)));
        assert_eq!(named("parentbased_always_off"), Some((true, 0.0)));
        assert_eq!(named("parentbased_traceidratio"), Some((true, 0.25)));
        assert_eq!(named("xray"), None);
        assert_eq!(Sampling::named("traceidratio", Some("7")).map(|it| it.ratio), Some(1.0));
        assert_eq!(Sampling::named("traceidratio", None).map(|it| it.ratio), Some(1.0));
    }
}
