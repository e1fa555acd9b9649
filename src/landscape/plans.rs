//! Plans: a number in ci.yml, a share of the machine here.

use std::collections::BTreeMap;

use super::spec::Plan;

/// The installation's plans.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plans {
    /// By the number that ci.yml names.
    pub by_id: BTreeMap<u32, Plan>,
    /// For every other number, and for services that name none.
    pub default: Option<Plan>,
}

impl Plans {
    /// A service's plan, and whether it is the one it asked for (asking for none is asking for the
    /// default). `None` where there is no default to fall back to.
    pub fn find(&self, id: Option<u32>) -> Option<(&Plan, bool)> {
        match id.map(|id| self.by_id.get(&id)) {
            Some(Some(plan)) => Some((plan, true)),
            Some(None) => self.default.as_ref().map(|plan| (plan, false)),
            None => self.default.as_ref().map(|plan| (plan, true)),
        }
    }
}
