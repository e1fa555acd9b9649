//! Requests that are not use: traffic rules, prepared for matching.

use std::net::IpAddr;

use http::{HeaderMap, Method, header};
use ipnet::IpNet;

use crate::config::settings::{PathPattern, TrafficClass, TrafficRule};

/// The rules of one service, in the file's order.
#[derive(Debug, Default)]
pub(super) struct Traffic(Box<[Rule]>);

#[derive(Debug)]
struct Rule {
    path: Option<PathPattern>,
    /// Lower case.
    agent: Option<Box<[u8]>>,
    methods: Box<[Method]>,
    sources: Box<[IpNet]>,
    then: TrafficClass,
}

impl Traffic {
    pub fn new(rules: &[TrafficRule]) -> Self {
        Self(rules.iter().map(Rule::new).collect())
    }

    /// What the first rule that matches says.
    pub fn class(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        source: impl Fn() -> IpAddr,
    ) -> Option<&TrafficClass> {
        self.0.iter().find(|rule| rule.matches(method, path, headers, &source)).map(|rule| &rule.then)
    }
}

impl Rule {
    fn new(rule: &TrafficRule) -> Self {
        Self {
            path: rule.path.clone(),
            agent: rule.agent.as_ref().map(|a| a.to_ascii_lowercase().into_bytes().into()),
            // The configuration has checked them; one that is no method matches nothing.
            methods: rule.methods.iter().filter_map(|m| Method::from_bytes(m.as_bytes()).ok()).collect(),
            sources: rule.sources.clone().into(),
            then: rule.then.clone(),
        }
    }

    fn matches(&self, method: &Method, path: &str, headers: &HeaderMap, source: impl Fn() -> IpAddr) -> bool {
        (self.methods.is_empty() || self.methods.contains(method))
            && self.path.as_ref().is_none_or(|pattern| path_matches(pattern, path))
            && (self.sources.is_empty() || {
                let source = source();
                self.sources.iter().any(|net| net.contains(&source))
            })
            && self.agent.as_ref().is_none_or(|agent| {
                headers.get(header::USER_AGENT).is_some_and(|value| contains_lower(value.as_bytes(), agent))
            })
    }
}

fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(exact) => exact == path,
        PathPattern::Prefix(prefix) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}

/// Whether `needle`, in lower case, is part of `text`.
fn contains_lower(text: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || text.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> TrafficRule {
        TrafficRule { path: None, agent: None, methods: vec![], sources: vec![], then: TrafficClass::NeverExtends }
    }

    #[test]
    fn the_first_rule_of_which_everything_matches_counts() {
        let rules = [
            TrafficRule {
                path: Some(PathPattern::Exact("/health".into())),
                methods: vec!["GET".into()],
                then: TrafficClass::OnlyIfAwake,
                ..rule()
            },
            TrafficRule { agent: Some("UptimeBot".into()), ..rule() },
            TrafficRule {
                path: Some(PathPattern::Prefix("/metrics".into())),
                sources: vec!["10.0.0.0/8".parse().unwrap()],
                then: TrafficClass::Wake,
                ..rule()
            },
        ];
        let traffic = Traffic::new(&rules);
        let mut bot = HeaderMap::new();
        bot.insert("user-agent", "Mozilla uptimebot/2".parse().unwrap());
        let none = HeaderMap::new();
        let (inside, outside) = ("10.1.2.3".parse().unwrap(), "1.2.3.4".parse().unwrap());
        let class = |method: Method, path: &str, headers: &HeaderMap, ip| traffic.class(&method, path, headers, || ip);
        assert_eq!(class(Method::GET, "/health", &bot, inside), Some(&TrafficClass::OnlyIfAwake));
        assert_eq!(class(Method::POST, "/health", &bot, inside), Some(&TrafficClass::NeverExtends));
        assert_eq!(class(Method::POST, "/health", &none, inside), None);
        assert_eq!(class(Method::GET, "/health/", &none, inside), None);
        assert_eq!(class(Method::GET, "/metrics/x", &none, inside), Some(&TrafficClass::Wake));
        assert_eq!(class(Method::GET, "/metrics", &none, inside), Some(&TrafficClass::Wake));
        assert_eq!(class(Method::GET, "/metricsx", &none, inside), None);
        assert_eq!(class(Method::GET, "/metrics", &none, outside), None);
    }
}
