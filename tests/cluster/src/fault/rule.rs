//! Which requests meet which fault.

use std::time::Duration;

use hyper::Method;

/// What a request is to Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Read,
    Watch,
    Create,
    Patch,
    Delete,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// An error of the apiserver's kind.
    Answer {
        code: u16,
        retry_after: Option<u32>,
    },
    /// A watch that begins and says at once that its version is too old.
    Expired,
    /// The connection ends without an answer; the request has *not* reached the apiserver.
    Refuse,
    /// The same, but the request has been carried out.
    LoseAnswer,
    Delay(Duration),
}

#[derive(Debug, Clone)]
pub struct Rule {
    verb: Verb,
    path: String,
    pub(super) times: usize,
    pub(super) action: Action,
}

impl Rule {
    /// For the next so many requests of the kind whose path contains the text.
    pub fn new(verb: Verb, path: &str, times: usize, action: Action) -> Self {
        Self { verb, path: path.to_owned(), times, action }
    }

    pub(super) fn fits(&self, verb: Verb, path: &str) -> bool {
        self.times > 0 && self.verb == verb && path.contains(&self.path)
    }
}

impl Verb {
    pub(super) fn of(method: &Method, query: Option<&str>) -> Self {
        match *method {
            Method::GET if query.is_some_and(|query| query.contains("watch=")) => Self::Watch,
            Method::GET => Self::Read,
            Method::POST => Self::Create,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_knows_its_requests_and_when_it_is_used_up() {
        let mut rule = Rule::new(Verb::Patch, "/deployments", 1, Action::Refuse);
        assert!(rule.fits(Verb::Patch, "/apis/apps/v1/namespaces/a/deployments/shop"));
        assert!(!rule.fits(Verb::Read, "/apis/apps/v1/namespaces/a/deployments/shop"));
        assert!(!rule.fits(Verb::Patch, "/api/v1/namespaces/a/services/shop"));
        rule.times = 0;
        assert!(!rule.fits(Verb::Patch, "/apis/apps/v1/namespaces/a/deployments/shop"));
    }

    #[test]
    fn a_watch_is_told_from_a_list() {
        assert_eq!(Verb::of(&Method::GET, Some("limit=500")), Verb::Read);
        assert_eq!(Verb::of(&Method::GET, Some("&watch=true&timeoutSeconds=290")), Verb::Watch);
    }
}
